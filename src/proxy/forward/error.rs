//! Why there is no answer of the EHR, and what a client is told.

use std::time::Duration;

use http::StatusCode;

use crate::outbound::breaker::Open;
use crate::outbound::{CallError, EhrTokenError, retry};
use crate::proxy::body::BodyError;
use crate::proxy::refusal::{Refusal, Side};
use crate::proxy::traffic::{Crowded, Paused};
use crate::values::code::Code;

/// Why there is no answer to pass on.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum ForwardError {
    /// The target is no URI.
    #[error("the path and query cannot be sent on")]
    Target,
    /// There is no token of the EHR.
    #[error("activation {activation}: {error}; its status.nextStep says what to do")]
    Token { activation: String, error: EhrTokenError },
    /// The user's session at the EHR is over.
    #[error("the user's session at the EHR is over")]
    SessionOver,
    /// The state that holds users' tokens cannot be reached.
    #[error("the state that holds the user's session cannot be reached now")]
    StoreAway,
    /// The External auth's secret is no header value.
    #[error("the adapter's External auth holds no usable credential")]
    Credential,
    /// The call failed.
    #[error("{}", said(.0))]
    Call(CallError),
    /// The client's body failed on the way.
    #[error("the request could not be sent on: {0}")]
    Body(BodyError),
    /// 401, also with a fresh token.
    #[error("the EHR refuses the gateway's own credentials")]
    CredentialsRefused,
    /// 3xx
    #[error("the EHR answered with a redirect ({0}), which is never followed")]
    Redirected(u16),
    /// The gateway's limit for this app.
    #[error("the app has reached this gateway's limit of requests")]
    RateLimited { wait: Duration },
    /// Too many calls of the app are under way and waiting, or more come than the adapter's limit allows.
    #[error("too many requests of the app wait for the EHR already")]
    Crowded,
    /// The EHR asked for it.
    #[error("the EHR asked for a pause")]
    Paused(Paused),
    /// The circuit breaker.
    #[error("the EHR failed too often just now and is left alone for a moment")]
    CircuitOpen { retry_after: Duration },
    /// The answer is compressed, though `identity` was asked for, and not in gzip.
    #[error(
        "the EHR's answer is compressed in a way that the gateway does not read, though it asked for plain content"
    )]
    Compressed,
}

impl From<Crowded> for ForwardError {
    fn from(_: Crowded) -> Self {
        Self::Crowded
    }
}

impl From<Open> for ForwardError {
    fn from(open: Open) -> Self {
        Self::CircuitOpen { retry_after: open.retry_after }
    }
}

/// What a client is told of a failed call: never an address, a name or a certificate of the EHR.
const fn said(error: &CallError) -> &'static str {
    match error {
        CallError::AddressNotAllowed { .. } => "the EHR is at an address that the gateway does not call",
        CallError::Connect(_) => "the EHR could not be reached",
        CallError::Tls(_) | CallError::TlsSettings(_) => "no TLS connection to the EHR could be made",
        CallError::Timeout { .. } => "the EHR did not answer in time",
        CallError::Broken(_) => "the connection to the EHR broke off",
        CallError::RequestBody => "the request's body could not be read to its end",
    }
}

impl ForwardError {
    /// The refusal that a client gets.
    pub(in crate::proxy) fn refusal(&self) -> Refusal {
        let (status, code, side) = match self {
            Self::Target => (StatusCode::BAD_REQUEST, Code::PathRefused, Side::App),
            Self::Token { error, .. } => {
                let code = error.request_code();
                match code {
                    // Not the app's requests are too many, but ours for tokens.
                    Code::RateLimited => (StatusCode::SERVICE_UNAVAILABLE, code, Side::Ehr),
                    Code::ActivationKeyUnready => (StatusCode::SERVICE_UNAVAILABLE, code, Side::Gateway),
                    Code::EhrAddressNotAllowed => (StatusCode::BAD_GATEWAY, code, Side::Gateway),
                    Code::EhrTimeout => (StatusCode::GATEWAY_TIMEOUT, code, Side::Ehr),
                    _ => (StatusCode::BAD_GATEWAY, code, Side::Ehr),
                }
            }
            Self::SessionOver => (StatusCode::UNAUTHORIZED, Code::SessionOver, Side::App),
            Self::StoreAway => (StatusCode::SERVICE_UNAVAILABLE, Code::StoreAway, Side::Gateway),
            Self::Credential => (StatusCode::BAD_GATEWAY, Code::ActivationKeyUnready, Side::Gateway),
            Self::Call(error) => match error {
                CallError::AddressNotAllowed { .. } => {
                    (StatusCode::BAD_GATEWAY, Code::EhrAddressNotAllowed, Side::Gateway)
                }
                CallError::TlsSettings(_) => (StatusCode::BAD_GATEWAY, Code::EhrUnreachableNow, Side::Gateway),
                CallError::Connect(_) | CallError::Tls(_) | CallError::Broken(_) => {
                    (StatusCode::BAD_GATEWAY, Code::EhrUnreachableNow, Side::Ehr)
                }
                CallError::Timeout { .. } => (StatusCode::GATEWAY_TIMEOUT, Code::EhrTimeout, Side::Ehr),
                CallError::RequestBody => (StatusCode::BAD_REQUEST, Code::BodyUnreadable, Side::App),
            },
            Self::Body(error) => return body_refusal(*error),
            Self::CredentialsRefused => (StatusCode::BAD_GATEWAY, Code::EhrRefusedCredentials, Side::Ehr),
            Self::Redirected(_) => (StatusCode::BAD_GATEWAY, Code::EhrRedirected, Side::Ehr),
            Self::Compressed => (StatusCode::BAD_GATEWAY, Code::EhrAnswerUnusable, Side::Ehr),
            Self::RateLimited { .. } | Self::Crowded => (StatusCode::TOO_MANY_REQUESTS, Code::RateLimited, Side::App),
            Self::Paused(Paused { everybody: false, .. }) => {
                (StatusCode::TOO_MANY_REQUESTS, Code::RateLimited, Side::Ehr)
            }
            Self::Paused(Paused { everybody: true, .. }) | Self::CircuitOpen { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, Code::EhrCircuitOpen, Side::Ehr)
            }
        };
        let mut refusal = Refusal::new(status, code, side, self.to_string());
        refusal.retry_after = self.wait().map(retry::seconds);
        refusal
    }

    /// How long the client should wait, where that is known.
    fn wait(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { wait } => Some(*wait),
            Self::Crowded => Some(Duration::from_secs(1)),
            Self::Paused(paused) => Some(paused.left),
            Self::CircuitOpen { retry_after } => Some(*retry_after),
            Self::Token { error, .. } => error.retry_after(),
            Self::StoreAway => Some(Duration::from_secs(5)),
            Self::Target
            | Self::SessionOver
            | Self::Credential
            | Self::Call(_)
            | Self::Body(_)
            | Self::CredentialsRefused
            | Self::Redirected(_)
            | Self::Compressed => None,
        }
    }
}

/// The refusal for a request's body that came to no good end.
pub(in crate::proxy) fn body_refusal(error: BodyError) -> Refusal {
    let (status, code) = match error {
        BodyError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Code::BodyTooLarge),
        BodyError::Stalled => (StatusCode::REQUEST_TIMEOUT, Code::BodyUnreadable),
        BodyError::Broken => (StatusCode::BAD_REQUEST, Code::BodyUnreadable),
    };
    Refusal::new(status, code, Side::App, error.to_string())
}
