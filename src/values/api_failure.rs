//! What came of a call to a Kubernetes API server, as far as it may be told.
//!
//! `kube::Error` shows whatever it could not parse, and its transport errors say "client error (Connect)" without the
//! cause. This keeps what a person needs, and nothing of any object's content.

use super::causes::with_causes;

/// Why a call to the API server gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiFailure {
    /// It answered with an error.
    #[error("the API server answers {code} {reason}: {message}")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// One CamelCase word, such as `Forbidden`.
        reason: String,
        /// A sentence of the API server; empty where it might repeat what was sent.
        message: String,
        /// How many seconds it asks to wait.
        retry_after_seconds: Option<u32>,
    },
    /// It did not answer.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
    /// It did not answer in time.
    #[error("the API server did not answer in time")]
    TimedOut,
    /// Its answer is none of Kubernetes.
    #[error("the API server's answer cannot be read")]
    Unreadable,
}

impl ApiFailure {
    fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Unreachable(_) | Self::TimedOut | Self::Unreadable => None,
        }
    }

    /// There is no such object (or no such kind, where its definition is not installed).
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// There is such an object already, or it was changed meanwhile.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// Whether the same call may succeed a little later: conflicts, too many requests, failures of the server, and
    /// everything that came to no answer.
    pub fn is_passing(&self) -> bool {
        self.code().is_none_or(|code| matches!(code, 408 | 409 | 429) || code >= 500)
    }

    /// How many seconds the API server asks to wait before the next attempt.
    pub fn retry_after_seconds(&self) -> Option<u32> {
        match self {
            Self::Refused { retry_after_seconds, .. } => *retry_after_seconds,
            Self::Unreachable(_) | Self::TimedOut | Self::Unreadable => None,
        }
    }
}

impl From<&kube::Error> for ApiFailure {
    fn from(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused {
                code: status.code,
                reason: status.reason.clone(),
                // A verdict on the object's content may quote it.
                message: if status.code == 422 { String::new() } else { status.message.clone() },
                retry_after_seconds: status
                    .details
                    .as_ref()
                    .map(|details| details.retry_after_seconds)
                    .filter(|s| *s > 0),
            },
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) | kube::Error::LinesCodecMaxLineLengthExceeded => {
                Self::Unreadable
            }
            transport => Self::Unreachable(with_causes(transport)),
        }
    }
}

impl From<kube::Error> for ApiFailure {
    fn from(error: kube::Error) -> Self {
        Self::from(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn refused(code: u16) -> ApiFailure {
        let status = Status::failure("app-secret: hunter2hunter2", "Invalid").with_code(code);
        ApiFailure::from(kube::Error::Api(status.boxed()))
    }

    #[test]
    fn what_may_quote_an_object_is_not_repeated() {
        assert_eq!(refused(422).to_string(), "the API server answers 422 Invalid: ");
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_not_shown() {
        let error = serde_json::from_str::<u8>("\"hunter2hunter2\"").unwrap_err();
        assert!(error.to_string().contains("hunter2"));
        let failure = ApiFailure::from(kube::Error::SerdeError(error));
        assert_eq!(failure, ApiFailure::Unreadable);
    }

    #[test]
    fn conflicts_and_failures_of_the_server_pass_and_refusals_do_not() {
        for (code, passes) in
            [(401, false), (403, false), (404, false), (409, true), (422, false), (429, true), (500, true)]
        {
            assert_eq!(refused(code).is_passing(), passes, "{code}");
        }
        assert!(ApiFailure::TimedOut.is_passing());
    }
}
