//! Where a request carries its access token (RFC 6750 §2): one `Authorization: Bearer` header, nowhere else.

use crate::values::code::Code;

use super::form;

/// Why no token could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BearerError {
    /// No `Authorization` header.
    #[error("the request carries no access token")]
    Missing,
    /// Another scheme, no token behind it, or several headers.
    #[error("the Authorization header is not one bearer token")]
    Malformed,
    /// `access_token` in the query (RFC 6750 §2.3), where logs and histories keep it.
    #[error("the access token stands in the query")]
    InQuery,
}

impl BearerError {
    /// The code of the refusal.
    pub const fn code(self) -> Code {
        match self {
            Self::Missing => Code::TokenMissing,
            Self::Malformed => Code::AuthorizationMalformed,
            Self::InQuery => Code::TokenInQuery,
        }
    }
}

/// What a `token68` may hold (RFC 9110 §11.2): a look-up a byte, for every request's token is looked through.
#[expect(clippy::indexing_slicing, reason = "in a constant, whose making the compiler watches")]
const TOKEN68: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=');
        byte += 1;
    }
    table
};

/// The token of a request: `authorization` yields the values of all its `Authorization` headers.
pub fn read<'request>(
    mut authorization: impl Iterator<Item = &'request [u8]>,
    query: Option<&str>,
) -> Result<&'request str, BearerError> {
    if query.is_some_and(holds_token) {
        return Err(BearerError::InQuery);
    }
    let value = authorization.next().ok_or(BearerError::Missing)?;
    if authorization.next().is_some() {
        return Err(BearerError::Malformed);
    }
    let (scheme, token) = value.split_at_checked(7).ok_or(BearerError::Malformed)?;
    let token = token.trim_ascii();
    let is_token68 = !token.is_empty() && token.iter().all(|byte| TOKEN68.get(usize::from(*byte)) == Some(&true));
    if !scheme.eq_ignore_ascii_case(b"bearer ") || !is_token68 {
        return Err(BearerError::Malformed);
    }
    std::str::from_utf8(token).map_err(|_| BearerError::Malformed)
}

/// Whether a query has the parameter `access_token`, in whatever encoding.
pub fn holds_token(query: &str) -> bool {
    query.split(['&', ';']).any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        form::decode(name.as_bytes()).is_ok_and(|name| name.trim() == "access_token")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(value: &str) -> Result<&str, BearerError> {
        read([value.as_bytes()].into_iter(), None)
    }

    #[test]
    fn one_bearer_header_is_read_whatever_the_case_of_its_scheme() {
        assert_eq!(read_one("Bearer a.b-c_d"), Ok("a.b-c_d"));
        assert_eq!(read_one("bearer abc=="), Ok("abc=="));
    }

    #[test]
    fn anything_else_is_malformed() {
        for value in ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer a,b", "DPoP abc", "Bearer\u{e4}abc"]
        {
            assert_eq!(read_one(value), Err(BearerError::Malformed), "{value:?}");
        }
        assert_eq!(read([&b"Bearer a"[..], b"Bearer a"].into_iter(), None), Err(BearerError::Malformed));
        assert_eq!(read([].into_iter(), None), Err(BearerError::Missing));
    }

    #[test]
    fn a_token_in_the_query_is_refused_even_beside_a_good_header() {
        for query in ["access_token=a", "x=1&access_token=a", "access%5Ftoken=a", "a=1;access_token=b"] {
            assert_eq!(read([&b"Bearer a"[..]].into_iter(), Some(query)), Err(BearerError::InQuery), "{query}");
        }
        assert_eq!(read([&b"Bearer a"[..]].into_iter(), Some("name=access_token")), Ok("a"));
    }
}
