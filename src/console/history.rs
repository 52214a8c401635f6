//! What an object's conditions were, as long as this process has watched them.
//!
//! A status tells only what is; when a condition last changed stands in it, so the first entry of each track reaches back
//! before the process began.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use crate::api::common::condition;
use crate::api::{Condition, ConditionStatus};
use crate::snapshot::live::LiveStatus;
use crate::snapshot::{Kind, ObjectReference};

/// How many changes of a condition are remembered.
const REMEMBERED: usize = 64;

/// One change of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// What it is since then.
    pub status: ConditionStatus,
    /// Its reason.
    pub reason: String,
    /// The message that came with it.
    pub message: String,
}

/// The changes of one condition of one object, oldest first.
pub type Track = Arc<VecDeque<Change>>;

/// All tracks. A clone is cheap: tracks are shared until they change.
#[derive(Clone, Debug, Default)]
pub struct History(HashMap<(ObjectReference, &'static str), Track>);

impl History {
    /// Takes down what changed.
    pub fn record(&mut self, live: &LiveStatus, now: Timestamp) {
        self.0.retain(|(object, _), _| live.get(object).is_some());
        for object in &live.objects {
            for kind in watched(object.object.kind) {
                if let Some(condition) = object.condition(kind) {
                    let track = self.0.entry((object.object.clone(), kind)).or_default();
                    add(track, condition, now);
                }
            }
        }
    }

    /// The changes of a condition, oldest first.
    pub fn of(&self, object: &ObjectReference, kind: &'static str) -> Track {
        self.0.get(&(object.clone(), kind)).cloned().unwrap_or_default()
    }
}

/// The conditions that the world outside moves.
const fn watched(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::App => &[condition::HEALTHY, condition::LAUNCH_URI_REACHABLE],
        Kind::Activation => &[condition::EHR_AUTHENTICATED],
        Kind::DataAdapter => &[condition::REACHABLE],
        Kind::Gateway | Kind::Secret | Kind::ConfigMap => &[],
    }
}

fn add(track: &mut Track, condition: &Condition, now: Timestamp) {
    let last = track.back();
    if last.is_some_and(|last| last.status == condition.status && last.reason == condition.reason) {
        return;
    }
    // That it became another status stands in the condition; another reason for the same status is news of this moment.
    let transition = condition.last_transition_time.parse().unwrap_or(now);
    let at = match last {
        Some(last) if last.status == condition.status => now,
        Some(last) => transition.max(last.at),
        None => transition,
    };
    let change =
        Change { at, status: condition.status, reason: condition.reason.clone(), message: condition.message.clone() };
    let track = Arc::make_mut(track);
    track.push_back(change);
    if track.len() > REMEMBERED {
        track.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::ObjectKey;
    use crate::snapshot::live::LiveObject;
    use serde_json::json;

    fn app() -> ObjectReference {
        ObjectReference::new(Kind::App, ObjectKey::new("default", "sync"))
    }

    fn told(status: &str, reason: &str, since: &str) -> LiveStatus {
        let status = json!({ "conditions": [{
            "type": "Healthy", "status": status, "reason": reason, "message": "", "observedGeneration": 1,
            "lastTransitionTime": since,
        }]});
        LiveStatus { objects: vec![LiveObject::new(app(), vec![], status)], ..LiveStatus::default() }
    }

    fn at(minute: &str) -> Timestamp {
        format!("2026-03-01T10:{minute}:00Z").parse().unwrap()
    }

    #[test]
    fn changes_are_taken_down_once_with_the_time_that_the_condition_tells() {
        let mut history = History::default();
        history.record(&told("True", "Healthy", "2026-03-01T09:00:00Z"), at("01"));
        history.record(&told("True", "Healthy", "2026-03-01T09:00:00Z"), at("02"));
        history.record(&told("False", "Unhealthy", "2026-03-01T10:03:00Z"), at("04"));
        history.record(&told("False", "Unreachable", "2026-03-01T10:03:00Z"), at("05"));
        let seen: Vec<_> = history
            .of(&app(), condition::HEALTHY)
            .iter()
            .map(|change| (change.at.to_string(), change.status, change.reason.clone()))
            .collect();
        assert_eq!(
            seen,
            [
                ("2026-03-01T09:00:00Z".into(), ConditionStatus::True, "Healthy".into()),
                ("2026-03-01T10:03:00Z".into(), ConditionStatus::False, "Unhealthy".into()),
                ("2026-03-01T10:05:00Z".into(), ConditionStatus::False, "Unreachable".into()),
            ]
        );
        history.record(&LiveStatus::default(), at("06"));
        assert!(history.of(&app(), condition::HEALTHY).is_empty(), "what is gone is forgotten");
    }
}
