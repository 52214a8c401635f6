//! What an API server does over time: it keeps each object as it was last accepted, whatever is written meanwhile.
//!
//! Pure but for the UIDs, which are handed in.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::document::Place;
use super::identity::{Identities, Identity};
use super::loaded::{Loaded, identified, place};
use super::schema::{self, Content, Custom, Problem, Typed};
use crate::snapshot::resources::{ConfigMap, Kept, Location, ObjectReference, Rejection, Resources, Secret};
use crate::values::code::Code;

/// The objects as they were last accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    objects: BTreeMap<ObjectReference, Held>,
    rejections: Vec<Rejection>,
    pub(super) identities: Identities,
}

#[derive(Clone, Debug)]
struct Held {
    object: Object,
    location: Location,
}

#[derive(Clone, Debug)]
enum Object {
    Custom { value: Value, typed: Typed },
    Secret(Arc<Secret>),
    ConfigMap(Arc<ConfigMap>),
}

/// What becomes of an object in this reading.
enum Verdict {
    Held(Object),
    Refused(Vec<Problem>),
    Unseen,
}

impl Accepted {
    pub(super) fn new(identities: Identities) -> Self {
        Self { objects: BTreeMap::new(), rejections: Vec::new(), identities }
    }

    /// Takes over what was read: valid objects are accepted, invalid ones stay as they were, missing ones are removed,
    /// unless the reading cannot tell whether they are missing.
    pub(super) fn apply(&mut self, loaded: &Loaded, new_uid: &mut dyn FnMut() -> Uuid) {
        let mut rejections = loaded.rejections.clone();
        let mut objects = BTreeMap::new();
        let mut previous = std::mem::take(&mut self.objects);
        for (reference, content) in &loaded.objects {
            let Some(source) = loaded.source(reference) else { continue };
            let held = previous.remove(reference);
            match self.judge(reference, content, held.as_ref(), source.file(), new_uid) {
                Verdict::Held(object) => {
                    let location = source.locate("", Place::Value);
                    objects.insert(reference.clone(), Held { object, location });
                }
                Verdict::Refused(problems) => {
                    rejections.extend(problems.into_iter().map(|problem| Rejection {
                        object: Some(reference.clone()),
                        code: Code::InvalidSpec,
                        message: problem.to_string(),
                        location: source.locate(&problem.path, problem.place),
                    }));
                    objects.extend(held.map(|held| (reference.clone(), held)));
                }
                Verdict::Unseen => {}
            }
        }
        // What is left was accepted before and is not valid now, or not there.
        for (reference, held) in previous {
            if loaded.names(&reference) || loaded.unknown.covers(&held.location.file) {
                objects.insert(reference, held);
            }
        }
        self.identities.retain(|identity| {
            objects.contains_key(&identity.object)
                || loaded.names(&identity.object)
                || loaded.unknown.covers(&identity.file)
        });
        self.objects = objects;
        self.rejections = rejections;
    }

    fn judge(
        &mut self,
        reference: &ObjectReference,
        content: &Content,
        held: Option<&Held>,
        file: &str,
        new_uid: &mut dyn FnMut() -> Uuid,
    ) -> Verdict {
        let before = held.map(|held| &held.object);
        match (content, before) {
            (Content::Unlabelled, _) => Verdict::Unseen,
            // The same value again keeps what was parsed from it.
            (Content::Secret(secret), Some(Object::Secret(old))) if **secret == **old => {
                Verdict::Held(Object::Secret(Arc::clone(old)))
            }
            (Content::Secret(secret), _) => Verdict::Held(Object::Secret(Arc::clone(secret))),
            (Content::ConfigMap(config_map), Some(Object::ConfigMap(old))) if **config_map == **old => {
                Verdict::Held(Object::ConfigMap(Arc::clone(old)))
            }
            (Content::ConfigMap(config_map), _) => Verdict::Held(Object::ConfigMap(Arc::clone(config_map))),
            (Content::Custom(custom), before) => self.judge_custom(reference, custom, before, file, new_uid),
        }
    }

    fn judge_custom(
        &mut self,
        reference: &ObjectReference,
        custom: &Custom,
        before: Option<&Object>,
        file: &str,
        new_uid: &mut dyn FnMut() -> Uuid,
    ) -> Verdict {
        if let (Some(Object::Custom { value, typed }), Some(known)) = (before, self.identities.get(reference))
            && *value == custom.value
        {
            if known.file != file {
                let moved = Identity { file: file.to_owned(), ..known.clone() };
                self.identities.insert(moved);
            }
            return Verdict::Held(Object::Custom { value: value.clone(), typed: typed.clone() });
        }
        let spec = custom.value.get("spec").cloned().unwrap_or_default();
        let (uid, generation) = match self.identities.get(reference) {
            None => (new_uid(), 1),
            Some(known) if known.spec == spec => (known.uid, known.generation),
            Some(known) => {
                let old = json!({ "metadata": custom.value.get("metadata"), "spec": known.spec });
                if let Err(problems) = schema::validate_transition(reference.kind, &old, &custom.value) {
                    return Verdict::Refused(problems);
                }
                (known.uid, known.generation.saturating_add(1))
            }
        };
        let identity = Identity { object: reference.clone(), uid, generation, file: file.to_owned(), spec };
        self.identities.insert(identity);
        let typed = identified(&custom.typed, uid, generation);
        Verdict::Held(Object::Custom { value: custom.value.clone(), typed })
    }

    /// Everything as the compiler takes it, with what the control plane keeps.
    pub(super) fn resources(&self, kept: &Kept) -> Resources {
        let mut resources = Resources {
            secrets: kept.secrets.clone(),
            observed: kept.observed.clone(),
            rejections: self.rejections.clone(),
            ..Resources::default()
        };
        for (reference, held) in &self.objects {
            match &held.object {
                Object::Custom { typed, .. } => place(reference, typed, &mut resources),
                Object::ConfigMap(config_map) => {
                    resources.config_maps.insert(reference.key.clone(), Arc::clone(config_map));
                }
                Object::Secret(secret) => match kept.secrets.get(&reference.key) {
                    None => drop(resources.secrets.insert(reference.key.clone(), Arc::clone(secret))),
                    Some(generated) if generated.data == secret.data => {}
                    // A generated key may be registered at an EHR: no file replaces it.
                    Some(_) => resources.rejections.push(Rejection {
                        object: Some(reference.clone()),
                        code: Code::DuplicateObject,
                        message: format!(
                            "{reference} is also in the key store, which is used: remove it here, or bring the key as \
                             a Secret of another name"
                        ),
                        location: held.location.clone(),
                    }),
                },
            }
        }
        resources.rejections.sort_by(|one, other| one.location.cmp(&other.location));
        resources
    }
}

/// Whether two bags hold the same: the same allocations where values are shared, equal ones elsewhere.
pub(super) fn is_same(one: &Resources, other: &Resources) -> bool {
    fn shared<Key: PartialEq, Value>(one: &BTreeMap<Key, Arc<Value>>, other: &BTreeMap<Key, Arc<Value>>) -> bool {
        one.len() == other.len()
            && one.iter().zip(other).all(|(one, other)| one.0 == other.0 && Arc::ptr_eq(one.1, other.1))
    }
    shared(&one.data_adapters, &other.data_adapters)
        && shared(&one.gateways, &other.gateways)
        && shared(&one.apps, &other.apps)
        && shared(&one.activations, &other.activations)
        && shared(&one.secrets, &other.secrets)
        && shared(&one.config_maps, &other.config_maps)
        && one.observed == other.observed
        && one.rejections == other.rejections
}
