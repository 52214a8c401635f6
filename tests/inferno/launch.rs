//! Inferno's groups "Standalone Launch" (`smart_standalone_launch_stu2_2`) and "EHR Launch" (`smart_ehr_launch_stu2_2`).

use hearthgate::sandbox::FIRST_PATIENT;
use rstest::rstest;

use crate::app::{Client, How, ORIGIN, STATE, assert_origin_allowed, assert_token_body, assert_uncached};
use crate::support::clinic::Clinic;

/// Asked of the EHR launch alone.
#[rstest]
#[tokio::test]
async fn smart_app_launch(#[values(Client::Public, Client::Symmetric, Client::Asymmetric)] client: Client) {
    let launched = Clinic::shared().await.launch(client, How::Ehr).await;
    assert_eq!(launched.started_with.unwrap()["iss"], launched.clinic.fhir_base());
}

/// Asked of the EHR launch alone.
#[rstest]
#[tokio::test]
async fn smart_launch_received(#[values(Client::Public, Client::Symmetric, Client::Asymmetric)] client: Client) {
    let launched = Clinic::shared().await.launch(client, How::Ehr).await;
    assert!(!launched.started_with.unwrap()["launch"].is_empty());
}

#[rstest]
#[tokio::test]
async fn smart_app_redirect_stu2(
    #[values(Client::Public, Client::Symmetric, Client::Asymmetric)] client: Client,
    #[values(How::Standalone, How::Post, How::Ehr)] how: How,
) {
    let launched = Clinic::shared().await.launch(client, how).await;
    assert_eq!(launched.redirect["state"], STATE);
}

#[rstest]
#[tokio::test]
async fn smart_code_received(
    #[values(Client::Public, Client::Symmetric, Client::Asymmetric)] client: Client,
    #[values(How::Standalone, How::Post, How::Ehr)] how: How,
) {
    let launched = Clinic::shared().await.launch(client, how).await;
    assert!(!launched.redirect["code"].is_empty());
    assert_eq!(launched.redirect.get("error"), None);
}

#[rstest]
#[tokio::test]
async fn smart_token_exchange_stu2_2(
    #[values(Client::Public, Client::Symmetric, Client::Asymmetric)] client: Client,
    #[values(How::Standalone, How::Post, How::Ehr)] how: How,
) {
    let launched = Clinic::shared().await.launch(client, how).await;
    assert_eq!(launched.token.status, 200, "{}", launched.token.text);
}

#[rstest]
#[tokio::test]
async fn smart_token_response_body_stu2_2(
    #[values(Client::Public, Client::Symmetric, Client::Asymmetric)] client: Client,
    #[values(How::Standalone, How::Ehr)] how: How,
) {
    let launched = Clinic::shared().await.launch(client, how).await;
    let body = launched.token();
    assert_token_body(&body, &["access_token", "token_type", "scope"]);
    // Inferno warns of scopes that were not granted; here all must be.
    let granted: Vec<&str> = body["scope"].as_str().unwrap().split(' ').collect();
    for scope in client.scope(how).split(' ') {
        assert!(granted.contains(&scope), "{scope} is not in {granted:?}");
    }
    assert_eq!(body["patient"], FIRST_PATIENT);
    assert_eq!(body.get("encounter").is_some(), how == How::Ehr);
    let contexts = body.get("fhirContext").map(|contexts| contexts.as_array().unwrap().clone()).unwrap_or_default();
    assert_eq!(contexts.is_empty(), how != How::Ehr, "the EHR tells of an appointment");
    for context in contexts {
        let (kind, id) = context["reference"].as_str().unwrap().split_once('/').unwrap();
        assert!(kind == "Appointment" && !id.is_empty() && !id.contains('/'), "{context}");
    }
}

#[rstest]
#[tokio::test]
async fn smart_token_response_headers(
    #[values(Client::Public, Client::Symmetric, Client::Asymmetric)] client: Client,
    #[values(How::Standalone, How::Ehr)] how: How,
) {
    assert_uncached(&Clinic::shared().await.launch(client, how).await.token);
}

/// Asked of public clients alone.
#[rstest]
#[tokio::test]
async fn smart_cors_token_exchange(#[values(How::Standalone, How::Ehr)] how: How) {
    assert_origin_allowed(&Clinic::shared().await.launch(Client::Public, how).await.token, ORIGIN);
}
