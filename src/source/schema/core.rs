//! `v1/Secret` and `v1/ConfigMap`. No sentence here ever shows a value.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::Problem;
use super::metadata::Metadata;
use super::structural::join;
use super::words::{kind_of, nearest};
use crate::api::common::USE_LABEL;
use crate::snapshot::resources::{ConfigMap, ObjectKey, Secret, SecretUse};
use crate::values::secret::SecretBytes;

/// The most that a Secret or ConfigMap may hold, in bytes.
const MAX_DATA_BYTES: usize = 1 << 20;

/// What the label of a Secret or ConfigMap permits. `None`: it is not for us to see.
pub(super) fn usage(metadata: Option<&Value>) -> Option<SecretUse> {
    match metadata?.get("labels")?.get(USE_LABEL)?.as_str()? {
        "credential" => Some(SecretUse::Credential),
        "key-pair" => Some(SecretUse::KeyPair),
        _ => None,
    }
}

/// Reads a labelled Secret: `data` in Base64, overwritten by `stringData`.
pub(super) fn secret(
    key: ObjectKey,
    usage: SecretUse,
    mut metadata: Metadata,
    object: &Map<String, Value>,
    problems: &mut Vec<Problem>,
) -> Secret {
    // kubectl writes the whole Secret into it, values included.
    metadata.annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    check_fields(object, &["data", "stringData", "type", "immutable"], problems);
    let mut data = base64_entries(object, "data", problems);
    data.extend(text_entries(object, "stringData", problems).map(|(key, text)| (key, SecretBytes::from(text))));
    check_size(data.values().map(SecretBytes::len).sum(), problems);
    let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
    if let Some(wanted) = missing_entry(kind, |key| data.contains_key(key)) {
        problems.push(Problem::value("data", format!("a Secret of type {kind} needs the entry {wanted}")));
    }
    Secret::new(key, usage, metadata.annotations, data)
}

/// What Kubernetes asks of the types that it knows itself ("Types of Secret").
fn missing_entry(kind: &str, has: impl Fn(&str) -> bool) -> Option<&'static str> {
    let missing = |key: &'static str| (!has(key)).then_some(key);
    match kind {
        "kubernetes.io/tls" => missing("tls.crt").or_else(|| missing("tls.key")),
        "kubernetes.io/basic-auth" if !has("username") => missing("password").map(|_| "username, password or both"),
        "kubernetes.io/ssh-auth" => missing("ssh-privatekey"),
        "kubernetes.io/dockerconfigjson" => missing(".dockerconfigjson"),
        "kubernetes.io/dockercfg" => missing(".dockercfg"),
        _ => None,
    }
}

/// Reads a labelled ConfigMap. `binaryData` is checked and left out: a CA bundle in PEM is text.
pub(super) fn config_map(key: ObjectKey, object: &Map<String, Value>, problems: &mut Vec<Problem>) -> ConfigMap {
    check_fields(object, &["data", "binaryData", "immutable"], problems);
    let binary = base64_entries(object, "binaryData", problems);
    let data: BTreeMap<_, _> = text_entries(object, "data", problems).collect();
    for key in binary.keys().filter(|key| data.contains_key(*key)) {
        problems
            .push(Problem::key(&join("binaryData", key), "the same key stands in data: remove one of the two".into()));
    }
    check_size(
        binary.values().map(SecretBytes::len).sum::<usize>() + data.values().map(String::len).sum::<usize>(),
        problems,
    );
    ConfigMap { key, data }
}

fn check_size(bytes: usize, problems: &mut Vec<Problem>) {
    if bytes > MAX_DATA_BYTES {
        problems.push(Problem::value("data", "must be at most 1 MiB in all".into()));
    }
}

fn check_fields(object: &Map<String, Value>, known: &[&str], problems: &mut Vec<Problem>) {
    let general = ["apiVersion", "kind", "metadata"];
    let known: Vec<String> = general.iter().chain(known).map(|name| (*name).to_owned()).collect();
    for (key, value) in object {
        if !known.contains(key) {
            let hint = nearest(key, known.iter()).map(|name| format!(": did you mean {name}?"));
            problems.push(Problem::key(key, format!("unknown field{}", hint.unwrap_or_default())));
        } else if key == "immutable" && !(value.is_boolean() || value.is_null()) {
            problems.push(Problem::value(key, format!("must be true or false, not {}", kind_of(value))));
        } else if key == "type" && !(value.is_string() || value.is_null()) {
            problems.push(Problem::value(key, format!("must be text, not {}", kind_of(value))));
        }
    }
}

fn base64_entries(
    object: &Map<String, Value>,
    field: &str,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, SecretBytes> {
    let mut decoded = BTreeMap::new();
    for (key, text) in text_entries(object, field, problems).collect::<Vec<_>>() {
        // Go's decoder reads over line breaks.
        let compact: String = text.chars().filter(|character| !matches!(character, '\n' | '\r')).collect();
        match STANDARD.decode(compact) {
            Ok(bytes) => {
                decoded.insert(key, SecretBytes::new(bytes));
            }
            Err(_) => problems
                .push(Problem::value(&join(field, &key), "must be Base64; plain text belongs in stringData".into())),
        }
    }
    decoded
}

fn text_entries(
    object: &Map<String, Value>,
    field: &str,
    problems: &mut Vec<Problem>,
) -> impl Iterator<Item = (String, String)> + use<> {
    let mut entries = Vec::new();
    match object.get(field) {
        None | Some(Value::Null) => {}
        Some(Value::Object(data)) => {
            for (key, value) in data {
                let path = join(field, key);
                if !is_entry_key(key) {
                    problems.push(Problem::key(
                        &path,
                        "the key must be at most 253 letters, digits, '-', '_' and '.'".into(),
                    ));
                }
                match value {
                    Value::String(text) => entries.push((key.clone(), text.clone())),
                    Value::Null => entries.push((key.clone(), String::new())),
                    other => problems
                        .push(Problem::value(&path, format!("must be text, not {}: put it in quotes", kind_of(other)))),
                }
            }
        }
        Some(other) => problems.push(Problem::value(field, format!("must be a mapping, not {}", kind_of(other)))),
    }
    entries.into_iter()
}

fn is_entry_key(key: &str) -> bool {
    (1..=253).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && key != "."
        && !key.starts_with("..")
}
