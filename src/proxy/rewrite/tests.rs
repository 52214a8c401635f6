//! Places and what only looks like one, wherever the pieces end.

use bytes::BytesMut;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::Value;

use super::*;

const FROM: &str = "https://ehr.example.org/api/FHIR/R4";
const TO: &str = "https://gate.example.org/g/fhir";

fn rewritten(pieces: &[&[u8]]) -> Vec<u8> {
    let mut rewriter = Rewriter::new(FROM, TO);
    run(&mut rewriter, pieces)
}

fn run(rewriter: &mut Rewriter, pieces: &[&[u8]]) -> Vec<u8> {
    let mut whole = Vec::new();
    for piece in pieces {
        let mut out = BytesMut::new();
        let is_same = rewriter.push(piece, &mut out).unwrap();
        assert!(!is_same || out.is_empty());
        whole.extend_from_slice(if is_same { piece } else { &out });
    }
    let mut out = BytesMut::new();
    rewriter.finish(&mut out);
    whole.extend_from_slice(&out);
    whole
}

struct Numbered;

impl Pages for Numbered {
    fn place(&self, paged: Paged, relation: &str, url: &str) -> String {
        format!("{paged:?}:{relation}:{}", url.len())
    }
}

fn with_pages(pieces: &[&[u8]]) -> Vec<u8> {
    run(&mut Rewriter::new(FROM, TO).with_pages(Box::new(Numbered)), pieces)
}

/// The same; nothing where a link is no JSON.
fn tried_with_pages(pieces: &[&[u8]]) -> Option<Vec<u8>> {
    let (mut rewriter, mut whole) = (Rewriter::new(FROM, TO).with_pages(Box::new(Numbered)), Vec::new());
    for piece in pieces {
        let mut out = BytesMut::new();
        let is_same = rewriter.push(piece, &mut out).ok()?;
        whole.extend_from_slice(if is_same { piece } else { &out });
    }
    let mut out = BytesMut::new();
    rewriter.finish(&mut out);
    whole.extend_from_slice(&out);
    Some(whole)
}

fn rewrite(text: &str) -> String {
    String::from_utf8(rewritten(&[text.as_bytes()])).unwrap()
}

#[test]
fn places_are_moved() {
    for text in [
        r#"{"resourceType":"Bundle","link":[{"relation":"next","url":"BASE?page=2"}]}"#,
        r#"{"entry": [ { "fullUrl" : "BASE/Patient/1", "resource": {"id": "1"} }, {"fullUrl":"BASE/Patient/2"}]}"#,
        r#"{"entry":[{"response":{"location":"BASE/Patient/1/_history/1"}}]}"#,
        r#"{"subject":{"reference":"BASE/Patient/1"},"x":{"reference":"BASE"}}"#,
        r#"{"content":[{"attachment":{"contentType":"a","url":"BASE/Binary/1"}}]}"#,
        r#"{"resourceType":"CapabilityStatement","implementation":{"url":"BASE"}}"#,
        r#"{"output":[{"type":"Patient","url":"BASE/bulk/1"}]}"#,
        r#"{"a":"\"","b":{"c":["x","\\"]},"link":[{"url":"BASE/a\"b"}]}"#,
    ] {
        assert_eq!(rewrite(&text.replace("BASE", FROM)), text.replace("BASE", TO));
    }
    let escaped = FROM.replace('/', "\\/");
    assert_eq!(
        rewrite(&format!(r#"{{"reference":"{escaped}\/Patient\/1"}}"#)),
        format!(r#"{{"reference":"{TO}\/Patient\/1"}}"#)
    );
}

#[test]
fn what_is_no_place_stays() {
    for text in [
        r#"{"resourceType":"ValueSet","url":"BASE/ValueSet/1"}"#,
        r#"{"entry":[{"resource":{"resourceType":"ValueSet","url":"BASE/ValueSet/1"}}]}"#,
        r#"{"extension":[{"url":"BASE/StructureDefinition/x","valueString":"BASE/"}]}"#,
        r#"{"identifier":[{"system":"BASE/ids","value":"1"}],"meta":{"profile":["BASE/StructureDefinition/1"]}}"#,
        r#"{"reference":"BASEX/Patient/1","fullUrl":"urn:uuid:1","location":"https://ehr.example.org/api"}"#,
        r#"{"reference":"see BASE/Patient/1"}"#,
        r#"{"display":"\"reference\":\"BASE/Patient/1\""}"#,
        r#"{"reference":"Patient/1","n":[1,2.50,true,null,{}],"e":""}"#,
    ] {
        let text = text.replace("BASE", FROM);
        assert_eq!(rewrite(&text), text);
    }
}

#[test]
fn what_breaks_off_is_passed_on_as_it_came() {
    let text = format!(r#"{{"reference":"{}"#, &FROM[..20]);
    assert_eq!(rewrite(&text), text);
}

/// The base in another spelling.
const TWIN: &str = "http://EHR.example.org:443/api/FHIR/R4";

#[rstest]
#[case("http://ehr.example.org/api/FHIR/R4")]
#[case("https://ehr.example.org:443/api/FHIR/R4")]
#[case(r"http:\/\/EHR.Example.org:80\/api/FHIR\/R4")]
#[case(TWIN)]
fn places_are_moved_in_every_spelling_of_the_base(#[case] base: &str) {
    for rest in ["/Patient/1", r"\/Patient\/1", "?page=2", "#a", ""] {
        let text = format!(r#"{{"reference":"{base}{rest}","x":["{base}{rest}"]}}"#);
        let expected = format!(r#"{{"reference":"{TO}{rest}","x":["{base}{rest}"]}}"#);
        assert_eq!(rewrite(&text), expected);
        let bytes = text.as_bytes();
        for cut in 0..=bytes.len() {
            let (one, other) = bytes.split_at(cut);
            assert_eq!(rewritten(&[one, other]), expected.as_bytes(), "cut at {cut}");
        }
    }
}

#[rstest]
#[case("http://ehr.example.org/api/FHIR/R4x/Patient/1")]
#[case("http://ehr.example.org:8080/api/FHIR/R4/Patient/1")]
#[case("http://ehr.example.org/api/fhir/R4/Patient/1")]
#[case("http://ehr.example.org@evil.example/api/FHIR/R4/Patient/1")]
#[case(r"http://ehr.example.org/api\u002fFHIR/R4/Patient/1")]
#[case(r"http:\/\/ehr.example.org\")]
#[case("http:")]
fn what_is_another_place_stays_wherever_it_is_cut(#[case] place: &str) {
    let text = format!(r#"{{"reference":"{place}","fullUrl":"{place}"}}"#);
    assert_eq!(rewrite(&text), text);
    let bytes = text.as_bytes();
    for cut in 0..=bytes.len() {
        let (one, other) = bytes.split_at(cut);
        assert_eq!(rewritten(&[one, other]), bytes, "cut at {cut}");
    }
}

/// One of everything: places, other spellings, escaped slashes, canonicals, extensions, nested links, Bundles in Bundles,
/// text that only looks like it.
fn bundle() -> String {
    let escaped = FROM.replace('/', "\\/");
    format!(
        r#"{{"resourceType":"Bundle","type":"searchset","link":[{{"relation":"self","url":"{FROM}/Patient"}},
 {{"url":"{FROM}?page=2&x=\"","relation":"next"}}],"entry":[{{"fullUrl":"{FROM}/Patient/1","link":[{{"relation":"a","url":"{FROM}/b"}}],
 "resource":{{"resourceType":"ValueSet","url":"{FROM}/ValueSet/1","extension":[{{"url":"{FROM}/x","valueUrl":"{FROM}"}}],
 "subject":{{"reference":"{escaped}\/Patient\/1","display":"\"reference\":\"{FROM}/Patient/1\" \\"}},
 "photo":[{{"url":"{FROM}x/Binary/1"}},{{"url":"{FROM}"}},{{"url":"{TWIN}/Binary/2"}}]}}}},
 {{"fullUrl":"{TWIN}/x","resource":{{"link":[{{"relation":"next","url":"{TWIN}?page=2"}}],"resourceType":"Bundle",
 "entry":[{{"resource":{{"resourceType":"Bundle","link":[{{"relation":"last","url":"/a"}}]}}}}]}}}}]}}"#
    )
}

#[test]
fn wherever_the_pieces_end_the_same_comes_out() {
    let text = bundle();
    let bytes = text.as_bytes();
    for (whole, rewrite) in
        [(rewritten(&[bytes]), rewritten as fn(&[&[u8]]) -> Vec<u8>), (with_pages(&[bytes]), with_pages)]
    {
        assert_eq!(rewrite(&bytes.chunks(1).collect::<Vec<_>>()), whole);
        for cut in 0..=bytes.len() {
            let (one, other) = bytes.split_at(cut);
            assert_eq!(rewrite(&[one, other]), whole, "cut at {cut}");
            if let Some((middle, last)) = other.split_at_checked(7) {
                assert_eq!(rewrite(&[one, middle, last]), whole, "cut at {cut} and 7 later");
            }
        }
    }
}

#[test]
fn the_links_of_pages_are_handed_out_and_no_others() {
    let text = bundle();
    let value: Value = serde_json::from_slice(&with_pages(&[text.as_bytes()])).unwrap();
    let pages: Vec<&str> = value["link"].as_array().unwrap().iter().map(|link| link["url"].as_str().unwrap()).collect();
    let length = FROM.len();
    assert_eq!(pages, [format!("Answer:self:{}", length + 8), format!("Answer:next:{}", length + 11)]);
    assert_eq!(value["entry"][0]["link"][0]["url"], format!("{TO}/b"));
    let inner = &value["entry"][1]["resource"];
    assert_eq!(inner["link"][0]["url"], format!("Entry(1):next:{}", TWIN.len() + 7));
    assert_eq!(inner["entry"][0]["resource"]["link"][0]["url"], "Within:last:2");
    let patient = format!(r#"{{"resourceType":"Patient","link":[{{"other":{{"reference":"{FROM}/Patient/2"}}}}]}}"#);
    assert_eq!(with_pages(&[patient.as_bytes()]), patient.replace(FROM, TO).as_bytes());
}

#[test]
fn lines_of_json_are_rewritten_one_by_one() {
    let line = r#"{"resourceType":"Observation","url":"BASE/1","subject":{"reference":"BASE/Patient/1"}}"#;
    let lines = format!("{line}\n{line}\n").replace("BASE", FROM);
    let expected = lines.replace(&format!("\"reference\":\"{FROM}"), &format!("\"reference\":\"{TO}"));
    assert_eq!(rewrite(&lines), expected);
}

#[test]
fn what_does_not_change_is_not_copied() {
    let mut rewriter = Rewriter::new(FROM, TO);
    let mut out = BytesMut::new();
    assert_eq!(rewriter.push(br#"{"resourceType":"Patient","name":[{"fam"#, &mut out), Ok(true));
    assert_eq!(rewriter.push(br#"ily":"x\"#, &mut out), Ok(true));
    assert_eq!(rewriter.push(br#""y"}],"reference":"https://elsewhere"}"#, &mut out), Ok(true));
    assert!(out.is_empty());
}

#[test]
fn endless_nesting_is_refused() {
    let mut rewriter = Rewriter::new(FROM, TO);
    assert_eq!(rewriter.push(&[b'['; 1000], &mut BytesMut::new()), Err(Unrewritable::TooDeep));
}

/// Pieces as short as these are gone through string by string, longer ones skimmed.
const SHORT: usize = 97;

/// A text cut at these places.
fn cut<'text>(text: &'text [u8], cuts: &[prop::sample::Index]) -> Vec<&'text [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    cuts.sort_unstable();
    let mut start = 0;
    let mut pieces = Vec::new();
    for end in cuts.into_iter().chain([text.len()]) {
        pieces.push(&text[start..end]);
        start = end;
    }
    pieces
}

proptest! {
    // Texts that are no JSON are too short here to be skimmed: how they are read is nobody's business.
    #[test]
    fn it_does_not_matter_where_the_pieces_end(
        parts in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"url\":", "\"reference\":", "\"extension\":", "\"resource\":", "\"link\":",
            "\"BASE\"", "\"BASE/x\"", "\"BASE\\/x\"", "\"BASEx\"", "\"https:", "\\", "\"", "\\\"", "a", "\u{e4}",
            "\"TWIN\"", "\"TWIN/x\"", "\"TWIN\\/x\"", "\"TWINx\"", "\"http:\\/\\/", "EHR.example.org", "\"entry\":",
        ]), 0..14),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let text = parts.concat().replace("BASE", FROM).replace("TWIN", TWIN);
        let bytes = text.as_bytes();
        let pieces = cut(bytes, &cuts);
        prop_assert_eq!(rewritten(&pieces), rewritten(&[bytes]));
        prop_assert_eq!(tried_with_pages(&pieces), tried_with_pages(&[bytes]));
    }

    #[test]
    fn what_is_skimmed_comes_out_as_what_is_gone_through_string_by_string(
        values in prop::collection::vec(json_value(), 1..60),
        style in 0..4,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let bundle = serde_json::json!({"resourceType": "Bundle", "link": values.first(), "entry": values});
        let text = if style % 2 == 0 { bundle.to_string() } else { serde_json::to_string_pretty(&bundle).unwrap() };
        let text = if style < 2 { text } else { text.replace('/', "\\/") };
        let bytes = text.as_bytes();
        let short: Vec<&[u8]> = bytes.chunks(SHORT).collect();
        for pieces in [vec![bytes], cut(bytes, &cuts)] {
            prop_assert_eq!(rewritten(&pieces), rewritten(&short));
            prop_assert_eq!(tried_with_pages(&pieces), tried_with_pages(&short));
        }
    }

    #[test]
    fn what_is_no_json_is_skimmed_without_harm(garbage in "[\\[\\]{}:,\"\\\\hHa /\n]{500,2000}") {
        let _whatever = tried_with_pages(&[garbage.as_bytes()]);
    }

    #[test]
    fn json_without_the_base_passes_unchanged(value in json_value()) {
        let text = value.to_string().replace("ehr.example.org", "elsewhere.org").replace("EHR.example.org", "elsewhere.org");
        prop_assert_eq!(rewrite(&text), text);
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let places = [FROM, TWIN].map(|base| ["", "/x", "x", "/a\"b"].map(|rest| format!("{base}{rest}"))).concat();
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i32>().prop_map(Into::into),
        "[a-z\"\\\\/{}:,\u{e4}]{0,12}".prop_map(Into::into),
        "[hH]ttps?://[a-z\\\\\"]{0,80}".prop_map(Into::into),
        prop::sample::select(places).prop_map(Into::into),
    ];
    let names = "(url|reference|fullUrl|location|link|extension|modifierExtension|resource|entry|x|a\"url|b\\\\|http:)";
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::hash_map(names, inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}
