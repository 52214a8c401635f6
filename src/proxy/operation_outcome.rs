//! Refusals as FHIR's OperationOutcome.

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
            "code": issue_type(refusal.code),
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

/// FHIR's word for a refusal (value set issue-type).
const fn issue_type(code: Code) -> &'static str {
    match code {
        Code::TokenMissing
        | Code::TokenInvalid
        | Code::TokenExpired
        | Code::TokenForAnotherGateway
        | Code::ActivationGone
        | Code::ActivationSuspended
        | Code::ActivationOutsideWindow => "login",
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
        | Code::BodyUnreadable => "invalid",
        Code::InteractionUnknown
        | Code::BatchRefused
        | Code::MethodRefused
        | Code::FormatNotAcceptable
        | Code::ContentTypeRefused => "not-supported",
        Code::GatewayUnknown | Code::EndpointUnknown | Code::NotWithinScope | Code::LinkUnusable => "not-found",
        Code::BodyTooLarge | Code::UriTooLong | Code::HeadersTooLarge => "too-long",
        Code::RateLimited | Code::TooManyFailures => "throttled",
        Code::VersionConflict => "conflict",
        Code::EhrTimeout => "timeout",
        Code::NotSynced
        | Code::GatewayFull
        | Code::GatewaySigningUnready
        | Code::EhrUnreachableNow
        | Code::EhrCircuitOpen => "transient",
        _ => "exception",
    }
}
