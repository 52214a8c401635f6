//! Inferno's group "SMART Backend Services Authorization" (`backend_services_authorization`).

use reqwest::StatusCode;
use serde_json::Value;

use crate::app::{ASSERTION_TYPE, assert_token_body, assertion, encoded};
use crate::support::clinic::Clinic;
use crate::support::standalone::Answer;

/// Inferno's request, right but for what is changed.
async fn request(changes: &[(&str, &str)]) -> Answer {
    let clinic = Clinic::shared().await;
    let endpoint = clinic.endpoint("token_endpoint").await;
    let signed = assertion("sync", &endpoint);
    let mut form = vec![
        ("scope", "system/Patient.rs"),
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", &signed),
    ];
    for (name, value) in changes {
        form.retain(|(present, _)| present != name);
        form.push((name, value));
    }
    let request = clinic.server.client.post(&endpoint).header("Content-Type", "application/x-www-form-urlencoded");
    clinic.server.send(request.header("Accept", "application/json").body(encoded(&form))).await
}

#[tokio::test]
async fn smart_backend_services_invalid_grant_type() {
    let answer = request(&[("grant_type", "not_a_grant_type")]).await;
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (StatusCode::BAD_REQUEST, Some("unsupported_grant_type"))
    );
}

#[tokio::test]
async fn smart_backend_services_invalid_client_assertion() {
    let answer = request(&[("client_assertion_type", "not_an_assertion_type")]).await;
    assert!(matches!(answer.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED), "{}", answer.status);
}

/// Inferno sends a bad assertion type under this name too; here the assertion itself is invalid.
#[tokio::test]
async fn smart_backend_services_invalid_jwt() {
    let clinic = Clinic::shared().await;
    let endpoint = clinic.endpoint("token_endpoint").await;
    let right = assertion("sync", &endpoint);
    let (message, signature) = right.rsplit_once('.').unwrap();
    let forged = format!("{message}.{}", signature.chars().rev().collect::<String>());
    for wrong in [
        "not.a.jwt",
        &forged,
        &assertion("sync", "https://elsewhere.example.org/token"),
        &assertion("nobody", &endpoint),
    ] {
        let answer = request(&[("client_assertion", wrong)]).await;
        assert_eq!(
            (answer.status.is_client_error(), answer.json()["error"].as_str()),
            (true, Some("invalid_client")),
            "{}",
            answer.text
        );
    }
}

#[tokio::test]
async fn smart_backend_services_auth_request_success() {
    let answer = request(&[]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
}

#[tokio::test]
async fn smart_backend_services_auth_response_body() {
    let body = request(&[]).await.json();
    assert_token_body(&body, &["access_token", "token_type", "expires_in", "scope"]);
    assert_eq!(body.get("refresh_token"), None::<&Value>);
}
