//! A launch with a user of the EHR from its first request to its last, every step over HTTP: the built binary's own
//! listeners, and the simulated EHR with its pages.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says no by panicking, and its helpers are part of it"
)]

mod support;

use hearthgate::sandbox::FIRST_PATIENT;
use reqwest::StatusCode;
use serde_json::{Value, json};
use support::standalone::Standalone;
use support::user::AppUser;

const SCOPE: &str = "openid fhirUser offline_access launch/patient patient/Patient.rs patient/Appointment.rs";
const ANOTHER_PATIENT: &str = "eq081-VQEgP8drUUqCWzHfw3";
const EHR_CLIENT_ID: &str = "3d1c2b90-discharge-letters";

/// `examples/smart-launch`, ready for its confidential app.
async fn clinic() -> (Standalone, AppUser) {
    let clinic = Standalone::start("smart-launch").await;
    clinic.wait_condition("Activation", "discharge-letters-at-clinic", "KeyReady", "True", "KeyReady").await;
    let user = AppUser {
        client: clinic.client.clone(),
        gateway: clinic.public("/default/clinic"),
        replica: None,
        client_id: "discharge-letters".to_owned(),
        secret: Some("discharge-letters-secret-for-tests".to_owned()),
        redirect_uri: "http://127.0.0.1:3000/letters/callback".to_owned(),
        login: "anna.cadence",
    };
    (clinic, user)
}

/// The members of a JSON object besides its tokens, which nobody can know.
fn known(tokens: &Value) -> Value {
    let mut known = tokens.clone();
    for token in ["access_token", "refresh_token", "id_token"] {
        known.as_object_mut().unwrap().remove(token);
    }
    known
}

/// Whose a searchset's resources are.
fn patients(bundle: &Value) -> Vec<&str> {
    let entries = bundle["entry"].as_array().unwrap_or_else(|| panic!("nothing is found: {bundle}")).iter();
    let actors = entries.flat_map(|entry| entry["resource"]["participant"].as_array().unwrap());
    let actors = actors.filter_map(|participant| participant["actor"]["reference"].as_str());
    actors.filter(|reference| reference.contains("Patient/")).collect()
}

#[tokio::test]
async fn a_standalone_launch_is_held_to_its_patient_renewed_and_revoked() {
    let (clinic, user) = clinic().await;
    let answer = user.redeem(&user.code(SCOPE, None).await).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(
        (&answer.headers["cache-control"], &answer.headers["pragma"]),
        (&"no-store".parse().unwrap(), &"no-cache".parse().unwrap())
    );
    let granted = "patient/Appointment.rs patient/Patient.rs openid fhirUser launch/patient offline_access";
    let expected = json!({"token_type": "Bearer", "expires_in": 300, "scope": granted, "patient": FIRST_PATIENT,
        "need_patient_banner": true, "tenant": "hearth-family-clinic",
        "smart_style_url": clinic.sandbox("/interconnect/smart-style.json")});
    assert_eq!(known(&answer.json()), expected);
    assert_eq!(answer.text_of("id_token").split('.').count(), 3);
    let (access, refresh) = (answer.text_of("access_token"), answer.text_of("refresh_token"));

    // The EHR is asked with the user's own token, and for nobody but the session's patient.
    let own = user.read(&format!("Patient/{FIRST_PATIENT}"), &access).await;
    assert_eq!((own.status, &own.json()["id"]), (StatusCode::OK, &json!(FIRST_PATIENT)));
    let another = user.read(&format!("Patient/{ANOTHER_PATIENT}"), &access).await;
    assert_eq!((another.status, &another.json()["resourceType"]), (StatusCode::FORBIDDEN, &json!("OperationOutcome")));
    let found = user.read("Appointment", &access).await;
    let found_patients = found.json();
    assert!(patients(&found_patients).iter().all(|patient| patient.ends_with(FIRST_PATIENT)), "{found:?}");
    let beyond = user.read("Observation", &access).await;
    assert_eq!(beyond.status, StatusCode::FORBIDDEN, "{beyond:?}");
    let reads = clinic.ehr_log("/Patient/").await;
    let reads: Vec<_> = reads.iter().map(|call| (call["path"].as_str().unwrap(), &call["clientId"])).collect();
    let path = format!("/interconnect/api/FHIR/R4/Patient/{FIRST_PATIENT}");
    assert_eq!(reads, [(path.as_str(), &json!(EHR_CLIENT_ID))], "of the other patient it heard nothing");

    let renewed = user.refresh(&refresh).await;
    assert_eq!((renewed.status, known(&renewed.json())), (StatusCode::OK, expected));
    let (newer_access, newer_refresh) = (renewed.text_of("access_token"), renewed.text_of("refresh_token"));
    assert_ne!((&newer_access, &newer_refresh), (&access, &refresh));
    let own = user.read(&format!("Patient/{FIRST_PATIENT}"), &newer_access).await;
    assert_eq!(own.status, StatusCode::OK);

    assert_eq!(user.revoke(&newer_refresh).await.status, StatusCode::OK);
    assert_eq!(user.refresh(&newer_refresh).await.refusal(), (400, "invalid_grant".to_owned()));
    for access in [&access, &newer_access] {
        let over = user.read(&format!("Patient/{FIRST_PATIENT}"), access).await;
        assert_eq!(over.status, StatusCode::UNAUTHORIZED, "{over:?}");
        assert!(over.headers["www-authenticate"].to_str().unwrap().contains(r#"error="invalid_token""#), "{over:?}");
    }
}

#[tokio::test]
async fn the_ehr_starts_the_app_about_what_is_open_there() {
    let (clinic, user) = clinic().await;
    let order = json!({"clientId": EHR_CLIENT_ID, "user": user.login, "patient": FIRST_PATIENT, "encounter": true});
    let started = clinic.send(clinic.client.post(clinic.sandbox("/sandbox/launches")).json(&order)).await;
    // The EHR's page opens this address: the gateway's, which starts the app with a launch of its own.
    let opened = started.text_of("url");
    assert!(opened.starts_with(&clinic.public("/default/clinic/launch/discharge-letters?iss=")), "{opened}");
    let app = url::Url::parse(&clinic.send(clinic.client.get(&opened)).await.redirected()).unwrap();
    assert_eq!((app.host_str(), app.path()), (Some("127.0.0.1"), "/letters/launch"));
    let told: Vec<(String, String)> = app.query_pairs().into_owned().collect();
    let [(iss, base), (launch, value)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(
        (iss.as_str(), base.as_str(), launch.as_str()),
        ("iss", &*clinic.public("/default/clinic/fhir"), "launch")
    );

    let scope = "openid fhirUser launch patient/Patient.rs";
    let answer = user.redeem(&user.code(scope, Some(value)).await).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let tokens = answer.json();
    assert_eq!((&tokens["patient"], tokens["encounter"].is_string()), (&json!(FIRST_PATIENT), true), "{tokens}");
    assert_eq!(tokens.get("refresh_token"), None, "it did not ask for one");
    let own = user.read(&format!("Patient/{FIRST_PATIENT}"), &answer.text_of("access_token")).await;
    assert_eq!(own.status, StatusCode::OK);
    assert_eq!(user.revoke(&answer.text_of("access_token")).await.status, StatusCode::OK);
    let over = user.read(&format!("Patient/{FIRST_PATIENT}"), &answer.text_of("access_token")).await;
    assert_eq!(over.status, StatusCode::UNAUTHORIZED);
}
