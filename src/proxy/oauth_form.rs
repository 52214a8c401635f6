//! What the endpoints that speak OAuth's forms share: reading one, and answering in JSON that nobody keeps.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts as Head;
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::Proxy;
use super::body::{self, Body, BodyError};
use super::headers;
use crate::protocol::oauth::{OAuthError, token_request};
use crate::snapshot::Gateway;

impl Proxy {
    /// The body of a request, and its media type.
    pub(super) async fn oauth_form<'head>(
        &self,
        head: &'head Head,
        body: Body,
    ) -> Result<(Option<&'head str>, Bytes), OAuthError> {
        let content_type = headers::single(&head.headers, &CONTENT_TYPE).map_err(|_| OAuthError::NotAForm)?;
        if head.headers.contains_key(CONTENT_ENCODING) {
            return Err(OAuthError::NotAForm);
        }
        let body = body::read(body, token_request::MAXIMUM_LENGTH, self.limits.request_idle).await;
        let body = body.map_err(|error| match error {
            BodyError::TooLarge => OAuthError::TooLarge,
            BodyError::Stalled | BodyError::Broken => OAuthError::NotAForm,
        })?;
        Ok((content_type, body))
    }
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    // Structures of strings and numbers always have a JSON form.
    let mut response = Response::new(body::full(serde_json::to_vec(value).unwrap_or_default()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

pub(super) fn refused(gateway: &Gateway, error: &OAuthError) -> Response<Body> {
    let mut response = json(error.status(), &error.body());
    let headers = response.headers_mut();
    if error.status() == StatusCode::UNAUTHORIZED
        && let Ok(challenge) = HeaderValue::from_str(&format!("Basic realm=\"{}\"", gateway.token_endpoint))
    {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(seconds) = error.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
