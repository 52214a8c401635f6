//! Faults on request: what EHRs do on bad days, switched on by a test for a counted number of requests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};

const LONGEST_DELAY_MILLISECONDS: u64 = 60_000;
const LARGEST_COUNT: u32 = 100_000;
const MOST_FAULTS: usize = 1000;

/// One fault, for the token endpoint, the way back from the authorization endpoint, the FHIR bases or the private API: name
/// the fields of one of them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fault {
    /// The token endpoint answers this status.
    pub token_status: Option<u16>,
    /// … with this body, as `application/json` (status 200 when none is given).
    pub token_body: Option<String>,
    /// … after so many milliseconds, at most 60000.
    pub token_delay_milliseconds: Option<u64>,
    /// … with these members in the true answer; `null` leaves one out.
    pub token_members: Map<String, Value>,
    /// … with these claims in the id_token, which is signed then; `null` leaves one out.
    pub id_token_claims: Map<String, Value>,
    /// … with an id_token whose signature does not verify.
    pub id_token_forged: bool,
    /// The user is sent back to the app with these parameters; `null` leaves one out.
    pub authorize_parameters: BTreeMap<String, Option<String>>,
    /// The FHIR bases answer this status.
    pub fhir_status: Option<u16>,
    /// … with this body, as `application/fhir+json` (status 200 when none is given).
    pub fhir_body: Option<String>,
    /// … after so many milliseconds, at most 60000.
    pub fhir_delay_milliseconds: Option<u64>,
    /// … with `302 Found` and this `Location`.
    pub fhir_redirect: Option<String>,
    /// … with these headers added to whatever is answered.
    pub fhir_headers: BTreeMap<String, String>,
    /// … breaking the connection off after so many bytes of the true answer's body.
    pub fhir_break_off_after_bytes: Option<usize>,
    /// … with the true answer's body in gzip, whatever `Accept-Encoding` says.
    pub fhir_gzip: bool,
    /// The private API answers this status.
    pub private_status: Option<u16>,
    /// … after so many milliseconds, at most 60000.
    pub private_delay_milliseconds: Option<u64>,
    /// For how many requests it holds: 1 by default, at most 100000.
    pub count: Option<u32>,
}

/// Why a fault is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// Fields of none, or of more than one endpoint.
    #[error("name fields of exactly one of: token… (and idToken…), authorize…, fhir…, private…")]
    OneTarget,
    /// A status outside 200 to 599.
    #[error("a status must be 200 to 599")]
    Status,
    /// A delay above a minute.
    #[error("a delay must be at most 60000 milliseconds")]
    Delay,
    /// A count of 0 or above 100000.
    #[error("count must be 1 to 100000")]
    Count,
    /// A header or redirect that HTTP cannot carry.
    #[error("the header {0:?} cannot be sent")]
    Header(String),
    /// A thousand faults wait already.
    #[error("1000 faults wait already: delete them first")]
    TooMany,
}

/// Which endpoint a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Token,
    Authorize,
    Fhir,
    Private,
    Other,
}

/// What is to happen to one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Action {
    pub(super) delay: Duration,
    /// The whole answer, instead of the true one.
    pub(super) answer: Option<FaultyAnswer>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) break_off_after_bytes: Option<usize>,
    pub(super) gzip: bool,
    pub(super) token: TokenAlterations,
    /// What becomes of the parameters that a user is sent back with.
    authorize: BTreeMap<String, Option<String>>,
}

/// What is to be different in the token endpoint's true answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct TokenAlterations {
    members: Map<String, Value>,
    id_token_claims: Map<String, Value>,
    pub(super) id_token_forged: bool,
}

impl TokenAlterations {
    /// The answer as the fault wants it.
    pub(super) fn applied(&self, answer: Value) -> Value {
        merged(answer, &self.members)
    }

    /// The id_token's claims as the fault wants them.
    pub(super) fn applied_to_claims(&self, claims: Value) -> Value {
        merged(claims, &self.id_token_claims)
    }
}

fn merged(mut value: Value, changes: &Map<String, Value>) -> Value {
    if let Some(members) = value.as_object_mut() {
        for (name, change) in changes {
            if change.is_null() {
                members.shift_remove(name);
            } else {
                members.insert(name.clone(), change.clone());
            }
        }
    }
    value
}

/// An answer that a fault gives instead of the true one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FaultyAnswer {
    pub(super) status: StatusCode,
    pub(super) body: Option<String>,
    pub(super) location: Option<HeaderValue>,
}

/// The faults that wait for requests.
#[derive(Debug, Default)]
pub(super) struct Faults {
    waiting: Mutex<VecDeque<(Target, Action, u32)>>,
}

impl Faults {
    /// Adds a fault behind those that wait for the same endpoint.
    pub(super) fn add(&self, fault: Fault) -> Result<(), FaultError> {
        let count = fault.count.unwrap_or(1);
        if !(1..=LARGEST_COUNT).contains(&count) {
            return Err(FaultError::Count);
        }
        let (target, action) = compile(fault)?;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MOST_FAULTS {
            return Err(FaultError::TooMany);
        }
        waiting.push_back((target, action, count));
        Ok(())
    }

    /// Takes what is to happen to the next request of that endpoint.
    pub(super) fn take(&self, target: Target) -> Option<Action> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let position = waiting.iter().position(|(of, _, _)| *of == target)?;
        let (_, action, left) = waiting.get_mut(position)?;
        *left -= 1;
        let (action, used_up) = (action.clone(), *left == 0);
        if used_up {
            waiting.remove(position);
        }
        Some(action)
    }

    /// Takes what is to become of the parameters that a user is sent back with; `None` as a value leaves one out.
    pub(super) fn take_authorize(&self) -> BTreeMap<String, Option<String>> {
        self.take(Target::Authorize).map(|action| action.authorize).unwrap_or_default()
    }

    /// Removes all.
    pub(super) fn clear(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn compile(fault: Fault) -> Result<(Target, Action), FaultError> {
    let token = fault.token_status.is_some()
        || fault.token_body.is_some()
        || fault.token_delay_milliseconds.is_some()
        || !fault.token_members.is_empty()
        || !fault.id_token_claims.is_empty()
        || fault.id_token_forged;
    let authorize = !fault.authorize_parameters.is_empty();
    let fhir = fault.fhir_status.is_some()
        || fault.fhir_body.is_some()
        || fault.fhir_delay_milliseconds.is_some()
        || fault.fhir_redirect.is_some()
        || !fault.fhir_headers.is_empty()
        || fault.fhir_break_off_after_bytes.is_some()
        || fault.fhir_gzip;
    let private = fault.private_status.is_some() || fault.private_delay_milliseconds.is_some();
    match (token, authorize, fhir, private) {
        (true, false, false, false) => Ok((
            Target::Token,
            Action {
                delay: delay(fault.token_delay_milliseconds)?,
                answer: answer(fault.token_status, fault.token_body, None)?,
                token: TokenAlterations {
                    members: fault.token_members,
                    id_token_claims: fault.id_token_claims,
                    id_token_forged: fault.id_token_forged,
                },
                ..Action::default()
            },
        )),
        (false, true, false, false) => {
            Ok((Target::Authorize, Action { authorize: fault.authorize_parameters, ..Action::default() }))
        }
        (false, false, true, false) => Ok((
            Target::Fhir,
            Action {
                delay: delay(fault.fhir_delay_milliseconds)?,
                answer: answer(fault.fhir_status, fault.fhir_body, fault.fhir_redirect)?,
                headers: headers(fault.fhir_headers)?,
                break_off_after_bytes: fault.fhir_break_off_after_bytes,
                gzip: fault.fhir_gzip,
                ..Action::default()
            },
        )),
        (false, false, false, true) => Ok((
            Target::Private,
            Action {
                delay: delay(fault.private_delay_milliseconds)?,
                answer: answer(fault.private_status, None, None)?,
                ..Action::default()
            },
        )),
        _ => Err(FaultError::OneTarget),
    }
}

fn delay(milliseconds: Option<u64>) -> Result<Duration, FaultError> {
    match milliseconds.unwrap_or(0) {
        too_long if too_long > LONGEST_DELAY_MILLISECONDS => Err(FaultError::Delay),
        milliseconds => Ok(Duration::from_millis(milliseconds)),
    }
}

fn answer(
    status: Option<u16>,
    body: Option<String>,
    redirect: Option<String>,
) -> Result<Option<FaultyAnswer>, FaultError> {
    if status.is_none() && body.is_none() && redirect.is_none() {
        return Ok(None);
    }
    let ordinary = if redirect.is_some() { 302 } else { 200 };
    let status = match status.unwrap_or(ordinary) {
        code @ 200..=599 => StatusCode::from_u16(code).map_err(|_| FaultError::Status)?,
        _ => return Err(FaultError::Status),
    };
    let location = redirect
        .map(|url| HeaderValue::from_str(&url).map_err(|_| FaultError::Header("Location".to_owned())))
        .transpose()?;
    Ok(Some(FaultyAnswer { status, body, location }))
}

fn headers(given: BTreeMap<String, String>) -> Result<Vec<(HeaderName, HeaderValue)>, FaultError> {
    given
        .into_iter()
        .map(|(name, value)| match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value)) {
            (Ok(name), Ok(value)) => Ok((name, value)),
            _ => Err(FaultError::Header(name)),
        })
        .collect()
}
