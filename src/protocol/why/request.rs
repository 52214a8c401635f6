//! A request as people write it: `GET Patient/1`, `POST /api/schedule`, or with the whole URL of a log line.

use std::fmt;
use std::str::FromStr;

use http::Method;

use crate::protocol::form;

/// What stands first below a gateway's public URL, where a path does not begin at the FHIR base.
const BELOW_THE_GATEWAY: [&str; 4] = ["fhir", "api", "oauth2", ".well-known"];

/// Method and target, as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLine {
    method: Method,
    target: String,
}

/// The text is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestLineError {
    /// One word alone.
    #[error("write method and path, such as 'GET Patient/1' or 'GET Patient?name=Smith'")]
    NoPath,
    /// The first word is no method.
    #[error("{0:?} is no HTTP method: write method and path, such as 'GET Patient/1'")]
    Method(String),
    /// Another word behind the path.
    #[error("{0:?} stands behind the path: encode spaces as %20")]
    TooLong(String),
}

impl RequestLine {
    /// The method.
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// Path and query at a gateway with this public URL: from its host's root on. `None`: the whole URL was given, and it
    /// is not one of this gateway.
    pub(super) fn at<'line>(&'line self, issuer: &str, issuer_path: &str) -> Option<(String, Option<&'line str>)> {
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.target.as_str(), None),
        };
        let below = if path.contains("://") {
            path.strip_prefix(issuer).filter(|rest| rest.is_empty() || rest.starts_with('/'))?.to_owned()
        } else {
            let relative = path.strip_prefix('/').unwrap_or(path);
            let first = relative.split('/').next().unwrap_or_default();
            let base = if BELOW_THE_GATEWAY.contains(&first) { "" } else { "/fhir" };
            format!("{base}/{relative}")
        };
        Some((format!("{issuer_path}{below}"), query))
    }

    /// The media type that a body of such a request has, where the request says nothing else.
    pub(super) fn content_type(&self) -> Option<&'static str> {
        let path = self.target.split('?').next().unwrap_or_default();
        match self.method {
            Method::POST if path.ends_with("_search") => Some(form::MEDIA_TYPE),
            Method::POST | Method::PUT => Some("application/fhir+json"),
            Method::PATCH => Some("application/json-patch+json"),
            _ => None,
        }
    }
}

impl FromStr for RequestLine {
    type Err = RequestLineError;

    fn from_str(text: &str) -> Result<Self, RequestLineError> {
        let mut words = text.split_whitespace();
        let method = words.next().ok_or(RequestLineError::NoPath)?;
        // Extension methods have lower case letters only by mistake, mostly by that of leaving out the method.
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes())
            .ok()
            .filter(|known| known.as_str().bytes().all(|byte| byte.is_ascii_uppercase()))
            .ok_or_else(|| RequestLineError::Method(method.into()))?;
        let target = words.next().ok_or(RequestLineError::NoPath)?.to_owned();
        match words.next() {
            Some(word) if !word.starts_with("HTTP/") => Err(RequestLineError::TooLong(word.into())),
            Some(_) | None => Ok(Self { method, target }),
        }
    }
}

impl fmt::Display for RequestLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.method, self.target)
    }
}
