//! The id that a request has in its answer, in logs and at the EHR.

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// The header, in requests and answers.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The caller's id if it is a sane one, else a fresh UUID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(X_REQUEST_ID).filter(|value| value.to_str().is_ok_and(is_sane));
        Self(given.cloned().unwrap_or_else(fresh))
    }

    pub(super) fn as_str(&self) -> &str {
        // Text is all that it was made of.
        self.0.to_str().unwrap_or_default()
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn fresh() -> HeaderValue {
    let mut text = Uuid::encode_buffer();
    let text = Uuid::new_v4().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn is_sane(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'/' | b'+' | b'='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_id_is_kept_and_anything_else_replaced() {
        let of = |text: &str| {
            RequestId::of(&HeaderMap::from_iter([(X_REQUEST_ID, HeaderValue::from_str(text).unwrap())]))
                .as_str()
                .to_owned()
        };
        assert_eq!(of("abc-1.2:3"), "abc-1.2:3");
        for text in ["", "a b", "a\"b", &"x".repeat(129)] {
            assert!(Uuid::parse_str(&of(text)).is_ok(), "{text}");
        }
        assert!(Uuid::parse_str(RequestId::of(&HeaderMap::new()).as_str()).is_ok());
    }
}
