//! What a user's token reads and writes, and what it never sees.

use rstest::rstest;

use super::user_support::*;
use super::*;
use crate::sandbox::FIRST_PATIENT;

const SECOND_PATIENT: &str = "eq081-VQEgP8drUUqCWzHfw3";

/// An EHR, and a token for these scopes; staff have chosen the first patient.
async fn with_token(scope: &str, login: &str) -> (Ehr, String) {
    let ehr = ehr_with(Credential::Public);
    let answer = ehr.launched(scope, login, FIRST_PATIENT).await;
    let token = answer["access_token"].as_str().unwrap().to_owned();
    (ehr, token)
}

async fn names(ehr: &Ehr, token: &str, path: &str) -> Vec<String> {
    let bundle = ehr.fhir(token, path).await;
    assert_eq!(bundle.status, StatusCode::OK, "{}", bundle.text());
    let entries = bundle.json()["entry"].as_array().cloned().unwrap_or_default();
    entries.iter().map(|entry| entry["resource"]["id"].as_str().unwrap_or_default().to_owned()).collect()
}

#[rstest]
#[case("/Patient/erXuFYUfucBZaryVksYEcMg3", 200)]
#[case("/Patient/eq081-VQEgP8drUUqCWzHfw3", 404)]
#[case("/Observation/observation-1", 200)]
#[case("/Observation/observation-5", 404)]
#[case("/Observation/observation-5/_history", 404)]
#[case("/Observation/observation-5/_history/1", 404)]
#[case("/Binary/binary-1", 200)]
#[case("/Practitioner/practitioner-2", 200)]
#[tokio::test]
async fn a_patient_scope_reaches_the_patient_in_context_alone(#[case] path: &str, #[case] status: u16) {
    let (ehr, token) = with_token("launch/patient patient/*.rs", "anna.cadence").await;
    assert_eq!(ehr.fhir(&token, path).await.status.as_u16(), status);
}

#[tokio::test]
async fn searches_find_what_may_be_seen() {
    let (ehr, token) = with_token("launch/patient patient/Patient.rs patient/Observation.rs", "anna.cadence").await;
    assert_eq!(names(&ehr, &token, "/Patient").await, [FIRST_PATIENT]);
    assert_eq!(names(&ehr, &token, &format!("/Patient?_id={SECOND_PATIENT}")).await, [""; 0]);
    assert_eq!(
        names(&ehr, &token, "/Observation").await,
        ["observation-1", "observation-2", "observation-3", "observation-4"]
    );
    // What comes along needs its own permission.
    assert_eq!(
        names(&ehr, &token, "/Observation?_id=observation-1&_include=Observation:encounter").await,
        ["observation-1"]
    );
    let refused = ehr.fhir(&token, "/Encounter").await;
    assert_eq!(
        (refused.status, refused.header("www-authenticate")),
        (StatusCode::FORBIDDEN, Some(r#"Bearer realm="sandbox", error="insufficient_scope""#))
    );
}

#[tokio::test]
async fn a_user_scope_reaches_what_the_user_may_see() {
    let (ehr, token) = with_token("user/Patient.rs", "anna.cadence").await;
    assert_eq!(names(&ehr, &token, "/Patient").await.len(), 12);
    let (ehr, token) = with_token("user/Patient.rs", "camila.lopez").await;
    assert_eq!(names(&ehr, &token, "/Patient").await, [FIRST_PATIENT]);
}

#[tokio::test]
async fn a_scope_with_a_filter_lets_through_what_meets_it() {
    let (ehr, token) = with_token("launch/patient patient/Observation.rs?category=laboratory", "anna.cadence").await;
    assert_eq!(names(&ehr, &token, "/Observation").await, ["observation-2", "observation-4"]);
    assert_eq!(ehr.fhir(&token, "/Observation/observation-1").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn nothing_is_written_beyond_the_scopes_or_for_another_patient() {
    let (ehr, token) = with_token("launch/patient patient/Observation.cu patient/Patient.rs", "anna.cadence").await;
    let bearer = format!("Bearer {token}");
    let observation = |patient: &str| json!({ "resourceType": "Observation", "status": "final", "subject": { "reference": format!("Patient/{patient}") } });
    let send = async |method: &str, path: &str, body: Value| {
        let path = format!("{FHIR_PATH}{path}");
        ehr.with_json(method, &path, &body, &[("authorization", &bearer)]).await
    };
    let created = send("POST", "/Observation", observation(FIRST_PATIENT)).await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(send("POST", "/Observation", observation(SECOND_PATIENT)).await.status, StatusCode::FORBIDDEN);
    let mut moved = created.json();
    moved["subject"]["reference"] = json!(format!("Patient/{SECOND_PATIENT}"));
    let own = format!("/Observation/{}", moved["id"].as_str().unwrap());
    assert_eq!(send("PUT", &own, moved).await.status, StatusCode::FORBIDDEN);
    let mut foreign = observation(FIRST_PATIENT);
    foreign["id"] = json!("observation-5");
    assert_eq!(send("PUT", "/Observation/observation-5", foreign).await.status, StatusCode::NOT_FOUND);
    assert_eq!(send("DELETE", &own, json!(null)).await.status, StatusCode::FORBIDDEN);
    let batch = json!({ "resourceType": "Bundle", "type": "batch", "entry": [
        { "request": { "method": "GET", "url": format!("Patient/{SECOND_PATIENT}") } },
        { "request": { "method": "GET", "url": format!("Patient/{FIRST_PATIENT}") } },
    ] });
    let answers = send("POST", "", batch).await.json();
    let statuses: Vec<&str> = answers["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["response"]["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, ["404 Not Found", "200 OK"]);
}

#[tokio::test]
async fn the_pages_of_a_search_belong_to_one_authorization() {
    let (ehr, token) = with_token("user/Patient.rs", "anna.cadence").await;
    let links = ehr.fhir(&token, "/Patient?_count=5").await.json()["link"].clone();
    let next = links.as_array().unwrap().iter().find(|link| link["relation"] == "next").unwrap();
    let path = next["url"].as_str().unwrap().strip_prefix(&fhir_base()).unwrap().to_owned();
    assert_eq!(ehr.fhir(&token, &path).await.status, StatusCode::OK);
    let other = ehr.launched("user/Patient.rs", "camila.lopez", "").await;
    assert_eq!(ehr.fhir(other["access_token"].as_str().unwrap(), &path).await.status, StatusCode::GONE);
}
