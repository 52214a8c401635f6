//! How far scopes reach: to everything of a type, or only to what a narrowed scope or a patient's compartment holds.
//!
//! Several scopes on one type add up: a resource that meets any of them may be reached.

use std::fmt;

use serde_json::Value;

use super::compartment::{self, Place};
use super::parameters;
use super::{Denial, conditional_reference};
use crate::protocol::form;
use crate::values::scope::{Constraint, Context, Permissions, ResourceScope, ScopeSet};

/// Who asks: what a token gives, as things stand now.
#[derive(Clone, Copy, Debug)]
pub struct Access<'token> {
    /// The token's scopes within today's ceiling. `patient/` and `user/` scopes are in it only if a user's session stands
    /// behind the token; `user/` then counts as `system/` does: what the user may see is the EHR's to say.
    pub scopes: &'token ScopeSet,
    /// The patient in the launch's context, as the EHR's logical ID: what `patient/` scopes are held to.
    pub patient: Option<&'token str>,
}

/// How far scopes reach within a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All resources of the type.
    Everything,
    /// Those that meet one of these.
    Within(Vec<Alternative>),
}

/// What one scope asks of a resource: all of it must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alternative {
    /// It lies in this patient's compartment.
    pub patient: Option<String>,
    /// It meets these search parameters; values are decoded.
    pub constraints: Vec<Constraint>,
}

/// Why scopes do not reach at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfReach {
    /// No scope gives the permission on the type.
    NoScope,
    /// Only `patient/` scopes give it, and no patient is in context.
    NoPatient,
    /// Only `patient/` scopes give it, and resources of the type are nobody's.
    NoCompartment,
    /// Only scopes narrowed by a parameter give it whose meaning the gateway does not know.
    NotJudgeable,
}

impl Access<'_> {
    /// How far a permission reaches; of the type `None` only scopes on all types are looked at.
    pub fn reach(&self, resource_type: Option<&str>, permission: Permissions) -> Result<Reach, OutOfReach> {
        let mut alternatives: Vec<Alternative> = Vec::new();
        let mut nearest = OutOfReach::NoScope;
        for scope in self.scopes.resources().filter(|scope| scope.permissions.contains(permission)) {
            let is_about = match resource_type {
                Some(resource_type) => scope.is_about(resource_type),
                None => scope.resource_type.is_none(),
            };
            if !is_about {
                continue;
            }
            match self.alternative(scope, resource_type, permission) {
                Ok(alternative) if alternative == Alternative::default() => return Ok(Reach::Everything),
                Ok(alternative) => alternatives.push(alternative),
                Err(reason) => nearest = reason,
            }
        }
        if alternatives.is_empty() { Err(nearest) } else { Ok(Reach::Within(alternatives)) }
    }

    fn alternative(
        &self,
        scope: &ResourceScope,
        resource_type: Option<&str>,
        permission: Permissions,
    ) -> Result<Alternative, OutOfReach> {
        let patient = match scope.context {
            Context::System | Context::User => None,
            Context::Patient => {
                let patient = self.patient.ok_or(OutOfReach::NoPatient)?;
                match resource_type.map_or(Place::Member, compartment::place) {
                    Place::Member => Some(patient.to_owned()),
                    Place::Open if Permissions::VERSION1_READ.contains(permission) => None,
                    Place::Open | Place::Closed => return Err(OutOfReach::NoCompartment),
                }
            }
        };
        let mut constraints = Vec::with_capacity(scope.constraints.len());
        for constraint in &scope.constraints {
            let value = form::decode(constraint.value.as_bytes()).map_err(|_| OutOfReach::NotJudgeable)?;
            let is_known = constraint.name == "_profile"
                || resource_type.is_none_or(|name| parameters::find(name, &constraint.name).is_some());
            if !is_known {
                return Err(OutOfReach::NotJudgeable);
            }
            constraints.push(Constraint { name: constraint.name.clone(), value: value.into_owned() });
        }
        Ok(Alternative { patient, constraints })
    }

    /// The context that a scope for this token would have.
    pub(super) const fn context(&self) -> Context {
        if self.patient.is_some() { Context::Patient } else { Context::System }
    }
}

impl Alternative {
    /// Whether a resource meets it.
    fn admits(&self, resource: &Value, resource_type: &str, bases: &[&str]) -> bool {
        let is_patients =
            self.patient.as_ref().is_none_or(|patient| compartment::holds(resource, resource_type, patient, bases));
        is_patients
            && self.constraints.iter().all(|constraint| {
                if constraint.name == "_profile" {
                    let profiles = resource.pointer("/meta/profile").and_then(Value::as_array);
                    return profiles.into_iter().flatten().any(|profile| profile == constraint.value.as_str());
                }
                parameters::find(resource_type, &constraint.name)
                    .is_some_and(|parameter| parameter.matches(resource, &constraint.value, bases))
            })
    }
}

impl fmt::Display for Alternative {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patient = self.patient.iter().map(|patient| format!("of Patient/{patient}"));
        let constraints = self.constraints.iter().map(|constraint| format!("{}={}", constraint.name, constraint.value));
        let parts: Vec<String> = patient.chain(constraints).collect();
        formatter.write_str(&parts.join(" and "))
    }
}

/// What resources must be that go through: some scope of the token gives one of these permissions on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    scopes: ScopeSet,
    patient: Option<String>,
    permissions: Permissions,
    sifts: bool,
}

impl Condition {
    pub(super) fn new(access: &Access<'_>, permissions: Permissions) -> Self {
        Self { scopes: access.scopes.clone(), patient: access.patient.map(str::to_owned), permissions, sifts: false }
    }

    /// The same, of an answer to a question that its path alone holds to the patient (a compartment, `$everything`):
    /// what is in it and not within the scopes is no fault, and is taken out.
    #[must_use]
    pub(super) fn sifting(self) -> Self {
        Self { sifts: true, ..self }
    }

    /// Whether matches beyond the scopes are taken out of an answer.
    pub(super) const fn sifts(&self) -> bool {
        self.sifts
    }

    /// Judges the references of a resource that is written which are searches of their own (`Patient?identifier=…`).
    pub(super) fn judge_references(&self, resource: &Value) -> Result<(), Denial> {
        conditional_reference::judge(&self.access(), resource)
    }

    fn access(&self) -> Access<'_> {
        Access { scopes: &self.scopes, patient: self.patient.as_deref() }
    }

    /// Whether a resource may go through. `bases` are the FHIR bases that its references may begin with.
    pub fn admits(&self, resource: &Value, bases: &[&str]) -> bool {
        let Some(resource_type) = resource.get("resourceType").and_then(Value::as_str) else { return false };
        let access = self.access();
        self.permissions.each().any(|permission| match access.reach(Some(resource_type), permission) {
            Ok(Reach::Everything) => true,
            Ok(Reach::Within(alternatives)) => {
                alternatives.iter().any(|alternative| alternative.admits(resource, resource_type, bases))
            }
            Err(_) => false,
        })
    }

    /// What a Provenance is about, as types and IDs, where it is one that the scopes permit but for whose it is. By
    /// HL7's compartment it is nobody's unless it is of the Patient resource itself; one that came along
    /// (`_revinclude=Provenance:target`) belongs to what it is about.
    pub(super) fn provenance_targets(&self, resource: &Value, bases: &[&str]) -> Option<Vec<(String, String)>> {
        if resource.get("resourceType").and_then(Value::as_str) != Some("Provenance") {
            return None;
        }
        let access = self.access();
        let without_patient = |alternative: &Alternative| {
            let rest = Alternative { patient: None, ..alternative.clone() };
            rest.admits(resource, "Provenance", bases)
        };
        let is_permitted = self.permissions.each().any(|permission| {
            matches!(access.reach(Some("Provenance"), permission),
                Ok(Reach::Within(alternatives)) if alternatives.iter().any(without_patient))
        });
        let targets = parameters::find("Provenance", "target")?.references(resource, bases);
        let targets: Vec<_> = targets.map(|(on, id)| (on.to_owned(), id.to_owned())).collect();
        (is_permitted && !targets.is_empty()).then_some(targets)
    }
}
