//! How far scopes reach: to everything of a type, or only to what a narrowed scope or a patient's compartment holds.
//!
//! Several scopes on one type add up: a resource that meets any of them may be reached.

use std::fmt;

use serde_json::Value;

use super::compartment::{self, Place};
use super::parameters;
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
}

impl Condition {
    pub(super) fn new(access: &Access<'_>, permissions: Permissions) -> Self {
        Self { scopes: access.scopes.clone(), patient: access.patient.map(str::to_owned), permissions }
    }

    /// Whether a resource may go through. `bases` are the FHIR bases that its references may begin with.
    pub fn admits(&self, resource: &Value, bases: &[&str]) -> bool {
        let Some(resource_type) = resource.get("resourceType").and_then(Value::as_str) else { return false };
        let access = Access { scopes: &self.scopes, patient: self.patient.as_deref() };
        self.permissions.each().any(|permission| match access.reach(Some(resource_type), permission) {
            Ok(Reach::Everything) => true,
            Ok(Reach::Within(alternatives)) => {
                alternatives.iter().any(|alternative| alternative.admits(resource, resource_type, bases))
            }
            Err(_) => false,
        })
    }

    /// Whether everything in an answer may go through: the resource itself, or all that a Bundle of results holds.
    /// An OperationOutcome always may. Entries without a resource (deletions in a history) pass only beside one that is
    /// admitted.
    pub fn admits_answer(&self, answer: &Value, bases: &[&str]) -> bool {
        match answer.get("resourceType").and_then(Value::as_str) {
            Some("OperationOutcome") => true,
            Some("Bundle") if is_of_results(answer) => {
                let entries = answer.get("entry").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                let resources: Vec<&Value> = entries.iter().filter_map(|entry| entry.get("resource")).collect();
                let admitted: Vec<&Value> =
                    resources.iter().copied().filter(|resource| self.admits(resource, bases)).collect();
                let all = resources.iter().all(|resource| {
                    is_outcome(resource)
                        || admitted.iter().any(|admitted| std::ptr::eq(*admitted, *resource))
                        || self.is_provenance_of(resource, &admitted, bases)
                });
                all && (!admitted.is_empty() || resources.len() == entries.len())
            }
            Some(_) => self.admits(answer, bases),
            None => false,
        }
    }

    /// A Provenance is nobody's by HL7's compartment unless it is of the Patient resource itself; one that came along
    /// (`_revinclude=Provenance:target`) belongs to what it is about.
    fn is_provenance_of(&self, resource: &Value, admitted: &[&Value], bases: &[&str]) -> bool {
        if resource.get("resourceType").and_then(Value::as_str) != Some("Provenance") {
            return false;
        }
        let access = Access { scopes: &self.scopes, patient: self.patient.as_deref() };
        let without_patient = |alternative: &Alternative| {
            let rest = Alternative { patient: None, ..alternative.clone() };
            rest.admits(resource, "Provenance", bases)
        };
        let is_permitted = self.permissions.each().any(|permission| {
            matches!(access.reach(Some("Provenance"), permission),
                Ok(Reach::Within(alternatives)) if alternatives.iter().any(without_patient))
        });
        let Some(target) = parameters::find("Provenance", "target") else { return false };
        let mut targets = target.references(resource, bases).peekable();
        let is_admitted = |on: &str, id: &str| {
            admitted.iter().any(|admitted| {
                let text = |name| admitted.get(name).and_then(Value::as_str);
                text("resourceType") == Some(on) && text("id") == Some(id)
            })
        };
        is_permitted && targets.peek().is_some() && targets.all(|(on, id)| is_admitted(on, id))
    }
}

fn is_outcome(resource: &Value) -> bool {
    resource.get("resourceType").and_then(Value::as_str) == Some("OperationOutcome")
}

/// Whether a Bundle holds results; a document, message or collection is a resource by itself.
fn is_of_results(bundle: &Value) -> bool {
    matches!(
        bundle.get("type").and_then(Value::as_str),
        Some("searchset" | "history" | "batch-response" | "transaction-response")
    )
}
