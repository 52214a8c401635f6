//! One form for all that is refused, whichever endpoint refuses: what the client reads, and the code that logs keep.

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::body::{self, Body};
use super::operation_outcome;
use super::request_id::RequestId;
use crate::values::code::Code;

/// On whose side the fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The app's request.
    App,
    /// Hearthgate, or how it is configured.
    Gateway,
    /// The EHR.
    Ehr,
}

impl Side {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Gateway => "gateway",
            Self::Ehr => "ehr",
        }
    }
}

/// A refusal, ready to be written in the form that the endpoint speaks.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: Code,
    pub(super) side: Side,
    /// For the app's developer; names no secret, no token, no address of the EHR.
    pub(super) message: String,
    pub(super) www_authenticate: Option<HeaderValue>,
    pub(super) allow: Option<&'static str>,
    pub(super) retry_after: Option<u32>,
}

/// How an endpoint speaks of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// FHIR's OperationOutcome.
    OperationOutcome,
    /// Problem details (RFC 9457), where no FHIR is spoken.
    Problem,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: Code, side: Side, message: impl Into<String>) -> Self {
        Self { status, code, side, message: message.into(), www_authenticate: None, allow: None, retry_after: None }
    }

    pub(super) fn into_response(self, form: Form, request_id: &RequestId) -> Response<Body> {
        let (media_type, text) = match form {
            Form::OperationOutcome => ("application/fhir+json", operation_outcome::of(&self, request_id).to_string()),
            Form::Problem => ("application/problem+json", self.problem(request_id)),
        };
        let mut response = Response::new(body::full(text));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.www_authenticate {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn problem(&self, request_id: &RequestId) -> String {
        json!({
            "type": "about:blank",
            "title": self.code.reason(),
            "status": self.status.as_u16(),
            "detail": self.message,
            "code": self.code.number(),
            "side": self.side.as_str(),
            "requestId": request_id.as_str(),
        })
        .to_string()
    }
}
