//! Inferno's group "SMART on FHIR Discovery" (`smart_discovery_stu2_2`).

use reqwest::StatusCode;
use serde_json::Value;

use crate::app::assert_origin_allowed;
use crate::support::clinic::Clinic;
use crate::support::standalone::Answer;

/// Inferno runs somewhere: discovery is for every origin.
const INFERNO: &str = "https://inferno.example.org";

async fn get(path: &str, accept: &str) -> Answer {
    let clinic = Clinic::shared().await;
    let request = clinic.server.client.get(format!("{}{path}", clinic.fhir_base()));
    clinic.server.send(request.header("Accept", accept).header("Origin", INFERNO)).await
}

#[tokio::test]
async fn well_known_endpoint() {
    let answer = get("/.well-known/smart-configuration", "application/json").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("application/json"));
    assert!(answer.json().is_object());
}

#[tokio::test]
async fn well_known_capabilities_stu2() {
    let configuration = get("/.well-known/smart-configuration", "application/json").await.json();
    for member in ["authorization_endpoint", "token_endpoint"] {
        assert!(configuration[member].as_str().is_some_and(|url| !url.is_empty()), "{member}");
    }
    let list = |member: &str| -> Vec<String> {
        let items = configuration[member].as_array().unwrap_or_else(|| panic!("no {member}"));
        items.iter().map(|item| item.as_str().unwrap().to_owned()).collect()
    };
    assert!(list("grant_types_supported").contains(&"authorization_code".to_owned()));
    let methods = list("code_challenge_methods_supported");
    assert!(methods.contains(&"S256".to_owned()) && !methods.contains(&"plain".to_owned()));
    let capabilities = list("capabilities");
    if capabilities.contains(&"sso-openid-connect".to_owned()) {
        assert!(configuration["issuer"].is_string() && configuration["jwks_uri"].is_string());
    } else {
        assert_eq!(configuration.get("issuer"), None::<&Value>);
    }
}

#[tokio::test]
async fn smart_cors_well_known_endpoint() {
    assert_origin_allowed(&get("/.well-known/smart-configuration", "application/json").await, INFERNO);
}

#[tokio::test]
async fn smart_cors_metadata_request() {
    let answer = get("/metadata", "application/fhir+json").await;
    assert_eq!((answer.status, answer.json()["resourceType"].as_str()), (StatusCode::OK, Some("CapabilityStatement")));
    assert_origin_allowed(&answer, INFERNO);
}
