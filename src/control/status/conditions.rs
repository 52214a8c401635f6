//! Conditions: verdicts become `Ready`, and get a generation and a time.

use jiff::Timestamp;

use super::Serving;
use crate::api::common::condition;
use crate::api::{Condition, ConditionStatus};
use crate::snapshot::Report;
use crate::snapshot::report::Verdict;
use crate::values::code::{Code, Group};

/// The conditions of one object, while they are gathered.
#[derive(Clone, Debug)]
pub(super) struct Conditions {
    verdicts: Vec<Verdict>,
    now: Timestamp,
}

/// What `Ready` is the and of, where present.
const SUMMED_UP: [&str; 5] = [
    condition::ACCEPTED,
    condition::RESOLVED_REFS,
    condition::KEY_READY,
    condition::EHR_AUTHENTICATED,
    condition::PROGRAMMED,
];

/// Reasons with which nothing goes on until a person acts. A reference that leads nowhere is not among them: the object
/// may be on its way.
fn needs_a_person(code: Code) -> bool {
    code.group() == Group::Accepted
        || matches!(code, Code::KeyLost | Code::KeyBelongsToAnother | Code::KeyWithdrawn | Code::NewKeysForbidden)
}

/// What only a user's launch can tell: neither waits for it. An installation without users is in order.
fn waits_for_a_user(verdict: &Verdict) -> bool {
    verdict.reason == Code::NoUserYet.reason()
}

impl Conditions {
    pub(super) fn new(report: &Report, serving: &Serving, now: Timestamp) -> Self {
        let mut conditions = Self { verdicts: report.at(now), now };
        let (serve, ready) = serving.of(&report.object);
        if conditions.holds(condition::PROGRAMMED) {
            if ready == 0 {
                conditions.fail_programmed(Code::NoReplicas, "no ready replica of the proxy is known".to_owned());
            } else if serve < ready {
                let message = format!("{serve}/{ready} replicas serve it as it stands");
                conditions.fail_programmed(Code::Pending, message);
            }
        }
        conditions
    }

    /// Adds a condition, or replaces the one of its name.
    pub(super) fn add(&mut self, verdict: Verdict) {
        match self.verdicts.iter_mut().find(|known| known.condition == verdict.condition) {
            Some(known) => *known = verdict,
            None => self.verdicts.push(verdict),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Verdict> {
        self.verdicts.iter().find(|verdict| verdict.condition == name)
    }

    pub(super) fn holds(&self, name: &str) -> bool {
        self.get(name).is_some_and(|verdict| verdict.status == ConditionStatus::True)
    }

    /// Says that the object is not served as it should be; a graver reason that is there already stays.
    pub(super) fn fail_programmed(&mut self, code: Code, message: String) {
        if self.holds(condition::PROGRAMMED) {
            self.add(Verdict::fails(condition::PROGRAMMED, code, message));
        }
    }

    /// The first condition that keeps the object from being ready.
    pub(super) fn obstacle(&self) -> Option<&Verdict> {
        let with = |status| {
            let summed_up = SUMMED_UP.iter().filter_map(|name| self.get(name));
            let mut summed_up = summed_up.filter(|verdict| !waits_for_a_user(verdict));
            summed_up.find(move |verdict| verdict.status == status)
        };
        with(ConditionStatus::False).or_else(|| with(ConditionStatus::Unknown))
    }

    /// The conditions as status holds them.
    pub(super) fn finish(mut self, report: &Report, previous: &[Condition]) -> Vec<Condition> {
        let ready = match self.obstacle() {
            Some(obstacle) => Verdict { condition: condition::READY, ..obstacle.clone() },
            None => Verdict::holds(condition::READY, "everything is in order"),
        };
        let stalled = stalled(report);
        let reconciling = if stalled.is_none() { self.reconciling() } else { None };
        self.verdicts.push(ready);
        self.verdicts.extend(reconciling);
        self.verdicts.extend(stalled);
        let now = self.now;
        self.verdicts.into_iter().map(|verdict| finished(verdict, report.generation, previous, now)).collect()
    }

    fn reconciling(&self) -> Option<Verdict> {
        let pending = self.verdicts.iter().find(|verdict| {
            let is_on_its_way =
                verdict.reason == Code::KeyCreating.reason() || verdict.reason == Code::Pending.reason();
            let is_unknown =
                verdict.status == ConditionStatus::Unknown && verdict.condition == condition::EHR_AUTHENTICATED;
            (is_unknown && !waits_for_a_user(verdict)) || (is_on_its_way && verdict.status == ConditionStatus::False)
        })?;
        Some(Verdict { condition: condition::RECONCILING, status: ConditionStatus::True, ..pending.clone() })
    }
}

/// `Stalled`: an edit was refused, or nothing goes on until a person acts.
fn stalled(report: &Report) -> Option<Verdict> {
    let (reason, message) = match report.rejections.first() {
        Some(rejection) => (rejection.code, format!("{}: {}", rejection.location, rejection.message)),
        None => {
            let finding = report.findings.iter().find(|finding| needs_a_person(finding.code))?;
            (finding.code, finding.message.clone())
        }
    };
    Some(Verdict {
        condition: condition::STALLED,
        status: ConditionStatus::True,
        reason: reason.reason().to_owned(),
        message,
    })
}

fn finished(verdict: Verdict, generation: i64, previous: &[Condition], now: Timestamp) -> Condition {
    let unchanged = previous
        .iter()
        .find(|previous| previous.type_ == verdict.condition && previous.status == verdict.status)
        .map(|previous| previous.last_transition_time.clone());
    Condition {
        type_: verdict.condition.to_owned(),
        status: verdict.status,
        reason: verdict.reason,
        message: verdict.message,
        observed_generation: generation,
        // To the second, as Kubernetes writes times.
        last_transition_time: unchanged.unwrap_or_else(|| now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
    }
}
