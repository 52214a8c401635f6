//! One file, read: each document judged by itself, with the places of all that is in it.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::document::{self, Place, Position, Spans};
use super::mask::masked;
use super::parallel;
use super::schema::{self, Document, Problem, Valid};
use crate::snapshot::resources::{Location, ObjectReference};
use crate::values::code::Code;

/// One file, read.
#[derive(Debug)]
pub struct Reading {
    /// What people call the file.
    pub file: Arc<str>,
    /// What stands in it. Of a file that cannot be read: why.
    pub outcome: Result<Vec<Entry>, Failure>,
    /// The text as it may be shown: nothing of a Secret is in it. `None`: nothing of it may be shown.
    pub text: Option<Arc<str>>,
}

/// Why a file cannot be read as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What is wrong, for a person.
    pub message: String,
    /// Where.
    pub location: Location,
}

/// One object of a file.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is.
    pub finding: Finding,
    /// Where it stands.
    pub source: Source,
}

/// What a document turned out to be.
#[derive(Clone, Debug)]
pub enum Finding {
    /// An object that an API server would accept.
    Valid(Box<Valid>),
    /// One that it would refuse.
    Invalid {
        /// Which object, as far as it can be told.
        reference: Option<ObjectReference>,
        /// What sort of finding.
        code: Code,
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// Not for us; what it is, in a few words.
    Foreign(String),
}

/// Where an object stands.
#[derive(Clone, Debug)]
pub struct Source {
    file: Arc<str>,
    spans: Arc<Spans>,
    /// The object's place in its document, such as `items[3]` in a list.
    prefix: String,
}

impl Source {
    /// The file.
    pub fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// The object's place in its document, such as `items[3]`; empty: it is the document.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The place of a field such as `spec.scopes[0]`, or of the nearest thing above it that stands in the file.
    pub fn locate(&self, path: &str, place: Place) -> Location {
        let path = match (self.prefix.is_empty(), path.is_empty()) {
            (true, _) => path.to_owned(),
            (false, true) => self.prefix.clone(),
            (false, false) => format!("{}.{path}", self.prefix),
        };
        location(&self.file, self.spans.locate(&path, place))
    }
}

/// Reads the text of one file. Objects without a namespace are in `default`, as with kubectl.
pub fn read(file: &str, text: &str) -> Reading {
    read_in(schema::DEFAULT_NAMESPACE, file, text)
}

/// The same, where objects without a namespace are in this one, as with `kubectl -n`.
pub fn read_in(namespace: &str, file: &str, text: &str) -> Reading {
    let file: Arc<str> = file.into();
    match document::parse(text) {
        Ok(documents) => {
            let text = masked(text, &documents).into();
            let judged = parallel::each(
                &documents,
                |document| {
                    let (file, spans) = (file.clone(), Arc::clone(&document.spans));
                    let mut entries = Vec::new();
                    judge(namespace, &document.value, Source { file, spans, prefix: String::new() }, &mut entries);
                    entries
                },
                |_| {},
            );
            let entries = judged.into_iter().flatten().collect();
            Reading { file, outcome: Ok(entries), text: Some(text) }
        }
        Err(error) => {
            let location = location(&file, error.position);
            // Without its structure, nobody can tell what in it is secret.
            let text = (!text.contains("Secret")).then(|| text.into());
            Reading { file, outcome: Err(Failure { message: error.to_string(), location }), text }
        }
    }
}

/// A file that could not even be opened.
pub fn unreadable(file: &str, error: &super::files::FileError) -> Reading {
    let location = location(file, Position::START);
    Reading { file: file.into(), outcome: Err(Failure { message: error.to_string(), location }), text: None }
}

fn judge(namespace: &str, value: &Value, source: Source, entries: &mut Vec<Entry>) {
    let finding = match schema::recognise(value) {
        Document::Empty => return,
        Document::Foreign(what) => Finding::Foreign(what),
        Document::Malformed(problem) => {
            Finding::Invalid { reference: None, code: Code::InvalidDocument, problems: vec![problem] }
        }
        Document::List(items) => {
            for (index, item) in items.iter().enumerate() {
                let dot = if source.prefix.is_empty() { "" } else { "." };
                let prefix = format!("{}{dot}items[{index}]", source.prefix);
                judge(namespace, item, Source { prefix, ..source.clone() }, entries);
            }
            return;
        }
        Document::Object(kind, object) => {
            let object = &*placed(namespace, object);
            match schema::validate(kind, object) {
                Ok(valid) => Finding::Valid(Box::new(valid)),
                Err(problems) => {
                    let reference = schema::reference(kind, object);
                    Finding::Invalid { reference, code: Code::InvalidSpec, problems }
                }
            }
        }
    };
    entries.push(Entry { finding, source });
}

/// The object, in `namespace` where it says nothing else.
fn placed<'object>(namespace: &str, object: &'object Map<String, Value>) -> Cow<'object, Map<String, Value>> {
    let is_elsewhere = |metadata: &Value| metadata.get("namespace").is_some_and(|own| !own.is_null());
    match object.get("metadata") {
        Some(metadata @ Value::Object(_)) if namespace != schema::DEFAULT_NAMESPACE && !is_elsewhere(metadata) => {
            let mut object = object.clone();
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.insert("namespace".to_owned(), namespace.into());
            }
            Cow::Owned(object)
        }
        Some(_) | None => Cow::Borrowed(object),
    }
}

fn location(file: &str, position: Position) -> Location {
    let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    Location { file: file.to_owned(), line: number(position.line), column: number(position.column) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{Finding, read};
    use crate::source::document::Place;

    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            "(https://a.example/|Public|System|RS384|default|2026-01-31T08:00:00Z)".prop_map(Value::from),
        ];
        let field = "(apiVersion|kind|metadata|spec|name|namespace|labels|items|clientType|jwks|keys|scopes|\
                     ehrAuthentication|system|backendAuth|keyPair|expiresAt|data|stringData|[a-z.\\[\\]]{0,6})";
        leaf.prop_recursive(5, 60, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(field, inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let reading = read("x.yaml", &String::from_utf8_lossy(&bytes));
            prop_assert!(reading.outcome.is_err() || reading.text.is_some());
        }

        #[test]
        fn arbitrary_objects_of_known_kinds_never_panic(
            head in "(App|Gateway|DataAdapter|Activation|Secret|ConfigMap|List)",
            metadata in anything(),
            spec in anything(),
        ) {
            let version = if ["Secret", "ConfigMap", "List"].contains(&head.as_str()) { "v1" } else { "hearthgate.dev/v1alpha1" };
            let object = json!({
                "apiVersion": version, "kind": head, "metadata": metadata, "spec": spec, "data": spec, "items": [spec],
            });
            for entry in read("x.yaml", &object.to_string()).outcome.unwrap_or_default() {
                if let Finding::Invalid { problems, .. } = entry.finding {
                    for problem in problems {
                        let location = entry.source.locate(&problem.path, problem.place);
                        prop_assert_eq!(location.line, 1);
                    }
                }
                let _ = entry.source.locate("spec.scopes[0]", Place::Key);
            }
        }

        #[test]
        fn what_a_secret_says_is_never_told(value in "[a-zA-Z0-9+/=]{8,40}", broken in 0..8) {
            let value = format!("hunter{value}");
            let text = match broken {
                0 => format!("data:\n  key: {value}\n"),
                1 => format!("stringData:\n  key: [{value}]\n"),
                2 => format!("stringData: {value}\n"),
                3 => format!("stringData:\n  key: {{{value}: {value}}}\n"),
                4 => format!("stringData:\n  key: |\n    {value}\n   {value}\n"),
                5 => format!("stringData:\n  key: \"{value}\n"),
                6 => format!("stringData:\n  key: {value} # {value}\nimmutable: {value}\n"),
                _ => format!("# {value}\nstringData:\n  key: !!int {value}\n"),
            };
            let text = format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\n  labels: {{hearthgate.dev/use: credential}}\n{text}");
            let reading = read("x.yaml", &text);
            // `immutable` is no place for a secret, and shown as it is.
            let shown = reading.text.as_deref().unwrap_or_default();
            let shown: Vec<_> = shown.lines().filter(|line| !line.starts_with("immutable")).collect();
            prop_assert!(!shown.join("\n").contains("hunter"), "{:?}", shown);
            let told: Vec<_> = match reading.outcome {
                Err(failure) => vec![failure.message],
                Ok(entries) => entries
                    .into_iter()
                    .flat_map(|entry| match entry.finding {
                        Finding::Invalid { problems, .. } => problems.iter().map(ToString::to_string).collect(),
                        Finding::Valid(valid) => vec![format!("{valid:?}")],
                        Finding::Foreign(what) => vec![what],
                    })
                    .collect(),
            };
            prop_assert!(!told.concat().contains("hunter"), "{:?}", told);
        }
    }
}
