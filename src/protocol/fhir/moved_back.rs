//! The gateway's URLs in search parameters and JSON Patches, back where the EHR knows them: what a client read here it
//! asks for and writes as it read it. Bodies of FHIR JSON are moved as they stream; these have no keys that say what is
//! a place.
//!
//! Nothing else changes by a letter. As in answers, codes and canonical URLs stay: what has a `|` within (`system|code`,
//! `url|version`) says what it is, not where.

use std::borrow::Cow;
use std::ops::Range;

use percent_encoding::{AsciiSet, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::constrain::ENCODED;
use crate::protocol::form;
use crate::values::base_url::BaseUrl;

/// What needs no encoding in a base within a query (RFC 3986 §3.4).
const ENCODED_BASE: &AsciiSet = &ENCODED.remove(b':').remove(b'/');

/// The elements whose values are places, as in answers: the last names of a JSON Patch's paths.
const PLACES: [&str; 4] = ["reference", "url", "fullUrl", "location"];

/// The lists within which a `url` is a name.
const EXTENSIONS: [&str; 2] = ["extension", "modifierExtension"];

/// A query or form in whose values URLs at or below `from` lie at or below `to`. Alternatives (`,`) and the parts of
/// composites (`$`) are looked at each for itself.
pub fn parameters<'text>(text: &'text str, from: BaseUrl<'_>, to: &str) -> Cow<'text, str> {
    let mut moved = String::new();
    let mut kept = 0;
    let mut start = 0;
    for pair in text.split('&') {
        let end = start + pair.len();
        if let Some(equals) = pair.find('=') {
            for part in parts(text, start + equals + 1..end) {
                if let Some(length) = text.get(part.clone()).and_then(|part| base_length(part, from)) {
                    moved.push_str(text.get(kept..part.start).unwrap_or_default());
                    moved.extend(utf8_percent_encode(to, ENCODED_BASE));
                    kept = part.start + length;
                }
            }
        }
        start = end + 1;
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    moved.push_str(text.get(kept..).unwrap_or_default());
    Cow::Owned(moved)
}

/// Where the parts of a value lie: a separator that FHIR escapes by a backslash separates nothing (FHIR R4 §3.1.1.4.0.2).
fn parts(text: &str, value: Range<usize>) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let (mut start, mut at, mut escaped) = (value.start, value.start, false);
    while at < value.end {
        let (byte, length) = octet(text.as_bytes().get(at..value.end).unwrap_or_default());
        if matches!(byte, b',' | b'$') && !escaped {
            parts.push(start..at);
            start = at + length;
        }
        escaped = byte == b'\\' && !escaped;
        at += length;
    }
    parts.push(start..value.end);
    parts
}

/// The first byte of an encoded text, decoded, and how many it is written with.
fn octet(text: &[u8]) -> (u8, usize) {
    if let [b'%', digits @ ..] = text
        && let Some(byte) = digits.get(..2).and_then(|digits| std::str::from_utf8(digits).ok())
        && let Ok(byte) = u8::from_str_radix(byte, 16)
    {
        return (byte, 3);
    }
    (text.first().copied().unwrap_or_default(), 1)
}

/// How many letters of an encoded text its beginning with a base takes.
fn base_length(part: &str, base: BaseUrl<'_>) -> Option<usize> {
    if !part.starts_with(['h', 'H', '%']) {
        return None;
    }
    let decoded = form::decode(part.as_bytes()).ok().filter(|decoded| !decoded.contains('|'))?;
    let octets = decoded.len().checked_sub(base.below(&decoded)?.len())?;
    let mut length = 0;
    for _ in 0..octets {
        length += octet(part.as_bytes().get(length..)?).1;
    }
    Some(length)
}

/// One operation of a JSON Patch (RFC 6902 §4), as far as it matters here.
#[derive(Deserialize)]
struct Operation<'patch> {
    #[serde(borrow, default)]
    path: Cow<'patch, str>,
    #[serde(borrow, default)]
    value: Option<&'patch RawValue>,
}

/// A JSON Patch whose values that are themselves places below `from` lie below `to`; `None` where there are none, or where
/// it is no JSON Patch. Places within values that are elements are moved as in any FHIR JSON.
pub fn json_patch(patch: &str, from: BaseUrl<'_>, to: &str) -> Option<String> {
    let operations: Vec<Operation<'_>> = serde_json::from_str(patch).ok()?;
    let mut moved = String::new();
    let mut kept = 0;
    for Operation { path, value } in &operations {
        let Some(value) = value.filter(|_| is_place(path)) else { continue };
        let Ok(place) = serde_json::from_str::<Cow<'_, str>>(value.get()) else { continue };
        let Some(below) = from.below(&place) else { continue };
        // A part of the text itself: where it lies there is told by its address.
        let start = (value.get().as_ptr().addr()).checked_sub(patch.as_ptr().addr())?;
        moved.push_str(patch.get(kept..start)?);
        moved.push_str(&serde_json::to_string(&format!("{to}{below}")).ok()?);
        kept = start + value.get().len();
    }
    if kept == 0 {
        return None;
    }
    moved.push_str(patch.get(kept..)?);
    Some(moved)
}

/// Whether the element at a path holds a place: not the `url` of a resource, and not that of an extension.
fn is_place(path: &str) -> bool {
    let mut names = path.rsplit('/');
    let Some(last) = names.next().filter(|last| PLACES.contains(last)) else { return false };
    // What it is an element of: indices say only which one.
    let within = names.find(|name| !name.bytes().all(|byte| byte.is_ascii_digit()) && *name != "-");
    last != "url" || within.is_some_and(|name| !name.is_empty() && !EXTENSIONS.contains(&name) && name != "contained")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const GATE: &str = "https://gate.example.org/default/epic/fhir";
    const EHR: &str = "http://ehr.example.org:8080/r4";

    fn moved(text: &str) -> String {
        parameters(text, BaseUrl::new(GATE), EHR).into_owned()
    }

    #[rstest]
    #[case("subject=GATE/Patient/1", "subject=EHR/Patient/1")]
    #[case("a=1&subject=GATE%2FPatient%2F1&b=2", "a=1&subject=EHR%2FPatient%2F1&b=2")]
    #[case("x=GATE/Patient/1,GATE/Patient/2%2cGATE/Patient/3", "x=EHR/Patient/1,EHR/Patient/2%2cEHR/Patient/3")]
    #[case("x=a%24GATE/Patient/1$GATE/Patient/2", "x=a%24EHR/Patient/1$EHR/Patient/2")]
    #[case("x=http%3A%2F%2FGATE.example.org:80%2Fdefault%2Fepic/fhir/Patient/1", "x=EHR/Patient/1")]
    #[case("x=%68ttps://gate.example.org/default/epic/fhir?a", "x=EHR?a")]
    #[case("x=GATE", "x=EHR")]
    #[case("x=GATEs/Patient/1", "x=GATEs/Patient/1")]
    #[case("x=GATE|1", "x=GATE|1")]
    #[case("x=GATE/CodeSystem/1%7Ca", "x=GATE/CodeSystem/1%7Ca")]
    #[case("x=a\\,GATE/Patient/1", "x=a\\,GATE/Patient/1")]
    #[case("x=a%5c%2CGATE/Patient/1", "x=a%5c%2CGATE/Patient/1")]
    #[case("x=a\\\\,GATE/Patient/1", "x=a\\\\,EHR/Patient/1")]
    #[case("GATE/Patient/1=a&GATE/Patient/1", "GATE/Patient/1=a&GATE/Patient/1")]
    #[case("x=+GATE/Patient/1", "x=+GATE/Patient/1")]
    #[case(
        "x=https://gate.example.org.evil.example/default/epic/fhir",
        "x=https://gate.example.org.evil.example/default/epic/fhir"
    )]
    #[case("x=GATE/%zz", "x=GATE/%zz")]
    #[case("", "")]
    fn a_place_of_ours_is_asked_for_where_the_ehr_knows_it(#[case] given: &str, #[case] expected: &str) {
        let filled =
            |text: &str| text.replace("GATE.example", "\0").replace("GATE", GATE).replace('\0', "GATE.example");
        assert_eq!(moved(&filled(given)), filled(expected).replace("EHR", EHR));
    }

    fn encoded(text: &str, all: bool) -> String {
        if all { text.bytes().map(percent_encoding::percent_encode_byte).collect() } else { text.to_owned() }
    }

    proptest! {
        /// What is moved means the same, but for the base; what is not ours stays letter by letter.
        #[test]
        fn places_are_moved_in_any_encoding_and_nothing_else(
            before in "[a-z]{1,3}=[a-z0-9%2Cc+.:/|\\\\$,-]{0,8}",
            below in "(/[A-Z][a-z]{1,4}/[a-z0-9]{1,4})?",
            after in "[a-z0-9&=+.:/-]{0,8}",
            encode_base in any::<bool>(),
            encode_below in any::<bool>(),
        ) {
            let place = format!("{}{}", encoded(GATE, encode_base), encoded(&below, encode_below));
            let text = format!("{before}&subject={place}&z={after}");
            let expected = format!("{before}&subject={EHR}{}&z={after}", encoded(&below, encode_below));
            prop_assert_eq!(moved(&text), expected);
        }

        #[test]
        fn a_text_without_a_place_of_ours_stays_as_it_is(text in "[a-zA-Z0-9%&=,$|\\\\+:/._~é-]{0,60}") {
            prop_assert_eq!(moved(&text), text);
        }

        #[test]
        fn a_patch_keeps_every_letter_but_those_of_a_place(
            space in "[ \n]{0,3}",
            number in "-?[1-9][0-9]{0,3}\\.[0-9]{1,6}",
            below in "(/[A-Z][a-z]{1,4}/[a-z0-9]{1,4})?",
        ) {
            let of = |base: &str| format!(
                "[{space}{{\"op\":\"add\",\"path\":\"/valueQuantity/value\",{space}\"value\":{number}}},\
                 {{\"op\":\"test\",\"path\":\"/subject/reference\",\"value\":{space}\"{base}{below}\"}},\
                 {{\"op\":\"add\",\"path\":\"/identifier/0/system\",\"value\":\"{GATE}\"}}]{space}"
            );
            let moved = json_patch(&of(GATE), BaseUrl::new(GATE), EHR);
            prop_assert_eq!(moved, Some(of(EHR)));
            prop_assert_eq!(json_patch(&of("https://elsewhere.example.org"), BaseUrl::new(GATE), EHR), None);
        }
    }

    #[rstest]
    #[case("/subject/reference", true)]
    #[case("/performer/0/reference", true)]
    #[case("/content/0/attachment/url", true)]
    #[case("/photo/-/url", true)]
    #[case("/url", false)]
    #[case("/extension/0/url", false)]
    #[case("/extension/0/valueReference/reference", true)]
    #[case("/name/0/modifierExtension/1/url", false)]
    #[case("/contained/0/url", false)]
    #[case("/identifier/0/system", false)]
    #[case("/status", false)]
    #[case("", false)]
    fn the_path_says_whether_a_value_is_a_place(#[case] path: &str, #[case] expected: bool) {
        assert_eq!(is_place(path), expected);
    }

    #[rstest]
    #[case(r#"[{"op":"add","path":"\/subject\/reference","value":"https:\/\/gate.example.org\/default\/epic\/fhir\/Patient\/1"}]"#, true)]
    #[case(r#"[{"op":"remove","path":"/subject/reference"}]"#, false)]
    #[case(r#"[{"op":"add","path":"/subject/reference","value":{"reference":"x"}}]"#, false)]
    #[case(r#"{"op":"add"}"#, false)]
    #[case("no JSON", false)]
    fn a_patch_is_moved_however_it_is_written(#[case] patch: &str, #[case] is_moved: bool) {
        let moved = json_patch(patch, BaseUrl::new(GATE), EHR);
        let expected = format!(r#"[{{"op":"add","path":"\/subject\/reference","value":"{EHR}/Patient/1"}}]"#);
        assert_eq!(moved, is_moved.then_some(expected));
    }
}
