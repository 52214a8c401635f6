//! Everything that is in the cluster now. Each change tells whether the compiler could see a difference.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::object::{Content, Object};
use crate::snapshot::resources::{
    Kind, Location, ObjectKey, ObjectReference, ObservedActivation, Rejection, Resources,
};
use crate::values::code::Code;

/// The objects, as they were last readable.
#[derive(Debug, Default)]
pub(super) struct Bag {
    resources: Resources,
    refused: BTreeMap<ObjectReference, Rejection>,
}

impl Bag {
    /// A copy to compile: values are shared.
    pub(super) fn resources(&self) -> Resources {
        Resources { rejections: self.refused.values().cloned().collect(), ..self.resources.clone() }
    }

    /// Takes over an object.
    pub(super) fn keep(&mut self, object: Object) -> bool {
        let Object { key, content } = object;
        let bag = &mut self.resources;
        let (kind, is_news) = match content {
            Content::DataAdapter(value) => (Kind::DataAdapter, put(&mut bag.data_adapters, &key, value)),
            Content::Gateway(value, signing_revision) => {
                let recorded = record(&mut bag.observed.gateways, &key, signing_revision);
                (Kind::Gateway, put(&mut bag.gateways, &key, value) || recorded)
            }
            Content::App(value) => (Kind::App, put(&mut bag.apps, &key, value)),
            Content::Activation(value, observed) => {
                let observed = (observed != ObservedActivation::default()).then(|| Arc::new(observed));
                let recorded = record(&mut bag.observed.activations, &key, observed);
                (Kind::Activation, put(&mut bag.activations, &key, value) || recorded)
            }
            Content::Secret(value) => (Kind::Secret, put(&mut bag.secrets, &key, value)),
            Content::ConfigMap(value) => (Kind::ConfigMap, put(&mut bag.config_maps, &key, value)),
        };
        let was_refused = self.refused.remove(&ObjectReference::new(kind, key)).is_some();
        is_news || was_refused
    }

    /// Forgets an object that was deleted, or that lost its label.
    pub(super) fn remove(&mut self, object: &ObjectReference) -> bool {
        let ObjectReference { kind, key } = object;
        let bag = &mut self.resources;
        let was_there = match kind {
            Kind::DataAdapter => bag.data_adapters.remove(key).is_some(),
            Kind::Gateway => {
                bag.observed.gateways.remove(&key.to_string());
                bag.gateways.remove(key).is_some()
            }
            Kind::App => bag.apps.remove(key).is_some(),
            Kind::Activation => {
                bag.observed.activations.remove(&key.to_string());
                bag.activations.remove(key).is_some()
            }
            Kind::Secret => bag.secrets.remove(key).is_some(),
            Kind::ConfigMap => bag.config_maps.remove(key).is_some(),
        };
        let was_refused = self.refused.remove(object).is_some();
        was_there || was_refused
    }

    /// Notes that an object is there in a form that cannot be read. It stays as it was before.
    pub(super) fn refuse(&mut self, object: &ObjectReference, message: String) -> bool {
        let rejection = Rejection {
            code: Code::InvalidSpec,
            message,
            // In a cluster the object is its own place.
            location: Location { file: object.to_string(), line: 1, column: 1 },
            object: Some(object.clone()),
        };
        let before = self.refused.insert(object.clone(), rejection);
        before.as_ref() != self.refused.get(object)
    }

    /// Forgets what a complete list did not show.
    pub(super) fn retain(&mut self, kind: Kind, namespace: Option<&str>, present: &BTreeSet<ObjectKey>) -> bool {
        let bag = &self.resources;
        let mut known: Vec<ObjectKey> = match kind {
            Kind::DataAdapter => bag.data_adapters.keys().cloned().collect(),
            Kind::Gateway => bag.gateways.keys().cloned().collect(),
            Kind::App => bag.apps.keys().cloned().collect(),
            Kind::Activation => bag.activations.keys().cloned().collect(),
            Kind::Secret => bag.secrets.keys().cloned().collect(),
            Kind::ConfigMap => bag.config_maps.keys().cloned().collect(),
        };
        known.extend(self.refused.keys().filter(|object| object.kind == kind).map(|object| object.key.clone()));
        known.retain(|key| namespace.is_none_or(|namespace| key.namespace == namespace) && !present.contains(key));
        let is_news = !known.is_empty();
        for key in known {
            self.remove(&ObjectReference::new(kind, key));
        }
        is_news
    }
}

/// Puts a value in its place. An equal one that is there stays, with whatever was parsed from it.
fn put<Value: PartialEq>(map: &mut BTreeMap<ObjectKey, Arc<Value>>, key: &ObjectKey, value: Arc<Value>) -> bool {
    if map.get(key).is_some_and(|known| *known == value) {
        return false;
    }
    map.insert(key.clone(), value);
    true
}

/// Notes what a status records of an object.
fn record<Value: PartialEq>(recorded: &mut BTreeMap<String, Value>, key: &ObjectKey, value: Option<Value>) -> bool {
    let name = key.to_string();
    let Some(value) = value else { return recorded.remove(&name).is_some() };
    if recorded.get(&name) == Some(&value) {
        return false;
    }
    recorded.insert(name, value);
    true
}
