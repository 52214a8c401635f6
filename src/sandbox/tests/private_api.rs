//! The private API wants Basic and `Epic-Client-ID`, and both of the same client.

use super::*;
use crate::sandbox::{PRACTITIONER, PRIVATE_PATH};

fn ehr() -> Ehr {
    let ehr = Ehr::new();
    ehr.register(Credential::Basic { user: "emp$sync".to_owned(), password: "p:ss".into() });
    ehr
}

async fn call(ehr: &Ehr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answered {
    ehr.with_json(method, &format!("{PRIVATE_PATH}{path}"), &json!({ "SlotID": "slot-1" }), headers).await
}

fn credential(text: &str) -> String {
    format!("Basic {}", STANDARD.encode(text))
}

#[tokio::test]
async fn the_right_credential_and_client_id_are_served() {
    let ehr = ehr();
    let authorization = credential("emp$sync:p:ss");
    let headers = [("authorization", authorization.as_str()), ("epic-client-id", CLIENT)];
    let availability = format!("/Scheduling/Provider/{PRACTITIONER}/Availability");
    let answered = call(&ehr, "GET", &availability, &headers).await;
    assert_eq!(answered.status, StatusCode::OK);
    let slots = answered.json();
    assert_eq!(slots["ProviderID"], PRACTITIONER);
    assert_eq!(slots["Slots"].as_array().unwrap().len(), 5);
    assert_eq!(
        slots["Slots"][0],
        json!({ "SlotID": "slot-1", "Start": "2027-03-01T09:00:00Z", "End": "2027-03-01T09:30:00Z" })
    );
    let booked = call(&ehr, "POST", "/Scheduling/Appointment", &headers).await;
    assert_eq!(booked.status, StatusCode::CREATED);
    assert_eq!(booked.json(), json!({ "Status": "Booked", "Request": { "SlotID": "slot-1" } }));
    let entry = ehr.last();
    assert_eq!(entry.headers["authorization"], "Basic");
    assert_eq!(entry.client_id.as_deref(), Some(CLIENT));
    assert_eq!(entry.body.as_deref(), Some(r#"{"SlotID":"slot-1"}"#));
    assert_eq!(call(&ehr, "GET", "/Scheduling/Provider/nobody/Availability", &headers).await.status, 404);
    assert_eq!(call(&ehr, "DELETE", "/Scheduling/Appointment", &headers).await.status, 405);
}

#[tokio::test]
async fn anything_less_is_401_with_the_same_words() {
    let ehr = ehr();
    ehr.shared
        .registry
        .register(Registration::new(
            "other",
            Credential::Basic { user: "emp$other".to_owned(), password: "other".into() },
        ))
        .unwrap();
    let (right, wrong) = (credential("emp$sync:p:ss"), credential("emp$sync:wrong"));
    let cases: [&[(&str, &str)]; 7] = [
        &[],
        &[("authorization", &right)],
        &[("epic-client-id", CLIENT)],
        &[("authorization", &right), ("epic-client-id", "other")],
        &[("authorization", &wrong), ("epic-client-id", CLIENT)],
        &[("authorization", "Bearer x"), ("epic-client-id", CLIENT)],
        &[("authorization", &right), ("epic-client-id", CLIENT), ("epic-client-id", "other")],
    ];
    for headers in cases {
        let answered = call(&ehr, "POST", "/Scheduling/Appointment", headers).await;
        assert_eq!((answered.status.as_u16(), answered.json()), (401, json!({ "Message": "Unauthorized" })));
        assert_eq!(answered.header("www-authenticate"), Some(r#"Basic realm="sandbox""#));
    }
}

#[tokio::test]
async fn a_redirect_leads_to_another_host_name_of_this_server_so_that_following_it_shows() {
    let ehr = ehr();
    let authorization = credential("emp$sync:p:ss");
    let headers = [("authorization", authorization.as_str()), ("epic-client-id", CLIENT)];
    let answered = call(&ehr, "GET", "/Scheduling/Moved", &headers).await;
    assert_eq!(answered.status, StatusCode::FOUND);
    assert_eq!(answered.header("location"), Some("http://localhost:80/followed-with-credentials"));
    ehr.get("/followed-with-credentials").await;
    assert_eq!(ehr.last().path, "/followed-with-credentials");
}
