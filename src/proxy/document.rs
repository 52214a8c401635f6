//! JSON documents that are open to all and may be kept for a while.

use bytes::Bytes;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};

use super::body::{self, Body};

/// Five minutes: short enough that a withdrawn key is soon gone everywhere. SMART asks that any origin may read
/// discovery.
pub(super) fn public(json: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(body::full(json));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}
