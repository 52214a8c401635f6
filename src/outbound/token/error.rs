//! Why there is no token of the EHR.

use std::time::Duration;

use crate::outbound::CallError;
use crate::outbound::client::ReadError;
use crate::values::code::Code;

/// Why there is no token of the EHR. Every sentence may be read by clients: it holds no secret, no token and nothing of
/// the EHR's own words but its OAuth error code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EhrTokenError {
    /// There is no key to sign with.
    #[error("the key pair that signs for this activation is not ready")]
    KeyUnready,
    /// The vendor has not given a client ID yet.
    #[error("the activation has no client ID of the EHR yet")]
    ClientIdMissing,
    /// Tokens of this activation belong to users; there is none for the app alone.
    #[error("this activation acts for users of the EHR: there is no token without a launch")]
    NeedsUser,
    /// The EHR refuses.
    #[error("the EHR refuses to give a token: it answered {status}{}", said(error.as_deref()))]
    Refused {
        /// The status of its answer.
        status: u16,
        /// The OAuth error code (RFC 6749 §5.2), where it gave one.
        error: Option<String>,
        /// What it says besides, shortened; for the platform's people, not for clients.
        description: Option<String>,
        /// By how many seconds its clock is ahead of ours, where its `Date` header tells.
        clock_skew_seconds: Option<i64>,
    },
    /// There is no connection.
    #[error("the EHR's token endpoint cannot be reached: {reason}")]
    Unreachable {
        /// How far the request came.
        reason: String,
    },
    /// The TLS handshake failed, or the adapter's TLS settings cannot be used.
    #[error("the EHR's token endpoint cannot be reached: {reason}")]
    TlsFailed {
        /// What is wrong.
        reason: String,
    },
    /// It did not answer in time.
    #[error("the EHR's token endpoint did not answer within {} s", waited.as_secs_f32())]
    Timeout {
        /// How long was waited.
        waited: Duration,
    },
    /// It is there, and says that it cannot answer now (5xx, 408, 429).
    #[error("the EHR's token endpoint cannot answer now: it answered {status}")]
    Unavailable {
        /// The status of its answer.
        status: u16,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// It is at an address that is not called. Nothing was sent.
    #[error("the EHR's token endpoint is not called: {reason}")]
    AddressNotAllowed {
        /// Why.
        reason: String,
    },
    /// What came is no token response.
    #[error("the EHR's token endpoint answered something that is no token response: {reason}")]
    UnusableAnswer {
        /// What is wrong with it.
        reason: String,
    },
    /// The process is shutting down, or the task that asked failed.
    #[error("the question to the EHR was interrupted")]
    Interrupted,
}

fn said(error: Option<&str>) -> String {
    error.map(|error| format!(" ({error})")).unwrap_or_default()
}

impl EhrTokenError {
    /// How long the EHR asks to wait before the next question.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            Self::KeyUnready
            | Self::ClientIdMissing
            | Self::NeedsUser
            | Self::Refused { .. }
            | Self::Unreachable { .. }
            | Self::TlsFailed { .. }
            | Self::Timeout { .. }
            | Self::AddressNotAllowed { .. }
            | Self::UnusableAnswer { .. }
            | Self::Interrupted => None,
        }
    }

    /// What the platform's people may know besides the sentence: the EHR's own words, and by how many seconds its clock is
    /// ahead of ours.
    pub(super) fn for_the_log(&self) -> (Option<&str>, Option<i64>) {
        match self {
            Self::Refused { description, clock_skew_seconds, .. } => (description.as_deref(), *clock_skew_seconds),
            Self::KeyUnready
            | Self::ClientIdMissing
            | Self::NeedsUser
            | Self::Unreachable { .. }
            | Self::TlsFailed { .. }
            | Self::Timeout { .. }
            | Self::Unavailable { .. }
            | Self::AddressNotAllowed { .. }
            | Self::UnusableAnswer { .. }
            | Self::Interrupted => (None, None),
        }
    }

    /// The code of the refusal that a request gets for it.
    pub const fn request_code(&self) -> Code {
        match self {
            Self::KeyUnready | Self::ClientIdMissing | Self::NeedsUser => Code::ActivationKeyUnready,
            Self::Refused { .. } => Code::EhrRefusedToken,
            Self::Unavailable { status: 429, .. } => Code::RateLimited,
            Self::Unreachable { .. } | Self::TlsFailed { .. } | Self::Unavailable { .. } | Self::Interrupted => {
                Code::EhrUnreachableNow
            }
            Self::Timeout { .. } => Code::EhrTimeout,
            Self::AddressNotAllowed { .. } => Code::EhrAddressNotAllowed,
            Self::UnusableAnswer { .. } => Code::EhrAnswerUnusable,
        }
    }
}

impl From<CallError> for EhrTokenError {
    fn from(error: CallError) -> Self {
        let reason = error.to_string();
        match error {
            CallError::AddressNotAllowed { .. } => Self::AddressNotAllowed { reason },
            CallError::Connect(_) | CallError::Broken(_) | CallError::RequestBody => Self::Unreachable { reason },
            CallError::Tls(_) | CallError::TlsSettings(_) => Self::TlsFailed { reason },
            CallError::Timeout { waited } => Self::Timeout { waited },
        }
    }
}

impl From<ReadError> for EhrTokenError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooLong { .. } => Self::UnusableAnswer { reason: error.to_string() },
            ReadError::Timeout { waited } => Self::Timeout { waited },
            ReadError::Broken => Self::Unreachable { reason: error.to_string() },
        }
    }
}
