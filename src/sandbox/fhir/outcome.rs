//! Refusals of FHIR requests, told as OperationOutcome.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::FHIR_JSON;

/// Why a FHIR interaction is refused: the status, the issue's code (FHIR R4 `issue-type`), and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{diagnostics}")]
pub(in crate::sandbox) struct Refusal {
    pub(super) status: StatusCode,
    code: &'static str,
    diagnostics: String,
}

impl Refusal {
    pub(in crate::sandbox) fn new(status: StatusCode, code: &'static str, diagnostics: impl Into<String>) -> Refusal {
        Refusal { status, code, diagnostics: diagnostics.into() }
    }

    /// 400 `invalid`.
    pub(super) fn invalid(diagnostics: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "invalid", diagnostics)
    }

    /// 400 `not-supported`.
    pub(super) fn not_supported(diagnostics: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "not-supported", diagnostics)
    }

    /// 403 `forbidden`.
    pub(super) fn forbidden(diagnostics: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::FORBIDDEN, "forbidden", diagnostics)
    }

    /// 404 `not-found`.
    pub(super) fn not_found(diagnostics: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "not-found", diagnostics)
    }

    /// The OperationOutcome.
    pub(super) fn outcome(&self) -> Value {
        outcome("error", self.code, &self.diagnostics)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, [(CONTENT_TYPE, FHIR_JSON)], self.outcome().to_string()).into_response();
        if self.status == StatusCode::FORBIDDEN {
            let challenge = HeaderValue::from_static(r#"Bearer realm="sandbox", error="insufficient_scope""#);
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// An OperationOutcome with one issue.
pub(super) fn outcome(severity: &str, code: &str, diagnostics: &str) -> Value {
    json!({
        "resourceType": "OperationOutcome",
        "issue": [{ "severity": severity, "code": code, "diagnostics": diagnostics }],
    })
}
