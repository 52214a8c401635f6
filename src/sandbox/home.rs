//! The page at `/`: what runs where, for a person with a browser or with curl.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::page;
use super::{FHIR_PATH, FIRST_PATIENT, LAUNCHER_PATH, OPEN_FHIR_PATH, PRIVATE_PATH, REGISTRATION_PATH, Shared};

#[derive(askama::Template)]
#[template(path = "sandbox/home.html")]
struct HomePage<'ehr> {
    /// What there is, and its URL.
    places: &'ehr [(&'static str, String)],
    registration_path: &'static str,
    launcher_path: &'static str,
}

/// HTML for browsers, JSON for everyone else.
pub(super) async fn home(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let base = &shared.base_url;
    let places = [
        ("FHIR R4 base (Bearer token or Basic)", format!("{base}{FHIR_PATH}")),
        ("FHIR R4 base without authorization", format!("{base}{OPEN_FHIR_PATH}")),
        ("a Patient to begin with", format!("{base}{OPEN_FHIR_PATH}/Patient/{FIRST_PATIENT}")),
        ("CapabilityStatement", format!("{base}{FHIR_PATH}/metadata")),
        ("SMART configuration", format!("{base}{FHIR_PATH}/.well-known/smart-configuration")),
        ("registration of apps, for people", format!("{base}{REGISTRATION_PATH}")),
        ("apps to start in the EHR (EHR launch)", format!("{base}{LAUNCHER_PATH}")),
        ("authorization endpoint (GET, POST)", shared.authorization_url()),
        ("token URL (POST)", shared.token_url()),
        (
            "private API (Basic and Epic-Client-ID)",
            format!("{base}{PRIVATE_PATH}/Scheduling/Provider/{{id}}/Availability"),
        ),
        ("what arrived (GET, DELETE)", format!("{base}/sandbox/log")),
        ("clients (GET, POST, DELETE …/{id})", format!("{base}/sandbox/clients")),
        ("faults (POST, DELETE)", format!("{base}/sandbox/faults")),
        ("access tokens (DELETE; POST …/expiry ends their life)", format!("{base}/sandbox/tokens")),
        ("refresh tokens and codes (DELETE)", format!("{base}/sandbox/sessions")),
        ("key of the id_tokens (DELETE makes another)", format!("{base}/sandbox/id-token-keys")),
        ("EHR launches (POST)", format!("{base}/sandbox/launches")),
    ];
    let wants_html = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.split(',').any(|range| range.trim_start().starts_with("text/html")));
    if !wants_html {
        let places: serde_json::Map<String, serde_json::Value> =
            places.into_iter().map(|(what, url)| (what.to_owned(), json!(url))).collect();
        return Json(json!({ "name": "Hearthgate's simulated EHR", "places": places })).into_response();
    }
    page::html(
        StatusCode::OK,
        &HomePage { places: &places, registration_path: REGISTRATION_PATH, launcher_path: LAUNCHER_PATH },
    )
}
