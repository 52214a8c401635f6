//! How pages are answered: cheaply where nothing changed, and with what tells browsers to run nothing but our own.

use askama::Template;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};

use super::error::PageError;

/// Nothing but what this listener serves, no inline script or style, no frame around it, no form to elsewhere.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'",
);

/// Puts the headers on that every answer has.
pub async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A page that is the same for everyone at every time.
pub fn html(page: &impl Template) -> Result<Html<String>, askama::Error> {
    Ok(Html(page.render()?))
}

/// A page that shows a version of the model: rendered only for whoever does not have that version yet.
///
/// `tag` is the version's entity tag (RFC 9110 §8.8.3); the page carries it too, and htmx asks again with it.
pub fn versioned(
    headers: &HeaderMap,
    tag: &str,
    page: impl FnOnce() -> Result<String, PageError>,
) -> Result<Response, PageError> {
    let general = [(CACHE_CONTROL, "private, no-cache"), (ETAG, tag)];
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // A proxy in between may have weakened it.
    if known.split(',').map(|known| known.trim().trim_start_matches("W/")).any(|known| known == tag) {
        return Ok((StatusCode::NOT_MODIFIED, general).into_response());
    }
    Ok((general, Html(page()?)).into_response())
}
