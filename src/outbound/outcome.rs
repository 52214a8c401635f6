//! What each EHR last said to each activation's token request.
//!
//! Written by whoever asks (a request that needs a token, a probe), read by the control plane and by `/programmed`.
//! That an activation in use needs no probe rests on this.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::EhrTokenError;
use crate::snapshot::Activation;
use crate::values::key::Thumbprint;

/// What an EHR last said to an activation's token request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EhrOutcome {
    /// The credentials that it is about ([`Activation::credential_digest`]), in hexadecimal.
    #[serde(serialize_with = "hexadecimal", deserialize_with = "from_hexadecimal")]
    pub credential_digest: [u8; 32],
    /// The key that signed, where one did.
    pub key: Option<Thumbprint>,
    /// When.
    pub at: Timestamp,
    /// What.
    pub answer: EhrAnswer,
    /// By how many seconds the EHR's clock is ahead of ours, as its `Date` header tells.
    pub clock_skew_seconds: Option<i64>,
}

/// What an EHR said to a token request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "answer")]
pub enum EhrAnswer {
    /// It gave a token.
    Accepted,
    /// It refuses.
    #[serde(rename_all = "camelCase")]
    Refused {
        /// The status of its answer.
        status: u16,
        /// The OAuth error, where it gave one.
        error: Option<String>,
        /// A sentence for a person.
        message: String,
    },
    /// What it said is no token response.
    Unusable {
        /// A sentence for a person.
        message: String,
    },
    /// It is away: not reached, too slow, overloaded, or not allowed to be called.
    Away {
        /// A sentence for a person.
        message: String,
    },
}

impl EhrAnswer {
    /// What a token request's end says about the EHR. `None`: nothing, it was never asked.
    pub fn of(error: &EhrTokenError) -> Option<Self> {
        let message = error.to_string();
        match error {
            EhrTokenError::Refused { status, error, clock_skew_seconds, .. } => {
                let message = format!("{message}{}", about_clocks(*clock_skew_seconds));
                Some(Self::Refused { status: *status, error: error.clone(), message })
            }
            EhrTokenError::UnusableAnswer { .. } => Some(Self::Unusable { message }),
            EhrTokenError::Unreachable { .. }
            | EhrTokenError::TlsFailed { .. }
            | EhrTokenError::Timeout { .. }
            | EhrTokenError::Unavailable { .. }
            | EhrTokenError::AddressNotAllowed { .. } => Some(Self::Away { message }),
            EhrTokenError::KeyUnready
            | EhrTokenError::ClientIdMissing
            | EhrTokenError::NeedsUser
            | EhrTokenError::Interrupted => None,
        }
    }
}

/// Clocks that differ by more than that are told of, in seconds: assertions are given 30 s of leeway.
const NOTABLE_SKEW: i64 = 30;

/// Clocks that differ explain many a refusal. No figure: it would change with every answer.
pub fn about_clocks(skew_seconds: Option<i64>) -> &'static str {
    match skew_seconds {
        Some(skew) if skew > NOTABLE_SKEW => "; its clock is more than 30 seconds ahead of ours",
        Some(skew) if skew < -NOTABLE_SKEW => "; its clock is more than 30 seconds behind ours",
        Some(_) | None => "",
    }
}

fn hexadecimal<S: serde::Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in bytes {
        write!(text, "{byte:02x}").map_err(serde::ser::Error::custom)?;
    }
    serializer.serialize_str(&text)
}

fn from_hexadecimal<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    use serde::de::Error as _;
    let text = String::deserialize(deserializer)?;
    let mut bytes = [0; 32];
    let pairs = text.as_bytes().chunks_exact(2);
    if text.len() != 64 {
        return Err(D::Error::custom("a digest has 64 hexadecimal digits"));
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let digits = std::str::from_utf8(pair).map_err(D::Error::custom)?;
        *byte = u8::from_str_radix(digits, 16).map_err(D::Error::custom)?;
    }
    Ok(bytes)
}

/// The last outcome of each activation, by UID.
#[derive(Debug)]
pub struct EhrOutcomes {
    last: Mutex<HashMap<String, EhrOutcome>>,
    changed: watch::Sender<u64>,
}

impl Default for EhrOutcomes {
    fn default() -> Self {
        Self { last: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl EhrOutcomes {
    /// Records an outcome. Watchers are woken only if it tells something else than the last one: a token that is renewed
    /// every four minutes is no news.
    pub fn record(&self, activation: &Activation, outcome: EhrOutcome) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let news = last.get(&activation.uid).is_none_or(|before| {
            before.credential_digest != outcome.credential_digest
                || before.key != outcome.key
                || before.answer != outcome.answer
                || about_clocks(before.clock_skew_seconds) != about_clocks(outcome.clock_skew_seconds)
        });
        last.insert(activation.uid.clone(), outcome);
        drop(last);
        if news {
            self.changed.send_modify(|count| *count += 1);
        }
    }

    /// The last outcome of an activation.
    pub fn of(&self, uid: &str) -> Option<EhrOutcome> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned()
    }

    /// All of them, by UID.
    pub fn all(&self) -> HashMap<String, EhrOutcome> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets activations that are gone.
    pub fn retain(&self, lives: impl Fn(&str) -> bool) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| lives(uid));
    }

    /// Counts the news; wait for a change of it.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
