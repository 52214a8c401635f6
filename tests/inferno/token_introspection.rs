//! Inferno's group "Token Introspection" (`smart_token_introspection_stu2_2`): issue a token, ask about it, judge the answer.

use hearthgate::sandbox::FIRST_PATIENT;
use jiff::Timestamp;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::app::{Client, How, Launched, encoded};
use crate::support::clinic::Clinic;
use crate::support::standalone::Answer;

/// Asks as the client itself, with the credential that it has.
async fn introspect(launched: &Launched, token: &str) -> Answer {
    let endpoint = launched.clinic.endpoint("introspection_endpoint").await;
    let request = launched.clinic.server.client.post(endpoint);
    let request = request.basic_auth(launched.client.id(), Some("discharge-letters-secret-for-tests"));
    let request = request.header("Content-Type", "application/x-www-form-urlencoded");
    launched.clinic.server.send(request.body(encoded(&[("token", token)]))).await
}

async fn launched() -> Launched {
    Clinic::shared().await.launch(Client::Symmetric, How::Standalone).await
}

#[tokio::test]
async fn token_introspection_endpoint_returns_a_response_when_provided_an_active_token() {
    let launched = launched().await;
    assert_eq!(introspect(&launched, &launched.text("access_token")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn token_introspection_endpoint_returns_a_response_when_provided_an_invalid_token() {
    assert_eq!(introspect(&launched().await, "invalid_token_value").await.status, StatusCode::OK);
}

#[tokio::test]
async fn token_introspection_response_for_an_active_token_contains_required_fields() {
    let launched = launched().await;
    let body = introspect(&launched, &launched.text("access_token")).await.json();
    assert_eq!((&body["active"], &body["client_id"]), (&json!(true), &json!(launched.client.id())));
    let sorted = |scope: &str| {
        let mut scopes: Vec<String> = scope.split(' ').map(ToOwned::to_owned).collect();
        scopes.sort();
        scopes
    };
    assert_eq!(sorted(body["scope"].as_str().unwrap()), sorted(&launched.text("scope")));
    assert!(body["exp"].as_i64().unwrap() > Timestamp::now().as_second());
    assert_eq!(body["patient"], FIRST_PATIENT);
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(launched.text("id_token")).unwrap().claims;
    for claim in ["iss", "sub", "fhirUser"] {
        assert_eq!(body[claim], claims[claim], "{claim}");
    }
}

#[tokio::test]
async fn token_introspection_response_for_an_invalid_token_contains_required_fields() {
    assert_eq!(introspect(&launched().await, "invalid_token_value").await.json(), json!({ "active": false }));
}
