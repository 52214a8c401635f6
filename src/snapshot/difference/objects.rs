//! The objects themselves: which are added, removed and changed, field by field. Never what a Secret holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::super::resources::Secret;
use super::super::{Compiled, Kind, ObjectKey, ObjectReference};
use super::Change;

/// An object that is added, removed or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectChange {
    /// The object.
    #[serde(flatten)]
    pub object: ObjectReference,
    /// What becomes of it.
    pub change: Change,
    /// Of a changed object, its fields that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Its path.
    pub field: String,
    /// Before, as JSON; `null`: absent.
    pub from: Value,
    /// After.
    pub to: Value,
}

pub(super) fn changes(old: &Compiled<'_>, new: &Compiled<'_>) -> Vec<ObjectChange> {
    let (before, after) = (old.resources, new.resources);
    let mut all = Vec::new();
    all.extend(of_kind(Kind::DataAdapter, &before.data_adapters, &after.data_adapters, |own| spec(&own.spec)));
    all.extend(of_kind(Kind::Gateway, &before.gateways, &after.gateways, |own| spec(&own.spec)));
    all.extend(of_kind(Kind::App, &before.apps, &after.apps, |own| spec(&own.spec)));
    all.extend(of_kind(Kind::Activation, &before.activations, &after.activations, |own| spec(&own.spec)));
    all.extend(of_kind(Kind::ConfigMap, &before.config_maps, &after.config_maps, |own| {
        own.data.iter().map(|(name, text)| (format!("data.{name}"), Value::from(text.as_str()))).collect()
    }));
    all.extend(secrets(old, new));
    all
}

type Fields = BTreeMap<String, Value>;

fn of_kind<Object>(
    kind: Kind,
    before: &BTreeMap<ObjectKey, Arc<Object>>,
    after: &BTreeMap<ObjectKey, Arc<Object>>,
    fields: impl Fn(&Object) -> Fields,
) -> Vec<ObjectChange> {
    let keys: BTreeSet<&ObjectKey> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .filter_map(|key| {
            let (change, fields) = match (before.get(key), after.get(key)) {
                (None, _) => (Change::Added, Vec::new()),
                (_, None) => (Change::Removed, Vec::new()),
                (Some(before), Some(after)) if Arc::ptr_eq(before, after) => return None,
                (Some(before), Some(after)) => {
                    let fields = differing(&fields(before), &fields(after));
                    if fields.is_empty() {
                        return None;
                    }
                    (Change::Changed, fields)
                }
            };
            Some(ObjectChange { object: ObjectReference::new(kind, key.clone()), change, fields })
        })
        .collect()
}

fn differing(before: &Fields, after: &Fields) -> Vec<FieldChange> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| FieldChange {
            field: name.clone(),
            from: before.get(name).cloned().unwrap_or_default(),
            to: after.get(name).cloned().unwrap_or_default(),
        })
        .collect()
}

/// The leaves of a spec. Lists stay whole: of a list of scopes, the index says nothing.
fn spec(spec: &impl Serialize) -> Fields {
    let mut fields = Fields::new();
    // A spec came from JSON and goes back to it.
    collect("spec", &serde_json::to_value(spec).unwrap_or_default(), &mut fields);
    fields
}

fn collect(path: &str, value: &Value, fields: &mut Fields) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                collect(&format!("{path}.{name}"), value, fields);
            }
        }
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            fields.insert(path.to_owned(), value.clone());
        }
    }
}

/// Of Secrets, the names of entries that differ. Keys that we make are told apart.
fn secrets(old: &Compiled<'_>, new: &Compiled<'_>) -> Vec<ObjectChange> {
    let (before, after) = (&known_secrets(old), &known_secrets(new));
    let mut all = of_kind(Kind::Secret, before, after, |_| Fields::new());
    for (key, own) in before {
        let Some(successor) = after.get(key).filter(|successor| own != *successor) else { continue };
        let names: BTreeSet<&String> = own.data.keys().chain(successor.data.keys()).collect();
        let names = names.into_iter().filter(|name| own.data.get(*name) != successor.data.get(*name));
        let known = |there: bool| if there { Value::from("[secret]") } else { Value::Null };
        let mut fields: Vec<FieldChange> = names
            .map(|name| FieldChange {
                field: format!("data.{name}"),
                from: known(own.data.contains_key(name)),
                to: known(successor.data.contains_key(name)),
            })
            .collect();
        let (from, to) = (own.annotations.clone(), successor.annotations.clone());
        let annotations = |all: BTreeMap<String, String>| {
            all.into_iter().map(|(name, text)| (format!("metadata.annotations.{name}"), Value::from(text))).collect()
        };
        fields.extend(differing(&annotations(from), &annotations(to)));
        if !fields.is_empty() {
            let object = ObjectReference::new(Kind::Secret, key.clone());
            all.push(ObjectChange { object, change: Change::Changed, fields });
        }
    }
    all.sort_by(|one, other| one.object.cmp(&other.object));
    all
}

/// The Secrets that are there.
fn known_secrets(compiled: &Compiled<'_>) -> BTreeMap<ObjectKey, Arc<Secret>> {
    let assumed: BTreeSet<&ObjectKey> = compiled.assumed.iter().map(|object| &object.key).collect();
    let all = compiled.resources.secrets.iter().filter(|(key, _)| !assumed.contains(key));
    all.map(|(key, own)| (key.clone(), Arc::clone(own))).collect()
}
