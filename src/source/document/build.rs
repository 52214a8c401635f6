//! Parser events become one value and its places.

use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, ScalarStyle, Span, Tag};
use serde_json::{Map, Value};

use super::spans::{Entry, Parts};
use super::{MAX_ALIASES, MAX_DEPTH, MAX_DOCUMENT_BYTES, MAX_VALUES, Position, Reason, Spans, scalar};

/// A value that is complete.
#[derive(Clone)]
struct Node {
    value: Value,
    spans: Spans,
    weight: Weight,
}

/// What a value costs wherever an alias repeats it.
#[derive(Clone, Copy, Default)]
struct Weight {
    values: usize,
    bytes: usize,
    height: usize,
}

impl Weight {
    fn add(&mut self, child: Self) {
        self.values = self.values.saturating_add(child.values);
        self.bytes = self.bytes.saturating_add(child.bytes);
        self.height = self.height.max(child.height.saturating_add(1));
    }
}

/// A collection that has begun and not ended.
struct Open {
    position: Position,
    anchor: usize,
    weight: Weight,
    content: Content,
}

enum Content {
    Sequence {
        values: Vec<Value>,
        spans: Vec<Spans>,
    },
    Mapping {
        values: Map<String, Value>,
        entries: Vec<Entry>,
        lines: HashMap<String, u32>,
        merged: Vec<Node>,
        next: Next,
    },
}

/// What a mapping waits for.
enum Next {
    Key,
    Value { key: String, position: Position, bytes: Range<usize> },
    Merge,
}

/// Builds one document.
#[derive(Default)]
pub(super) struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, Node>,
    spent: Weight,
    aliases: usize,
}

impl Builder {
    /// The document, once all its events were observed. Without any: `null` at the place given.
    pub(super) fn finish(self, position: Position) -> (Value, Spans) {
        self.root.map_or_else(
            || (Value::Null, Spans { position, bytes: 0..0, parts: Parts::Scalar }),
            |root| (root.value, root.spans),
        )
    }

    pub(super) fn observe(&mut self, event: Event<'_>, span: &Span) -> Result<(), Reason> {
        let position = Position::of(&span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style == ScalarStyle::Plain, anchor, tag.as_deref(), position, span)
            }
            Event::SequenceStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), "seq")?;
                self.begin(position, anchor, Content::Sequence { values: Vec::new(), spans: Vec::new() })
            }
            Event::MappingStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), "map")?;
                let content = Content::Mapping {
                    values: Map::new(),
                    entries: Vec::new(),
                    lines: HashMap::new(),
                    merged: Vec::new(),
                    next: Next::Key,
                };
                self.begin(position, anchor, content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, position, span),
            Event::StreamStart | Event::StreamEnd | Event::Comment(..) => Ok(()),
            // Documents are the caller's, and what else there is was not asked for: never ignore a node unseen.
            _ => Err(Reason::Syntax("a construct that is not supported".into())),
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        plain: bool,
        anchor: usize,
        tag: Option<&Tag>,
        position: Position,
        span: &Span,
    ) -> Result<(), Reason> {
        let bytes = span.byte_range().unwrap_or(0..0);
        if let Some(Open { content: Content::Mapping { lines, next, values, .. }, weight, .. }) = self.open.last_mut()
            && matches!(next, Next::Key)
        {
            if plain && tag.is_none() && text == "<<" {
                if !values.is_empty() {
                    return Err(Reason::MergeNotFirst);
                }
                *next = Next::Merge;
                return Ok(());
            }
            let key = scalar::key(text, plain, tag)?;
            weight.bytes = weight.bytes.saturating_add(key.len());
            if let Some(first) = lines.insert(key.clone(), position.line) {
                return Err(Reason::DuplicateKey { key, first });
            }
            let cost = Weight { values: 0, bytes: key.len(), height: 0 };
            *next = Next::Value { key, position, bytes };
            return self.spend(cost);
        }
        let weight = Weight { values: 1, bytes: text.len(), height: 0 };
        self.spend(weight)?;
        let value = scalar::value(text, plain, tag)?;
        self.place(Node { value, spans: Spans { position, bytes, parts: Parts::Scalar }, weight }, anchor)
    }

    fn begin(&mut self, position: Position, anchor: usize, content: Content) -> Result<(), Reason> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Reason::TooDeep);
        }
        if let Some(Open { content: Content::Mapping { next: Next::Key, .. }, .. }) = self.open.last() {
            return Err(Reason::KeyNotString);
        }
        let weight = Weight { values: 1, bytes: 0, height: 0 };
        self.spend(weight)?;
        self.open.push(Open { position, anchor, weight, content });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Reason> {
        // The parser pairs the two; without a beginning there is nothing to end.
        let Some(Open { position, anchor, weight, content }) = self.open.pop() else { return Ok(()) };
        let (value, parts) = match content {
            Content::Sequence { values, spans } => (Value::Array(values), Parts::Sequence(spans.into())),
            Content::Mapping { mut values, mut entries, merged, .. } => {
                for node in merged {
                    merge(node, &mut values, &mut entries)?;
                }
                (Value::Object(values), Parts::Mapping(entries.into()))
            }
        };
        self.place(Node { value, spans: Spans { position, bytes: 0..0, parts }, weight }, anchor)
    }

    fn alias(&mut self, anchor: usize, position: Position, span: &Span) -> Result<(), Reason> {
        self.aliases += 1;
        if self.aliases > MAX_ALIASES {
            return Err(Reason::TooManyAliases);
        }
        if let Some(Open { content: Content::Mapping { next: Next::Key, .. }, .. }) = self.open.last() {
            return Err(Reason::KeyNotString);
        }
        // An anchor that is known to the parser and not yet complete is one that we stand in.
        let target = self.anchors.get(&anchor).ok_or(Reason::EndlessAlias)?;
        let weight = target.weight;
        if self.open.len().saturating_add(weight.height) > MAX_DEPTH {
            return Err(Reason::TooDeep);
        }
        self.spend(weight)?;
        let mut node = self.anchors.get(&anchor).cloned().ok_or(Reason::EndlessAlias)?;
        node.spans.position = position;
        node.spans.bytes = span.byte_range().unwrap_or(0..0);
        self.place(node, 0)
    }

    fn spend(&mut self, weight: Weight) -> Result<(), Reason> {
        self.spent.add(weight);
        if self.spent.values > MAX_VALUES {
            return Err(Reason::TooManyValues);
        }
        if self.spent.bytes > MAX_DOCUMENT_BYTES {
            return Err(Reason::TooLarge);
        }
        Ok(())
    }

    fn place(&mut self, node: Node, anchor: usize) -> Result<(), Reason> {
        if anchor != 0 {
            // The anchor holds a copy: it costs like an alias.
            self.spend(node.weight)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        parent.weight.add(node.weight);
        match &mut parent.content {
            Content::Sequence { values, spans } => {
                values.push(node.value);
                spans.push(node.spans);
            }
            Content::Mapping { values, entries, merged, next, .. } => match std::mem::replace(next, Next::Key) {
                Next::Value { key, position, bytes } => {
                    entries.push(Entry { key: key.as_str().into(), position, bytes, value: node.spans });
                    values.insert(key, node.value);
                }
                Next::Merge => merged.push(node),
                Next::Key => return Err(Reason::KeyNotString),
            },
        }
        Ok(())
    }
}

/// Adds what `<<` brings and the mapping does not say itself; of several mappings, the first one wins.
fn merge(node: Node, values: &mut Map<String, Value>, entries: &mut Vec<Entry>) -> Result<(), Reason> {
    let (value, parts) = (node.value, node.spans.parts);
    match (value, parts) {
        (Value::Object(from), Parts::Mapping(places)) => {
            // Both are in the order in which they were read.
            for ((key, value), place) in from.into_iter().zip(places) {
                if !values.contains_key(&key) {
                    entries.push(place);
                    values.insert(key, value);
                }
            }
            Ok(())
        }
        (Value::Array(list), Parts::Sequence(places)) if list.iter().all(Value::is_object) => {
            for (value, spans) in list.into_iter().zip(places) {
                merge(Node { value, spans, weight: Weight::default() }, values, entries)?;
            }
            Ok(())
        }
        _ => Err(Reason::MergeNeedsMapping),
    }
}

fn check_tag(tag: Option<&Tag>, suffix: &str) -> Result<(), Reason> {
    match tag {
        None => Ok(()),
        Some(tag) if tag.is_yaml_core_schema_tag(suffix) => Ok(()),
        Some(tag) if tag.is_yaml_core_schema() => Err(Reason::TagMismatch(tag.original())),
        Some(tag) if tag.original() == "!" => Ok(()),
        Some(tag) => Err(Reason::UnknownTag(tag.original())),
    }
}
