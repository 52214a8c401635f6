//! Scopes with limits, in front of an EHR that has two patients: what reaches it, and what comes back. Its own log is the
//! judge.

use rstest::rstest;
use serde_json::json;

use super::ehr::{Reached, answer, json as fhir_json};
use super::*;
use crate::outbound::UserTokens;
use crate::protocol::jwt::{Session, Subject, issue};
use crate::protocol::oauth::launch_context::LaunchContext;
use crate::proxy::session;
use crate::store::{FamilyId, Kind};
use crate::values::scope::ScopeSet;

const JSON: (&str, &str) = ("content-type", "application/fhir+json");

fn observation(id: &str, patient: &str) -> Value {
    json!({"resourceType": "Observation", "id": id, "subject": {"reference": format!("Patient/{patient}")},
        "category": [{"coding": [{"code": "laboratory"}]}]})
}

/// `Observation/1` is of `Patient/1`, `Observation/2` of `Patient/2`; a search finds both unless it is held to one.
fn two_patients(reached: &Reached) -> Response<Full<Bytes>> {
    let (path, query) = reached.target.split_once('?').unwrap_or((&reached.target, ""));
    let body = String::from_utf8_lossy(&reached.body).into_owned();
    match (reached.method.as_str(), path) {
        ("GET", "/fhir/Observation/1") => {
            let headers = [("content-type", "application/fhir+json"), ("etag", "W/\"4\"")];
            answer(200, &headers, &observation("1", "1").to_string())
        }
        ("GET", "/fhir/Observation/2") => fhir_json(200, &observation("2", "2").to_string()),
        ("GET", "/fhir/Observation") | ("POST", "/fhir/Observation/_search") => {
            let is_held = query.contains("patient=1") || body.contains("patient=1");
            let found =
                if is_held { vec![observation("1", "1")] } else { vec![observation("1", "1"), observation("2", "2")] };
            let entries: Vec<Value> = found.into_iter().map(|resource| json!({"resource": resource})).collect();
            fhir_json(200, &json!({"resourceType": "Bundle", "type": "searchset", "entry": entries}).to_string())
        }
        ("PUT" | "POST" | "PATCH", _) => fhir_json(200, &observation("1", "1").to_string()),
        ("DELETE", _) => answer(204, &[], ""),
        _ => fhir_json(404, r#"{"resourceType":"OperationOutcome","issue":[{"diagnostics":"no such thing"}]}"#),
    }
}

async fn setup() -> Setup {
    let scopes = json!(["patient/*.cruds", "user/Observation.rs", "patient/Observation.rs?category=vital-signs"]);
    Setup::in_front_of(Ehr::answering(two_patients).await, |world| world.set("App", "mobile", "scopes", scopes)).await
}

/// A token of a user's session with this patient; the EHR knows the user by a token of its own.
pub(super) async fn token_for(setup: &Setup, scopes: &str, patient: Option<&str>) -> String {
    let snapshot = setup.snapshot.load_full().unwrap();
    let activation = snapshot.activation_by_uid("uid-of-mobile-epic").unwrap();
    let now = jiff::Timestamp::now();
    let tokens = UserTokens {
        access_token: "of-the-user".to_owned().into(),
        refresh_token: None,
        id_token: None,
        lifetime: Duration::from_mins(5),
        scope: None,
        members: serde_json::Map::new(),
    };
    let session = session::Session {
        activation: activation.uid.clone(),
        user: None,
        context: LaunchContext::default(),
        ehr: session::EhrSession::new(&tokens, None, now),
    };
    let family = FamilyId::random().unwrap();
    let records = setup.proxy.records(&activation.gateway).unwrap();
    let until = session.ehr.ends_at;
    records.put(Kind::Session, &family.to_string(), &session, until, now).await.unwrap();
    let session = Session { id: family.to_string(), patient: patient.map(str::to_owned) };
    let subject = Subject::User { sub: "user-1".into(), session };
    let issued = issue(activation, subject, &ScopeSet::parse(scopes).unwrap(), now, "id").unwrap();
    secrecy::ExposeSecret::expose_secret(&issued.token).to_owned()
}

fn lines(setup: &Setup) -> Vec<String> {
    setup.ehr.reached().iter().map(|reached| format!("{} {}", reached.method, reached.target)).collect()
}

async fn ask(setup: &Setup, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let form = if path.contains("_search") { FORM } else { JSON };
    let mut headers = vec![("authorization", authorization.as_str())];
    if !body.is_empty() {
        headers.push(form);
    }
    setup.ask(method, &format!("/epic/fhir{path}"), &headers, body).await
}

#[tokio::test]
async fn a_read_beyond_the_scopes_looks_like_one_of_nothing() {
    let setup = setup().await;
    let token = token_for(&setup, "patient/*.cruds", Some("1")).await;
    let own = ask(&setup, &token, "GET", "/Observation/1", "").await;
    assert_eq!((own.status, own.json()), (200, observation("1", "1")));
    let without_id = |answer: &Answer| {
        let id = answer.header("x-request-id").unwrap();
        String::from_utf8_lossy(&answer.body).replace(id, "")
    };
    let foreign = ask(&setup, &token, "GET", "/Observation/2", "").await;
    let missing = ask(&setup, &token, "GET", "/Observation/3", "").await;
    assert_eq!(foreign.refusal(), (404, "HG7054".into()));
    assert_eq!(missing.refusal(), (404, "HG7054".into()));
    assert_eq!(without_id(&foreign), without_id(&missing));
    assert_eq!((foreign.header("etag"), missing.header("etag")), (None, None));
}

#[tokio::test]
async fn a_head_and_a_conditional_read_are_judged_by_what_they_stand_for() {
    let setup = setup().await;
    let authorization = format!("Bearer {}", token_for(&setup, "patient/*.r", Some("1")).await);
    let headers = [("authorization", authorization.as_str()), ("if-none-match", "W/\"4\"")];
    let own = setup.ask("HEAD", "/epic/fhir/Observation/1", &headers, "").await;
    assert_eq!((own.status, own.body.len()), (200, 0));
    let foreign = setup.ask("HEAD", "/epic/fhir/Observation/2", &headers, "").await;
    assert_eq!(foreign.status, 404);
    assert_eq!(lines(&setup), ["GET /fhir/Observation/1", "GET /fhir/Observation/2"]);
    assert!(setup.ehr.reached().iter().all(|reached| reached.header("if-none-match").is_none()));
}

#[tokio::test]
async fn a_search_is_held_to_the_patient_and_what_comes_back_is_judged() {
    let setup = setup().await;
    let token = token_for(&setup, "patient/*.rs", Some("1")).await;
    let found = ask(&setup, &token, "GET", "/Observation?code=a", "").await;
    assert_eq!((found.status, found.json()["entry"].as_array().map(Vec::len)), (200, Some(1)));
    assert_eq!(lines(&setup), ["GET /fhir/Observation?code=a&patient=1"]);

    // An EHR that ignores the parameter gives nothing away.
    let careless = Ehr::answering(|_| {
        let entries = json!([{"resource": observation("1", "1")}, {"resource": observation("2", "2")}]);
        fhir_json(200, &json!({"resourceType": "Bundle", "type": "searchset", "entry": entries}).to_string())
    });
    let setup =
        Setup::in_front_of(careless.await, |world| world.set("App", "mobile", "scopes", json!(["patient/*.rs"]))).await;
    let token = token_for(&setup, "patient/*.rs", Some("1")).await;
    let refused = ask(&setup, &token, "GET", "/Observation", "").await;
    assert_eq!(refused.refusal(), (403, "HG7055".into()));
    assert!(!String::from_utf8_lossy(&refused.body).contains("Patient/2"));
}

#[tokio::test]
async fn a_search_by_post_is_held_in_query_and_form() {
    let setup = setup().await;
    let token = token_for(&setup, "patient/*.rs", Some("1")).await;
    let found = ask(&setup, &token, "POST", "/Observation/_search?code=a", "date=ge2020").await;
    assert_eq!(found.status, 200);
    let reached = setup.ehr.only();
    assert_eq!(reached.target, "/fhir/Observation/_search?patient=1");
    assert_eq!(reached.body, "code=a&date=ge2020&patient=1");
}

#[rstest]
#[case("DELETE", "/Observation/2", "", (404, "HG7054"), &["GET /fhir/Observation/2"])]
#[case("DELETE", "/Observation/3", "", (404, "HG7054"), &["GET /fhir/Observation/3"])]
// Whoever would make another's resource theirs writes their own patient into it.
#[case("PUT", "/Observation/2", r#"{"resourceType":"Observation","id":"2","subject":{"reference":"Patient/1"}}"#,
    (404, "HG7054"), &["GET /fhir/Observation/2"])]
#[case("PUT", "/Observation/1", r#"{"resourceType":"Observation","id":"1","subject":{"reference":"Patient/2"}}"#,
    (403, "HG7053"), &[])]
#[case("POST", "/Observation", r#"{"resourceType":"Observation","subject":{"reference":"Patient/2"}}"#, (403, "HG7053"), &[])]
#[case("PUT", "/Patient/2", r#"{"resourceType":"Patient","id":"2"}"#, (403, "HG7051"), &[])]
#[case("GET", "/Patient/2", "", (403, "HG7051"), &[])]
#[case("GET", "/Observation?patient=2", "", (403, "HG7051"), &[])]
#[case("GET", "/Patient/2/Observation", "", (403, "HG7051"), &[])]
#[case("DELETE", "/Observation?code=a", "", (403, "HG7052"), &[])]
#[case("GET", "/Observation?patient.name=a", "", (403, "HG7052"), &[])]
#[case("GET", "/Group/1", "", (403, "HG7051"), &[])]
#[case("GET", "/Patient/1/$graphql", "", (403, "HG7010"), &[])]
#[case("POST", "", r#"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Observation?patient=1"}},
    {"request":{"method":"GET","url":"Patient/2"}}]}"#, (403, "HG7051"), &[])]
#[tokio::test]
async fn nobody_reaches_another_patient(
    #[case] method: &str,
    #[case] path: &str,
    #[case] body: &str,
    #[case] refusal: (u16, &str),
    #[case] reached: &[&str],
) {
    let setup = setup().await;
    let token = token_for(&setup, "patient/*.cruds", Some("1")).await;
    let answer = ask(&setup, &token, method, path, body).await;
    assert_eq!(answer.refusal(), (refusal.0, refusal.1.to_owned()));
    assert_eq!(lines(&setup), reached);
}

#[tokio::test]
async fn a_body_that_names_the_patient_at_the_gateway_is_the_patients_and_is_written_back_there() {
    let setup = setup().await;
    let token = token_for(&setup, "patient/*.cruds", Some("1")).await;
    let body = |base: &str, patient: &str| {
        json!({"resourceType": "Observation", "subject": {"reference": format!("{base}/Patient/{patient}")}})
            .to_string()
    };
    let ours = "http://gate.example.org/default/epic/fhir";
    assert_eq!(ask(&setup, &token, "POST", "/Observation", &body(ours, "1")).await.status, 200);
    assert_eq!(setup.ehr.only().body, body(&format!("{}/fhir", setup.ehr.url), "1"));
    let refused = ask(&setup, &token, "POST", "/Observation", &body(ours, "2")).await;
    assert_eq!(refused.refusal(), (403, "HG7053".into()));
}

#[tokio::test]
async fn a_change_is_bound_to_the_version_that_was_judged() {
    let setup = setup().await;
    let token = token_for(&setup, "patient/*.cruds", Some("1")).await;
    assert_eq!(ask(&setup, &token, "DELETE", "/Observation/1", "").await.status, 204);
    let reached = setup.ehr.reached();
    assert_eq!(lines(&setup), ["GET /fhir/Observation/1", "DELETE /fhir/Observation/1"]);
    assert_eq!(reached[1].header("if-match"), Some("W/\"4\""));
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str()), ("if-match", "W/\"3\"")];
    let stale = setup.ask("DELETE", "/epic/fhir/Observation/1", &headers, "").await;
    assert_eq!(stale.refusal(), (412, "HG7057".into()));
}

#[tokio::test]
async fn a_condition_is_added_to_searches_and_judged_on_reads() {
    let setup = setup().await;
    let token = token_for(&setup, "patient/Observation.rs?category=vital-signs", Some("1")).await;
    assert_eq!(ask(&setup, &token, "GET", "/Observation/1", "").await.refusal(), (404, "HG7054".into()));
    assert_eq!(ask(&setup, &token, "GET", "/Observation", "").await.refusal(), (403, "HG7055".into()));
    assert_eq!(setup.ehr.reached()[1].target, "/fhir/Observation?category=vital-signs&patient=1");
}

#[tokio::test]
async fn without_a_patient_in_context_patient_scopes_give_nothing() {
    let setup = setup().await;
    let token = token_for(&setup, "patient/*.rs user/Observation.rs", None).await;
    assert_eq!(ask(&setup, &token, "GET", "/Encounter/1", "").await.refusal(), (403, "HG7050".into()));
    assert_eq!(ask(&setup, &token, "GET", "/Observation/2", "").await.status, 200);
    assert_eq!(lines(&setup), ["GET /fhir/Observation/2"]);
}

#[tokio::test]
async fn a_gateway_that_has_no_room_to_judge_more_says_so() {
    let limits = Limits { judged_at_once: 1024, ..Limits::default() };
    let long = |_: &Reached| {
        let entries: Vec<Value> = (0..40).map(|id| json!({"resource": observation(&id.to_string(), "1")})).collect();
        fhir_json(200, &json!({"resourceType": "Bundle", "type": "searchset", "entry": entries}).to_string())
    };
    let scopes = json!(["patient/*.cruds"]);
    let setup =
        Setup::with_limits(Ehr::answering(long).await, limits, |world| world.set("App", "mobile", "scopes", scopes));
    let setup = setup.await;
    let token = token_for(&setup, "patient/*.cruds", Some("1")).await;
    let full = ask(&setup, &token, "GET", "/Observation", "").await;
    assert_eq!((full.refusal(), full.header("retry-after")), ((503, "HG7072".into()), Some("1")));
    // What was read and refused has left its room.
    let body = format!(r#"{{"resourceType":"Observation","note":"{}"}}"#, "x".repeat(600));
    for _ in 0..3 {
        assert_eq!(ask(&setup, &token, "POST", "/Observation", &body).await.refusal(), (403, "HG7053".into()));
    }
}
