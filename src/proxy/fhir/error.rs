//! Why a FHIR request has no answer of the EHR, and how that is told.

use http::StatusCode;

use crate::protocol::fhir::Denial;
use crate::protocol::fhir::answer::Unjudgeable;
use crate::protocol::jwt::TokenRefused;
use crate::proxy::bearer::{Unauthorized, challenge};
use crate::proxy::body::{BodyError, HoldError};
use crate::proxy::forward::{ForwardError, body_refusal};
use crate::proxy::headers::HeaderOddity;
use crate::proxy::refusal::{Refusal, Side};
use crate::snapshot::Gateway;
use crate::values::code::Code;

/// Why a FHIR request has no answer of the EHR.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum FhirError {
    #[error(transparent)]
    Unauthorized(#[from] Unauthorized),
    #[error(transparent)]
    Denied(#[from] Denial),
    #[error(transparent)]
    Header(#[from] HeaderOddity),
    #[error("the gateway answers in JSON only")]
    NotAcceptable,
    #[error("the request's body is compressed")]
    Compressed,
    #[error("{0}")]
    Body(BodyError),
    #[error("the gateway holds as many long bodies as it has room for")]
    NoRoom,
    #[error("the form is not UTF-8")]
    Form,
    #[error(transparent)]
    Forward(#[from] ForwardError),
    #[error("the EHR answered {0} with content that is no FHIR JSON")]
    NotFhir(u16),
    #[error("the EHR answered {status}")]
    Failed { status: u16, retry_after: Option<u32> },
    /// What a read within narrowed scopes leads to, whether there is nothing or something beyond them.
    #[error("there is no such resource within the token's scopes")]
    NotWithinScope,
    #[error("the EHR's answer holds something beyond the token's scopes")]
    AnswerBeyondScope,
    #[error("the EHR's answer cannot be judged by the token's scopes: {0}")]
    AnswerUnjudged(&'static str),
    #[error("the EHR's answer cannot be judged by the token's scopes: {0}")]
    Unjudgeable(#[from] Unjudgeable),
    #[error("the link is not one of this gateway for this client, has expired, or leads to another host")]
    LinkUnusable,
    #[error("the resource has another version than If-Match says")]
    VersionConflict,
}

impl From<HoldError> for FhirError {
    fn from(error: HoldError) -> Self {
        match error {
            HoldError::Body(error) => Self::Body(error),
            HoldError::NoRoom => Self::NoRoom,
        }
    }
}

impl FhirError {
    pub(in crate::proxy) fn refusal(&self, gateway: &Gateway) -> Refusal {
        let app = |status, code| Refusal::new(status, code, Side::App, self.to_string());
        match self {
            Self::Unauthorized(error) => error.refusal(gateway),
            Self::Denied(denial) => {
                let status = match denial {
                    Denial::Query
                    | Denial::NoCriteria
                    | Denial::NoBatch(_)
                    | Denial::Reference
                    | Denial::Json(_)
                    | Denial::BodyWanted => StatusCode::BAD_REQUEST,
                    Denial::Format => StatusCode::NOT_ACCEPTABLE,
                    Denial::ContentType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    Denial::NotUnderstood
                    | Denial::Parameter { .. }
                    | Denial::OperationNotAllowed { .. }
                    | Denial::Entry { .. }
                    | Denial::NoPatient
                    | Denial::AnotherPatient
                    | Denial::OutsideCompartment { .. }
                    | Denial::Unenforceable(_)
                    | Denial::BodyBeyondScope
                    | Denial::PatchBeyondScope
                    | Denial::Scope { .. } => StatusCode::FORBIDDEN,
                };
                let mut refusal = app(status, denial.code());
                if let Some(wanted) = denial.wanted_scope() {
                    refusal.www_authenticate = challenge(gateway, Some("insufficient_scope"), Some(wanted));
                } else if status == StatusCode::FORBIDDEN && denial.is_about_scopes() {
                    refusal.www_authenticate = challenge(gateway, Some("insufficient_scope"), None);
                }
                refusal
            }
            Self::Header(_) => app(StatusCode::BAD_REQUEST, Code::HeaderRefused),
            Self::NotAcceptable => app(StatusCode::NOT_ACCEPTABLE, Code::FormatNotAcceptable),
            Self::Compressed => app(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::ContentTypeRefused),
            Self::Body(error) => body_refusal(*error),
            Self::NoRoom => {
                let mut refusal =
                    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Code::GatewayFull, Side::Gateway, self.to_string());
                refusal.retry_after = Some(1);
                refusal
            }
            Self::Form => app(StatusCode::BAD_REQUEST, Code::ParameterRefused),
            Self::Forward(ForwardError::SessionOver) => Unauthorized::from(TokenRefused::SessionOver).refusal(gateway),
            Self::Forward(error) => error.refusal(),
            Self::NotWithinScope => app(StatusCode::NOT_FOUND, Code::NotWithinScope),
            Self::LinkUnusable => app(StatusCode::NOT_FOUND, Code::LinkUnusable),
            Self::AnswerBeyondScope => app(StatusCode::FORBIDDEN, Code::AnswerBeyondScope),
            Self::VersionConflict => app(StatusCode::PRECONDITION_FAILED, Code::VersionConflict),
            Self::NotFhir(_) | Self::AnswerUnjudged(_) | Self::Unjudgeable(_) => {
                Refusal::new(StatusCode::BAD_GATEWAY, Code::EhrAnswerUnusable, Side::Ehr, self.to_string())
            }
            Self::Failed { status, retry_after } => {
                // What the client did wrong it should see as such; the EHR's own faults are a bad gateway's.
                let status = StatusCode::from_u16(*status)
                    .ok()
                    .filter(|status| status.is_client_error() || *status == StatusCode::SERVICE_UNAVAILABLE);
                let status = status.unwrap_or(StatusCode::BAD_GATEWAY);
                let mut refusal = Refusal::new(status, Code::EhrAnswerUnusable, Side::Ehr, self.to_string());
                refusal.retry_after = *retry_after;
                refusal
            }
        }
    }
}
