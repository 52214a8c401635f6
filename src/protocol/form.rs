//! `application/x-www-form-urlencoded`, as OAuth requests and FHIR searches use it. Strict: what is no UTF-8 or has a
//! broken percent-encoding is an error, never replaced, since another reader might replace it differently.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter, memchr2};
use percent_encoding::percent_decode;

/// A text that is no form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("holds a broken percent-encoding, or is not UTF-8")]
pub struct FormInvalid;

/// The media type.
pub const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";

/// Decodes one name or value: `+` is a space.
pub fn decode(text: &[u8]) -> Result<Cow<'_, str>, FormInvalid> {
    if memchr2(b'%', b'+', text).is_none() {
        // Assertions and tokens are long and hold neither.
        return std::str::from_utf8(text).map(Cow::Borrowed).map_err(|_| FormInvalid);
    }
    for start in memchr_iter(b'%', text) {
        let digits = text.get(start + 1..start + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        digits.ok_or(FormInvalid)?;
    }
    if memchr(b'+', text).is_some() {
        let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        let decoded = percent_decode(&spaced).decode_utf8().map_err(|_| FormInvalid)?;
        return Ok(Cow::Owned(decoded.into_owned()));
    }
    percent_decode(text).decode_utf8().map_err(|_| FormInvalid)
}

/// The pairs of a form or query, decoded, in their order. A pair without `=` has an empty value; empty pairs (`&&`) are
/// left out.
pub fn pairs(text: &[u8]) -> impl Iterator<Item = Result<(Cow<'_, str>, Cow<'_, str>), FormInvalid>> {
    text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = match memchr(b'=', pair) {
            Some(at) => (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default()),
            None => (pair, &[][..]),
        };
        Ok((decode(name)?, decode(value)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded() {
        let read: Vec<_> = pairs(b"a=b+c&&d%3D=%2b&e").map(Result::unwrap).collect();
        assert_eq!(read, [("a".into(), "b c".into()), ("d=".into(), "+".into()), ("e".into(), "".into())]);
    }

    #[test]
    fn what_is_broken_is_an_error() {
        for text in ["a=%", "a=%4", "%zz=1", "a=%ff", "a=+%"] {
            assert!(pairs(text.as_bytes()).any(|pair| pair.is_err()), "{text}");
        }
    }
}
