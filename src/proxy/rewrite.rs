//! The EHR's own URLs in FHIR JSON, moved to the gateway as the body streams: a scanner over bytes, never a parser into
//! values (measured: 200 times slower).
//!
//! Moved are strings that begin with the EHR's base, where FHIR means a place by them: `fullUrl`, `reference`, `location`
//! and `url` (links, attachments, manifests). Canonical URLs and the names of extensions stay: the `url` of a resource
//! and of an extension says what it is, not where it is; so do `system`, `profile` and all else.
//!
//! The links of a Bundle's pages are handed out ([`Pages`]): they are the EHR's own affair, and lead anywhere.
//!
//! What is not changed is not copied: a piece in which nothing changes is passed on as it came.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use memchr::memchr2;
use serde_json::Value;

use super::body::BoxError;

/// Deeper nesting is no FHIR.
const MAXIMUM_DEPTH: usize = 256;
/// The longest key that matters is shorter.
const KEY_LENGTH: usize = 20;
/// A longer link is none.
const LONGEST_LINK: usize = 64 * 1024;

/// No FHIR: the answer breaks off here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrewritable {
    /// Deeper nesting than any resource has.
    #[error("the EHR's answer is nested too deeply")]
    TooDeep,
    /// A page's link that cannot be looked at.
    #[error("a link in the EHR's answer is too long, or no JSON")]
    Link,
}

/// What becomes of the links of a Bundle's pages.
pub trait Pages: Send {
    /// The link in place of this one, by its relation (`next`, `previous`, `self`, …).
    fn place(&self, relation: &str, url: &str) -> String;
}

/// The keys that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// `fullUrl`, `reference`, `location`: a place wherever it stands.
    Place,
    /// `url`: a place, but for what its object is.
    Url,
    /// `extension`, `modifierExtension`: their `url` is a name.
    Extension,
    /// `resource`, `contained`, and the root: their `url` is canonical.
    Resource,
    /// `link`: at the root, those of a Bundle's pages.
    Link,
    /// Anything else.
    Other,
}

impl Key {
    fn of(name: &[u8]) -> Self {
        match name {
            b"fullUrl" | b"reference" | b"location" => Self::Place,
            b"url" => Self::Url,
            b"extension" | b"modifierExtension" => Self::Extension,
            b"resource" | b"contained" => Self::Resource,
            b"link" => Self::Link,
            _ => Self::Other,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Container {
    is_object: bool,
    /// The key under which it stands.
    name: Key,
    /// The key that was read last in it; of an array, its own name.
    key: Key,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between strings.
    Outside,
    /// In a key, of which the beginning was in an earlier piece, or which has escapes: collected.
    InKey { escaped: bool },
    /// In a string that is passed on.
    InString { escaped: bool },
    /// In a string that so far is the beginning of the base; what was read is held back.
    Matching { matched: usize, escaped: bool },
}

/// Rewrites one body.
pub struct Rewriter {
    from: Box<[u8]>,
    to: Box<[u8]>,
    pages: Option<Box<dyn Pages>>,
    state: State,
    frames: Vec<Container>,
    expects_key: bool,
    key: Vec<u8>,
    held: Vec<u8>,
    /// A page's link, as far as it was read.
    link: Option<Vec<u8>>,
}

impl fmt::Debug for Rewriter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Rewriter").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Rewriter {
    /// From one base to another, both without a slash at the end.
    pub fn new(from: &str, to: &str) -> Self {
        Self {
            from: from.as_bytes().into(),
            to: to.as_bytes().into(),
            pages: None,
            state: State::Outside,
            frames: Vec::with_capacity(16),
            expects_key: false,
            key: Vec::with_capacity(KEY_LENGTH),
            held: Vec::new(),
            link: None,
        }
    }

    /// With another say about the links of pages than moving them.
    #[must_use]
    pub fn with_pages(mut self, pages: Box<dyn Pages>) -> Self {
        self.pages = Some(pages);
        self
    }

    /// Takes the next piece. Either it may be passed on as it is (`true`; nothing was added to `out`), or what can be
    /// passed on was added to `out`.
    pub fn push(&mut self, input: &[u8], out: &mut BytesMut) -> Result<bool, Unrewritable> {
        let mut piece = Piece { input, at: 0, passed: 0, out };
        let is_fresh = self.link.is_none();
        while piece.at < input.len() {
            match self.state {
                State::Outside => self.outside(&mut piece)?,
                State::InKey { escaped } => self.in_key(&mut piece, escaped),
                State::InString { escaped } => self.in_string(&mut piece, escaped),
                State::Matching { matched, escaped } => self.matching(&mut piece, matched, escaped),
            }
        }
        if is_fresh && piece.passed == 0 && piece.out.is_empty() && self.held.is_empty() && self.link.is_none() {
            return Ok(true);
        }
        // What is held back counts as passed on.
        self.pass(&mut piece)?;
        Ok(false)
    }

    /// What is still held back, when the body has ended. A link that broke off is dropped: it was not looked at.
    pub fn finish(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(&self.held);
        self.held.clear();
    }

    /// Passes on what was looked at: to the output, or to the link that is being read.
    fn pass(&mut self, piece: &mut Piece<'_>) -> Result<(), Unrewritable> {
        let looked_at = piece.input.get(piece.passed..piece.at).unwrap_or_default();
        piece.passed = piece.at;
        match &mut self.link {
            Some(link) if link.len() + looked_at.len() > LONGEST_LINK => Err(Unrewritable::Link),
            Some(link) => {
                link.extend_from_slice(looked_at);
                Ok(())
            }
            None => {
                piece.out.extend_from_slice(looked_at);
                Ok(())
            }
        }
    }

    /// From here to the next string.
    fn outside(&mut self, piece: &mut Piece<'_>) -> Result<(), Unrewritable> {
        let rest = piece.input.get(piece.at..).unwrap_or_default();
        for (offset, byte) in rest.iter().enumerate() {
            match byte {
                b'"' => {
                    piece.at += offset + 1;
                    self.begin_string();
                    return Ok(());
                }
                b'{' | b'[' => {
                    if self.frames.len() >= MAXIMUM_DEPTH {
                        return Err(Unrewritable::TooDeep);
                    }
                    let is_object = *byte == b'{';
                    if is_object && self.is_page_link() {
                        let before = piece.at;
                        piece.at += offset;
                        self.pass(piece)?;
                        piece.at = before;
                        self.link = Some(Vec::with_capacity(256));
                    }
                    let name = self.frames.last().map_or(Key::Resource, |frame| frame.key);
                    let key = if is_object { Key::Other } else { name };
                    self.frames.push(Container { is_object, name, key });
                    self.expects_key = is_object;
                }
                b'}' | b']' => {
                    self.frames.pop();
                    self.expects_key = false;
                    if self.link.is_some() && self.frames.len() == 2 {
                        piece.at += offset + 1;
                        return self.end_link(piece);
                    }
                }
                b',' => self.expects_key = self.frames.last().is_some_and(|frame| frame.is_object),
                b':' => self.expects_key = false,
                _ => {}
            }
        }
        piece.at = piece.input.len();
        Ok(())
    }

    /// Whether an object that begins now is an entry of the root's `link`.
    fn is_page_link(&self) -> bool {
        self.pages.is_some()
            && matches!(self.frames.as_slice(), [root, list]
                if root.is_object && root.key == Key::Link && !list.is_object)
    }

    fn end_link(&mut self, piece: &mut Piece<'_>) -> Result<(), Unrewritable> {
        self.pass(piece)?;
        let link = self.link.take().unwrap_or_default();
        let mut value: Value = serde_json::from_slice(&link).map_err(|_| Unrewritable::Link)?;
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        if let (Some(pages), Some(relation), Some(url)) = (&self.pages, text("relation"), text("url")) {
            let place = pages.place(relation, url);
            if let Some(url) = value.get_mut("url") {
                *url = place.into();
            }
            piece.out.extend_from_slice(value.to_string().as_bytes());
            return Ok(());
        }
        // Something else by the name of link, such as a Patient's.
        let text = |base: &[u8]| String::from_utf8_lossy(base).into_owned();
        let mut inner = Self::new(&text(&self.from), &text(&self.to));
        if inner.push(&link, piece.out)? {
            piece.out.extend_from_slice(&link);
        }
        Ok(())
    }

    fn begin_string(&mut self) {
        self.state = if self.expects_key {
            self.key.clear();
            State::InKey { escaped: false }
        } else if self.is_place() {
            State::Matching { matched: 0, escaped: false }
        } else {
            State::InString { escaped: false }
        };
    }

    fn is_place(&self) -> bool {
        self.link.is_none()
            && self.frames.last().is_some_and(|frame| match frame.key {
                Key::Place => true,
                Key::Url => !matches!(frame.name, Key::Extension | Key::Resource),
                Key::Extension | Key::Resource | Key::Link | Key::Other => false,
            })
    }

    fn in_key(&mut self, piece: &mut Piece<'_>, escaped: bool) {
        let rest = piece.input.get(piece.at..).unwrap_or_default();
        if self.key.is_empty()
            && !escaped
            && let Some(end) = memchr2(b'"', b'\\', rest)
            && rest.get(end) == Some(&b'"')
        {
            self.end_key(Key::of(rest.get(..end).unwrap_or_default()));
            piece.at += end + 1;
            return;
        }
        let Some(byte) = rest.first() else { return };
        piece.at += 1;
        if *byte == b'"' && !escaped {
            let key = Key::of(&self.key);
            self.end_key(key);
            return;
        }
        if self.key.len() < KEY_LENGTH {
            self.key.push(*byte);
        }
        self.state = State::InKey { escaped: *byte == b'\\' && !escaped };
    }

    fn end_key(&mut self, key: Key) {
        if let Some(frame) = self.frames.last_mut() {
            frame.key = key;
        }
        self.state = State::Outside;
    }

    fn in_string(&mut self, piece: &mut Piece<'_>, escaped: bool) {
        if escaped {
            piece.at += 1;
        }
        while let Some(rest) = piece.input.get(piece.at..) {
            let Some(end) = memchr2(b'"', b'\\', rest) else { break };
            if rest.get(end) == Some(&b'"') {
                piece.at += end + 1;
                self.state = State::Outside;
                return;
            }
            piece.at += end + 2;
        }
        // Where a backslash was the last byte, what it escapes is the first of the next piece.
        let escaped = piece.at > piece.input.len();
        piece.at = piece.input.len();
        self.state = State::InString { escaped };
    }

    /// Looks at a string that may begin with the base.
    fn matching(&mut self, piece: &mut Piece<'_>, matched: usize, escaped: bool) {
        let rest = piece.input.get(piece.at..).unwrap_or_default();
        if matched == 0 && !escaped && self.held.is_empty() {
            if let Some(behind) = rest.strip_prefix(&*self.from)
                && let Some(next) = behind.first()
            {
                if ends_base(*next) {
                    let _infallible = self.pass(piece);
                    piece.out.extend_from_slice(&self.to);
                    piece.at += self.from.len();
                    piece.passed = piece.at;
                }
                self.state = State::InString { escaped: false };
                return;
            }
            let common = rest.iter().zip(&self.from).take_while(|(one, other)| one == other).count();
            let decided = rest.get(common).is_some_and(|byte| *byte != b'\\') && common < self.from.len();
            if decided {
                self.state = State::InString { escaped: false };
                return;
            }
            // Byte by byte from here on, held back.
            let _infallible = self.pass(piece);
        }
        let Some(byte) = rest.first().copied() else { return };
        match self.from.get(matched) {
            // Everything is there: is it the base, or does the name go on?
            None => {
                if ends_base(byte) {
                    piece.out.extend_from_slice(&self.to);
                } else {
                    piece.out.extend_from_slice(&self.held);
                }
                self.held.clear();
                self.state = State::InString { escaped: false };
            }
            // JSON may write a slash as `\/`.
            Some(b'/') if byte == b'\\' && !escaped => {
                self.hold(piece, byte);
                self.state = State::Matching { matched, escaped: true };
            }
            Some(wanted) if *wanted == byte => {
                self.hold(piece, byte);
                self.state = State::Matching { matched: matched + 1, escaped: false };
            }
            Some(_) => {
                piece.out.extend_from_slice(&self.held);
                self.held.clear();
                self.state = State::InString { escaped };
            }
        }
    }

    fn hold(&mut self, piece: &mut Piece<'_>, byte: u8) {
        self.held.push(byte);
        piece.at += 1;
        piece.passed = piece.at;
    }
}

/// A piece of the body, as far as it was looked at (`at`) and passed on (`passed`).
struct Piece<'piece> {
    input: &'piece [u8],
    at: usize,
    passed: usize,
    out: &'piece mut BytesMut,
}

/// Whether a base ends before this byte; otherwise its last name goes on.
const fn ends_base(byte: u8) -> bool {
    matches!(byte, b'/' | b'?' | b'#' | b'"' | b'\\')
}

/// A body that is rewritten while it passes.
pub(super) struct Rewritten<Inner> {
    inner: Inner,
    rewriter: Option<Rewriter>,
}

impl<Inner> Rewritten<Inner> {
    pub(super) fn new(inner: Inner, rewriter: Rewriter) -> Self {
        Self { inner, rewriter: Some(rewriter) }
    }
}

impl<Inner> http_body::Body for Rewritten<Inner>
where
    Inner: http_body::Body<Data = Bytes, Error = BoxError> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
            let Some(rewriter) = &mut self.rewriter else { return Poll::Ready(None) };
            let mut out = BytesMut::new();
            match frame {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    match rewriter.push(&data, &mut out) {
                        Ok(true) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                        Ok(false) => {}
                        Err(error) => {
                            self.rewriter = None;
                            return Poll::Ready(Some(Err(error.into())));
                        }
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    rewriter.finish(&mut out);
                    self.rewriter = None;
                    if out.is_empty() {
                        return Poll::Ready(None);
                    }
                }
            }
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out.freeze()))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        fn place(&self, relation: &str, url: &str) -> String {
            format!("page:{relation}:{}", url.len())
        }
    }

    fn with_pages(pieces: &[&[u8]]) -> Vec<u8> {
        run(&mut Rewriter::new(FROM, TO).with_pages(Box::new(Numbered)), pieces)
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

    /// One of everything: places, escaped slashes, canonicals, extensions, nested links, text that only looks like it.
    fn bundle() -> String {
        let escaped = FROM.replace('/', "\\/");
        format!(
            r#"{{"resourceType":"Bundle","type":"searchset","link":[{{"relation":"self","url":"{FROM}/Patient"}},
 {{"url":"{FROM}?page=2&x=\"","relation":"next"}}],"entry":[{{"fullUrl":"{FROM}/Patient/1","link":[{{"relation":"a","url":"{FROM}/b"}}],
 "resource":{{"resourceType":"ValueSet","url":"{FROM}/ValueSet/1","extension":[{{"url":"{FROM}/x","valueUrl":"{FROM}"}}],
 "subject":{{"reference":"{escaped}\/Patient\/1","display":"\"reference\":\"{FROM}/Patient/1\" \\"}},
 "photo":[{{"url":"{FROM}x/Binary/1"}},{{"url":"{FROM}"}}]}}}}]}}"#
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
        let pages: Vec<&str> =
            value["link"].as_array().unwrap().iter().map(|link| link["url"].as_str().unwrap()).collect();
        let length = FROM.len();
        assert_eq!(pages, [format!("page:self:{}", length + 8), format!("page:next:{}", length + 11)]);
        assert_eq!(value["entry"][0]["link"][0]["url"], format!("{TO}/b"));
        let patient =
            format!(r#"{{"resourceType":"Patient","link":[{{"other":{{"reference":"{FROM}/Patient/2"}}}}]}}"#);
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

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_pieces_end(
            parts in prop::collection::vec(prop::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"url\":", "\"reference\":", "\"extension\":", "\"resource\":", "\"link\":",
                "\"BASE\"", "\"BASE/x\"", "\"BASE\\/x\"", "\"BASEx\"", "\"https:", "\\", "\"", "\\\"", "a", "\u{e4}",
            ]), 0..40),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let text = parts.concat().replace("BASE", FROM);
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for cut in cuts {
                pieces.push(&bytes[start..cut]);
                start = cut;
            }
            pieces.push(&bytes[start..]);
            prop_assert_eq!(rewritten(&pieces), rewritten(&[bytes]));
        }

        #[test]
        fn json_without_the_base_passes_unchanged(value in json_value()) {
            let text = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(rewrite(&text), text);
        }
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Into::into),
            "[a-z\"\\\\/{}:,\u{e4}]{0,12}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::hash_map("(url|reference|fullUrl|link|extension|resource|x)", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
