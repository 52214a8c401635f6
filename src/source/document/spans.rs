//! Where each part of a document stands.

use std::ops::Range;

use granit_parser::Marker;

/// A line and a column, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Position {
    /// The first character of a text.
    pub const START: Self = Self { line: 1, column: 1 };

    pub(super) fn of(marker: &Marker) -> Self {
        let from_one = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).max(1);
        Self { line: from_one(marker.line()), column: from_one(marker.col().saturating_add(1)) }
    }
}

/// Which part of a field a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its key: the field should not be there, or something below it is missing.
    Key,
    /// Its value.
    Value,
}

/// The places of a value and of all that is in it.
#[derive(Clone, Debug)]
pub struct Spans {
    pub(super) position: Position,
    pub(super) bytes: Range<usize>,
    pub(super) parts: Parts,
}

#[derive(Clone, Debug)]
pub(super) enum Parts {
    Scalar,
    Sequence(Box<[Spans]>),
    Mapping(Box<[Entry]>),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Box<str>,
    pub(super) position: Position,
    pub(super) bytes: Range<usize>,
    pub(super) value: Spans,
}

impl Spans {
    /// The place of the value at a path such as `spec.redirectUris[0]`, or of the nearest thing above it that exists.
    ///
    /// Keys may contain dots (`metadata.labels.hearthgate.dev/use`): the longest key that fits is taken.
    pub fn locate(&self, path: &str, place: Place) -> Position {
        let mut here = self;
        let mut key = None;
        let mut rest = path;
        while !rest.is_empty() {
            match here.step(rest) {
                Some((next, next_key, next_rest)) => {
                    here = next;
                    key = next_key;
                    rest = next_rest;
                }
                // Something is missing below: whoever adds it looks for the key of the mapping.
                None => return key.unwrap_or(here.position),
            }
        }
        match (place, key, &here.parts) {
            (Place::Value, Some(_), Parts::Scalar) | (_, None, _) => here.position,
            (Place::Key | Place::Value, Some(key), _) => key,
        }
    }

    /// The value at a path, if it exists.
    pub fn get(&self, path: &str) -> Option<&Self> {
        let mut here = self;
        let mut rest = path;
        while !rest.is_empty() {
            (here, _, rest) = here.step(rest)?;
        }
        Some(here)
    }

    /// Where the value begins.
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The entries of a mapping: key, bytes of the key, value.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Range<usize>, &Self)> {
        let entries = match &self.parts {
            Parts::Mapping(entries) => entries.iter(),
            Parts::Scalar | Parts::Sequence(_) => [].iter(),
        };
        entries.map(|entry| (&*entry.key, &entry.bytes, &entry.value))
    }

    /// The items of a sequence.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.parts {
            Parts::Sequence(items) => items,
            Parts::Scalar | Parts::Mapping(_) => &[],
        }
    }

    /// The bytes of a scalar, quotes included.
    pub(crate) fn bytes(&self) -> Range<usize> {
        self.bytes.clone()
    }

    fn step<'a, 'p>(&'a self, path: &'p str) -> Option<(&'a Self, Option<Position>, &'p str)> {
        match &self.parts {
            Parts::Scalar => None,
            Parts::Sequence(items) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                let item = items.get(index.parse::<usize>().ok()?)?;
                Some((item, None, rest.strip_prefix('.').unwrap_or(rest)))
            }
            Parts::Mapping(entries) => entries
                .iter()
                .filter_map(|entry| {
                    let rest = path.strip_prefix(&*entry.key)?;
                    let ends_here = rest.is_empty() || rest.starts_with(['.', '[']);
                    ends_here.then(|| (entry, rest.strip_prefix('.').unwrap_or(rest)))
                })
                .max_by_key(|(entry, _)| entry.key.len())
                .map(|(entry, rest)| (&entry.value, Some(entry.position), rest)),
        }
    }
}
