//! One field of one document changed in the text itself, so that comments and layout stay as somebody wrote them.

use serde_json::{Map, Value};

use super::document::{self, Document, Spans, Unreadable};

/// Why a text cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// It could not be read in the first place.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// No document begins at that line or above it.
    #[error("no document stands at line {0}")]
    NoDocument(usize),
    /// The field stands in a form that is not understood well enough.
    #[error("cannot set {path} to {number} without touching more than that: edit it by hand")]
    ByHand {
        /// The field.
        path: String,
        /// Its new value.
        number: u32,
    },
}

/// Sets a field to a number: the value is replaced where there is one, else the field (and what is missing above it) is
/// added as the first of its mapping. `line` (from 1) is one of the document's.
///
/// The result is read again before it is given: nothing else may differ.
pub fn set_number(text: &str, line: usize, path: &str, number: u32) -> Result<String, EditError> {
    let documents = document::parse(text)?;
    let index = document_at(text, &documents, line).ok_or(EditError::NoDocument(line))?;
    let by_hand = || EditError::ByHand { path: path.to_owned(), number };
    let before = documents.get(index).ok_or(EditError::NoDocument(line))?;
    let edited = replaced(text, &before.spans, path, number)
        .or_else(|| added(text, &before.spans, path, number))
        .ok_or_else(by_hand)?;
    let mut expected: Vec<Value> = documents.iter().map(|document| document.value.clone()).collect();
    if let Some(value) = expected.get_mut(index) {
        set(value, path, number).ok_or_else(by_hand)?;
    }
    let found: Vec<Value> = document::parse(&edited)?.into_iter().map(|document| document.value).collect();
    if found == expected { Ok(edited) } else { Err(by_hand()) }
}

/// The document that a line belongs to.
fn document_at(text: &str, documents: &[Document], line: usize) -> Option<usize> {
    let offset: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    documents.iter().position(|document| document.bytes.contains(&offset))
}

fn replaced(text: &str, spans: &Spans, path: &str, number: u32) -> Option<String> {
    let bytes = spans.get(path)?.bytes();
    let (before, rest) = text.split_at_checked(bytes.start)?;
    let after = rest.get(bytes.len()..)?;
    Some(format!("{before}{number}{after}"))
}

/// Adds the missing end of a path to the deepest mapping that is there.
fn added(text: &str, spans: &Spans, path: &str, number: u32) -> Option<String> {
    let borders = path.match_indices('.').map(|(index, _)| index);
    let (parent, missing) = borders
        .rev()
        .map(|border| (path.get(..border).unwrap_or_default(), path.get(border + 1..).unwrap_or_default()))
        .find(|(parent, _)| spans.get(parent).is_some())?;
    let first = spans.get(parent)?.entries().next().map(|(_, bytes, _)| bytes.start);
    let Some(at) = first else { return into_empty(text, spans, parent, missing, number) };
    let (before, after) = text.split_at_checked(at)?;
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let indentation = text.get(line_start..at)?;
    if indentation.bytes().all(|byte| byte == b' ') {
        let (before, after) = text.split_at_checked(above_comments(text, line_start))?;
        Some(format!("{before}{indentation}{}\n{after}", block(missing, number, indentation)))
    } else if indentation.bytes().all(|byte| matches!(byte, b' ' | b'-')) {
        let indentation = " ".repeat(indentation.len());
        Some(format!("{before}{}\n{indentation}{after}", block(missing, number, &indentation)))
    } else {
        Some(format!("{before}{}, {after}", flow(missing, number)))
    }
}

/// Where the comments begin that stand right above a line: they belong to what is in it.
fn above_comments(text: &str, line_start: usize) -> usize {
    let above = text.get(..line_start).unwrap_or_default();
    let comments = above.split_inclusive('\n').rev().take_while(|line| line.trim_start().starts_with('#'));
    line_start - comments.map(str::len).sum::<usize>()
}

/// `{}`: nothing in it tells where it is, but its key does.
fn into_empty(text: &str, spans: &Spans, parent: &str, missing: &str, number: u32) -> Option<String> {
    let (above, name) = parent.rsplit_once('.')?;
    let key = spans.get(above)?.entries().find(|(key, ..)| *key == name)?.1.clone();
    let (before, rest) = text.split_at_checked(key.end)?;
    let opening = rest.find('{')?;
    let closing = rest.find('}')?;
    let is_empty = rest.get(opening + 1..closing).is_some_and(|inside| inside.trim().is_empty());
    let leads_there = rest.get(..opening).is_some_and(|between| between.trim() == ":");
    let after = rest.get(closing + 1..)?;
    let colon = rest.get(..opening)?;
    (is_empty && leads_there).then(|| format!("{before}{colon}{{{}}}{after}", flow(missing, number)))
}

/// `a.b` as lines, the first without its indentation.
fn block(path: &str, number: u32, indentation: &str) -> String {
    match path.split_once('.') {
        None => format!("{path}: {number}"),
        Some((first, rest)) => {
            let deeper = format!("{indentation}  ");
            format!("{first}:\n{deeper}{}", block(rest, number, &deeper))
        }
    }
}

/// `a.b` in one line.
fn flow(path: &str, number: u32) -> String {
    match path.split_once('.') {
        None => format!("{path}: {number}"),
        Some((first, rest)) => format!("{first}: {{{}}}", flow(rest, number)),
    }
}

/// Sets the field in the value, as the text should have it. `None`: something on the way is no mapping.
fn set(value: &mut Value, path: &str, number: u32) -> Option<()> {
    let (first, rest) = match path.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    };
    let here = match first.split_once('[') {
        // `items[3]`
        Some((name, index)) => {
            value.as_object_mut()?.get_mut(name)?.get_mut(index.strip_suffix(']')?.parse::<usize>().ok()?)?
        }
        None => value.as_object_mut()?.entry(first).or_insert(Value::Object(Map::new())),
    };
    match rest {
        Some(rest) => set(here, rest, number),
        None => {
            *here = number.into();
            Some(())
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{EditError, set_number};

    #[rstest]
    #[case("spec:\n  key: # why\n    revision: 1 # first\n", "spec:\n  key: # why\n    revision: 2 # first\n")]
    #[case::a_comment_stays_with_its_field(
        "spec:\n  # of the key\n  key:\n    # of the name,\n    # in two lines\n    name: x\n",
        "spec:\n  # of the key\n  key:\n    revision: 2\n    # of the name,\n    # in two lines\n    name: x\n"
    )]
    #[case::a_comment_of_what_is_above_stays_there(
        "spec:\n  key:\n    # of all of it\n\n    name: x\n",
        "spec:\n  key:\n    # of all of it\n\n    revision: 2\n    name: x\n"
    )]
    #[case("spec:\n  # kept\n  other: 1\n", "spec:\n  key:\n    revision: 2\n  # kept\n  other: 1\n")]
    #[case("spec:\n  other: 1\n", "spec:\n  key:\n    revision: 2\n  other: 1\n")]
    #[case("spec: {other: 1}\n", "spec: {key: {revision: 2}, other: 1}\n")]
    #[case("spec: {key: {}}\n", "spec: {key: {revision: 2}}\n")]
    #[case("{\"spec\": {\"key\": {\"revision\": 1}}}", "{\"spec\": {\"key\": {\"revision\": 2}}}")]
    #[case("spec: # {\n  key: {}\n", "spec: # {\n  key: {revision: 2}\n")]
    fn the_field_alone_changes(#[case] before: &str, #[case] after: &str) {
        assert_eq!(set_number(before, 1, "spec.key.revision", 2).unwrap(), after);
    }

    #[test]
    fn of_several_documents_the_one_at_the_line_is_meant() {
        let text = "a: {m: 1}\n---\n# second\na: {m: 1}\n";
        assert_eq!(set_number(text, 4, "a.m", 5).unwrap(), "a: {m: 1}\n---\n# second\na: {m: 5}\n");
        let list = "items:\n- a: {m: 1}\n- a: {m: 1}\n";
        assert_eq!(set_number(list, 3, "items[1].a.m", 5).unwrap(), "items:\n- a: {m: 1}\n- a: {m: 5}\n");
    }

    #[rstest]
    #[case("a: &x {m: 1}\nb: *x\n", "a.m")]
    #[case("a: x\n", "a.m")]
    fn where_more_would_change_nothing_does(#[case] text: &str, #[case] path: &str) {
        assert!(matches!(set_number(text, 1, path, 2), Err(EditError::ByHand { .. })));
    }

    #[test]
    fn what_is_no_yaml_is_refused() {
        assert!(matches!(set_number("a: [", 1, "a", 2), Err(EditError::Unreadable(_))));
    }
}
