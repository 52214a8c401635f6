//! What arrived, in order, with what became of it: the EHR's side of every story, for people and for tests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, Method, StatusCode, Uri};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// So much of a body is kept, in bytes.
const LONGEST_KEPT_BODY: usize = 4096;

/// One request. Nothing in it can be used as a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    /// 1, 2, 3, … in the order of arrival; goes on counting when the log is cleared.
    pub sequence: u64,
    /// When the request's head had arrived.
    pub time: Timestamp,
    /// The method.
    pub method: String,
    /// The path exactly as it arrived, still percent-encoded.
    pub path: String,
    /// The query exactly as it arrived, without the question mark.
    pub query: Option<String>,
    /// The headers, names in lower case, values of one name joined with `, `. Of `authorization` the scheme alone
    /// remains, of cookies nothing.
    pub headers: BTreeMap<String, String>,
    /// Which credential `Authorization` carried and whom it stood for.
    pub credential: Option<PresentedCredential>,
    /// The client that the request turned out to be from.
    pub client_id: Option<String>,
    /// The form parameters of a token request, without assertion and secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<BTreeMap<String, String>>,
    /// Header and claims of the client assertion, without its signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assertion: Option<Value>,
    /// The token that a token request was answered with, by its ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_token_id: Option<String>,
    /// The first 4096 bytes of the body; absent for token requests, and where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The status of the answer; absent while there is none.
    pub status: Option<u16>,
    /// What became of it.
    pub verdict: Verdict,
    /// Why it was refused: the real reason, which the answer may not tell.
    pub reason: Option<String>,
}

/// What an `Authorization` header stood for; its value is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PresentedCredential {
    /// `Basic`, `Bearer`, …, as it was written.
    pub scheme: String,
    /// The token's ID, where it is one that this EHR issued (expired ones too).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    /// The client that the token or the Basic credential belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Not answered yet, or the caller went away before the answer.
    Pending,
    /// Served.
    Accepted,
    /// Refused; `reason` says why.
    Refused,
    /// Answered by a fault that a test had asked for.
    Fault,
}

/// The last requests, oldest first.
#[derive(Debug)]
pub(super) struct Log {
    inner: Mutex<Entries>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Entries {
    arrived: u64,
    entries: VecDeque<Record>,
}

/// One entry while its request is being served: handlers note in it what they find.
#[derive(Debug, Clone)]
pub(super) struct Record(Arc<Mutex<LogEntry>>);

impl Log {
    /// A log that keeps the last `capacity` entries.
    pub(super) fn new(capacity: usize) -> Log {
        Log { inner: Mutex::default(), capacity: capacity.max(1) }
    }

    /// Opens the entry of a request.
    pub(super) fn arrived(&self, method: &Method, uri: &Uri, headers: &HeaderMap, now: Timestamp) -> Record {
        let mut log = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        log.arrived += 1;
        let record = Record(Arc::new(Mutex::new(LogEntry {
            sequence: log.arrived,
            time: now,
            method: method.to_string(),
            path: uri.path().to_owned(),
            query: uri.query().map(ToOwned::to_owned),
            headers: harmless(headers),
            credential: scheme(headers).map(|scheme| PresentedCredential { scheme, ..PresentedCredential::default() }),
            client_id: None,
            parameters: None,
            assertion: None,
            issued_token_id: None,
            body: None,
            status: None,
            verdict: Verdict::Pending,
            reason: None,
        })));
        if log.entries.len() >= self.capacity {
            log.entries.pop_front();
        }
        log.entries.push_back(record.clone());
        record
    }

    /// A copy of all entries that came after the sequence number.
    pub(super) fn after(&self, sequence: u64) -> Vec<LogEntry> {
        let records: Vec<Record> =
            self.inner.lock().unwrap_or_else(PoisonError::into_inner).entries.iter().cloned().collect();
        records.iter().map(Record::copy).filter(|entry| entry.sequence > sequence).collect()
    }

    /// Empties the log; the numbering goes on.
    pub(super) fn clear(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).entries.clear();
    }
}

impl Record {
    fn change(&self, change: impl FnOnce(&mut LogEntry)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn copy(&self) -> LogEntry {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes the body's first bytes.
    pub(super) fn body(&self, body: &[u8]) {
        if !body.is_empty() {
            let kept = body.get(..LONGEST_KEPT_BODY).unwrap_or(body);
            let text = String::from_utf8_lossy(kept).into_owned();
            self.change(|entry| entry.body = Some(text));
        }
    }

    /// Notes the parameters of a token request; the caller has removed what is secret.
    pub(super) fn parameters(&self, parameters: BTreeMap<String, String>) {
        self.change(|entry| entry.parameters = Some(parameters));
    }

    /// Notes an assertion without its signature.
    pub(super) fn assertion(&self, assertion: Value) {
        self.change(|entry| entry.assertion = Some(assertion));
    }

    /// Notes whom the request says it is from, once that is proven or at least named.
    pub(super) fn client(&self, client_id: &str) {
        self.change(|entry| entry.client_id = Some(client_id.to_owned()));
    }

    /// Notes whom the `Authorization` header stood for.
    pub(super) fn credential(&self, client_id: &str, token_id: Option<&str>) {
        self.change(|entry| {
            let credential = entry.credential.get_or_insert_default();
            credential.client_id = Some(client_id.to_owned());
            credential.token_id = token_id.map(ToOwned::to_owned);
            entry.client_id = Some(client_id.to_owned());
        });
    }

    /// Notes the token that was issued.
    pub(super) fn issued(&self, token_id: &str) {
        self.change(|entry| entry.issued_token_id = Some(token_id.to_owned()));
    }

    /// Notes why the request is refused.
    pub(super) fn refused(&self, reason: impl Into<String>) {
        self.change(|entry| {
            entry.verdict = Verdict::Refused;
            entry.reason = Some(reason.into());
        });
    }

    /// Notes that a fault answers.
    pub(super) fn fault(&self, reason: impl Into<String>) {
        self.change(|entry| {
            entry.verdict = Verdict::Fault;
            entry.reason = Some(reason.into());
        });
    }

    /// Closes the entry. Where nobody gave a verdict, the status is one.
    pub(super) fn answered(&self, status: StatusCode) {
        self.change(|entry| {
            entry.status = Some(status.as_u16());
            if entry.verdict == Verdict::Pending {
                let refused = status.is_client_error() || status.is_server_error();
                entry.verdict = if refused { Verdict::Refused } else { Verdict::Accepted };
            }
        });
    }
}

fn scheme(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?;
    let text = String::from_utf8_lossy(value.as_bytes());
    // A value without a blank may be a bare secret: then even the first word says too much.
    Some(text.split_once(' ').map_or_else(|| "(none)".to_owned(), |(scheme, _)| scheme.to_owned()))
}

fn harmless(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut harmless: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let text = if name == AUTHORIZATION {
            scheme(headers).unwrap_or_default()
        } else if name == COOKIE || name == PROXY_AUTHORIZATION {
            "(not kept)".to_owned()
        } else {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        };
        harmless.entry(name.as_str().to_owned()).and_modify(|all| *all = format!("{all}, {text}")).or_insert(text);
    }
    harmless
}
