//! What follows from what an installation tells of itself.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::check::{Check, Group};
use crate::api::common::condition;
use crate::api::{ActivationStatus, ConditionStatus, DataAdapterStatus};
use crate::snapshot::Kind;
use crate::snapshot::live::{LiveObject, LiveStatus, RootCause, code_of};

/// A certificate that ends within that time should be thought of: EHRs that look at its date refuse it then.
const SOON: SignedDuration = SignedDuration::from_hours(60 * 24);

/// Everything, group by group.
pub(super) fn checks(status: &LiveStatus, now: Timestamp) -> Vec<Check> {
    let mut checks = objects(status);
    checks.extend(keys(status, now));
    checks.extend(ehrs(status));
    checks
}

/// What is wrong with objects themselves; keys and EHRs have groups of their own.
fn objects(status: &LiveStatus) -> Vec<Check> {
    let mut checks = Vec::new();
    for rejection in &status.rejections {
        let at = &rejection.location;
        let object = rejection.object.as_ref().map(|object| format!("{object}, ")).unwrap_or_default();
        let finding = format!("refused edit: {object}{}:{}:{}: {}", at.file, at.line, at.column, rejection.message);
        checks.push(
            Check::failed(Group::Objects, finding).with_hint("Correct it: until then the object stays as it was."),
        );
    }
    let mut causes: BTreeSet<String> = BTreeSet::new();
    let mut in_order = 0_usize;
    for live in &status.objects {
        match status.root_cause(live) {
            Some(RootCause::Fault { condition, .. }) if told_elsewhere(&condition.type_) => in_order += 1,
            Some(cause) => {
                if causes.insert(cause.to_string()) {
                    let remedy = cause.code().map(|code| code.remedy().to_owned());
                    checks.push(Check::failed(Group::Objects, cause.to_string()).with_hints(remedy));
                }
            }
            None => in_order += 1,
        }
    }
    if status.objects.is_empty() {
        checks.push(
            Check::doubtful(Group::Objects, "there is no object").with_hint("hearthgate new app writes a first one."),
        );
    } else {
        checks
            .push(Check::fine(Group::Objects, format!("{in_order} of {} objects are in order", status.objects.len())));
    }
    checks
}

fn told_elsewhere(kind: &str) -> bool {
    matches!(kind, condition::KEY_READY | condition::EHR_AUTHENTICATED | condition::REACHABLE)
}

fn keys(status: &LiveStatus, now: Timestamp) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut secrets: BTreeSet<String> = BTreeSet::new();
    for live in status.of_kind(Kind::Activation) {
        let Some(ready) = live.condition(condition::KEY_READY) else { continue };
        let activation: ActivationStatus = live.status_as();
        if ready.status == ConditionStatus::False {
            let finding = format!("{}: {}: {}", live.object, ready.reason, ready.message);
            checks.push(Check::failed(Group::Keys, finding).with_hints(activation.next_step));
            continue;
        }
        for key in activation.keys {
            let name = format!("{}/{}", live.object.key.namespace, key.secret_name);
            let ends = key.not_after.as_ref().and_then(|end| end.parse::<Timestamp>().ok());
            let is_new = secrets.insert(name.clone());
            if let Some(end) = ends.filter(|end| is_new && end.duration_since(now) < SOON) {
                let finding = format!("the certificate of {name} ends at {end}");
                let hint =
                    "Raise keyPair.revision in time, where the EHR was given the certificate and looks at its date.";
                checks.push(Check::doubtful(Group::Keys, finding).with_hint(hint));
            }
        }
    }
    if !secrets.is_empty() {
        let finding = match secrets.len() {
            1 => "the one key pair is there and may be used".to_owned(),
            several => format!("all {several} key pairs are there and may be used"),
        };
        let hint = "Nothing here can tell whether they are backed up: hearthgate keys export does it, once for each new revision.";
        checks.push(Check::fine(Group::Keys, finding).with_hint(hint));
    }
    checks
}

fn ehrs(status: &LiveStatus) -> Vec<Check> {
    let mut checks = Vec::new();
    for live in status.of_kind(Kind::DataAdapter) {
        let Some(reachable) = live.condition(condition::REACHABLE) else { continue };
        let adapter: DataAdapterStatus = live.status_as();
        checks.push(match reachable.status {
            ConditionStatus::True => {
                let version = adapter.fhir_version.map(|version| format!(", FHIR {version}")).unwrap_or_default();
                let software = adapter.software.map(|software| format!(", {software}")).unwrap_or_default();
                Check::fine(Group::Ehrs, format!("{} is reached{version}{software}", live.object))
            }
            ConditionStatus::False => {
                let finding = format!("{}: {}: {}", live.object, reachable.reason, reachable.message);
                Check::failed(Group::Ehrs, finding).with_hints(code_of(reachable).map(|code| code.remedy().to_owned()))
            }
            ConditionStatus::Unknown => Check::doubtful(Group::Ehrs, format!("{} was not asked yet", live.object)),
        });
    }
    checks.extend(status.of_kind(Kind::Activation).filter_map(token_request));
    checks
}

/// What the EHR says to a token request, and why it may refuse.
fn token_request(live: &LiveObject) -> Option<Check> {
    let told = live.condition(condition::EHR_AUTHENTICATED)?;
    let activation: ActivationStatus = live.status_as();
    Some(match told.status {
        ConditionStatus::True => Check::fine(Group::Ehrs, format!("{}: {}", live.object, told.message)),
        ConditionStatus::Unknown => {
            let finding = format!("{}: {}", live.object, told.message);
            Check::doubtful(Group::Ehrs, finding)
                .with_hint(format!("hearthgate probe {} asks it now.", live.object.key.name))
        }
        ConditionStatus::False => {
            let finding = format!("{}: {}: {}", live.object, told.reason, told.message);
            let step = activation.next_step;
            let causes = activation.likely_causes.into_iter().map(|cause| cause.hint);
            // The next step may begin with the likeliest cause.
            let causes: Vec<String> =
                causes.filter(|hint| !step.as_ref().is_some_and(|step| step.starts_with(hint.as_str()))).collect();
            let causes = causes.into_iter().enumerate().map(|(index, hint)| match index {
                0 => format!("likely because  {hint}"),
                _ => format!("           or  {hint}"),
            });
            let causes: Vec<String> = causes.collect();
            Check::failed(Group::Ehrs, finding).with_hints(step).with_hints(causes)
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::check::State;
    use super::*;
    use crate::snapshot::{ObjectKey, ObjectReference};

    fn now() -> Timestamp {
        "2026-06-01T12:00:00Z".parse().unwrap()
    }

    fn told(kind: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 1,
            "lastTransitionTime": "2026-06-01T12:00:00Z"})
    }

    fn live(kind: Kind, name: &str, status: Value) -> LiveObject {
        LiveObject::new(ObjectReference::new(kind, ObjectKey::new("default", name)), Vec::new(), status)
    }

    fn found(objects: Vec<LiveObject>) -> Vec<(State, String, Vec<String>)> {
        let checks = checks(&LiveStatus { objects, ..LiveStatus::default() }, now());
        checks.into_iter().map(|check| (check.state, check.finding, check.hints)).collect()
    }

    #[test]
    fn an_installation_that_is_in_order_is_told_in_a_few_lines() {
        let adapter = json!({"conditions": [told("Ready", "True", "Ready", "fine"), told("Reachable", "True", "Reachable", "read")],
            "fhirVersion": "4.0.1", "software": "Epic May 2026"});
        let activation = json!({
            "conditions": [told("Ready", "True", "Ready", "fine"), told("KeyReady", "True", "KeyReady", "it exists"),
                told("EHRAuthenticated", "True", "EHRAuthenticated", "the EHR accepted a token request")],
            "keys": [{"revision": 1, "kid": "k", "thumbprint": "k", "state": "Signing", "secretName": "act-key-1",
                "notAfter": "2036-01-01T00:00:00Z"}],
        });
        let objects = vec![live(Kind::DataAdapter, "epic", adapter), live(Kind::Activation, "act", activation)];
        let backup = "Nothing here can tell whether they are backed up: hearthgate keys export does it, once for each new revision.";
        let expected = [
            (State::Fine, "2 of 2 objects are in order".to_owned(), vec![]),
            (State::Fine, "the one key pair is there and may be used".to_owned(), vec![backup.to_owned()]),
            (State::Fine, "DataAdapter default/epic is reached, FHIR 4.0.1, Epic May 2026".to_owned(), vec![]),
            (State::Fine, "Activation default/act: the EHR accepted a token request".to_owned(), vec![]),
        ];
        assert_eq!(found(objects), expected);
    }

    #[test]
    fn a_refusal_is_told_once_with_its_likely_causes() {
        let refused = told("EHRAuthenticated", "False", "AwaitingRegistration", "it answered 400 (invalid_client)");
        let activation = json!({
            "conditions": [told("Ready", "False", "AwaitingRegistration", "it answered 400 (invalid_client)"), refused],
            "nextStep": "The clock is wrong. Then ask again.",
            "likelyCauses": [{"cause": "Clock", "likelihood": "Evident", "hint": "The clock is wrong."},
                {"cause": "KeyUnknown", "likelihood": "Likely", "hint": "The key is new."},
                {"cause": "ClientId", "likelihood": "Possible", "hint": "It may be the client ID."}],
        });
        let expected = [
            (State::Fine, "1 of 1 objects are in order".to_owned(), vec![]),
            (
                State::Failed,
                "Activation default/act: AwaitingRegistration: it answered 400 (invalid_client)".to_owned(),
                vec![
                    "The clock is wrong. Then ask again.".to_owned(),
                    "likely because  The key is new.".to_owned(),
                    "           or  It may be the client ID.".to_owned(),
                ],
            ),
        ];
        assert_eq!(found(vec![live(Kind::Activation, "act", activation)]), expected);
    }

    #[test]
    fn one_fault_below_many_objects_is_told_once() {
        let adapter = json!({"conditions": [told("Ready", "False", "AddressNotAllowed", "no"), told("Accepted", "False", "AddressNotAllowed", "no")]});
        let reference = ObjectReference::new(Kind::DataAdapter, ObjectKey::new("default", "ehr"));
        let gateway = |name: &str| {
            let status = json!({"conditions": [told("Ready", "False", "RefNotAccepted", "look there")]});
            LiveObject::new(
                ObjectReference::new(Kind::Gateway, ObjectKey::new("default", name)),
                vec![reference.clone()],
                status,
            )
        };
        let objects = vec![live(Kind::DataAdapter, "ehr", adapter), gateway("one"), gateway("two")];
        let found = found(objects);
        let failed: Vec<&str> = found
            .iter()
            .filter(|(state, ..)| *state == State::Failed)
            .map(|(_, finding, _)| finding.as_str())
            .collect();
        assert_eq!(failed, ["DataAdapter default/ehr: Accepted AddressNotAllowed: no"]);
    }
}
