//! Refusals as FHIR's OperationOutcome.

use http::StatusCode;
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::request_id::RequestId;
use crate::values::code::Code;

/// The code system of our codes.
const CODES: &str = "https://hearthgate.dev/codes";
/// The code system that says on whose side the fault is: `app`, `gateway`, `ehr`.
const SIDES: &str = "https://hearthgate.dev/sides";

/// The resource.
pub(super) fn of(refusal: &Refusal, request_id: &RequestId) -> Value {
    json!({
        "resourceType": "OperationOutcome",
        "issue": [{
            "severity": "error",
            "code": issue_type(refusal.status, refusal.code),
            "details": {
                "coding": [
                    {"system": CODES, "code": refusal.code.number(), "display": refusal.code.reason()},
                    {"system": SIDES, "code": refusal.side.as_str()},
                ],
                "text": refusal.message,
            },
            "diagnostics": format!("{} Request id: {}", refusal.code.remedy(), request_id.as_str()),
        }],
    })
}

/// FHIR's word for a refusal (value set issue-type, FHIR R4). What may pass by itself is told by the status, whatever it is
/// about: by it a client decides whether to ask again.
fn issue_type(status: StatusCode, code: Code) -> &'static str {
    match status.as_u16() {
        408 | 504 => return "timeout",
        429 => return "throttled",
        503 => return "transient",
        _ => {}
    }
    match code {
        Code::TokenMissing
        | Code::TokenInvalid
        | Code::TokenExpired
        | Code::TokenForAnotherGateway
        | Code::TokenRevoked
        | Code::SessionOver
        | Code::ActivationGone
        | Code::ActivationSuspended
        | Code::ActivationOutsideWindow => "login",
        // A query that cannot be read was never judged by scopes.
        Code::ParameterRefused | Code::InteractionUnknown if status == StatusCode::BAD_REQUEST => "invalid",
        Code::ScopeInsufficient
        | Code::OperationNotAllowed
        | Code::ParameterRefused
        | Code::PrivateApiRefused
        | Code::PatientMissing
        | Code::BeyondPatient
        | Code::ScopeUnenforceable
        | Code::BodyBeyondScope
        | Code::AnswerBeyondScope
        | Code::OriginRefused => "forbidden",
        Code::PathRefused
        | Code::TokenInQuery
        | Code::AuthorizationMalformed
        | Code::HeaderRefused
        | Code::HttpRefused
        | Code::BodyUnreadable
        | Code::BatchRefused => "invalid",
        Code::InteractionUnknown | Code::MethodRefused | Code::FormatNotAcceptable | Code::ContentTypeRefused => {
            "not-supported"
        }
        // The same whether there is nothing, or something that may not be told of.
        Code::GatewayUnknown | Code::EndpointUnknown | Code::NotWithinScope | Code::LinkUnusable => "not-found",
        Code::BodyTooLarge | Code::UriTooLong | Code::HeadersTooLarge => "too-long",
        Code::VersionConflict => "conflict",
        Code::RateLimited | Code::TooManyFailures => "throttled",
        Code::EhrTimeout => "timeout",
        Code::NotSynced
        | Code::GatewayFull
        | Code::GatewaySigningUnready
        | Code::StoreAway
        | Code::EhrUnreachableNow
        | Code::EhrCircuitOpen => "transient",
        Code::EhrAnswerUnusable => of_the_ehrs(status),
        _ => "exception",
    }
}

/// What an EHR says with its status alone.
fn of_the_ehrs(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 | 422 => "invalid",
        403 => "forbidden",
        404 => "not-found",
        405 | 406 | 415 => "not-supported",
        409 | 412 => "conflict",
        410 => "deleted",
        413 | 414 | 431 => "too-long",
        _ => "exception",
    }
}
