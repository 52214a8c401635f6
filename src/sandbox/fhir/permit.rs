//! What a user's token may do: scopes, and the patient whom they are about (SMART App Launch 2.2, scopes).

use serde_json::Value;

use super::call::Call;
use super::outcome::Refusal;
use super::parameters::{self, Criterion};
use super::store::Store;
use crate::sandbox::user_scope::Level;
use crate::sandbox::user_session::UserSession;

/// Which resources of one type a call may touch in one way.
#[derive(Debug)]
pub(super) enum Permit {
    /// Those that every client may: no user is behind the call.
    All,
    /// Those that meet one of these.
    AnyOf(Vec<Alternative>),
}

/// What one scope lets through.
#[derive(Debug)]
pub(super) struct Alternative {
    reach: Reach,
    criteria: Vec<Criterion>,
}

impl Permit {
    /// What the caller may do to resources of this type: `letter` is one of `cruds`. Refused where no scope covers it.
    pub(super) fn of(call: &Call, base: &str, kind: &'static str, letter: char) -> Result<Permit, Refusal> {
        let Some(session) = &call.session else { return Ok(Permit::All) };
        let covering = session.clinical().filter(|scope| scope.covers(kind, letter));
        let alternatives: Vec<Alternative> = covering
            .filter_map(|scope| {
                let criteria = scope.filter.iter().map(|(name, value)| Criterion::parse(kind, base, name, value));
                Some(Alternative {
                    reach: Reach::of(session, scope.level),
                    // A filter that this EHR does not understand lets nothing through.
                    criteria: criteria.collect::<Result<Option<_>, _>>().ok()??,
                })
            })
            .collect();
        if alternatives.is_empty() {
            return Err(Refusal::forbidden(format!("no granted scope permits {letter:?} on {kind}")));
        }
        Ok(Permit::AnyOf(alternatives))
    }

    /// Whether the resource is one of those.
    pub(super) fn admits(&self, store: &Store, base: &str, resource: &Value) -> bool {
        match self {
            Permit::All => true,
            Permit::AnyOf(alternatives) => alternatives.iter().any(|alternative| {
                alternative.criteria.iter().all(|criterion| criterion.is_met(base, resource))
                    && match &alternative.reach {
                        Reach::Everyone => true,
                        Reach::Patient(patient) => concerns(store, base, resource, patient),
                        Reach::Nobody => false,
                    }
            }),
        }
    }

    /// Refuses a resource that is to be touched, as if it were not there: what exists is not for everyone to know.
    pub(super) fn check(&self, store: &Store, base: &str, kind: &'static str, id: &str) -> Result<(), Refusal> {
        let not_there = || Refusal::not_found(format!("there is no {kind}/{id}"));
        match (self, store.get(kind, id)) {
            (Permit::All, _) | (_, None) => Ok(()),
            (Permit::AnyOf(_), Some(stored)) => {
                // A deleted resource belongs to whom it belonged.
                let last = stored.versions.iter().rev().find_map(|version| version.resource.as_ref());
                let admitted = last.is_some_and(|resource| self.admits(store, base, resource));
                admitted.then_some(()).ok_or_else(not_there)
            }
        }
    }
}

/// Whose records a scope opens.
#[derive(Debug)]
enum Reach {
    Everyone,
    Patient(String),
    Nobody,
}

impl Reach {
    fn of(session: &UserSession, level: Level) -> Reach {
        match (level, &session.context.patient, session.own_patient()) {
            (Level::Patient, Some(patient), _) => Reach::Patient(patient.clone()),
            (Level::Patient, None, _) => Reach::Nobody,
            (Level::User, _, Some(own)) => Reach::Patient(own.to_owned()),
            (Level::User, _, None) => Reach::Everyone,
        }
    }
}

/// Whether a resource is about this patient (FHIR R4, compartment Patient), or about no patient at all.
pub(super) fn concerns(store: &Store, base: &str, resource: &Value, patient: &str) -> bool {
    let text = |name: &str| resource.get(name).and_then(Value::as_str).unwrap_or_default();
    let wanted = format!("Patient/{patient}");
    match text("resourceType") {
        "Patient" => text("id") == patient,
        kind @ ("Appointment" | "DocumentReference" | "Encounter" | "Observation") => parameters::of(kind)
            .filter(|parameter| parameter.name == "patient")
            .any(|parameter| parameter.references(base, resource).contains(&wanted.as_str())),
        // A Binary is as private as the document that it belongs to.
        "Binary" => store.all("DocumentReference").iter().any(|document| {
            let attached = document.pointer("/content/0/attachment/url").and_then(Value::as_str).unwrap_or_default();
            attached.ends_with(&format!("/Binary/{}", text("id"))) && concerns(store, base, document, patient)
        }),
        "Location" | "Practitioner" | "Schedule" | "Slot" => true,
        _ => false,
    }
}
