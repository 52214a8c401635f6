//! One pass: from what was compiled and found out to what is told, recorded and done. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::findings::{Asked, Findings};
use super::plan::{Plan, plan};
use super::rotate::{Step, rotate};
use super::sink::Recorded;
use super::status::{ObjectStatus, Serving, View, statuses};
use crate::api::activation::{KeyState, KeyStatus};
use crate::snapshot::report::Detail;
use crate::snapshot::resources::{Observed, ObservedActivation};
use crate::snapshot::{Kind, ObjectKey, ObjectReference, Published};
use crate::values::key::Thumbprint;

/// What a pass finds.
#[derive(Debug)]
pub struct Pass {
    /// What is told and recorded from now on.
    pub recorded: Recorded,
    /// What is to be done.
    pub plan: Plan,
    /// What happened to keys.
    pub steps: Vec<(ObjectKey, Step)>,
}

/// Makes a pass.
pub fn pass(
    published: &Published,
    findings: &Findings,
    serving: &Serving,
    previous: &Recorded,
    now: Timestamp,
) -> Pass {
    let mut keys: BTreeMap<ObjectKey, Vec<KeyStatus>> = BTreeMap::new();
    let mut accepted_before = BTreeSet::new();
    let mut steps = Vec::new();
    let mut looks = Vec::new();
    let told: HashMap<&ObjectReference, &Arc<ObjectStatus>> =
        previous.objects.iter().map(|status| (&status.object, status)).collect();
    for report in &published.reports {
        looks.extend(report.next_change(now));
        let Detail::Activation(detail) = &report.detail else { continue };
        let key = &report.object.key;
        let told_before = told.get(&report.object).is_some_and(|status| status.uid == report.uid);
        let remembered = previous.observed.activations.get(&key.to_string()).filter(|_| told_before).map(AsRef::as_ref);
        let known = up_to_date(&detail.keys, remembered);
        let rotated = rotate(&known, |thumbprint| findings.is_proven(&report.uid, thumbprint), now);
        looks.extend(rotated.next_change);
        steps.extend(rotated.steps.into_iter().map(|step| (key.clone(), step)));
        if !rotated.keys.is_empty() {
            keys.insert(key.clone(), rotated.keys);
        }
        let accepted_now = findings.asked.get(&report.uid).is_some_and(Asked::is_accepted);
        if detail.accepted_before || accepted_now {
            accepted_before.insert(key.clone());
        }
    }
    let signing = signing_revisions(published, &previous.observed.gateways, serving);
    let view = View {
        published,
        findings,
        keys: &keys,
        accepted_before: &accepted_before,
        signing: &signing,
        serving,
        accepted_keys: accepted_keys(published, findings),
        previous: &told,
        now,
    };
    let objects = statuses(&view);
    let mut plan = plan(published, &keys, findings, now);
    for moment in looks {
        plan.look_again(moment);
    }
    let observed = observe(published, &previous.observed, &keys, &accepted_before, signing);
    Pass { recorded: Recorded { objects, observed }, plan, steps }
}

/// The keys that an EHR has accepted, by the adapter's UID: whatever activation it was for.
fn accepted_keys<'published>(
    published: &'published Published,
    findings: &Findings,
) -> BTreeSet<(&'published str, Thumbprint)> {
    let accepted = findings.asked.iter().filter(|(_, asked)| asked.is_accepted());
    accepted
        .filter_map(|(uid, asked)| {
            let activation = published.snapshot.activation_by_uid(uid)?;
            Some((activation.gateway.data_adapter.uid.as_str(), asked.key?))
        })
        .collect()
}

/// The keys as compiled, with what was recorded of them last.
///
/// What is compiled may hold a record that is older than the last one written: in a cluster it takes the way through a
/// watch. Believing it would record the same move once more, at another moment, for each such echo. Whether a key is
/// there, and whether it is withdrawn, is the compiler's to say.
fn up_to_date(compiled: &[KeyStatus], recorded: Option<&ObservedActivation>) -> Vec<KeyStatus> {
    let is_compilers = |key: &KeyStatus| matches!(key.state, KeyState::Lost | KeyState::Withdrawn);
    let last = |key: &KeyStatus| {
        let mut recorded = recorded.iter().flat_map(|recorded| &recorded.keys);
        recorded.find(|recorded| recorded.thumbprint == key.thumbprint && !is_compilers(recorded))
    };
    let known = compiled.iter().map(|key| match last(key).filter(|_| !is_compilers(key)) {
        Some(last) => KeyStatus { state: last.state, signing_since: last.signing_since.clone(), ..key.clone() },
        None => key.clone(),
    });
    known.collect()
}

/// The revision of each gateway's own keys that signs its tokens, by `<namespace>/<name>`: the newest that every ready
/// replica has, and never an older one than before while that one is there.
fn signing_revisions(
    published: &Published,
    recorded: &BTreeMap<String, u32>,
    serving: &Serving,
) -> BTreeMap<String, u32> {
    let of = |key: &ObjectKey| {
        let name = key.to_string();
        let before = recorded.get(&name).copied();
        let Some(gateway) = published.snapshot.gateways.get(key) else {
            // It cannot be served as it is now; its keys are what they were.
            return before.map(|before| (name, before));
        };
        let revisions = || gateway.signing.revisions.iter().map(|own| own.revision);
        let newest = revisions().filter(|revision| serving.verifies(key, *revision)).max();
        let before = before.filter(|before| revisions().any(|revision| revision == *before));
        newest.max(before).map(|revision| (name, revision))
    };
    let gateways = published.reports.iter().filter(|report| report.object.kind == Kind::Gateway);
    gateways.filter_map(|report| of(&report.object.key)).collect()
}

/// What is recorded for the next start. A record of keys is dropped only when it can do no good any more: never because
/// an edit is broken, or a file could not be read just now.
fn observe(
    published: &Published,
    previous: &Observed,
    keys: &BTreeMap<ObjectKey, Vec<KeyStatus>>,
    accepted_before: &BTreeSet<ObjectKey>,
    mut gateways: BTreeMap<String, u32>,
) -> Observed {
    let mut activations = BTreeMap::new();
    let here: BTreeSet<String> = published
        .reports
        .iter()
        .filter(|report| report.object.kind == Kind::Activation)
        .map(|report| report.object.key.to_string())
        .collect();
    for report in published.reports.iter().filter(|report| report.object.kind == Kind::Activation) {
        let name = report.object.key.to_string();
        let before = previous.activations.get(&name);
        let keys = match keys.get(&report.object.key) {
            Some(keys) => keys.clone(),
            None => before.map(|before| before.keys.clone()).unwrap_or_default(),
        };
        let accepted_before =
            accepted_before.contains(&report.object.key) || before.is_some_and(|before| before.accepted_before);
        if !keys.is_empty() || accepted_before {
            activations.insert(name, Arc::new(ObservedActivation { keys, accepted_before }));
        }
    }
    // What is not there because its file cannot be read just now is not deleted.
    let all_was_read = published.rejections.is_empty();
    for (name, before) in previous.activations.iter().filter(|(name, _)| !all_was_read && !here.contains(*name)) {
        activations.insert(name.clone(), before.clone());
    }
    for (name, before) in previous.gateways.iter().filter(|_| !all_was_read) {
        gateways.entry(name.clone()).or_insert(*before);
    }
    Observed { activations, gateways }
}

#[cfg(test)]
mod tests;
