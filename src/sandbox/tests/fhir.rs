//! FHIR R4: authorization, reads, searches, pages.

use super::*;
use crate::sandbox::{BOOKED_APPOINTMENT, FIRST_PATIENT, FREE_SLOT, OPEN_FHIR_PATH, PRACTITIONER, Verdict};

pub(super) fn ehr() -> Ehr {
    let ehr = Ehr::new();
    ehr.register(Credential::Pem(RSA.pem()));
    ehr
}

pub(super) fn open(path: &str) -> String {
    format!("{OPEN_FHIR_PATH}{path}")
}

/// The absolute base of the open server.
pub(super) fn open_base() -> String {
    format!("{BASE}{OPEN_FHIR_PATH}")
}

async fn accepting(ehr: &Ehr, path: &str, accept: &str) -> Answered {
    ehr.send(Request::get(path).header("accept", accept).body(Body::empty()).unwrap()).await
}

/// The IDs of a searchset's entries with this mode, in order.
fn ids(bundle: &Value, mode: &str) -> Vec<String> {
    let entries = bundle["entry"].as_array().unwrap_or_else(|| panic!("no entries: {bundle}"));
    entries
        .iter()
        .filter(|entry| entry["search"]["mode"] == mode)
        .map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned())
        .collect()
}

async fn found(ehr: &Ehr, path: &str) -> Vec<String> {
    let answered = ehr.get(&open(path)).await;
    assert_eq!(answered.status, StatusCode::OK, "{path}: {:?}", answered.body);
    ids(&answered.json(), "match")
}

fn link(bundle: &Value, relation: &str) -> Option<String> {
    let links = bundle["link"].as_array().unwrap();
    let link = links.iter().find(|link| link["relation"] == relation)?;
    Some(link["url"].as_str().unwrap().strip_prefix(BASE).unwrap().to_owned())
}

#[tokio::test]
async fn without_a_valid_credential_the_answer_is_401_with_a_challenge_and_an_outcome() {
    let ehr = Ehr::with(Settings { token_lifetime_seconds: 0, ..Settings::default() });
    ehr.register(Credential::Pem(RSA.pem()));
    let expired = format!("Bearer {}", ehr.token().await);
    let wrong_basic = format!("Basic {}", STANDARD.encode("a:b"));
    for (authorization, challenge, reason) in [
        (None, r#"Bearer realm="sandbox""#, "no Authorization header"),
        (
            Some("Bearer nonsense"),
            r#"Bearer realm="sandbox", error="invalid_token""#,
            "the access token is unknown: never issued here, or revoked",
        ),
        (Some(&*expired), r#"Bearer realm="sandbox", error="invalid_token""#, "the access token has expired"),
        (Some(&*wrong_basic), r#"Basic realm="sandbox""#, "the Basic credential belongs to no registered client"),
        (
            Some("Negotiate abc"),
            r#"Bearer realm="sandbox", error="invalid_request""#,
            "the Authorization header is neither Bearer nor Basic",
        ),
    ] {
        let mut request = Request::get(format!("{FHIR_PATH}/Nonsense/1"));
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let answered = ehr.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!((answered.status.as_u16(), answered.header("www-authenticate")), (401, Some(challenge)));
        assert_eq!(answered.json()["issue"][0]["code"], "login");
        let entry = ehr.last();
        assert_eq!((entry.verdict, entry.reason.as_deref()), (Verdict::Refused, Some(reason)));
    }
}

#[tokio::test]
async fn a_registered_basic_credential_reads_too() {
    let ehr = Ehr::new();
    ehr.register(Credential::Basic { user: "reader".to_owned(), password: "secret".into() });
    let authorization = format!("Basic {}", STANDARD.encode("reader:secret"));
    let request = Request::get(format!("{FHIR_PATH}/Patient")).header("authorization", authorization);
    assert_eq!(ehr.send(request.body(Body::empty()).unwrap()).await.status, StatusCode::OK);
    assert_eq!(ehr.last().client_id.as_deref(), Some(CLIENT));
}

#[tokio::test]
async fn metadata_and_smart_configuration_are_open_to_all() {
    let ehr = Ehr::new();
    let path = format!("{FHIR_PATH}/metadata");
    for accept in ["application/fhir+json", "application/json"] {
        let answered = accepting(&ehr, &path, accept).await;
        let statement = answered.json();
        assert_eq!(answered.header("content-type"), Some("application/fhir+json; charset=utf-8"));
        assert_eq!(
            (&statement["resourceType"], &statement["fhirVersion"]),
            (&json!("CapabilityStatement"), &json!("4.0.1"))
        );
        let extension = &statement["rest"][0]["security"]["extension"][0]["extension"][1];
        assert_eq!(extension, &json!({ "url": "token", "valueUri": format!("{BASE}{TOKEN_PATH}") }));
    }
    for answered in [ehr.get(&path).await, accepting(&ehr, &path, "*/*").await] {
        assert_eq!(answered.header("content-type"), Some("application/fhir+xml; charset=utf-8"));
        assert!(String::from_utf8_lossy(&answered.body).contains("<fhirVersion value=\"4.0.1\"/>"));
    }
    assert_eq!(ehr.get(&format!("{path}?_format=json")).await.json()["kind"], "instance");
    let smart = ehr.get(&format!("{FHIR_PATH}/.well-known/smart-configuration")).await;
    assert_eq!(smart.header("content-type"), Some("application/json"));
    assert_eq!(smart.json()["token_endpoint"], format!("{BASE}{TOKEN_PATH}"));
}

#[tokio::test]
async fn the_data_set_is_whole_and_its_well_known_ids_are_there() {
    let ehr = Ehr::new();
    for (kind, count) in [
        ("Patient", 12),
        ("Practitioner", 4),
        ("Schedule", 4),
        ("Slot", 40),
        ("Appointment", 15),
        ("Encounter", 6),
        ("Observation", 12),
        ("Location", 1),
        ("DocumentReference", 1),
        ("Binary", 1),
    ] {
        let bundle = ehr.get(&open(&format!("/{kind}?_summary=count"))).await.json();
        assert_eq!(bundle["total"], count, "{kind}");
    }
    assert_eq!(found(&ehr, "/Patient?_count=1").await, [FIRST_PATIENT]);
    assert_eq!(ehr.get(&open(&format!("/Practitioner/{PRACTITIONER}"))).await.status, StatusCode::OK);
    assert_eq!(ehr.get(&open(&format!("/Slot/{FREE_SLOT}"))).await.json()["status"], "free");
    let appointment = ehr.get(&open(&format!("/Appointment/{BOOKED_APPOINTMENT}"))).await.json();
    assert_eq!(appointment["status"], "booked");
    assert_eq!(appointment["participant"][0]["actor"]["reference"], format!("Patient/{FIRST_PATIENT}"));
    assert_eq!(appointment["participant"][1]["actor"]["reference"], format!("Practitioner/{PRACTITIONER}"));
}

#[tokio::test]
async fn a_read_has_version_and_time_and_a_known_version_is_304() {
    let ehr = Ehr::new();
    let path = open(&format!("/Patient/{FIRST_PATIENT}"));
    let answered = ehr.get(&path).await;
    assert_eq!(answered.header("etag"), Some("W/\"1\""));
    assert_eq!(answered.header("last-modified"), Some("Mon, 04 Jan 2027 08:00:00 GMT"));
    assert_eq!(answered.json()["meta"], json!({ "versionId": "1", "lastUpdated": "2027-01-04T08:00:00Z" }));
    let request = Request::get(&path).header("if-none-match", "W/\"1\"").body(Body::empty()).unwrap();
    assert_eq!(ehr.send(request).await.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn what_is_not_there_or_not_possible_is_an_outcome() {
    let ehr = Ehr::new();
    for (method, path, status, code) in [
        ("GET", "/Nonsense/1", 404, "not-found"),
        ("GET", "/Patient/nobody", 404, "not-found"),
        ("GET", "/Patient/not%20an%20id", 400, "invalid"),
        ("GET", "/Patient/%ff", 400, "invalid"),
        ("GET", "/Patient/..%2F..%2Fetc", 400, "invalid"),
        ("GET", "/Patient/patient-8/$everything", 404, "not-found"),
        ("GET", "/Patient/patient-8/_history/9", 404, "not-found"),
        ("GET", "/Patient/patient-8/_history/x", 404, "not-found"),
        ("GET", "/a/b/c/d/e", 404, "not-found"),
        ("GET", "/", 400, "not-supported"),
        ("GET", "", 400, "not-supported"),
        ("DELETE", "", 405, "not-supported"),
        ("GET", "/Patient/_search", 405, "not-supported"),
        ("OPTIONS", "/Patient", 405, "not-supported"),
        ("DELETE", "/Patient?name=x", 400, "not-supported"),
        ("GET", "/Patient?name.x=y", 400, "not-supported"),
        ("GET", "/Patient?_has:Observation:patient:code=1", 400, "not-supported"),
        ("GET", "/Patient?name:phonetic=y", 400, "not-supported"),
        ("GET", "/Patient?birthdate=yesterday", 400, "invalid"),
        ("GET", "/Patient?_count=many", 400, "invalid"),
        ("GET", "/Patient?_include=*", 400, "not-supported"),
        ("GET", "/Patient?sessionID=nothing&page=2", 410, "expired"),
    ] {
        let request = Request::builder().method(method).uri(open(path)).body(Body::empty()).unwrap();
        let answered = ehr.send(request).await;
        let outcome = answered.json();
        assert_eq!((answered.status.as_u16(), &outcome["issue"][0]["code"]), (status, &json!(code)), "{method} {path}");
        assert_eq!(ehr.last().reason.as_deref(), outcome["issue"][0]["diagnostics"].as_str());
    }
}

#[tokio::test]
async fn xml_alone_is_not_acceptable_for_resources() {
    let ehr = Ehr::new();
    let path = open("/Patient/patient-8");
    assert_eq!(accepting(&ehr, &path, "application/fhir+xml").await.status, StatusCode::NOT_ACCEPTABLE);
    assert_eq!(
        accepting(&ehr, &path, "application/fhir+xml, application/fhir+json;q=0.5").await.status,
        StatusCode::OK
    );
    assert_eq!(ehr.get(&format!("{path}?_format=xml")).await.status, StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test]
async fn a_binary_is_its_own_bytes_for_those_who_do_not_ask_for_fhir() {
    let ehr = Ehr::new();
    let document = ehr.get(&open("/DocumentReference/document-1")).await.json();
    let url = document["content"][0]["attachment"]["url"].as_str().unwrap();
    let path = url.strip_prefix(BASE).unwrap();
    let native = accepting(&ehr, path, "text/plain").await;
    assert_eq!((native.header("content-type"), &native.body[..]), (Some("text/plain"), &b"All is well.\n"[..]));
    assert_eq!(accepting(&ehr, path, "application/fhir+json").await.json()["resourceType"], "Binary");
}

#[tokio::test]
async fn searches_find_what_their_parameters_say() {
    let ehr = Ehr::new();
    for (path, expected) in [
        ("/Patient?_id=patient-8,patient-9", &["patient-8", "patient-9"][..]),
        ("/Patient?family=lop", &[FIRST_PATIENT, "patient-11"]),
        ("/Patient?family=lop&given=Aaron", &["patient-11"]),
        ("/Patient?family:exact=lopez", &[]),
        ("/Patient?name:contains=kafo", &["patient-12"]),
        ("/Patient?name=M%C3%BCller", &["patient-10"]),
        ("/Patient?birthdate=1980-02-29", &["patient-8"]),
        ("/Patient?birthdate=ge2014&birthdate=lt2015", &["eAB3mDIBBcyUKviyzrxsnAw3"]),
        ("/Patient?identifier=203708", &["patient-8"]),
        ("/Patient?identifier=urn:oid:1.2.840.114350.1.13.0.1.7.5.737384.14%7C203708", &["patient-8"]),
        ("/Patient?identifier=urn:other%7C203708", &[]),
        ("/Patient?gender=female&birthdate=gt2000", &["eAB3mDIBBcyUKviyzrxsnAw3", "eh2xYHuzl9nkSFVvV3osUHg3"]),
        ("/Schedule?actor=Practitioner/practitioner-2", &["schedule-2"]),
        ("/Slot?schedule=schedule-1&status=busy", &["slot-2", "slot-4", "slot-7", "slot-9", "slot-10"]),
        ("/Slot?schedule=Schedule/schedule-4&start=lt2027-03-04T09:30:00Z", &["slot-31"]),
        ("/Appointment?patient=erXuFYUfucBZaryVksYEcMg3&status=booked", &["appointment-1"]),
        ("/Appointment?practitioner=practitioner-2&date=2027-03-02&status=cancelled", &["appointment-9"]),
        ("/Observation?patient=patient-8", &[]),
        ("/Observation?patient=erXuFYUfucBZaryVksYEcMg3&category=laboratory", &["observation-2", "observation-4"]),
        (
            "/Observation?code=http://loinc.org%7C8867-4&_sort=-date",
            &["observation-9", "observation-5", "observation-1"],
        ),
        ("/Encounter?patient=Patient/erXuFYUfucBZaryVksYEcMg3", &["encounter-1"]),
        ("/Encounter?date=2026-11-02&status=finished", &["encounter-2"]),
        ("/Encounter?subject:Patient=patient-8", &[]),
    ] {
        assert_eq!(found(&ehr, path).await, expected, "{path}");
    }
}

#[tokio::test]
async fn a_search_by_post_reads_its_body_and_not_its_query() {
    let ehr = Ehr::new();
    let request = Request::post(open("/Patient/_search?family=Okafor"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from("family=Lopez&given=Aaron"))
        .unwrap();
    let answered = ehr.send(request).await.json();
    assert_eq!(ids(&answered, "match"), ["patient-11"]);
    assert_eq!(link(&answered, "self"), Some(open("/Patient?family=Lopez&given=Aaron")));
    assert_eq!(ehr.last().body.as_deref(), Some("family=Lopez&given=Aaron"));
    assert_eq!(ehr.post_json(&open("/Patient/_search"), &json!({})).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn an_entry_has_its_full_url_on_the_base() {
    let ehr = Ehr::new();
    let bundle = ehr.get(&open("/Patient?_id=patient-8")).await.json();
    assert_eq!((&bundle["type"], &bundle["total"]), (&json!("searchset"), &json!(1)));
    assert_eq!(bundle["entry"][0]["fullUrl"], format!("{}/Patient/patient-8", open_base()));
}

#[tokio::test]
async fn included_resources_stand_beside_the_matches_once() {
    let ehr = Ehr::new();
    let path = open(
        "/Appointment?_id=appointment-1,appointment-2&_include=Appointment:patient&_include=Appointment:practitioner",
    );
    let bundle = ehr.get(&path).await.json();
    assert_eq!(ids(&bundle, "match"), ["appointment-1", "appointment-2"]);
    assert_eq!(ids(&bundle, "include"), [FIRST_PATIENT, "eq081-VQEgP8drUUqCWzHfw3", PRACTITIONER]);
    let slots = ehr.get(&open("/Slot?_id=slot-1&_include=Slot:schedule")).await.json();
    assert_eq!(ids(&slots, "include"), ["schedule-1"]);
    let reverse = ehr.get(&open("/Patient?_id=patient-8&_revinclude=Appointment:patient")).await.json();
    assert_eq!(ids(&reverse, "include"), ["appointment-8"]);
}

#[tokio::test]
async fn an_unknown_parameter_is_ignored_and_told_or_refused_for_the_strict() {
    let ehr = Ehr::new();
    let bundle = ehr.get(&open("/Location?color=blue")).await.json();
    assert_eq!(bundle["total"], 1);
    let told = bundle["entry"].as_array().unwrap().last().unwrap();
    assert_eq!(told["search"]["mode"], "outcome");
    assert_eq!(told["resource"]["issue"][0]["diagnostics"], "parameters that are not known here were ignored: color");
    let strict = Request::get(open("/Location?color=blue")).header("prefer", "handling=strict");
    assert_eq!(ehr.send(strict.body(Body::empty()).unwrap()).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn pages_follow_each_other_to_the_end_and_back() {
    let ehr = Ehr::new();
    let first = ehr.get(&open("/Slot?_count=15")).await.json();
    assert_eq!((&first["total"], ids(&first, "match").len()), (&json!(40), 15));
    assert_eq!(link(&first, "previous"), None);
    let second = ehr.get(&link(&first, "next").unwrap()).await.json();
    let third = ehr.get(&link(&second, "next").unwrap()).await.json();
    assert_eq!(ids(&third, "match").last().map(String::as_str), Some("slot-40"));
    assert_eq!(link(&third, "next"), None);
    let back = ehr.get(&link(&third, "previous").unwrap()).await.json();
    assert_eq!(back["entry"], second["entry"]);
}

#[tokio::test]
async fn a_paging_link_belongs_to_the_client_that_searched() {
    let ehr = ehr();
    ehr.shared
        .registry
        .register(Registration::new("other", Credential::Basic { user: "other".to_owned(), password: "secret".into() }))
        .unwrap();
    let token = ehr.token().await;
    let next = link(&ehr.fhir(&token, "/Slot").await.json(), "next").unwrap();
    let path = next.strip_prefix(FHIR_PATH).unwrap();
    assert_eq!(ehr.fhir(&token, path).await.status, StatusCode::OK);
    let other = format!("Basic {}", STANDARD.encode("other:secret"));
    let request = Request::get(&next).header("authorization", other).body(Body::empty()).unwrap();
    let answered = ehr.send(request).await;
    assert_eq!(answered.status, StatusCode::GONE);
    assert_eq!(answered.json()["issue"][0]["diagnostics"], "4113: the paging session has expired");
    assert_eq!(ehr.fhir(&token, &path.replace("Slot", "Patient")).await.status, StatusCode::GONE);
    assert_eq!(ehr.fhir(&token, &path.replace("page=2", "page=0")).await.status, StatusCode::BAD_REQUEST);
    let beyond = ehr.fhir(&token, &path.replace("page=2", "page=18446744073709551615")).await;
    assert_eq!(beyond.json()["entry"], json!([]));
}

proptest::proptest! {
    #[test]
    fn no_path_query_or_body_makes_it_panic(path in "[ -~]{0,60}", body in "[ -~]{0,80}", method in "GET|POST|PUT|PATCH") {
        let Ok(uri) = format!("{OPEN_FHIR_PATH}/{path}").parse::<http::Uri>() else { return Ok(()) };
        let request = Request::builder()
            .method(method.as_str())
            .uri(uri)
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let answered = runtime.block_on(EHR.send(request));
        proptest::prop_assert!(answered.status.as_u16() >= 200);
    }
}

static EHR: LazyLock<Ehr> = LazyLock::new(Ehr::new);
