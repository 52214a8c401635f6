//! The verdict on one object, as far as it follows from resources alone: what [`compile`](super::compile()) found.
//!
//! What only the world outside can tell (does the EHR accept the key, is the app healthy, how many replicas serve it)
//! is added by the control plane.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use serde::Serialize;

use super::digest::Digest;
use super::resources::Rejection;
use super::{NotLive, ObjectReference};
use crate::api::ConditionStatus;
use crate::api::activation::{Connection, DroppedScope, KeyStatus};
use crate::api::common::condition;
use crate::values::code::{Code, Group};

/// The verdict on one object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The object.
    pub object: ObjectReference,
    /// Its UID; empty for an object that was refused before it ever was.
    pub uid: String,
    /// The generation of the spec that this is about.
    pub generation: i64,
    /// Faults and warnings, worst first.
    pub findings: Vec<Finding>,
    /// Edits to this object that were refused.
    pub rejections: Vec<Rejection>,
    /// The objects that it refers to, Secrets apart.
    pub references: Vec<ObjectReference>,
    /// Something that it refers to is missing, and the rest of it is served all the same: an App with one of its two
    /// client secrets.
    pub served_in_part: bool,
    /// What the kind has besides.
    pub detail: Detail,
    /// Of the object by itself, as it was compiled.
    #[serde(skip)]
    pub(super) digest: Derived<Digest>,
}

/// What follows from the rest of a value, worked out once: whoever changes the rest puts an empty one in its place.
#[derive(Clone, Debug)]
pub(super) struct Derived<Value>(OnceLock<Value>);

impl<Value> Default for Derived<Value> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<Value> PartialEq for Derived<Value> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<Value> Derived<Value> {
    pub(super) fn get_or_init(&self, work_out: impl FnOnce() -> Value) -> &Value {
        self.0.get_or_init(work_out)
    }
}

/// One thing that is wrong or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What kind of thing.
    pub code: Code,
    /// What it is, for a person; names objects and fields, never a secret.
    pub message: String,
    /// The field that it is about, such as `spec.scopes[1]`; empty: the object.
    pub field: String,
}

/// What a kind has besides.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Detail {
    /// A Secret or ConfigMap; nothing.
    Other,
    /// A DataAdapter.
    #[serde(rename_all = "camelCase")]
    DataAdapter {
        /// Switched off.
        suspended: bool,
    },
    /// An App.
    #[serde(rename_all = "camelCase")]
    App {
        /// The client ID in force.
        client_id: String,
        /// Switched off.
        suspended: bool,
    },
    /// A Gateway.
    #[serde(rename_all = "camelCase")]
    Gateway {
        /// The public URL.
        url: String,
        /// The FHIR base.
        fhir_base_url: String,
        /// The token endpoint.
        token_url: String,
        /// The object that switches it off.
        suspended_by: Option<ObjectReference>,
    },
    /// An Activation.
    Activation(Box<ActivationDetail>),
}

/// What an Activation's report has besides.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other, told as they are")]
pub struct ActivationDetail {
    /// The object that switches it off.
    pub suspended_by: Option<ObjectReference>,
    /// No effect before.
    pub not_before: Option<Timestamp>,
    /// No effect from then on.
    pub expires_at: Option<Timestamp>,
    /// The method has a key that the EHR must trust.
    pub has_key: bool,
    /// The method asks the EHR for tokens.
    pub asks_for_tokens: bool,
    /// The EHR's client ID is still missing.
    pub awaits_client_id: bool,
    /// The EHR accepted a token request before.
    pub accepted_before: bool,
    /// The keys, oldest first.
    pub keys: Vec<KeyStatus>,
    /// The thumbprints that the spec pins; `None` where the key is not one that we make.
    pub pinned: Option<Vec<String>>,
    /// The certificate to register.
    pub certificate_pem: Option<Arc<str>>,
    /// The JWKS URL to register.
    pub jwks_url: Option<String>,
    /// Where the EHR sends users back to.
    pub callback_url: Option<String>,
    /// What the EHR launches the app with.
    pub launch_url: Option<String>,
    /// What an app's developer needs.
    pub connection: Option<Connection>,
    /// Scopes that the app asks for and does not get.
    pub dropped_scopes: Vec<DroppedScope>,
    /// The EHR's name for a person: the adapter's display name.
    pub ehr_name: String,
}

impl ActivationDetail {
    /// Whether tokens of the EHR belong to users who launch the app.
    pub const fn launches_users(&self) -> bool {
        self.callback_url.is_some()
    }
}

/// The state of one condition, before it has a generation and a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Which condition.
    pub condition: &'static str,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One CamelCase word.
    pub reason: String,
    /// For a person.
    pub message: String,
}

impl Verdict {
    /// A condition that holds, for the reason that is the condition's own name.
    pub fn holds(condition: &'static str, message: impl Into<String>) -> Self {
        Self { condition, status: ConditionStatus::True, reason: condition.into(), message: message.into() }
    }

    /// A condition that does not hold.
    pub fn fails(condition: &'static str, code: Code, message: impl Into<String>) -> Self {
        Self { condition, status: ConditionStatus::False, reason: code.reason().into(), message: message.into() }
    }

    /// A condition of which nothing is known yet.
    pub fn unknown(condition: &'static str, code: Code, message: impl Into<String>) -> Self {
        Self { condition, status: ConditionStatus::Unknown, reason: code.reason().into(), message: message.into() }
    }
}

impl Report {
    /// A report without faults.
    pub fn new(object: ObjectReference, uid: impl Into<String>, generation: i64, detail: Detail) -> Self {
        Self {
            object,
            uid: uid.into(),
            generation,
            findings: Vec::new(),
            rejections: Vec::new(),
            references: Vec::new(),
            served_in_part: false,
            detail,
            digest: Derived::default(),
        }
    }

    /// The same for whoever wants to know no more than its digest, which is known: without its greater part.
    pub(super) fn shortened(&self, digest: Digest) -> Self {
        let detail = match &self.detail {
            Detail::Activation(_) => Detail::Activation(Box::default()),
            other => other.clone(),
        };
        let Self { object, uid, generation, references, .. } = self.clone();
        let shortened = Self { references, ..Self::new(object, uid, generation, detail) };
        shortened.digest.get_or_init(|| digest);
        shortened
    }

    /// The first finding of a group.
    pub fn finding(&self, group: Group) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.code.group() == group)
    }

    /// Whether the object may be served and referred to: it is in order, as a whole or in part.
    pub fn is_usable(&self) -> bool {
        let is_resolved = self.served_in_part || self.finding(Group::ResolvedRefs).is_none();
        self.finding(Group::Accepted).is_none() && is_resolved
    }

    /// The faults that `check` counts as errors.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| matches!(finding.code.group(), Group::Accepted | Group::ResolvedRefs))
    }

    /// The verdicts that follow from resources and this moment: `Accepted`, `ResolvedRefs`, `KeyReady` where the method
    /// has a key, and the part of `Programmed` that is decided here.
    pub fn at(&self, now: Timestamp) -> Vec<Verdict> {
        let mut verdicts = vec![
            self.verdict(condition::ACCEPTED, Group::Accepted, "the spec is valid and has no conflict"),
            self.verdict(condition::RESOLVED_REFS, Group::ResolvedRefs, "all references lead to usable objects"),
        ];
        verdicts.extend(self.key_ready());
        verdicts.push(self.programmed(now));
        verdicts
    }

    fn verdict(&self, condition: &'static str, group: Group, good: &str) -> Verdict {
        let messages: Vec<&str> = self
            .findings
            .iter()
            .filter(|finding| finding.code.group() == group)
            .map(|finding| finding.message.as_str())
            .collect();
        match self.finding(group) {
            Some(first) => Verdict::fails(condition, first.code, messages.join("; ")),
            None => Verdict::holds(condition, good),
        }
    }

    /// Told of an activation whose method has a key, and of anything whose key has a fault.
    fn key_ready(&self) -> Option<Verdict> {
        let (has_key, exists) = match &self.detail {
            Detail::Activation(detail) => (detail.has_key, !detail.keys.is_empty()),
            Detail::Other | Detail::DataAdapter { .. } | Detail::App { .. } | Detail::Gateway { .. } => (false, false),
        };
        let good = "the key exists and may be used";
        if self.finding(Group::KeyReady).is_some() || (has_key && exists) {
            return Some(self.verdict(condition::KEY_READY, Group::KeyReady, good));
        }
        // A conflict denies it a share of the pair, or the reference to a key of one's own leads nowhere.
        let message = "not known: see the conditions Accepted and ResolvedRefs";
        has_key.then(|| Verdict::unknown(condition::KEY_READY, Code::NotAccepted, message))
    }

    fn programmed(&self, now: Timestamp) -> Verdict {
        if !self.is_usable() {
            return Verdict::fails(
                condition::PROGRAMMED,
                Code::NotAccepted,
                "not served: see the conditions Accepted and ResolvedRefs",
            );
        }
        match self.live_at(now) {
            Ok(()) => Verdict::holds(condition::PROGRAMMED, "served"),
            Err(not_live @ NotLive::Suspended(_)) => {
                Verdict::fails(condition::PROGRAMMED, Code::Suspended, not_live.to_string())
            }
            Err(not_live @ (NotLive::NotYet(_) | NotLive::Over(_))) => {
                Verdict::fails(condition::PROGRAMMED, Code::OutsideWindow, not_live.to_string())
            }
        }
    }

    /// Whether anything switches the object off at this moment.
    pub fn live_at(&self, now: Timestamp) -> Result<(), NotLive> {
        match &self.detail {
            Detail::Other => Ok(()),
            Detail::DataAdapter { suspended } | Detail::App { suspended, .. } => {
                if *suspended {
                    Err(NotLive::Suspended(self.object.clone()))
                } else {
                    Ok(())
                }
            }
            Detail::Gateway { suspended_by, .. } => {
                suspended_by.clone().map_or(Ok(()), |by| Err(NotLive::Suspended(by)))
            }
            Detail::Activation(detail) => detail.live_at(now),
        }
    }

    /// The next moment after `now` at which [`Report::at`] says something else.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let Detail::Activation(detail) = &self.detail else { return None };
        [detail.not_before, detail.expires_at].into_iter().flatten().filter(|moment| *moment > now).min()
    }
}

impl ActivationDetail {
    fn live_at(&self, now: Timestamp) -> Result<(), NotLive> {
        if let Some(by) = &self.suspended_by {
            return Err(NotLive::Suspended(by.clone()));
        }
        super::activation::within_window(self.not_before, self.expires_at, now)
    }
}

impl Finding {
    /// A finding about a field.
    pub fn new(code: Code, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: field.into() }
    }
}
