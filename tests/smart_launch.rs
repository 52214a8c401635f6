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
use rstest::rstest;
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

/// The last token request that reached the EHR: how the client proved itself.
async fn proof(clinic: &Standalone) -> &'static str {
    let asked = clinic.ehr_log("/oauth2/token").await.pop().unwrap();
    let scheme = asked["credential"]["scheme"].as_str();
    let has_client_id = asked["parameters"].get("client_id").is_some();
    match (scheme, asked.get("assertion").is_some(), has_client_id) {
        (Some("Basic"), false, false) => "client_secret_basic",
        (None, true, false) => "private_key_jwt",
        (None, false, true) => "client_id in the form",
        _ => panic!("{asked}"),
    }
}

#[rstest]
#[case::public("{}", "client_id in the form")]
#[case::basic("{clientSecretRef: {name: at-ehr, key: secret}}", "client_secret_basic")]
#[case::post(
    "{clientSecretRef: {name: at-ehr, key: secret}, tokenEndpointAuthMethod: client_secret_post}",
    "client_id in the form"
)]
#[case::key_pair("{keyPair: {algorithm: ES384}}", "private_key_jwt")]
#[tokio::test]
async fn the_gateway_proves_itself_to_the_ehr_as_the_activation_says(#[case] user: &str, #[case] expected: &str) {
    let (clinic, user_of_letters) = clinic().await;
    let user = user.replacen('{', "{clientId: our-own-client, ", 1);
    let document = format!(
        "
apiVersion: hearthgate.dev/v1alpha1
kind: App
metadata: {{name: notes}}
spec:
  clientId: notes
  clientType: Public
  redirectUris: [http://127.0.0.1:3000/notes]
  scopes: [openid, fhirUser, launch/patient, offline_access, patient/Patient.rs]
---
apiVersion: hearthgate.dev/v1alpha1
kind: Activation
metadata: {{name: notes-at-clinic}}
spec:
  appRef: {{name: notes}}
  gatewayRef: {{name: clinic}}
  ehrAuthentication: {{type: User, user: {user}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: at-ehr, labels: {{hearthgate.dev/use: credential}}}}
stringData: {{secret: 'a+b/c%2F== and more'}}
"
    );
    clinic.write("notes.yaml", &document);
    let status = ("Activation", "notes-at-clinic");
    clinic.wait_condition(status.0, status.1, "Ready", "True", "Ready").await;
    // Nobody can know yet; the object is in order all the same.
    let before = clinic.condition(status.0, status.1, "EHRAuthenticated").await.unwrap();
    assert_eq!((&*before.0, &*before.1), ("Unknown", "NoUserYet"), "{before:?}");

    let redirect_uri = "http://127.0.0.1:3000/notes".to_owned();
    let user = AppUser { client_id: "notes".to_owned(), secret: None, redirect_uri, ..user_of_letters };
    let scope = "openid fhirUser launch/patient offline_access patient/Patient.rs";
    let tokens = user.redeem(&user.code(scope, None).await).await;
    assert_eq!((tokens.status, proof(&clinic).await), (StatusCode::OK, expected), "{tokens:?}");
    clinic.wait_condition(status.0, status.1, "EHRAuthenticated", "True", "EHRAuthenticated").await;

    // The EHR's team removes the client: the next launch tells, and whose fault it is.
    clinic.send(clinic.client.delete(clinic.sandbox("/sandbox/clients/our-own-client"))).await;
    let leaving = user.leave(scope, None).await;
    assert!(user.visit_the_ehr_in_vain(&leaving).await, "it knows no such client");
    clinic.send(clinic.client.post(clinic.sandbox("/sandbox/tokens/expiry"))).await;
    let read = user.read(&format!("Patient/{FIRST_PATIENT}"), &tokens.text_of("access_token")).await;
    assert_eq!(read.status, StatusCode::BAD_GATEWAY, "{read:?}");
    clinic.wait_condition(status.0, status.1, "EHRAuthenticated", "False", "Refused").await;
    let (_, _, message) = clinic.condition(status.0, status.1, "Ready").await.unwrap();
    assert!(message.contains("invalid_client"), "{message}");
}

/// Revision and state of the keys of the activation with a key pair, oldest first.
async fn keys(clinic: &Standalone) -> Vec<(u64, String)> {
    let activation = clinic.object("Activation", "discharge-letters-at-clinic").await.unwrap();
    let keys = activation["status"]["keys"].as_array().unwrap().iter();
    keys.map(|key| (key["revision"].as_u64().unwrap(), key["state"].as_str().unwrap().to_owned())).collect()
}

#[tokio::test]
async fn a_new_key_signs_for_users_once_the_ehr_knows_it() {
    let (clinic, user) = clinic().await;
    let signing_kid = async || {
        let asked = clinic.ehr_log("/oauth2/token").await.pop().unwrap();
        assert_eq!(asked["status"], 200, "{asked}");
        asked["assertion"]["header"]["kid"].as_str().unwrap_or_else(|| panic!("{asked}")).to_owned()
    };
    let launched = async || assert_eq!(user.redeem(&user.code(SCOPE, None).await).await.status, StatusCode::OK);
    launched().await;
    let first = signing_kid().await;
    clinic.eventually("the first key signs", || async { keys(&clinic).await == [(1, "Signing".to_owned())] }).await;

    clinic.edit("discharge-letters.yaml", "algorithm: RS384", "algorithm: RS384\n        revision: 2");
    let moved = [(1, "Retiring".to_owned()), (2, "Signing".to_owned())];
    clinic.eventually("the second key signs", || async { keys(&clinic).await == moved }).await;
    clinic
        .wait_condition("Activation", "discharge-letters-at-clinic", "EHRAuthenticated", "True", "EHRAuthenticated")
        .await;
    let second = || async {
        launched().await;
        signing_kid().await != first
    };
    clinic.eventually("launches are signed with it", second).await;
}
