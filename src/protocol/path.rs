//! Which paths may pass at all. A path that two servers could read differently is refused; none is ever mended, since
//! what is checked must be, byte for byte, what is forwarded (envoy#6435, CVE-2021-29492).

/// What is odd about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathOddity {
    /// Not in origin form.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// `//`
    #[error("the path holds an empty segment")]
    EmptySegment,
    /// `.` or `..`
    #[error("the path holds a dot segment")]
    DotSegment,
    /// A character that RFC 3986 §3.3 does not put into a path, or a semicolon (path parameters).
    #[error("the path holds a character that is not used in FHIR paths")]
    Character,
    /// A percent sign without two hexadecimal digits.
    #[error("the path holds a broken percent-encoding")]
    BrokenEncoding,
    /// An encoded slash, backslash, dot, semicolon, percent sign, control or non-ASCII character.
    #[error("the path encodes a character that servers read differently")]
    EncodedSpecial,
}

/// Checks a raw path, without its query.
pub fn check(path: &str) -> Result<(), PathOddity> {
    let below_root = path.strip_prefix('/').ok_or(PathOddity::NotAbsolute)?;
    check_characters(below_root.as_bytes())?;
    let mut segments = below_root.split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            // One slash at the end is an empty last segment: `B/fhir/` is the base too.
            "" if segments.peek().is_some() => return Err(PathOddity::EmptySegment),
            "." | ".." => return Err(PathOddity::DotSegment),
            _ => {}
        }
    }
    Ok(())
}

fn check_characters(mut rest: &[u8]) -> Result<(), PathOddity> {
    while let Some((first, tail)) = rest.split_first() {
        rest = match first {
            b'%' => {
                let (digits, tail) = tail.split_at_checked(2).ok_or(PathOddity::BrokenEncoding)?;
                let &[high, low] = digits else { return Err(PathOddity::BrokenEncoding) };
                let byte = hexadecimal(high).zip(hexadecimal(low)).map(|(high, low)| high << 4 | low);
                match byte.ok_or(PathOddity::BrokenEncoding)? {
                    b'/' | b'\\' | b'.' | b'%' | b';' | 0..=0x1f | 0x7f..=0xff => {
                        return Err(PathOddity::EncodedSpecial);
                    }
                    _ => tail,
                }
            }
            // pchar of RFC 3986 without the semicolon, and the slash.
            b'A'..=b'Z'
            | b'a'..=b'z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'!'
            | b'$'
            | b'&'
            | b'\''
            | b'('
            | b')'
            | b'*'
            | b'+'
            | b','
            | b'='
            | b':'
            | b'@'
            | b'/' => tail,
            _ => return Err(PathOddity::Character),
        };
    }
    Ok(())
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_paths_pass() {
        for path in ["/", "/a", "/a/", "/default/epic/fhir/Patient/a-1.2", "/x/$export", "/a/b%20c", "/a/...", "/a:b@c"]
        {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn odd_paths_are_refused() {
        for (path, oddity) in [
            ("", PathOddity::NotAbsolute),
            ("*", PathOddity::NotAbsolute),
            ("a/b", PathOddity::NotAbsolute),
            ("//a", PathOddity::EmptySegment),
            ("/a//b", PathOddity::EmptySegment),
            ("/a//", PathOddity::EmptySegment),
            ("/a/../b", PathOddity::DotSegment),
            ("/a/.", PathOddity::DotSegment),
            ("/a/..", PathOddity::DotSegment),
            ("/a/%2e%2e/b", PathOddity::EncodedSpecial),
            ("/a/.%2E/b", PathOddity::EncodedSpecial),
            ("/a%2fb", PathOddity::EncodedSpecial),
            ("/a%5Cb", PathOddity::EncodedSpecial),
            ("/a%3bb", PathOddity::EncodedSpecial),
            ("/a%00", PathOddity::EncodedSpecial),
            ("/a%252e", PathOddity::EncodedSpecial),
            ("/a%c0%ae", PathOddity::EncodedSpecial),
            ("/a%", PathOddity::BrokenEncoding),
            ("/a%2", PathOddity::BrokenEncoding),
            ("/a%zz", PathOddity::BrokenEncoding),
            ("/a;b=c", PathOddity::Character),
            ("/a\\b", PathOddity::Character),
            ("/a\u{0}b", PathOddity::Character),
            ("/a b", PathOddity::Character),
            ("/ä", PathOddity::Character),
            ("/a|b", PathOddity::Character),
        ] {
            assert_eq!(check(path), Err(oddity), "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn checking_never_panics_and_what_passes_has_one_reading(path in "\\PC*|(/|%|2|e|E|f|\\.|;|a){0,24}") {
            if check(&path).is_ok() {
                // Decoding once more finds no new slash, dot segment or further encoding.
                let decoded = percent_encoding::percent_decode_str(&path).decode_utf8().unwrap();
                prop_assert_eq!(decoded.matches('/').count(), path.matches('/').count());
                prop_assert!(!decoded.contains(['%', '\\', ';']));
                prop_assert!(!decoded.split('/').any(|segment| segment == ".." || segment == "."));
            }
        }
    }
}
