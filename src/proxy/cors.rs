//! Cross-origin requests of browsers (Fetch standard, "CORS protocol"). What is open to all may be read by any page;
//! the rest by the origins that the Gateway lists, and by those that its apps send users back to. Credentials of a
//! browser's own (cookies) are never asked for: access tokens come in a header.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts as Head;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::body::{self, Body};
use super::headers;
use super::refusal::{Refusal, Side};
use crate::protocol::route::{Endpoint, EndpointClass};
use crate::snapshot::{Gateway, Snapshot};
use crate::values::code::Code;

/// What a page's script may send along.
const REQUEST_HEADERS: &str = "Authorization, Content-Type, Accept, Accept-Language, If-Match, If-None-Match, \
     If-Modified-Since, If-None-Exist, Prefer, X-Request-Id, Traceparent, Tracestate";
/// What it may read besides the ordinary.
const RESPONSE_HEADERS: &str = "Location, Content-Location, ETag, Last-Modified, Retry-After, Preference-Applied, \
     X-Progress, X-Request-Id, WWW-Authenticate";
/// How long a browser may remember the answer, in seconds. The shortest maximum among browsers is two hours; a change
/// of the list should be seen sooner.
const MAX_AGE: &str = "600";

/// What a browser is told of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) enum Cors {
    /// Nothing: no page may read it.
    #[default]
    Closed,
    /// Every page may read it.
    Anyone,
    /// It hangs on the page: `Some` is an origin that may.
    Listed(Option<HeaderValue>),
}

impl Cors {
    /// Of a request to this endpoint.
    pub(super) fn of(snapshot: &Snapshot, endpoint: &Endpoint<'_, '_>, headers: &HeaderMap) -> Self {
        match endpoint.class() {
            EndpointClass::SmartConfiguration
            | EndpointClass::AuthorizationServerMetadata
            | EndpointClass::OpenIdConfiguration
            | EndpointClass::Metadata
            | EndpointClass::Jwks
            | EndpointClass::KeySet => Self::Anyone,
            EndpointClass::Token | EndpointClass::Revoke | EndpointClass::Fhir | EndpointClass::PrivateApi => {
                let origin = headers::single(headers, &ORIGIN).ok().flatten();
                let allowed = origin
                    .zip(endpoint.gateway())
                    .filter(|(origin, gateway)| is_allowed(snapshot, gateway, origin))
                    .and_then(|(origin, _)| HeaderValue::from_str(origin).ok());
                Self::Listed(allowed)
            }
            // Who introspects is a server; to the others a browser goes itself, no page calls.
            EndpointClass::Introspect
            | EndpointClass::Authorize
            | EndpointClass::Callback
            | EndpointClass::Launch
            | EndpointClass::Unknown => Self::Closed,
        }
    }

    /// The answer to a question whether a request may be sent; `None`: it is no such question.
    pub(super) fn preflight(&self, head: &Head, methods: &'static str) -> Option<Result<Response<Body>, Refusal>> {
        let asks = head.method == Method::OPTIONS
            && head.headers.contains_key(ORIGIN)
            && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !asks {
            return None;
        }
        if matches!(self, Self::Closed | Self::Listed(None)) {
            let message = "pages of this origin may not call here: the Gateway's cors.allowedOrigins does not list it";
            return Some(Err(Refusal::new(StatusCode::FORBIDDEN, Code::OriginRefused, Side::App, message)));
        }
        let mut response = Response::new(body::full(""));
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(REQUEST_HEADERS));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
        Some(Ok(response))
    }

    /// Tells it, on whatever answer there is.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        let origin = match self {
            Self::Closed => return,
            Self::Anyone => HeaderValue::from_static("*"),
            Self::Listed(origin) => {
                // A cache must not show one origin's answer to another.
                headers.append(VARY, HeaderValue::from_static("Origin"));
                let Some(origin) = origin else { return };
                origin
            }
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(RESPONSE_HEADERS));
    }
}

fn is_allowed(snapshot: &Snapshot, gateway: &Gateway, origin: &str) -> bool {
    // `null` is every sandboxed frame and every file: nobody in particular.
    origin != "null"
        && (gateway.allowed_origins.contains(origin)
            || snapshot
                .activations_at(&gateway.key)
                .any(|activation| activation.app.redirect_uris.iter().any(|uri| origin_of(uri) == Some(origin))))
}

/// Scheme, host and port of a redirect URI, as a browser writes an origin; `None` for an app's own scheme.
fn origin_of(uri: &str) -> Option<&str> {
    let scheme = if uri.starts_with("https://") { "https://" } else { "http://" };
    let rest = uri.strip_prefix(scheme)?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    uri.get(..scheme.len() + host.len())
}
