//! Inferno's group "SMART on FHIR Discovery" (`smart_discovery_stu2_2`).

use reqwest::StatusCode;

use crate::app::{assert_origin_allowed, clinic};
use crate::support::standalone::Answer;

/// Inferno runs somewhere: discovery is for every origin.
const INFERNO: &str = "https://inferno.example.org";

async fn get(path: &str, accept: &str) -> Answer {
    let clinic = clinic().await;
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
async fn smart_cors_well_known_endpoint() {
    assert_origin_allowed(&get("/.well-known/smart-configuration", "application/json").await, INFERNO);
}

#[tokio::test]
async fn smart_cors_metadata_request() {
    let answer = get("/metadata", "application/fhir+json").await;
    assert_eq!((answer.status, answer.json()["resourceType"].as_str()), (StatusCode::OK, Some("CapabilityStatement")));
    assert_origin_allowed(&answer, INFERNO);
}
