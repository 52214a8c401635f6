//! Source text that may be shown: whatever a Secret says is blotted out, letter by letter, so that lines and columns
//! stay as they are.

use std::ops::Range;

use serde_json::Value;

use super::document::{Document, Spans};

/// Fields of a Secret's top level and metadata that may be seen.
const SHOWN: [&str; 4] = ["apiVersion", "kind", "type", "immutable"];
const SHOWN_METADATA: [&str; 3] = ["name", "namespace", "labels"];

/// The text, with stars for everything in documents with Secrets but their keys, names and labels, and whatever else
/// such a document holds that is not a Secret. Comments in it are blotted out too.
pub fn masked(text: &str, documents: &[Document]) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut done = 0;
    for document in documents.iter().filter(|document| holds_secret(&document.value)) {
        let mut visible = Vec::new();
        show(&document.spans, &document.value, &mut visible);
        visible.sort_by_key(|range| range.start);
        shown.push_str(text.get(done..document.bytes.start).unwrap_or_default());
        blot(text, &document.bytes, &visible, &mut shown);
        done = document.bytes.end;
    }
    shown.push_str(text.get(done..).unwrap_or_default());
    shown
}

fn holds_secret(value: &Value) -> bool {
    let is = |kind| value.get("kind").and_then(Value::as_str) == Some(kind);
    is("Secret") || value.get("items").and_then(Value::as_array).is_some_and(|items| items.iter().any(holds_secret))
}

fn blot(text: &str, range: &Range<usize>, visible: &[Range<usize>], shown: &mut String) {
    let mut visible = visible.iter().peekable();
    let mut was_visible = false;
    for (offset, letter) in text.get(range.clone()).unwrap_or_default().char_indices() {
        let at = range.start + offset;
        while visible.next_if(|range| range.end <= at).is_some() {}
        let is_visible = visible.peek().is_some_and(|range| range.contains(&at));
        // The colon behind a key tells nothing, and without it the text looks broken.
        let is_shown = is_visible || letter.is_whitespace() || (was_visible && letter == ':');
        shown.push(if is_shown { letter } else { '*' });
        was_visible = is_visible;
    }
}

fn show(spans: &Spans, value: &Value, visible: &mut Vec<Range<usize>>) {
    if value.get("kind").and_then(Value::as_str) == Some("Secret") {
        show_secret(spans, visible);
    } else if holds_secret(value) {
        for (key, bytes, below) in spans.entries() {
            visible.push(bytes.clone());
            match (key, value.get("items").and_then(Value::as_array)) {
                ("items", Some(items)) => {
                    for (below, item) in below.items().iter().zip(items) {
                        show(below, item, visible);
                    }
                }
                _ => show_all(below, visible),
            }
        }
    } else {
        show_all(spans, visible);
    }
}

fn show_secret(spans: &Spans, visible: &mut Vec<Range<usize>>) {
    for (key, bytes, below) in spans.entries() {
        visible.push(bytes.clone());
        match key {
            key if SHOWN.contains(&key) => show_all(below, visible),
            "metadata" => {
                for (key, bytes, below) in below.entries() {
                    visible.push(bytes.clone());
                    if SHOWN_METADATA.contains(&key) {
                        show_all(below, visible);
                    } else {
                        visible.extend(below.entries().map(|(_, bytes, _)| bytes.clone()));
                    }
                }
            }
            _ => visible.extend(below.entries().map(|(_, bytes, _)| bytes.clone())),
        }
    }
}

fn show_all(spans: &Spans, visible: &mut Vec<Range<usize>>) {
    visible.push(spans.bytes());
    visible.extend(spans.entries().map(|(_, bytes, _)| bytes.clone()));
    for (_, _, below) in spans.entries() {
        show_all(below, visible);
    }
    for below in spans.items() {
        show_all(below, visible);
    }
}

#[cfg(test)]
mod tests {
    use super::masked;
    use crate::source::document::parse;

    fn shown(text: &str) -> String {
        masked(text, &parse(text).unwrap())
    }

    #[test]
    fn nothing_of_a_secret_is_shown_but_its_names() {
        assert_eq!(
            shown(
                "kind: App\nspec: {a: b} # open\n---\n# the old one: hunter1\nkind: Secret\nmetadata:\n  name: s\n  annotations:\n    last: '{\"p\":\"hunter2\"}'\nstringData:\n  pass: \"hunter2\"\n  pem: |\n    line one\n    line zwö\n---\na: b\n"
            ),
            "kind: App\nspec: {a: b} # open\n***\n* *** *** **** *******\nkind: Secret\nmetadata:\n  name: s\n  annotations:\n    last: *****************\nstringData:\n  pass: *********\n  pem: *\n    **** ***\n    **** ***\n---\na: b\n"
        );
    }

    #[test]
    fn a_list_shows_what_is_not_a_secret() {
        assert_eq!(
            shown("kind: List\nitems:\n- kind: App\n  name: open\n- kind: Secret\n  data: {k: aHVudGVyMg==}\n"),
            "kind: List\nitems:\n* kind: App\n  name: open\n* kind: Secret\n  data: *k: *************\n"
        );
    }

    #[test]
    fn an_alias_into_a_secret_shows_nothing() {
        let text = "kind: Secret\nstringData: {a: &a hunter2, b: *a}\nmetadata: {name: *a}\n";
        assert_eq!(shown(text), "kind: Secret\nstringData: *a: ** ******** b: ***\nmetadata: *name: *a*\n");
    }
}
