//! The scanner: which strings of a JSON text are places, however the text arrives in pieces.

mod skim;

use std::fmt;

use bytes::BytesMut;
use memchr::memchr2;
use serde_json::Value;

use super::{Paged, Pages, Unrewritable};
use crate::values::base_url::{BaseUrl, Beginning};

/// Deeper nesting is no FHIR.
const MAXIMUM_DEPTH: usize = 256;
/// The longest key that matters is shorter.
const KEY_LENGTH: usize = 20;
/// A longer link is none.
const LONGEST_LINK: usize = 64 * 1024;
/// What another spelling of a base may have more: an `s`, a port, and the byte behind it.
const LONGER: usize = "s:443/".len();

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
    /// `link`: of a Bundle, those of its pages.
    Link,
    /// `entry`: at the root, those of a Bundle.
    Entry,
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
            b"entry" => Self::Entry,
            _ => Self::Other,
        }
    }
}

/// The key under which a container stands; an element of a list stands under the list's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Is(Key),
    /// It was not looked at: it ends before this byte of the piece that is being skimmed.
    Before(usize),
}

#[derive(Clone, Copy, Debug)]
struct Container {
    is_object: bool,
    name: Name,
    /// Of an object, the key that was read last.
    key: Key,
}

impl Container {
    fn is_named(self, key: Key) -> bool {
        self.name == Name::Is(key)
    }

    /// The name of what stands next in it.
    const fn name_within(self) -> Name {
        if self.is_object { Name::Is(self.key) } else { self.name }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between strings.
    Outside,
    /// In a key, of which the beginning was in an earlier piece, or which has escapes: collected.
    InKey { escaped: bool },
    /// In a string that is passed on.
    InString { escaped: bool },
    /// At the beginning of a string that may be a place; what was read of it is held back.
    Beginning,
}

/// Rewrites one body.
pub struct Rewriter {
    from: Box<str>,
    to: Box<[u8]>,
    pages: Option<Box<dyn Pages>>,
    state: State,
    frames: Vec<Container>,
    expects_key: bool,
    key: Vec<u8>,
    held: Vec<u8>,
    /// How many entries of the root have begun.
    entries: usize,
    link: Option<PageLink>,
}

/// A page's link, as far as it was read.
struct PageLink {
    paged: Paged,
    /// How deep the list stands that holds it.
    depth: usize,
    text: Vec<u8>,
}

impl fmt::Debug for Rewriter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Rewriter").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Rewriter {
    /// From one base, in any of its spellings, to another, both without a slash at the end.
    pub fn new(from: &str, to: &str) -> Self {
        Self {
            from: from.into(),
            to: to.as_bytes().into(),
            pages: None,
            state: State::Outside,
            frames: Vec::with_capacity(16),
            expects_key: false,
            key: Vec::with_capacity(KEY_LENGTH),
            held: Vec::new(),
            entries: 0,
            link: None,
        }
    }

    /// With another say about the links of pages than moving them.
    #[must_use]
    pub fn with_pages(mut self, pages: Box<dyn Pages>) -> Self {
        self.pages = Some(pages);
        self
    }

    /// Whether a body that is all there stays as it is for certain: the base stands nowhere in it.
    pub fn leaves(&self, whole: &[u8]) -> bool {
        self.pages.is_none() && !BaseUrl::new(&self.from).may_stand_in(whole)
    }

    /// Takes the next piece. Either it may be passed on as it is (`true`; nothing was added to `out`), or what can be
    /// passed on was added to `out`.
    pub fn push(&mut self, input: &[u8], out: &mut BytesMut) -> Result<bool, Unrewritable> {
        let mut piece = Piece { input, at: 0, passed: 0, skim_from: 0, out };
        let is_fresh = self.link.is_none();
        while piece.at < input.len() {
            match self.state {
                State::Outside => self.outside(&mut piece)?,
                State::InKey { escaped } => self.in_key(&mut piece, escaped),
                State::InString { escaped } => self.in_string(&mut piece, escaped),
                State::Beginning => self.beginning(&mut piece),
            }
        }
        if is_fresh && piece.passed == 0 && piece.out.is_empty() && self.held.is_empty() && self.link.is_none() {
            return Ok(true);
        }
        // What is held back counts as passed on.
        self.pass(&mut piece)?;
        Ok(false)
    }

    /// Whether anything of what came is still held back.
    pub fn holds_back(&self) -> bool {
        !self.held.is_empty()
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
            Some(link) if link.text.len() + looked_at.len() > LONGEST_LINK => Err(Unrewritable::Link),
            Some(link) => {
                link.text.extend_from_slice(looked_at);
                Ok(())
            }
            None => {
                if piece.out.capacity() == 0 {
                    piece.out.reserve(piece.input.len() + piece.input.len() / 8);
                }
                piece.out.extend_from_slice(looked_at);
                Ok(())
            }
        }
    }

    /// From here to the next string.
    fn outside(&mut self, piece: &mut Piece<'_>) -> Result<(), Unrewritable> {
        if self.link.is_none() {
            self.skim(piece)?;
            if self.state != State::Outside {
                return Ok(());
            }
        }
        let rest = piece.input.get(piece.at..).unwrap_or_default();
        for (offset, byte) in rest.iter().enumerate() {
            match byte {
                b'"' => {
                    piece.at += offset + 1;
                    self.begin_string();
                    return Ok(());
                }
                b'{' | b'[' => {
                    let is_object = *byte == b'{';
                    if is_object && let Some(paged) = self.page_link() {
                        let before = piece.at;
                        piece.at += offset;
                        self.pass(piece)?;
                        piece.at = before;
                        self.link = Some(PageLink { paged, depth: self.frames.len(), text: Vec::with_capacity(256) });
                    }
                    self.open(is_object, self.name_of_next())?;
                }
                b'}' | b']' => {
                    self.close();
                    if self.link.as_ref().is_some_and(|link| link.depth == self.frames.len()) {
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

    /// The name of what stands next, as far as the keys that were read tell.
    fn name_of_next(&self) -> Name {
        self.frames.last().map_or(Name::Is(Key::Resource), |frame| frame.name_within())
    }

    /// An object or a list begins.
    fn open(&mut self, is_object: bool, name: Name) -> Result<(), Unrewritable> {
        if self.frames.len() >= MAXIMUM_DEPTH {
            return Err(Unrewritable::TooDeep);
        }
        if is_object && self.is_among_entries() {
            self.entries += 1;
        }
        self.frames.push(Container { is_object, name, key: Key::Other });
        self.expects_key = is_object;
        Ok(())
    }

    /// One ends.
    fn close(&mut self) {
        self.frames.pop();
        self.expects_key = false;
    }

    /// Whose pages an object that begins now is about, if it is an entry of a resource's `link`.
    fn page_link(&self) -> Option<Paged> {
        if self.pages.is_none() || self.link.is_some() {
            return None;
        }
        let [above @ .., resource, list] = self.frames.as_slice() else { return None };
        let is_link = !list.is_object && list.is_named(Key::Link);
        if !is_link || !resource.is_object || !resource.is_named(Key::Resource) {
            return None;
        }
        Some(match above {
            [] => Paged::Answer,
            [root, entries, _] if root.is_object && !entries.is_object && entries.is_named(Key::Entry) => {
                Paged::Entry(self.entries.saturating_sub(1))
            }
            _ => Paged::Within,
        })
    }

    fn is_among_entries(&self) -> bool {
        matches!(self.frames.as_slice(), [root, entries]
            if root.is_object && !entries.is_object && entries.is_named(Key::Entry))
    }

    fn end_link(&mut self, piece: &mut Piece<'_>) -> Result<(), Unrewritable> {
        self.pass(piece)?;
        let Some(PageLink { paged, text, .. }) = self.link.take() else { return Ok(()) };
        let mut value: Value = serde_json::from_slice(&text).map_err(|_| Unrewritable::Link)?;
        let member = |name: &str| value.get(name).and_then(Value::as_str);
        if let (Some(pages), Some(url)) = (&self.pages, member("url")) {
            let place = pages.place(paged, member("relation").unwrap_or_default(), url);
            if let Some(url) = value.get_mut("url") {
                *url = place.into();
            }
            piece.out.extend_from_slice(value.to_string().as_bytes());
            return Ok(());
        }
        // Something else by the name of link, such as a Patient's.
        let mut inner = Self::new(&self.from, &String::from_utf8_lossy(&self.to));
        if inner.push(&text, piece.out)? {
            piece.out.extend_from_slice(&text);
        }
        Ok(())
    }

    fn begin_string(&mut self) {
        self.state = if self.expects_key {
            self.key.clear();
            State::InKey { escaped: false }
        } else if self.is_place() {
            State::Beginning
        } else {
            State::InString { escaped: false }
        };
    }

    fn is_place(&self) -> bool {
        self.link.is_none()
            && self.frames.last().is_some_and(|frame| match frame.name_within() {
                Name::Is(Key::Place) => true,
                Name::Is(Key::Url) => !frame.is_named(Key::Extension) && !frame.is_named(Key::Resource),
                Name::Is(Key::Extension | Key::Resource | Key::Link | Key::Entry | Key::Other) | Name::Before(_) => {
                    false
                }
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
    fn beginning(&mut self, piece: &mut Piece<'_>) {
        let rest = piece.input.get(piece.at..).unwrap_or_default();
        if self.held.is_empty() {
            let exact = rest.strip_prefix(self.from.as_bytes()).and_then(<[u8]>::first);
            if matches!(exact, Some(b'/' | b'?' | b'#' | b'"' | b'\\')) {
                self.replace(piece, self.from.len());
                return;
            }
            if !matches!(rest.first(), Some(b'h' | b'H')) {
                self.state = State::InString { escaped: false };
                return;
            }
        }
        let behind = rest.get(..self.window().saturating_sub(self.held.len())).unwrap_or(rest);
        let beginning = if self.held.is_empty() {
            look(&self.from, behind)
        } else {
            look(&self.from, &[self.held.as_slice(), behind].concat())
        };
        match beginning {
            // What is held back alone decided nothing, so the base does not end before its end.
            Beginning::Base(length) => {
                let behind = length.saturating_sub(self.held.len());
                self.held.clear();
                self.replace(piece, behind);
            }
            Beginning::Open if behind.len() == rest.len() => {
                let _infallible = self.pass(piece);
                self.held.extend_from_slice(rest);
                piece.at = piece.input.len();
                piece.passed = piece.at;
            }
            Beginning::Open | Beginning::Other => {
                piece.out.extend_from_slice(&self.held);
                self.state = State::InString { escaped: self.held.last() == Some(&b'\\') };
                self.held.clear();
            }
        }
    }

    /// How many bytes decide whether a string begins with the base: every byte of another spelling may be escaped, as far
    /// as that is seen here.
    const fn window(&self) -> usize {
        2 * (self.from.len() + LONGER)
    }

    /// Writes the other base in place of the bytes that come.
    fn replace(&mut self, piece: &mut Piece<'_>, length: usize) {
        let _infallible = self.pass(piece);
        piece.out.extend_from_slice(&self.to);
        piece.at += length;
        piece.passed = piece.at;
        self.state = State::InString { escaped: false };
    }
}

/// A piece of the body, as far as it was looked at (`at`) and passed on (`passed`).
struct Piece<'piece> {
    input: &'piece [u8],
    at: usize,
    passed: usize,
    /// As far as this it was skimmed; what lies before is gone through string by string.
    skim_from: usize,
    out: &'piece mut BytesMut,
}

/// How a JSON string begins, from behind its quote. JSON may write a slash as `\/`; any other escape ends the base.
fn look(base: &str, string: &[u8]) -> Beginning {
    let longest = base.len() + LONGER;
    let mut plain = Vec::with_capacity(longest);
    let mut rest = string;
    while plain.len() < longest {
        rest = match rest {
            [b'\\', b'/', rest @ ..] => {
                plain.push(b'/');
                rest
            }
            // The string ends here, or what is escaped is no slash.
            [byte @ (b'\\' | b'"'), _, ..] | [byte @ b'"'] => {
                plain.push(*byte);
                break;
            }
            // What it escapes is not known yet. Whatever it is, a base that is whole ends here.
            [b'\\'] => {
                let base = BaseUrl::new(base);
                let so_far = base.beginning(&plain);
                plain.push(b'\\');
                return match base.beginning(&plain) {
                    Beginning::Base(length) => Beginning::Base(written(string, length)),
                    Beginning::Open | Beginning::Other => so_far,
                };
            }
            [byte, rest @ ..] => {
                plain.push(*byte);
                rest
            }
            [] => break,
        };
    }
    match BaseUrl::new(base).beginning(&plain) {
        Beginning::Base(length) => Beginning::Base(written(string, length)),
        undecided => undecided,
    }
}

/// In how many bytes so many unescaped ones were written.
fn written(string: &[u8], length: usize) -> usize {
    (0..length).fold(0, |at, _| at + if string.get(at) == Some(&b'\\') { 2 } else { 1 })
}
