//! Events (events.k8s.io/v1) on transitions: what `kubectl describe` shows at its end.
//!
//! They tell what conditions tell, when it changed. They are written beside the statuses, and one that cannot be written
//! is lost: nothing depends on them.

use k8s_openapi::api::core::v1::ObjectReference as KubernetesReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;

use crate::api::common::condition;
use crate::api::common::{GROUP, VERSION};
use crate::api::{Condition, ConditionStatus};
use crate::control::ObjectStatus;
use crate::values::api_failure::ApiFailure;
use crate::values::code::Code;

/// Events that may wait to be written; more are lost.
const QUEUE: usize = 4096;
/// The API server takes no longer notes, in bytes.
const LONGEST_NOTE: usize = 1000;

/// Conditions whose transitions are told. `Reconciling` and `Stalled` say again what these say, and `Programmed` counts
/// replicas that come and go.
const TOLD: [&str; 8] = [
    condition::ACCEPTED,
    condition::RESOLVED_REFS,
    condition::KEY_READY,
    condition::EHR_AUTHENTICATED,
    condition::REACHABLE,
    condition::LAUNCH_URI_REACHABLE,
    condition::HEALTHY,
    condition::READY,
];

/// What became of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transition {
    pub(super) condition: String,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) is_good: bool,
}

impl Transition {
    /// What there is to tell, given what the condition was before: status and reason.
    pub(super) fn between(before: Option<(ConditionStatus, &str)>, now: Condition) -> Option<Self> {
        let is_same = before.is_some_and(|(status, reason)| status == now.status && reason == now.reason);
        if is_same || !TOLD.contains(&now.type_.as_str()) {
            return None;
        }
        let is_worth_telling = match now.status {
            // That all is well from the beginning is told by `Ready` alone.
            ConditionStatus::True => {
                before.is_some_and(|(status, _)| status != ConditionStatus::True)
                    || (before.is_none() && now.type_ == condition::READY)
            }
            // `Ready` says what another condition says, whose transition is told.
            ConditionStatus::False => {
                !is_on_its_way(&now.reason)
                    && (now.type_ != condition::READY
                        || before.is_some_and(|(status, _)| status == ConditionStatus::True)
                        || now.reason == Code::InvalidSpec.reason())
            }
            ConditionStatus::Unknown => false,
        };
        is_worth_telling.then(|| Self {
            is_good: now.status == ConditionStatus::True,
            condition: now.type_,
            reason: now.reason,
            message: now.message,
        })
    }
}

/// Reasons that pass by themselves.
fn is_on_its_way(reason: &str) -> bool {
    [Code::KeyCreating, Code::Pending, Code::NotProbed, Code::NotReached].iter().any(|code| code.reason() == reason)
}

/// Writes Events, one after the other, beside everything else.
pub(super) struct Events {
    queue: mpsc::Sender<(KubernetesReference, Event)>,
}

impl Events {
    pub(super) fn start(client: Client, reporter: &str) -> Self {
        let (queue, mut waiting) = mpsc::channel::<(KubernetesReference, Event)>(QUEUE);
        let reporter = Reporter { controller: "hearthgate.dev/operator".into(), instance: Some(reporter.into()) };
        let recorder = Recorder::new(client, reporter);
        // Ends when the sink does, which closes the queue.
        tokio::spawn(async move {
            while let Some((about, event)) = waiting.recv().await {
                if let Err(error) = recorder.publish(&event, &about).await {
                    tracing::debug!(object = about.name, "an Event is lost: {}", ApiFailure::from(error));
                }
            }
        });
        Self { queue }
    }

    pub(super) fn tell(&self, status: &ObjectStatus, transition: Transition) {
        let about = KubernetesReference {
            api_version: Some(format!("{GROUP}/{VERSION}")),
            kind: Some(status.object.kind.as_str().into()),
            namespace: Some(status.object.key.namespace.clone()),
            name: Some(status.object.key.name.clone()),
            uid: Some(status.uid.clone()),
            ..KubernetesReference::default()
        };
        let event = Event {
            type_: if transition.is_good { EventType::Normal } else { EventType::Warning },
            note: Some(shortened(transition.message)),
            reason: transition.reason,
            action: transition.condition,
            secondary: None,
        };
        if self.queue.try_send((about, event)).is_err() {
            tracing::debug!(object = %status.object, "too many Events wait; one is lost");
        }
    }
}

fn shortened(mut note: String) -> String {
    if note.len() > LONGEST_NOTE {
        let end = (0..=LONGEST_NOTE - '…'.len_utf8()).rev().find(|end| note.is_char_boundary(*end)).unwrap_or_default();
        note.truncate(end);
        note.push('…');
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(type_: &str, status: ConditionStatus, reason: &str) -> Condition {
        Condition {
            type_: type_.into(),
            status,
            reason: reason.into(),
            message: "so it is".into(),
            observed_generation: 1,
            last_transition_time: "2026-01-01T00:00:00Z".into(),
        }
    }

    #[test]
    fn what_went_wrong_and_what_came_right_is_told_and_steps_on_the_way_are_not() {
        use ConditionStatus::{False, True, Unknown};
        for (name, before, status, reason, expected) in [
            ("KeyReady", None, False, "Creating", false),
            ("KeyReady", Some((False, "Creating")), True, "KeyReady", true),
            ("KeyReady", Some((True, "KeyReady")), False, "KeyLost", true),
            ("KeyReady", Some((False, "KeyLost")), False, "KeyLost", false),
            ("EHRAuthenticated", None, Unknown, "NotProbed", false),
            ("EHRAuthenticated", Some((Unknown, "NotProbed")), False, "AwaitingRegistration", true),
            ("EHRAuthenticated", Some((False, "AwaitingRegistration")), True, "EHRAuthenticated", true),
            ("Accepted", None, True, "Accepted", false),
            ("Accepted", None, False, "ClientIdConflict", true),
            ("Programmed", Some((True, "Programmed")), False, "Pending", false),
            ("Ready", None, True, "Ready", true),
            ("Ready", None, False, "ClientIdConflict", false),
            ("Stalled", None, True, "ClientIdConflict", false),
        ] {
            let transition = Transition::between(before, condition(name, status, reason));
            assert_eq!(transition.is_some(), expected, "{name} {before:?} → {reason}");
        }
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let cut = shortened("é".repeat(600));
        assert!(cut.len() <= LONGEST_NOTE && cut.ends_with("é…"), "{}", cut.len());
        assert_eq!(shortened("short".into()), "short");
    }
}
