//! An EHR's answer made ours: its headers by allow-list, its places moved to the gateway as the body streams.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::response::Parts as Answered;
use http::{HeaderName, HeaderValue, Response};
use http_body_util::BodyExt as _;

use super::error::FhirError;
use crate::protocol::media_type;
use crate::proxy::body::{self, Body, BoxError, Watched};
use crate::proxy::headers::{self, MovedBase};
use crate::proxy::rewrite::{Pages, Rewriter, Rewritten};
use crate::snapshot::Gateway;

const CONTENT_SECURITY_POLICY: HeaderName = HeaderName::from_static("content-security-policy");
const X_CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");

/// Turns an EHR's answer into ours.
pub(in crate::proxy) fn pass_on<Content>(
    gateway: &Gateway,
    answer: Response<Content>,
    is_binary: bool,
    pages: Option<Box<dyn Pages>>,
) -> Result<Response<Body>, FhirError>
where
    Content: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    Content::Error: Into<BoxError>,
{
    let adapter = &gateway.data_adapter;
    let (head, body) = answer.into_parts();
    let status = head.status;
    let moved = MovedBase::of(gateway);
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(media_type::essence);
    let is_json = content_type.as_deref().is_some_and(media_type::is_json);
    let is_empty = body.is_end_stream();
    let is_usable = is_json || is_empty || (is_binary && status.is_success());
    if !is_usable {
        return Err(unusable(&head));
    }
    let watched = Watched::new(body, None, adapter.timeouts.idle);
    let body = if is_empty {
        body::full(Bytes::new())
    } else if is_json {
        let rewriter = Rewriter::new(moved.from.as_str(), moved.to);
        let rewriter = match pages {
            Some(pages) => rewriter.with_pages(pages),
            None => rewriter,
        };
        Rewritten::new(watched, rewriter).boxed_unsync()
    } else {
        watched.boxed_unsync()
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers::of_response(&head.headers, Some(&moved));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !is_json {
        // A Binary may be a web page; it must not run as one of the gateway's own.
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    }
    Ok(response)
}

/// What an answer is that is no FHIR: the fault is the EHR's, or what it made of the client's.
pub(super) fn unusable(head: &Answered) -> FhirError {
    if head.status.is_success() {
        return FhirError::NotFhir(head.status.as_u16());
    }
    let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    FhirError::Failed { status: head.status.as_u16(), retry_after }
}
