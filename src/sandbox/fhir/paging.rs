//! Pages of a search: opaque links that live for ten minutes and belong to whoever searched, as Epic's do.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::Value;

use super::FhirServer;
use super::call::Call;
use super::outcome::Refusal;
use super::search::Include;
use crate::sandbox::issued::random_text;

const SESSION_LIFE: Duration = Duration::from_mins(10);
const MOST_SESSIONS: usize = 1000;

/// The parameter that names a session, and the one that names its page.
const SESSION: &str = "sessionID";
const PAGE: &str = "page";

/// A search whose pages are still asked for. The matches are those of the time of the search.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) kind: &'static str,
    pub(super) client_id: Option<String>,
    /// The user's authorization, where one is behind it.
    pub(super) family: Option<u64>,
    pub(super) matches: Vec<Arc<Value>>,
    pub(super) includes: Vec<Include>,
    /// Matches on a page; at least 1.
    pub(super) count: usize,
}

/// One page.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) matches: Vec<Arc<Value>>,
    pub(super) includes: Vec<Include>,
    pub(super) total: usize,
    /// Relation and absolute URL.
    pub(super) links: Vec<(&'static str, String)>,
}

/// The sessions of one FHIR base.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_id: HashMap<String, (Instant, Arc<Session>)>,
    /// Oldest first.
    ids: VecDeque<String>,
}

impl Sessions {
    fn open(&mut self, id: &str, session: Arc<Session>) {
        let now = Instant::now();
        let too_old = |sessions: &Sessions| {
            let oldest = sessions.ids.front().and_then(|id| sessions.by_id.get(id));
            oldest.is_some_and(|(opened, _)| sessions.ids.len() >= MOST_SESSIONS || now - *opened > SESSION_LIFE)
        };
        while too_old(self) {
            if let Some(id) = self.ids.pop_front() {
                self.by_id.remove(&id);
            }
        }
        self.by_id.insert(id.to_owned(), (now, session));
        self.ids.push_back(id.to_owned());
    }

    fn get(&self, id: &str) -> Option<Arc<Session>> {
        let (opened, session) = self.by_id.get(id)?;
        (opened.elapsed() <= SESSION_LIFE).then(|| Arc::clone(session))
    }
}

impl FhirServer {
    /// The first page of a search; a session is opened only where there is a second one.
    pub(super) fn first_page(&self, session: Session, own_url: String) -> Result<Page, Refusal> {
        if session.matches.len() <= session.count {
            return Ok(page(&self.base, &session, "", 1, own_url));
        }
        let id = random_text().ok_or_else(|| {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "transient", "the system gives no randomness")
        })?;
        let session = Arc::new(session);
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).open(&id, Arc::clone(&session));
        Ok(page(&self.base, &session, &id, 1, own_url))
    }

    /// The page that a `next` or `previous` link names; `None` where the call is no such link.
    pub(super) fn continued(&self, kind: &'static str, call: &Call) -> Result<Option<Page>, Refusal> {
        let value = |name: &str| call.parameters.iter().find(|(given, _)| given == name).map(|(_, value)| value);
        let Some(id) = value(SESSION) else { return Ok(None) };
        let session = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).get(id);
        // Another client's session is told apart from an ended one for nobody.
        let session = session
            .filter(|session| session.kind == kind && session.client_id == call.client_id)
            .filter(|session| session.family == call.session.as_ref().map(|session| session.family))
            .ok_or_else(|| Refusal::new(StatusCode::GONE, "expired", "4113: the paging session has expired"))?;
        let number = value(PAGE).and_then(|number| number.parse().ok()).filter(|number| *number > 0);
        let number: usize = number.ok_or_else(|| Refusal::invalid("the page is not a number"))?;
        let own_url = link(&self.base, kind, id, number);
        Ok(Some(page(&self.base, &session, id, number, own_url)))
    }
}

fn page(base: &str, session: &Session, id: &str, number: usize, own_url: String) -> Page {
    let start = (number - 1).saturating_mul(session.count);
    let matches: Vec<Arc<Value>> = session.matches.iter().skip(start).take(session.count).cloned().collect();
    let mut links = vec![("self", own_url)];
    if start.saturating_add(session.count) < session.matches.len() {
        links.push(("next", link(base, session.kind, id, number + 1)));
    }
    if number > 1 {
        links.push(("previous", link(base, session.kind, id, number - 1)));
    }
    Page { matches, includes: session.includes.clone(), total: session.matches.len(), links }
}

fn link(base: &str, kind: &str, id: &str, page: usize) -> String {
    format!("{base}/{kind}?{SESSION}={id}&{PAGE}={page}")
}
