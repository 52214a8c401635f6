//! The state of an object in one word, for lists, counts and pictures.

use crate::api::common::condition;
use crate::api::{Condition, ConditionStatus};
use crate::snapshot::live::LiveObject;
use crate::values::code::Code;

/// What an object's conditions come to. In the order in which people look at them: the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Something is wrong.
    Failing,
    /// A person has to do something at the EHR, or say something in the spec.
    Action,
    /// Under way; or nothing is known yet.
    Progress,
    /// Switched off, or outside its window.
    Off,
    /// All is well.
    Ready,
}

impl State {
    /// All of them, the worst first.
    pub const ALL: [Self; 5] = [Self::Failing, Self::Action, Self::Progress, Self::Off, Self::Ready];

    /// What its conditions come to.
    pub fn of(live: &LiveObject) -> Self {
        let is = |kind, reasons: &[Code]| {
            live.condition(kind).is_some_and(|condition| {
                condition.status == ConditionStatus::False
                    && reasons.iter().any(|reason| condition.reason == reason.reason())
            })
        };
        match live.condition(condition::READY).map(|ready| ready.status) {
            Some(ConditionStatus::True) => Self::Ready,
            None => Self::Progress,
            Some(ConditionStatus::False | ConditionStatus::Unknown) => {
                if is(condition::PROGRAMMED, &[Code::Suspended, Code::OutsideWindow]) {
                    Self::Off
                } else if is(condition::ACCEPTED, Code::ALL) || is(condition::RESOLVED_REFS, Code::ALL) {
                    Self::Failing
                } else if is(condition::EHR_AUTHENTICATED, &[Code::AwaitingRegistration, Code::ClientIdMissing]) {
                    Self::Action
                } else if live.condition(condition::RECONCILING).is_some() || all_under_way(live) {
                    Self::Progress
                } else {
                    Self::Failing
                }
            }
        }
    }

    /// The word in addresses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Action => "action",
            Self::Progress => "progress",
            Self::Off => "off",
            Self::Ready => "ready",
        }
    }

    /// The words on the page.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Failing => "Failing",
            Self::Action => "Needs action",
            Self::Progress => "In progress",
            Self::Off => "Switched off",
            Self::Ready => "Ready",
        }
    }

    /// The words after a count.
    pub const fn counted(self, count: usize) -> &'static str {
        match (self, count) {
            (Self::Failing, _) => "failing",
            (Self::Action, 1) => "needs action",
            (Self::Action, _) => "need action",
            (Self::Progress, _) => "in progress",
            (Self::Off, _) => "switched off",
            (Self::Ready, _) => "ready",
        }
    }

    /// The state that a word in an address names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// Whether what does not hold yet will by itself.
fn all_under_way(live: &LiveObject) -> bool {
    let transient = [Code::KeyCreating, Code::Pending, Code::NotProbed];
    live.faults().all(|fault: &Condition| {
        fault.status == ConditionStatus::Unknown || transient.iter().any(|code| fault.reason == code.reason())
    })
}

/// How many objects are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([usize; State::ALL.len()]);

impl Counts {
    /// Counts.
    pub fn of(states: impl IntoIterator<Item = State>) -> Self {
        let mut counts = Self::default();
        for state in states {
            if let Some(count) = counts.0.get_mut(state as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// Objects in that state.
    pub fn in_state(&self, state: State) -> usize {
        self.0.get(state as usize).copied().unwrap_or_default()
    }

    /// Objects in all.
    pub fn total(&self) -> usize {
        self.0.iter().sum()
    }

    /// What is not zero, worst first.
    pub fn present(&self) -> impl Iterator<Item = (State, usize)> {
        State::ALL.into_iter().map(|state| (state, self.in_state(state))).filter(|(_, count)| *count > 0)
    }

    /// The parts of a bar of 100 units: where each begins and how long it is.
    pub fn bar(&self) -> Vec<(State, f64, f64)> {
        let total = self.total();
        let mut start = 0.0;
        let part = |count: usize| {
            let (count, total) = (u32::try_from(count), u32::try_from(total.max(1)));
            100.0 * f64::from(count.unwrap_or(u32::MAX)) / f64::from(total.unwrap_or(u32::MAX))
        };
        self.present()
            .map(|(state, count)| {
                let (begin, width) = (start, part(count));
                start += width;
                (state, begin, width)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Kind, ObjectKey, ObjectReference};
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case::all_is_well(&[("Ready", "True", "Ready")], State::Ready)]
    #[case::nothing_is_known(&[], State::Progress)]
    #[case::a_reference_leads_nowhere(
        &[("Ready", "False", "RefNotFound"), ("ResolvedRefs", "False", "RefNotFound")], State::Failing)]
    #[case::nobody_has_registered_it(
        &[("Ready", "False", "AwaitingRegistration"), ("EHRAuthenticated", "False", "AwaitingRegistration")],
        State::Action)]
    #[case::the_ehr_changed_its_mind(
        &[("Ready", "False", "Refused"), ("EHRAuthenticated", "False", "Refused")], State::Failing)]
    #[case::the_key_is_being_made(
        &[("Ready", "False", "Creating"), ("KeyReady", "False", "Creating"),
          ("EHRAuthenticated", "Unknown", "NotProbed")], State::Progress)]
    #[case::somebody_switched_it_off(
        &[("Ready", "False", "Suspended"), ("Programmed", "False", "Suspended")], State::Off)]
    fn conditions_come_to_one_word(#[case] conditions: &[(&str, &str, &str)], #[case] state: State) {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(kind, status, reason)| {
                json!({ "type": kind, "status": status, "reason": reason, "message": "", "observedGeneration": 1,
                        "lastTransitionTime": "2026-01-01T00:00:00Z" })
            })
            .collect();
        let object = ObjectReference::new(Kind::Activation, ObjectKey::new("north", "one"));
        assert_eq!(State::of(&LiveObject::new(object, vec![], json!({ "conditions": conditions }))), state);
    }

    #[test]
    fn a_bar_has_a_part_for_each_state_that_is_there() {
        let counts = Counts::of([State::Ready, State::Failing, State::Ready, State::Ready]);
        assert_eq!(counts.bar(), [(State::Failing, 0.0, 25.0), (State::Ready, 25.0, 75.0)]);
        assert_eq!((counts.total(), counts.in_state(State::Off)), (4, 0));
    }
}
