//! The resources in memory, with all their versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use jiff::{Timestamp, Unit};
use serde_json::{Map, Value, json};

use super::outcome::Refusal;

/// The resource types that this EHR knows, in the order of the CapabilityStatement.
pub(super) const TYPES: [&str; 10] = [
    "Appointment",
    "Binary",
    "DocumentReference",
    "Encounter",
    "Location",
    "Observation",
    "Patient",
    "Practitioner",
    "Schedule",
    "Slot",
];

/// So many versions are kept altogether: a test that writes forever must not eat the machine.
const MOST_VERSIONS: usize = 200_000;

/// One version of a resource.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) number: u32,
    pub(super) at: Timestamp,
    /// The method that made it, for the history.
    pub(super) method: &'static str,
    /// `None` is a deletion.
    pub(super) resource: Option<Arc<Value>>,
}

/// A resource with its versions, oldest first; there is at least one.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    order: u64,
    pub(super) versions: Vec<Version>,
}

impl Stored {
    /// The version that holds now.
    pub(super) fn current(&self) -> Option<&Version> {
        self.versions.last()
    }
}

/// All resources. Cloning is cheap enough to be what a transaction returns to when it fails.
#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    resources: BTreeMap<(&'static str, String), Stored>,
    versions: usize,
    created: u64,
}

impl Store {
    /// A resource, deleted or not.
    pub(super) fn get(&self, kind: &'static str, id: &str) -> Option<&Stored> {
        self.resources.get(&(kind, id.to_owned()))
    }

    /// The version that holds now; 404 where there never was one, 410 where it is deleted.
    pub(super) fn current(&self, kind: &'static str, id: &str) -> Result<(&Version, &Arc<Value>), Refusal> {
        let version = self
            .get(kind, id)
            .and_then(Stored::current)
            .ok_or_else(|| Refusal::not_found(format!("there is no {kind}/{id}")))?;
        match &version.resource {
            Some(resource) => Ok((version, resource)),
            None => Err(Refusal::new(StatusCode::GONE, "deleted", format!("{kind}/{id} is deleted"))),
        }
    }

    /// All resources of a type that are not deleted, in the order of their creation.
    pub(super) fn all(&self, kind: &'static str) -> Vec<Arc<Value>> {
        let from = (kind, String::new());
        let mut found: Vec<(u64, Arc<Value>)> = self
            .resources
            .range(from..)
            .take_while(|((of, _), _)| *of == kind)
            .filter_map(|(_, stored)| Some((stored.order, Arc::clone(stored.current()?.resource.as_ref()?))))
            .collect();
        found.sort_by_key(|(order, _)| *order);
        found.into_iter().map(|(_, resource)| resource).collect()
    }

    /// An ID that no resource has.
    pub(super) fn fresh_id() -> String {
        format!("e{}", uuid::Uuid::new_v4().simple())
    }

    /// Adds a version, with `id` and `meta` set as a server sets them.
    pub(super) fn put(
        &mut self,
        kind: &'static str,
        id: &str,
        method: &'static str,
        resource: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<(u32, Timestamp, Arc<Value>), Refusal> {
        let number = self.next_number(kind, id);
        // Milliseconds are what FHIR servers keep, and what Last-Modified rounds anyway.
        let at = now.round(Unit::Millisecond).unwrap_or(now);
        let mut meta = resource.get("meta").and_then(Value::as_object).cloned().unwrap_or_default();
        meta.insert("versionId".to_owned(), json!(number.to_string()));
        meta.insert("lastUpdated".to_owned(), json!(at.to_string()));
        let mut complete = Map::new();
        complete.insert("resourceType".to_owned(), json!(kind));
        complete.insert("id".to_owned(), json!(id));
        complete.insert("meta".to_owned(), Value::Object(meta));
        for (name, value) in resource {
            if !complete.contains_key(name) {
                complete.insert(name.clone(), value.clone());
            }
        }
        let resource = Arc::new(Value::Object(complete));
        self.add(kind, id, Version { number, at, method, resource: Some(Arc::clone(&resource)) })?;
        Ok((number, at, resource))
    }

    /// Adds a deletion; the version that holds now must not be one.
    pub(super) fn delete(&mut self, kind: &'static str, id: &str, now: Timestamp) -> Result<(), Refusal> {
        let number = self.next_number(kind, id);
        let at = now.round(Unit::Millisecond).unwrap_or(now);
        self.add(kind, id, Version { number, at, method: "DELETE", resource: None })
    }

    fn next_number(&self, kind: &'static str, id: &str) -> u32 {
        self.get(kind, id).and_then(Stored::current).map_or(1, |version| version.number.saturating_add(1))
    }

    fn add(&mut self, kind: &'static str, id: &str, version: Version) -> Result<(), Refusal> {
        if self.versions >= MOST_VERSIONS {
            let text = "the sandbox is full: 200000 versions are kept, start it anew";
            return Err(Refusal::new(StatusCode::INSUFFICIENT_STORAGE, "too-costly", text));
        }
        self.versions += 1;
        let order = self.created;
        let stored =
            self.resources.entry((kind, id.to_owned())).or_insert_with(|| Stored { order, versions: Vec::new() });
        if stored.versions.is_empty() {
            self.created += 1;
        }
        stored.versions.push(version);
        Ok(())
    }
}
