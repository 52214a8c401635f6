//! Links of ours in place of an EHR's: pages of a search, the status of an export, its files. They lead wherever the EHR
//! likes on its own host, so the gateway seals where, for whom, and what was asked at first; whoever follows one is
//! judged anew by that. Nothing is kept: any replica opens them, before and after a restart.
//!
//! Bundles within an answer have pages too. In a batch's answer they belong to the batch's entry of the same number, and
//! are sealed with what that asked for alone. For any other nothing was asked that could be judged again: its links are
//! moved where they lie below the FHIR base, and are then requests like any other; else they lead nowhere, and say so. A
//! link left out would let half of the results pass for all of them.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use crate::protocol::fhir::Parts;
use crate::protocol::form;
use crate::protocol::jwt::Bearer;
use crate::proxy::headers::MovedBase;
use crate::proxy::rewrite::{Paged, Pages};
use crate::proxy::shared_state::sealer;
use crate::snapshot::Gateway;
use crate::store::{Kind, Sealed};
use crate::values::url::EndpointUrl;

/// Below the FHIR base, before a sealed link.
pub(super) const PREFIX: &str = "/_link/";
/// What a link is that leads nowhere: to another host, or too long to be sealed.
const NOWHERE: &str = "elsewhere";
/// EHRs forget pages within minutes and exports within days.
const LIFETIME_HOURS: i64 = 7 * 24;
/// A longer link would not come back: a request's URI is shorter.
const LONGEST: usize = 12 * 1024;

/// What a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Leads {
    /// Another page of results.
    Page,
    /// The state of an export.
    Status,
    /// A file of an export that the EHR gives to holders of its token.
    File,
    /// A file of an export whose URL is all that it takes: no token may go along.
    OpenFile,
}

/// A request that is remembered in a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    method: String,
    path: String,
    query: Option<String>,
    form: Option<String>,
}

impl Asked {
    pub(super) fn new(parts: &Parts<'_>, form: Option<&str>) -> Self {
        Self {
            method: parts.method.to_string(),
            path: parts.path.to_owned(),
            query: parts.query.map(str::to_owned),
            form: form.map(str::to_owned),
        }
    }

    /// What the entries of a batch ask for that may have pages: reads and searches by their URL.
    pub(super) fn of_entries(batch: &[u8]) -> Vec<Option<Self>> {
        let batch: Batch = serde_json::from_slice(batch).unwrap_or_default();
        let asked = |entry: Entry<'_>| {
            let Request { method, url } = entry.request?;
            let url = url.filter(|_| method.is_some_and(|method| method == "GET"))?;
            let (path, query) = url.split_once('?').map_or((&*url, None), |(path, query)| (path, Some(query)));
            let path = if path.is_empty() { String::new() } else { format!("/{path}") };
            Some(Self { method: "GET".to_owned(), path, query: query.map(str::to_owned), form: None })
        };
        batch.entry.into_iter().map(asked).collect()
    }

    pub(super) fn method(&self) -> Method {
        Method::from_bytes(self.method.as_bytes()).unwrap_or(Method::GET)
    }

    pub(super) fn form(&self) -> Option<&[u8]> {
        self.form.as_deref().map(str::as_bytes)
    }

    /// The request; `method` is its own ([`Asked::method`]).
    pub(super) fn parts<'asked>(&'asked self, method: &'asked Method) -> Parts<'asked> {
        let content_type = if self.form.is_some() { form::MEDIA_TYPE } else { "application/fhir+json" };
        Parts {
            method,
            path: &self.path,
            query: self.query.as_deref(),
            content_type: Some(content_type),
            if_none_exist: None,
        }
    }
}

/// A link, opened.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) leads: Leads,
    /// At the EHR: absolute.
    pub(super) url: String,
    pub(super) asked: Asked,
}

/// Seals links for one client, in answer to one request.
pub(super) struct Links {
    gateway: Arc<Gateway>,
    owner: String,
    asked: Asked,
    /// In answer to a batch: what its entries asked for.
    entries: Option<Vec<Option<Asked>>>,
    now: Timestamp,
}

/// A batch, as far as its entries ask for something.
#[derive(Default, Deserialize)]
struct Batch<'batch> {
    #[serde(default, borrow)]
    entry: Vec<Entry<'batch>>,
}

#[derive(Deserialize)]
struct Entry<'batch> {
    #[serde(borrow)]
    request: Option<Request<'batch>>,
}

#[derive(Deserialize)]
struct Request<'batch> {
    #[serde(borrow)]
    method: Option<Cow<'batch, str>>,
    #[serde(borrow)]
    url: Option<Cow<'batch, str>>,
}

/// Links are the activation's own, and the session's where there is one.
fn owner(bearer: &Bearer) -> String {
    let session = bearer.session.as_ref().map_or("", |session| session.id.as_str());
    format!("{} {session}", bearer.activation.uid)
}

impl Links {
    pub(super) fn new(gateway: &Arc<Gateway>, bearer: &Bearer, asked: Asked, now: Timestamp) -> Self {
        Self { gateway: Arc::clone(gateway), owner: owner(bearer), asked, entries: None, now }
    }

    /// The same, in answer to a batch whose entries asked for that.
    pub(super) fn of_batch(self, entries: Vec<Option<Asked>>) -> Self {
        Self { entries: Some(entries), ..self }
    }

    /// The gateway's URL in place of one of the EHR's, which may be relative to its FHIR base.
    pub(super) fn seal(&self, leads: Leads, url: &str) -> String {
        self.seal_as(&self.asked, leads, url)
    }

    fn seal_as(&self, asked: &Asked, leads: Leads, url: &str) -> String {
        let token = self.try_seal(asked, leads, url).filter(|token| token.len() <= LONGEST);
        self.link(token.as_deref().unwrap_or(NOWHERE))
    }

    fn link(&self, token: &str) -> String {
        format!("{}{PREFIX}{token}", self.gateway.fhir_base)
    }

    fn try_seal(&self, asked: &Asked, leads: Leads, url: &str) -> Option<String> {
        let url = self.at_the_ehr(url)?;
        let content = serde_json::to_vec(&Link { leads, url, asked: asked.clone() }).ok()?;
        let keys = sealer(&self.gateway)?;
        let until = self.now.checked_add(Span::new().hours(LIFETIME_HOURS)).ok()?;
        let sealed = keys.seal(keys.address(Kind::Link, &self.owner), &content, until).ok()?;
        Some(URL_SAFE_NO_PAD.encode(sealed.as_bytes()))
    }

    /// The absolute URL of a link, if it leads to the EHR's own host and port.
    pub(super) fn at_the_ehr(&self, url: &str) -> Option<String> {
        at_the_ehr(&self.gateway.data_adapter.fhir_base, url)
    }

    /// Where a URL of the EHR's that is only told leads here.
    pub(super) fn moved(&self, url: &str) -> String {
        MovedBase::of(&self.gateway).apply(url).unwrap_or_else(|| self.gateway.fhir_base.clone())
    }
}

impl Pages for Links {
    fn place(&self, paged: Paged, relation: &str, url: &str) -> String {
        if relation == "self" {
            return self.moved(url);
        }
        let asked = match paged {
            Paged::Answer => self.entries.is_none().then_some(&self.asked),
            Paged::Entry(number) => self.entries.as_ref().and_then(|entries| entries.get(number)?.as_ref()),
            Paged::Within => None,
        };
        match asked {
            Some(asked) => self.seal_as(asked, Leads::Page, url),
            None => MovedBase::of(&self.gateway).apply(url).unwrap_or_else(|| self.link(NOWHERE)),
        }
    }
}

/// Opens a link that was sealed for this client at this gateway, while it lives and still leads to the EHR.
pub(super) fn open(gateway: &Gateway, bearer: &Bearer, token: &str, now: Timestamp) -> Option<Link> {
    let keys = sealer(gateway)?;
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let sealed = Sealed::from_bytes(keys.address(Kind::Link, &owner(bearer)), bytes).ok()?;
    let content = keys.open(&sealed).ok()?;
    if sealed.until() <= now {
        return None;
    }
    let link: Link = serde_json::from_slice(&content).ok()?;
    // The adapter may have been pointed at another EHR since.
    (at_the_ehr(&gateway.data_adapter.fhir_base, &link.url)? == link.url).then_some(link)
}

/// The absolute URL of a link, if it leads to the EHR's own host and port, with the base's own scheme: what a link says
/// in clear is never asked in clear where the base is `https`.
fn at_the_ehr(base: &EndpointUrl, link: &str) -> Option<String> {
    if link.is_empty() || link.starts_with("//") || link.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'\\') {
        return None;
    }
    let base = base.base();
    let (text, origin) = (base.as_str(), base.origin());
    if link.starts_with('/') {
        return Some(format!("{}{link}", origin.as_str()));
    }
    if link.starts_with('?') {
        return Some(format!("{text}{link}"));
    }
    if let Some(rest) = origin.below(link).filter(|rest| !rest.starts_with('#')) {
        return Some(format!("{}{rest}", origin.as_str()));
    }
    let first = link.split(['/', '?', '#']).next().unwrap_or_default();
    (!first.contains(':')).then(|| format!("{text}/{link}"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::protocol::test_support;
    use crate::snapshot::ObjectKey;

    #[rstest]
    #[case("https://ehr.example.org/fhir?page=2", Some("https://ehr.example.org/fhir?page=2"))]
    #[case("https://ehr.example.org/elsewhere/2", Some("https://ehr.example.org/elsewhere/2"))]
    #[case("http://ehr.example.org/fhir?page=2", Some("https://ehr.example.org/fhir?page=2"))]
    #[case("http://EHR.example.org:80/fhir?page=2", Some("https://ehr.example.org/fhir?page=2"))]
    #[case("https://ehr.example.org:443/fhir?page=2", Some("https://ehr.example.org/fhir?page=2"))]
    #[case("/pages/2", Some("https://ehr.example.org/pages/2"))]
    #[case("?page=2", Some("https://ehr.example.org/fhir?page=2"))]
    #[case("Patient?page=2", Some("https://ehr.example.org/fhir/Patient?page=2"))]
    #[case("https://ehr.example.org.evil.example/fhir", None)]
    #[case("https://ehr.example.org@evil.example/fhir", None)]
    #[case("https://ehr.example.org:8443/fhir", None)]
    #[case("http://ehr.example.org:8080/fhir", None)]
    #[case("http://ehr.example.org:80@evil.example/fhir", None)]
    #[case("https://other.example.org/fhir", None)]
    #[case("//other.example.org/fhir", None)]
    #[case("javascript:alert(1)", None)]
    #[case("https://ehr.example.org\\@evil.example", None)]
    #[case("https://ehr.example.org/a b", None)]
    #[case("", None)]
    fn links_lead_to_the_ehrs_own_host_only(#[case] link: &str, #[case] expected: Option<&str>) {
        let base = EndpointUrl::parse("https://ehr.example.org/fhir/").unwrap();
        assert_eq!(at_the_ehr(&base, link).as_deref(), expected);
    }

    #[rstest]
    #[case::a_second_before(-1, true)]
    #[case::to_the_second(0, false)]
    #[case::a_second_later(1, false)]
    fn a_link_leads_somewhere_for_seven_days(#[case] seconds: i64, #[case] leads: bool) {
        let snapshot = test_support::snapshot();
        let activation = &snapshot.activations[&ObjectKey::new("default", "sync-epic")];
        let scopes = activation.ceiling.clone();
        let bearer = Bearer { activation: Arc::clone(activation), scopes, token_id: "1".to_owned(), session: None };
        let (method, now) = (Method::GET, Timestamp::UNIX_EPOCH);
        let parts = Parts { method: &method, path: "/Patient", query: None, content_type: None, if_none_exist: None };
        let links = Links::new(&activation.gateway, &bearer, Asked::new(&parts, None), now);
        let url = links.seal(Leads::Page, "?page=2");
        let token = url.strip_prefix(&format!("{}{PREFIX}", activation.gateway.fhir_base)).unwrap();
        let later = now + Span::new().hours(7 * 24).seconds(seconds);
        let opened = open(&activation.gateway, &bearer, token, later).map(|link| (link.leads, link.url));
        let there = format!("{}?page=2", activation.gateway.data_adapter.fhir_base.without_slash());
        assert_eq!(opened, leads.then_some((Leads::Page, there)));
    }

    #[test]
    fn what_the_entries_of_a_batch_ask_for_is_what_they_would_ask_for_alone() {
        let entry = |method: &str, url: &str| serde_json::json!({"request": {"method": method, "url": url}});
        let nothing = serde_json::json!({});
        let entries = [entry("GET", "Observation?code=a"), entry("POST", "Patient"), nothing, entry("GET", "")];
        let batch = serde_json::json!({"resourceType": "Bundle", "type": "batch", "entry": entries}).to_string();
        let asked = |path: &str, query: Option<&str>| Asked {
            method: "GET".to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            form: None,
        };
        assert_eq!(
            Asked::of_entries(batch.as_bytes()),
            [Some(asked("/Observation", Some("code=a"))), None, None, Some(asked("", None))]
        );
        assert_eq!(Asked::of_entries(b"no JSON"), []);
    }
}
