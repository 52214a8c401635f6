//! Headers in and out, by allow-list. Strip first, inject credentials last: whatever a client names in `Connection` or
//! spells like one of our own headers never meets the EHR.

use http::header::{
    ACCEPT_LANGUAGE, ALLOW, CONNECTION, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION,
    CONTENT_TYPE, ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION, RETRY_AFTER,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::trace::{TRACEPARENT, TRACESTATE};
use crate::snapshot::Gateway;
use crate::values::base_url::BaseUrl;

/// FHIR R4 §3.1.0.8.1
pub(super) const IF_NONE_EXIST: HeaderName = HeaderName::from_static("if-none-exist");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const X_PROGRESS: HeaderName = HeaderName::from_static("x-progress");

/// What a client may tell the EHR. `Accept`, `Accept-Encoding`, credentials and ids are set by us.
const REQUEST: [HeaderName; 9] = [
    CONTENT_TYPE,
    ACCEPT_LANGUAGE,
    IF_MATCH,
    IF_NONE_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_EXIST,
    PREFER,
    // Read and written anew before: never what a client wrote into them.
    TRACEPARENT,
    TRACESTATE,
];

/// What an EHR may tell the client. Lengths are set by hyper, places are rewritten on the way.
const RESPONSE: [HeaderName; 9] = [
    CONTENT_TYPE,
    CONTENT_LANGUAGE,
    CONTENT_DISPOSITION,
    ETAG,
    LAST_MODIFIED,
    RETRY_AFTER,
    PREFERENCE_APPLIED,
    X_PROGRESS,
    ALLOW,
];

/// A header that must stand once stands there several times, or is no ASCII text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header {0} stands there several times, or holds something that is no text")]
pub(super) struct HeaderOddity(pub(super) HeaderName);

/// The one value of a header that must not stand twice: of two, one server would read the first and another the last.
pub(super) fn single<'headers>(
    headers: &'headers HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'headers str>, HeaderOddity> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(HeaderOddity(name.clone()));
    }
    value.to_str().map(Some).map_err(|_| HeaderOddity(name.clone()))
}

/// Whether a request's body is compressed: it would have to be looked into to be judged, and is never unpacked here.
pub(super) fn is_compressed(headers: &HeaderMap) -> Result<bool, HeaderOddity> {
    let encoding = single(headers, &CONTENT_ENCODING)?;
    Ok(encoding.is_some_and(|encoding| !encoding.trim().eq_ignore_ascii_case("identity")))
}

/// What of a client's headers goes on.
pub(super) fn of_request(headers: &HeaderMap) -> HeaderMap {
    kept(headers, &REQUEST)
}

/// Those of a list. There are few of them: each is looked for in the list, not the list in them.
fn kept(headers: &HeaderMap, list: &[HeaderName]) -> HeaderMap {
    let hop_by_hop = connection_options(headers);
    let mut kept = HeaderMap::with_capacity(16);
    for (name, value) in headers {
        let is_listed =
            list.contains(name) && !hop_by_hop.iter().any(|option| option.eq_ignore_ascii_case(name.as_str()));
        if is_listed {
            kept.append(name, value.clone());
        }
    }
    kept
}

fn connection_options(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).collect()
}

/// What of an EHR's headers goes on. `Location` and `Content-Location` are moved from the EHR's base to ours; one that
/// leads elsewhere is dropped.
pub(super) fn of_response(headers: &HeaderMap, moved: Option<&MovedBase<'_>>) -> HeaderMap {
    let mut kept = kept(headers, &RESPONSE);
    if let Some(moved) = moved {
        for name in [LOCATION, CONTENT_LOCATION] {
            let place = headers.get(&name).and_then(|value| value.to_str().ok()).and_then(|text| moved.apply(text));
            if let Some(value) = place.and_then(|text| HeaderValue::from_str(&text).ok()) {
                kept.insert(name, value);
            }
        }
    }
    kept
}

/// An EHR's base and ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct MovedBase<'base> {
    /// The EHR's.
    pub(super) from: BaseUrl<'base>,
    /// Ours, absolute, without a slash at the end.
    pub(super) to: &'base str,
}

impl<'base> MovedBase<'base> {
    /// From the EHR behind a gateway to the gateway.
    pub(super) fn of(gateway: &'base Gateway) -> Self {
        Self { from: gateway.data_adapter.fhir_base.base(), to: &gateway.fhir_base }
    }

    /// The same place behind the gateway; `None` if it is none.
    pub(super) fn apply(&self, place: &str) -> Option<String> {
        if let Some(rest) = self.from.below(place) {
            return Some(format!("{}{rest}", self.to));
        }
        if place.starts_with("//") || place.contains('\\') {
            return None;
        }
        if place.starts_with('/') {
            let rest = place.strip_prefix(self.from.path());
            let rest = rest.filter(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']));
            return rest.map(|rest| format!("{}{rest}", self.to));
        }
        // `Patient/1/_history/2`: some servers leave the base out. A colon before any slash would be a scheme.
        let first = place.split(['/', '?', '#']).next().unwrap_or_default();
        (!first.is_empty() && !first.contains(':')).then(|| format!("{}/{place}", self.to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_listed_headers_reach_the_ehr() {
        let sent = map(&[
            ("content-type", "application/fhir+json"),
            ("if-match", "W/\"1\""),
            ("prefer", "return=minimal"),
            ("connection", "close, If-Match, Authorization"),
            ("authorization", "Bearer token"),
            ("cookie", "a=b"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x_forwarded_user", "root"),
            ("epic-client-id", "stolen"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("x-http-method-override", "DELETE"),
            ("accept-encoding", "gzip"),
            ("host", "evil.example"),
        ]);
        assert_eq!(of_request(&sent), map(&[("content-type", "application/fhir+json"), ("prefer", "return=minimal")]));
    }

    #[test]
    fn only_listed_headers_reach_the_client() {
        let from = BaseUrl::new("https://ehr.example.org/fhir");
        let moved = MovedBase { from, to: "https://gate.example.org/g/fhir" };
        let answered = map(&[
            ("content-type", "application/fhir+json"),
            ("etag", "W/\"1\""),
            ("set-cookie", "session=1"),
            ("server", "EHR 1.0"),
            ("www-authenticate", "Bearer"),
            ("transfer-encoding", "chunked"),
            ("location", "https://ehr.example.org/fhir/Patient/1"),
            ("content-location", "https://elsewhere.example.org/x"),
        ]);
        assert_eq!(
            of_response(&answered, Some(&moved)),
            map(&[
                ("content-type", "application/fhir+json"),
                ("etag", "W/\"1\""),
                ("location", "https://gate.example.org/g/fhir/Patient/1"),
            ])
        );
    }

    #[test]
    fn places_are_moved_or_dropped() {
        let moved = MovedBase { from: BaseUrl::new("https://e.org/fhir"), to: "https://g.org/fhir" };
        for (place, expected) in [
            ("https://e.org/fhir", Some("https://g.org/fhir")),
            ("https://e.org/fhir?x=1", Some("https://g.org/fhir?x=1")),
            ("http://e.org/fhir/Patient/1", Some("https://g.org/fhir/Patient/1")),
            ("https://E.org:443/fhir/Patient/1", Some("https://g.org/fhir/Patient/1")),
            ("https://e.org:8443/fhir/Patient/1", None),
            ("/fhir/Patient/1", Some("https://g.org/fhir/Patient/1")),
            ("Patient/1/_history/2", Some("https://g.org/fhir/Patient/1/_history/2")),
            ("https://e.org/fhirother/1", None),
            ("https://e.org/admin", None),
            ("/admin", None),
            ("//e.org/fhir", None),
            ("javascript:alert(1)", None),
            ("", None),
        ] {
            assert_eq!(moved.apply(place).as_deref(), expected, "{place}");
        }
    }

    #[test]
    fn a_header_that_must_stand_once_is_refused_twice() {
        let mut twice = map(&[("if-none-exist", "a=b")]);
        assert_eq!(single(&twice, &IF_NONE_EXIST), Ok(Some("a=b")));
        twice.append(IF_NONE_EXIST, HeaderValue::from_static("c=d"));
        assert_eq!(single(&twice, &IF_NONE_EXIST), Err(HeaderOddity(IF_NONE_EXIST)));
        assert_eq!(single(&twice, &CONTENT_TYPE), Ok(None));
    }
}
