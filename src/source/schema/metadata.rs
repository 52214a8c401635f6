//! `metadata`, the same for every kind (Kubernetes "Object Names and IDs", "Labels", "Annotations").

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Problem;
use super::structural::{is_time, join};
use super::words::{kind_of, nearest};
use crate::snapshot::resources::ObjectKey;

/// Where objects without a namespace belong, as with kubectl.
pub const DEFAULT_NAMESPACE: &str = "default";
/// The most that all annotations of an object may hold, in bytes.
const MAX_ANNOTATIONS_BYTES: usize = 256 * 1024;
/// What may stand in `metadata`; what an API server writes itself is read over, so that `kubectl get -o yaml` works.
const KNOWN: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
    "selfLink",
];

/// What is kept of `metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

/// Namespace and name, if they can be told, whatever else is wrong with the document.
pub(super) fn key(object: &Map<String, Value>) -> Option<ObjectKey> {
    let metadata = object.get("metadata")?;
    let name = metadata.get("name")?.as_str().filter(|name| is_subdomain(name))?;
    let namespace = match metadata.get("namespace") {
        None | Some(Value::Null) => DEFAULT_NAMESPACE,
        Some(namespace) => namespace.as_str().filter(|namespace| is_label(namespace))?,
    };
    Some(ObjectKey::new(namespace, name))
}

/// Checks `metadata` and keeps labels and annotations.
pub(super) fn check(object: &Map<String, Value>, problems: &mut Vec<Problem>) -> Metadata {
    let metadata = match object.get("metadata") {
        Some(Value::Object(metadata)) => metadata,
        None | Some(Value::Null) => {
            problems.push(Problem::value("metadata.name", "is required".into()));
            return Metadata::default();
        }
        Some(other) => {
            problems.push(Problem::value("metadata", format!("must be a mapping, not {}", kind_of(other))));
            return Metadata::default();
        }
    };
    for key in metadata.keys().filter(|key| !KNOWN.contains(&key.as_str())) {
        let known: Vec<_> = KNOWN.iter().map(|known| (*known).to_owned()).collect();
        let hint = nearest(key, known.iter()).map(|name| format!(": did you mean {name}?"));
        problems.push(Problem::key(&join("metadata", key), format!("unknown field{}", hint.unwrap_or_default())));
    }
    check_name(metadata, problems);
    match metadata.get("namespace") {
        None | Some(Value::Null) => {}
        Some(Value::String(namespace)) if is_label(namespace) => {}
        Some(Value::String(_)) => problems.push(Problem::value(
            "metadata.namespace",
            "must be at most 63 lower case letters, digits and hyphens, and begin and end with a letter or digit"
                .into(),
        )),
        Some(other) => {
            problems.push(Problem::value("metadata.namespace", format!("must be text, not {}", kind_of(other))));
        }
    }
    check_written_by_servers(metadata, problems);
    let labels = strings(metadata, "labels", problems);
    for (key, value) in &labels {
        let path = format!("metadata.labels.{key}");
        check_qualified(key, &path, problems);
        if !is_label_value(value) {
            problems.push(Problem::value(
                &path,
                "must be at most 63 letters, digits, '-', '_' and '.', and begin and end with a letter or digit".into(),
            ));
        }
    }
    let annotations = strings(metadata, "annotations", problems);
    for key in annotations.keys() {
        check_qualified(&key.to_ascii_lowercase(), &format!("metadata.annotations.{key}"), problems);
    }
    if annotations.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > MAX_ANNOTATIONS_BYTES {
        problems.push(Problem::value("metadata.annotations", "must be at most 256 KiB in all".into()));
    }
    Metadata { labels, annotations }
}

fn check_name(metadata: &Map<String, Value>, problems: &mut Vec<Problem>) {
    let named = matches!(metadata.get("name"), Some(name) if !name.is_null());
    if metadata.get("generateName").is_some_and(|name| !name.is_null()) && !named {
        problems.push(Problem::key(
            "metadata.generateName",
            "write metadata.name instead: a generated name would make another object at every apply".into(),
        ));
        return;
    }
    match metadata.get("name") {
        None | Some(Value::Null) => problems.push(Problem::value("metadata.name", "is required".into())),
        Some(Value::String(name)) if is_subdomain(name) => {}
        Some(Value::String(_)) => problems.push(Problem::value(
            "metadata.name",
            "must be at most 253 lower case letters, digits, '-' and '.', and each part between dots must begin and \
             end with a letter or digit"
                .into(),
        )),
        Some(other) => problems
            .push(Problem::value("metadata.name", format!("must be text, not {}: put it in quotes", kind_of(other)))),
    }
}

/// The fields that nobody writes by hand, and that a file from `kubectl get -o yaml` has: their values are not used, but
/// an API server would not decode others.
fn check_written_by_servers(metadata: &Map<String, Value>, problems: &mut Vec<Problem>) {
    for (field, value) in metadata {
        let path = join("metadata", field);
        let finding = match (field.as_str(), value) {
            (_, Value::Null) => None,
            ("creationTimestamp" | "deletionTimestamp", value) => (!value.as_str().is_some_and(is_time))
                .then(|| "must be an RFC 3339 time such as 2026-01-31T08:00:00Z".to_owned()),
            ("generation" | "deletionGracePeriodSeconds", value) => {
                (!value.is_i64()).then(|| format!("must be a whole number, not {}", kind_of(value)))
            }
            ("uid" | "resourceVersion" | "selfLink", value) => {
                (!value.is_string()).then(|| format!("must be text, not {}: put it in quotes", kind_of(value)))
            }
            ("ownerReferences" | "managedFields" | "finalizers", value) => {
                (!value.is_array()).then(|| format!("must be a list, not {}", kind_of(value)))
            }
            _ => None,
        };
        problems.extend(finding.map(|message| Problem::value(&path, message)));
    }
}

fn strings(metadata: &Map<String, Value>, field: &str, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let path = join("metadata", field);
    let entries = match metadata.get(field) {
        None | Some(Value::Null) => return BTreeMap::new(),
        Some(Value::Object(entries)) => entries,
        Some(other) => {
            problems.push(Problem::value(&path, format!("must be a mapping, not {}", kind_of(other))));
            return BTreeMap::new();
        }
    };
    let mut strings = BTreeMap::new();
    for (key, value) in entries {
        match value {
            Value::String(value) => {
                strings.insert(key.clone(), value.clone());
            }
            // As an API server decodes it.
            Value::Null => {
                strings.insert(key.clone(), String::new());
            }
            other => problems.push(Problem::value(
                &join(&path, key),
                format!("must be text, not {}: put it in quotes", kind_of(other)),
            )),
        }
    }
    strings
}

fn check_qualified(key: &str, path: &str, problems: &mut Vec<Problem>) {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if !prefix.is_none_or(is_subdomain) || name.is_empty() || !is_label_value(name) {
        problems.push(Problem::key(
            path,
            "the key must be a name of at most 63 letters, digits, '-', '_' and '.', with a DNS name and a slash \
             before it at most"
                .into(),
        ));
    }
}

/// DNS-1123 label.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// DNS-1123 subdomain.
fn is_subdomain(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_part)
}

fn is_label_value(text: &str) -> bool {
    text.len() <= 63
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && text.bytes().next().is_none_or(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().last().is_none_or(|byte| byte.is_ascii_alphanumeric())
}
