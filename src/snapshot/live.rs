//! The live state of a whole installation, as `/status` tells it: the status of each object, what refers to what, and
//! what follows from both. What the command line prints and what the console shows are read from here.

use std::path::PathBuf;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Kind, ObjectReference};
use crate::api::common::condition;
use crate::api::{Condition, ConditionStatus};
use crate::values::code::Code;

/// Everything that is told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LiveStatus {
    /// All objects, sorted by kind, namespace and name.
    pub objects: Vec<LiveObject>,
    /// Refused edits.
    #[serde(default)]
    pub rejections: Vec<LiveRejection>,
    /// The directory that is served, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
}

/// An edit that was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveRejection {
    /// The object that it was about, as far as that can be told.
    pub object: Option<ObjectReference>,
    /// The number of its code, such as `HG1001`.
    #[serde(default)]
    pub code: String,
    /// What is wrong with it.
    pub message: String,
    /// Where it stands.
    pub location: LiveLocation,
}

/// A place in a file; lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveLocation {
    /// The file.
    pub file: String,
    /// Its line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// One object's live state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Told")]
pub struct LiveObject {
    /// Which object.
    #[serde(flatten)]
    pub object: ObjectReference,
    /// Its UID.
    pub uid: String,
    /// The generation of the spec that the status is about.
    pub generation: i64,
    /// What it refers to.
    pub references: Vec<ObjectReference>,
    /// `status` as it would stand in a cluster: the very one that was told.
    pub status: Arc<Value>,
    /// The conditions in it, read once.
    #[serde(skip)]
    conditions: Arc<[Condition]>,
}

/// The form in which it travels.
#[derive(Deserialize)]
struct Told {
    #[serde(flatten)]
    object: ObjectReference,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    generation: i64,
    references: Option<Vec<ObjectReference>>,
    status: Value,
}

impl From<Told> for LiveObject {
    fn from(told: Told) -> Self {
        let Told { object, uid, generation, references, status } = told;
        Self::new(object, references.unwrap_or_default(), status).of(uid, generation)
    }
}

impl LiveObject {
    /// An object's state as it was told.
    pub fn new(object: ObjectReference, references: Vec<ObjectReference>, status: impl Into<Arc<Value>>) -> Self {
        let status = status.into();
        let conditions = status.get("conditions").map(Vec::<Condition>::deserialize);
        let conditions = conditions.and_then(Result::ok).unwrap_or_default().into();
        Self { object, uid: String::new(), generation: 0, references, status, conditions }
    }

    /// The same, of this very UID and generation.
    #[must_use]
    pub fn of(self, uid: String, generation: i64) -> Self {
        Self { uid, generation, ..self }
    }

    /// The same, referring to these.
    #[must_use]
    pub fn referring_to(self, references: Vec<ObjectReference>) -> Self {
        Self { references, ..self }
    }

    /// The conditions.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// A condition by its type.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == kind)
    }

    /// Whether `Ready` is true.
    pub fn is_ready(&self) -> bool {
        self.condition(condition::READY).is_some_and(|ready| ready.status == ConditionStatus::True)
    }

    /// The rest of the status, by kind.
    pub fn status_as<Status: DeserializeOwned + Default>(&self) -> Status {
        Status::deserialize(&*self.status).unwrap_or_default()
    }

    /// The first object of this kind that it refers to.
    pub fn reference(&self, kind: Kind) -> Option<&ObjectReference> {
        self.references.iter().find(|reference| reference.kind == kind)
    }

    /// The conditions that do not hold, summaries apart.
    pub fn faults(&self) -> impl Iterator<Item = &Condition> {
        let summaries = [condition::READY, condition::RECONCILING, condition::STALLED];
        self.conditions
            .iter()
            .filter(move |condition| !summaries.contains(&condition.type_.as_str()))
            .filter(|condition| condition.status != ConditionStatus::True)
    }
}

/// What must be mended before anything else can be.
#[derive(Clone, Debug, PartialEq)]
pub enum RootCause<'status> {
    /// Something refers to an object that is not there.
    Missing(&'status ObjectReference),
    /// This object has a fault of its own.
    Fault {
        /// The object.
        object: &'status ObjectReference,
        /// The condition that does not hold.
        condition: &'status Condition,
    },
}

impl RootCause<'_> {
    /// Where it is.
    pub const fn object(&self) -> &ObjectReference {
        match self {
            Self::Missing(object) | Self::Fault { object, .. } => object,
        }
    }

    /// The code that explains it.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Missing(_) => Some(Code::RefNotFound),
            Self::Fault { condition, .. } => code_of(condition),
        }
    }
}

/// The code that explains the reason of a condition.
pub fn code_of(condition: &Condition) -> Option<Code> {
    Code::ALL.iter().find(|code| code.reason() == condition.reason).copied()
}

impl std::fmt::Display for RootCause<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(object) => write!(formatter, "{object} does not exist"),
            Self::Fault { object, condition } => {
                write!(formatter, "{object}: {} {}: {}", condition.type_, condition.reason, condition.message)
            }
        }
    }
}

impl LiveStatus {
    /// The object that is named in full.
    pub fn get(&self, object: &ObjectReference) -> Option<&LiveObject> {
        let index = self.objects.binary_search_by(|live| live.object.cmp(object)).ok()?;
        self.objects.get(index)
    }

    /// All objects of a kind, by namespace and name.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &LiveObject> {
        self.objects.iter().filter(move |live| live.object.kind == kind)
    }

    /// The objects that this one hangs on, nearest first. What does not exist is in it too.
    pub fn chain<'status>(&'status self, live: &'status LiveObject) -> Vec<&'status ObjectReference> {
        let mut chain = Vec::new();
        for reference in &live.references {
            chain.push(reference);
            chain.extend(self.get(reference).map(|next| self.chain(next)).unwrap_or_default());
        }
        chain
    }

    /// Whether this object hangs on that one, at whatever distance.
    pub fn hangs_on(&self, live: &LiveObject, object: &ObjectReference) -> bool {
        live.references
            .iter()
            .any(|reference| reference == object || self.get(reference).is_some_and(|next| self.hangs_on(next, object)))
    }

    /// The first fault at the bottom of the chain. `None`: the object is ready, or nothing is known yet.
    pub fn root_cause<'status>(&'status self, live: &'status LiveObject) -> Option<RootCause<'status>> {
        if live.is_ready() {
            return None;
        }
        let deeper = live.references.iter().find_map(|reference| match self.get(reference) {
            Some(next) => self.root_cause(next),
            None => Some(RootCause::Missing(reference)),
        });
        deeper.or_else(|| {
            let failed = live.conditions().iter().find(|condition| {
                condition.status == ConditionStatus::False
                    && !matches!(condition.type_.as_str(), condition::READY | condition::STALLED)
            })?;
            Some(RootCause::Fault { object: &live.object, condition: failed })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::ObjectKey;
    use serde_json::json;

    fn reference(kind: Kind, name: &str) -> ObjectReference {
        ObjectReference::new(kind, ObjectKey::new("default", name))
    }

    fn live(kind: Kind, name: &str, references: &[(Kind, &str)], conditions: &[(&str, &str)]) -> LiveObject {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(kind, status)| {
                json!({
                    "type": kind, "status": status, "reason": format!("{kind}Reason"), "message": "said so",
                    "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
                })
            })
            .collect();
        let references = references.iter().map(|(kind, name)| reference(*kind, name)).collect();
        LiveObject::new(reference(kind, name), references, json!({ "conditions": conditions }))
    }

    fn fleet() -> LiveStatus {
        let objects = vec![
            live(Kind::DataAdapter, "ehr", &[], &[("Ready", "False"), ("Accepted", "False")]),
            live(
                Kind::Gateway,
                "epic",
                &[(Kind::DataAdapter, "ehr")],
                &[("Ready", "False"), ("ResolvedRefs", "False")],
            ),
            live(Kind::App, "sync", &[], &[("Ready", "True")]),
            live(
                Kind::Activation,
                "astray",
                &[(Kind::App, "gone"), (Kind::Gateway, "epic")],
                &[("Ready", "False"), ("ResolvedRefs", "False")],
            ),
            live(
                Kind::Activation,
                "sync-at-epic",
                &[(Kind::App, "sync"), (Kind::Gateway, "epic")],
                &[("Ready", "False"), ("ResolvedRefs", "False")],
            ),
        ];
        LiveStatus { objects, ..LiveStatus::default() }
    }

    #[test]
    fn the_root_cause_is_the_fault_at_the_bottom_of_the_chain() {
        let status = fleet();
        let cause = |kind, name| {
            let live = status.get(&reference(kind, name)).unwrap();
            status.root_cause(live).map(|cause| cause.to_string())
        };
        let of_the_adapter = Some("DataAdapter default/ehr: Accepted AcceptedReason: said so".to_owned());
        assert_eq!(cause(Kind::Activation, "sync-at-epic"), of_the_adapter);
        assert_eq!(cause(Kind::Gateway, "epic"), of_the_adapter);
        assert_eq!(cause(Kind::Activation, "astray"), Some("App default/gone does not exist".into()));
        assert_eq!(cause(Kind::App, "sync"), None);
    }

    #[test]
    fn the_chain_names_what_an_object_hangs_on_nearest_first() {
        let status = fleet();
        let activation = status.get(&reference(Kind::Activation, "sync-at-epic")).unwrap();
        let named = |kind, name| reference(kind, name);
        let expected = [named(Kind::App, "sync"), named(Kind::Gateway, "epic"), named(Kind::DataAdapter, "ehr")];
        assert_eq!(status.chain(activation), expected.iter().collect::<Vec<_>>());
        assert!(status.hangs_on(activation, &named(Kind::DataAdapter, "ehr")));
        assert!(!status.hangs_on(activation, &named(Kind::App, "gone")));
    }

    #[test]
    fn what_is_told_is_read_back_as_it_was() {
        let status = fleet();
        let read: LiveStatus = serde_json::from_value(serde_json::to_value(&status).unwrap()).unwrap();
        assert_eq!(read, status);
    }
}
