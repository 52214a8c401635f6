//! Text, read as kubectl would read it: YAML (or JSON) documents become JSON values that know where they stand.
//!
//! What serde-saphyr offers is a value *or* a position; an error in `spec.scopes[3]` needs both. So this listens to the
//! events of the parser beneath it (granit), and in one pass builds the value, the positions, and the refusals: keys
//! that stand twice, aliases that grow, nesting without end.

mod build;
mod scalar;
mod spans;

use std::ops::Range;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScanError};
use serde_json::Value;

use self::build::Builder;
pub use self::spans::{Place, Position, Spans};

/// The largest document, in bytes. An API server refuses larger objects too (etcd takes 1.5 MiB).
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;
/// The most values that one document may hold, aliases expanded.
pub const MAX_VALUES: usize = 30_000;
/// The deepest nesting of mappings and sequences.
pub const MAX_DEPTH: usize = 100;
/// The most aliases in one document.
pub const MAX_ALIASES: usize = 500;
/// The most documents in one text.
pub const MAX_DOCUMENTS: usize = 20_000;

/// One document of a text. It may be a Secret, so `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Document {
    /// What it says, as JSON. `null` for an empty document.
    pub value: Value,
    /// Where everything in it stands.
    pub spans: Arc<Spans>,
    /// The bytes of the text that belong to it, comments included.
    pub bytes: Range<usize>,
}

impl std::fmt::Debug for Document {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Document").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// A text that cannot be read, with the place of the first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unreadable {
    /// Where.
    pub position: Position,
    /// Why.
    pub reason: Reason,
}

/// Why a text cannot be read. No sentence quotes a value: it may be a Secret's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The parser's own finding.
    #[error("not valid YAML: {0}")]
    Syntax(String),
    /// A key stands twice in one mapping.
    #[error("the key {key:?} stands twice in the same mapping (first in line {first}): remove one of the two")]
    DuplicateKey {
        /// The key.
        key: String,
        /// The line of the first one.
        first: u32,
    },
    /// A key is a mapping, a sequence or null.
    #[error("a key must be a plain word or a string: JSON knows no other keys")]
    KeyNotString,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested more than {MAX_DEPTH} levels deep: no object of Kubernetes is")]
    TooDeep,
    /// More than [`MAX_VALUES`] values.
    #[error("more than {MAX_VALUES} values in one document (aliases count as often as they are used): split it")]
    TooManyValues,
    /// More than [`MAX_ALIASES`] aliases.
    #[error("more than {MAX_ALIASES} aliases in one document: write the values out")]
    TooManyAliases,
    /// Larger than [`MAX_DOCUMENT_BYTES`], as it stands or with its aliases expanded.
    #[error("a document of more than 1 MiB: an API server would refuse it too")]
    TooLarge,
    /// More than [`MAX_DOCUMENTS`] documents.
    #[error("more than {MAX_DOCUMENTS} documents in one file: split it")]
    TooManyDocuments,
    /// An alias inside the very value that it stands for.
    #[error("an alias stands inside the value that it refers to: it would never end")]
    EndlessAlias,
    /// A tag that has no JSON form.
    #[error("the tag {0} has no meaning here: remove it")]
    UnknownTag(String),
    /// A core tag on a value that does not fit it.
    #[error("this value is not what its tag {0} says")]
    TagMismatch(String),
    /// `.nan` or `.inf`.
    #[error("not-a-number and infinity have no JSON form")]
    NotFinite,
    /// `%YAML` before a document.
    #[error("a %YAML directive is not understood by kubectl: remove the line")]
    Directive,
    /// `<<` with something else than mappings.
    #[error("the merge key << needs a mapping, or a list of mappings")]
    MergeNeedsMapping,
    /// `<<` behind other keys.
    #[error("the merge key << must come first in its mapping: behind other keys, kubectl lets it overwrite them")]
    MergeNotFirst,
}

/// Reads all documents of a text.
///
/// The first thing that is wrong makes the whole text unreadable: what follows a syntax error has no certain meaning.
pub fn parse(text: &str) -> Result<Vec<Document>, Unreadable> {
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut documents: Vec<Document> = Vec::new();
    let mut builder = Builder::default();
    let mut start = 0;
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| unreadable(&error))?;
        let position = Position::of(&span.start);
        let at = |reason| Unreadable { position, reason };
        match event {
            Event::DocumentStart(_, Some(_)) => return Err(at(Reason::Directive)),
            Event::DocumentStart(_, None) => {
                if documents.len() >= MAX_DOCUMENTS {
                    return Err(at(Reason::TooManyDocuments));
                }
                // What stands between two documents (comments) belongs to the first of them.
                if let Some(last) = documents.last_mut() {
                    start = span.start.byte_offset().unwrap_or(text.len());
                    last.bytes.end = start;
                }
                builder = Builder::default();
            }
            Event::DocumentEnd => {
                let (value, spans) = std::mem::take(&mut builder).finish(position);
                documents.push(Document { value, spans: Arc::new(spans), bytes: start..text.len() });
            }
            other => {
                builder.observe(other, &span).map_err(at)?;
                if span.end.byte_offset().unwrap_or(0).saturating_sub(start) > MAX_DOCUMENT_BYTES {
                    return Err(at(Reason::TooLarge));
                }
            }
        }
    }
    Ok(documents)
}

fn unreadable(error: &ScanError) -> Unreadable {
    let reason = match error.kind() {
        granit_parser::ErrorKind::RecursionLimitExceeded => Reason::TooDeep,
        _ => Reason::Syntax(error.info()),
    };
    Unreadable { position: Position::of(error.marker()), reason }
}

#[cfg(test)]
mod tests;
