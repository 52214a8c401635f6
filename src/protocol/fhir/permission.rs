//! What an interaction needs (SMART App Launch 2.2 "Scopes for requesting FHIR Resources"), and whether scopes give it.

use std::collections::BTreeSet;

use super::access::{Access, Alternative, Condition, OutOfReach, Reach};
use super::compartment;
use super::constrain;
use super::permit::Permit;
use super::search;
use super::{Denial, Interaction, OperationTarget, Parts, Unenforceable, batch};
use crate::values::scope::{Permissions, ResourceScope};

/// What asks for a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The interaction itself.
    Interaction,
    /// A parameter that looks into resources of another type: a chain, `_has`, `_list`, a conditional reference.
    Chain,
    /// A parameter that brings resources of another type along: `_include`, `_revinclude`.
    Include,
}

/// A permission on a type of resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The type; `None`: all of them.
    pub resource_type: Option<String>,
    /// The permissions, all of them.
    pub permissions: Permissions,
    /// What asks for it.
    pub via: Via,
}

impl Need {
    fn new(resource_type: Option<&str>, permissions: Permissions) -> Self {
        Self { resource_type: resource_type.map(str::to_owned), permissions, via: Via::Interaction }
    }

    pub(super) fn of_parameter(via: Via, resource_type: Option<&str>, permissions: Permissions) -> Self {
        Self { via, ..Self::new(resource_type, permissions) }
    }

    /// The scope that would meet it.
    fn scope(&self, access: &Access<'_>) -> String {
        let scope = ResourceScope {
            context: access.context(),
            resource_type: self.resource_type.clone(),
            permissions: self.permissions,
            constraints: Vec::new(),
            version1: false,
        };
        scope.to_string()
    }
}

/// Operations that bring along resources of other types than the one that they are called on.
const WIDE_OPERATIONS: [&str; 5] = ["$everything", "$export", "$document", "$graphql", "$meta"];

const READ_AND_SEARCH: Permissions = Permissions::VERSION1_READ;

/// Everything that a request needs. `form` is the body of a search by POST.
///
/// An operation of a type or instance needs `rs` on the type, of the system `rs` on all types, and so do those that bring
/// other types along (`$everything`, `$export`, …), but for the types that their `_type` names. What else it does, the
/// gateway's owner vouches for by listing it.
pub fn needs(interaction: &Interaction<'_>, parts: &Parts<'_>, form: Option<&str>) -> Result<Vec<Need>, Denial> {
    let search = Permissions::SEARCH;
    let mut needs = match *interaction {
        Interaction::Capabilities | Interaction::Batch => Vec::new(),
        Interaction::Read(name) | Interaction::VersionRead(name) | Interaction::HistoryInstance(name) => {
            vec![Need::new(Some(name), Permissions::READ)]
        }
        Interaction::HistoryType(name) | Interaction::SearchType(name) | Interaction::SearchTypeByPost(name) => {
            vec![Need::new(Some(name), search)]
        }
        Interaction::HistorySystem | Interaction::SearchCompartment(None) => vec![Need::new(None, search)],
        Interaction::SearchCompartment(Some(name)) => vec![Need::new(Some(name), search)],
        // Of a search by POST some EHRs read the query and some the body: every list must name types, or it is all.
        Interaction::SearchSystem | Interaction::SearchSystemByPost => {
            of_types([parts.query, form].into_iter().flatten(), search)?
        }
        Interaction::Create(name) => vec![Need::new(Some(name), Permissions::CREATE)],
        Interaction::ConditionalCreate(name) => vec![Need::new(Some(name), search.union(Permissions::CREATE))],
        Interaction::Update(name) | Interaction::Patch(name) => vec![Need::new(Some(name), Permissions::UPDATE)],
        Interaction::ConditionalUpdate(name) => {
            vec![Need::new(Some(name), search.union(Permissions::CREATE).union(Permissions::UPDATE))]
        }
        Interaction::ConditionalPatch(name) => vec![Need::new(Some(name), search.union(Permissions::UPDATE))],
        Interaction::Delete(name) => vec![Need::new(Some(name), Permissions::DELETE)],
        Interaction::ConditionalDelete(name) => vec![Need::new(Some(name), search.union(Permissions::DELETE))],
        Interaction::Operation { name, target } => match target {
            OperationTarget::Type(on) | OperationTarget::Instance(on) if !WIDE_OPERATIONS.contains(&name) => {
                vec![Need::new(Some(on), READ_AND_SEARCH)]
            }
            OperationTarget::System | OperationTarget::Type(_) | OperationTarget::Instance(_)
                if matches!(name, "$everything" | "$export") && *parts.method == http::Method::GET =>
            {
                of_types(parts.query.into_iter(), READ_AND_SEARCH)?
            }
            OperationTarget::System | OperationTarget::Type(_) | OperationTarget::Instance(_) => {
                vec![Need::new(None, READ_AND_SEARCH)]
            }
        },
    };
    let of = search::Of { kind: interaction.query_kind(), resource_type: interaction.resource_type() };
    search::add_needs(parts.query.unwrap_or_default(), of, &mut needs)?;
    let criteria = search::Of { kind: search::Kind::Search, ..of };
    if let Some(form) = form {
        search::add_needs(form, criteria, &mut needs)?;
    }
    if let (Interaction::ConditionalCreate(_), Some(text)) = (interaction, parts.if_none_exist) {
        search::add_needs(text.trim_start_matches('?'), criteria, &mut needs)?;
    }
    Ok(needs)
}

/// A permission on each type that `_type` names, in every text that is not empty; on all types where one names none.
fn of_types<'text>(texts: impl Iterator<Item = &'text str>, permissions: Permissions) -> Result<Vec<Need>, Denial> {
    let by_place: Vec<Vec<String>> =
        texts.filter(|text| !text.is_empty()).map(search::types_of_system_search).collect::<Result<_, _>>()?;
    if by_place.is_empty() || by_place.iter().any(Vec::is_empty) {
        return Ok(vec![Need::new(None, permissions)]);
    }
    Ok(by_place.iter().flatten().map(|name| Need::new(Some(name), permissions)).collect())
}

/// Decides whether a request may pass, and under which conditions, at a gateway that lists these operations. `body` is
/// that of a search by POST or of a batch; of others it is judged later, by the permit's conditions.
///
/// The one decision: the proxy and `hearthgate why` both ask it.
pub fn decide(
    access: &Access<'_>,
    operations: &BTreeSet<String>,
    interaction: &Interaction<'_>,
    parts: &Parts<'_>,
    body: Option<&[u8]>,
) -> Result<Permit, Denial> {
    if let Interaction::Operation { name, .. } = interaction
        && !operations.contains(*name)
    {
        return Err(Denial::OperationNotAllowed { name: (*name).to_owned() });
    }
    if *interaction == Interaction::Batch {
        search::add_needs(
            parts.query.unwrap_or_default(),
            search::Of { kind: search::Kind::FormOfAnswer, resource_type: None },
            &mut Vec::new(),
        )?;
        return batch::decide_all(access, operations, body.ok_or(Denial::BodyWanted)?);
    }
    let form =
        body.filter(|_| interaction.has_form()).map(std::str::from_utf8).transpose().map_err(|_| Denial::Query)?;
    let mut permit = Permit::default();
    for need in needs(interaction, parts, form)? {
        for permission in need.permissions.each() {
            let reach = access.reach(need.resource_type.as_deref(), permission);
            match reach.map_err(|reason| out_of_reach(reason, &need, access))? {
                Reach::Everything => {}
                Reach::Within(alternatives) => match need.via {
                    Via::Chain => return Err(Denial::Unenforceable(Unenforceable::Chain)),
                    Via::Include => permit.answer = Some(Condition::new(access, READ_AND_SEARCH)),
                    Via::Interaction => {
                        let narrowed = Narrowed { access, interaction, parts, form, alternatives, permission };
                        narrowed.hold(need.resource_type.as_deref(), &mut permit)?;
                    }
                },
            }
        }
    }
    Ok(permit)
}

pub(super) fn out_of_reach(reason: OutOfReach, need: &Need, access: &Access<'_>) -> Denial {
    let resource_type = || need.resource_type.clone().unwrap_or_else(|| "*".to_owned());
    match reason {
        OutOfReach::NoScope => Denial::Scope { wanted: need.scope(access), parameter: need.via != Via::Interaction },
        OutOfReach::NoPatient => Denial::NoPatient,
        OutOfReach::NoCompartment => Denial::OutsideCompartment { resource_type: resource_type() },
        OutOfReach::NotJudgeable => Denial::Unenforceable(Unenforceable::UnknownParameter(resource_type())),
    }
}

/// One permission that is there within limits only, and the interaction that is to be held to them.
struct Narrowed<'a> {
    access: &'a Access<'a>,
    interaction: &'a Interaction<'a>,
    parts: &'a Parts<'a>,
    form: Option<&'a str>,
    alternatives: Vec<Alternative>,
    permission: Permissions,
}

impl Narrowed<'_> {
    fn hold(&self, resource_type: Option<&str>, permit: &mut Permit) -> Result<(), Denial> {
        match *self.interaction {
            Interaction::Read(_) | Interaction::VersionRead(_) | Interaction::HistoryInstance(_) => {
                if !self.is_the_patient_itself()? {
                    permit.answer = Some(self.condition(Permissions::READ));
                }
                Ok(())
            }
            Interaction::SearchType(name) | Interaction::SearchTypeByPost(name) => {
                self.hold_search(name, false, permit)
            }
            Interaction::SearchCompartment(Some(name)) => {
                let by_path = self.is_the_patients_compartment()?;
                self.hold_search(name, by_path, permit)
            }
            Interaction::SearchCompartment(None) => {
                let is_held = self.is_the_patients_compartment()? && self.has_bare_patient();
                self.whole_answer(is_held, permit)
            }
            Interaction::Create(_) => {
                permit.body = Some(self.condition(Permissions::CREATE));
                permit.answer = Some(self.condition(Permissions::CREATE.union(Permissions::READ)));
                Ok(())
            }
            Interaction::ConditionalCreate(name) => {
                if self.permission == Permissions::CREATE {
                    permit.body = Some(self.condition(Permissions::CREATE));
                    permit.answer = Some(self.condition(Permissions::CREATE.union(READ_AND_SEARCH)));
                    return Ok(());
                }
                let criteria = self.parts.if_none_exist.unwrap_or_default().trim_start_matches('?');
                let client = constrain::pairs(criteria)?;
                permit.if_none_exist = constrain::parameters(name, &self.alternatives, &client, false)?.added;
                permit.answer = Some(self.condition(Permissions::CREATE.union(READ_AND_SEARCH)));
                Ok(())
            }
            Interaction::Update(_) | Interaction::Patch(_) | Interaction::Delete(_) => self.hold_change(permit),
            // Were the EHR to overlook a condition, it would change what the token may not even see.
            Interaction::ConditionalUpdate(_)
            | Interaction::ConditionalPatch(_)
            | Interaction::ConditionalDelete(_) => Err(Denial::Unenforceable(Unenforceable::ConditionalChange)),
            Interaction::HistoryType(_) | Interaction::HistorySystem => {
                Err(Denial::Unenforceable(Unenforceable::History))
            }
            Interaction::SearchSystem | Interaction::SearchSystemByPost => {
                Err(Denial::Unenforceable(Unenforceable::SystemSearch))
            }
            Interaction::Operation { name, target } => match target {
                OperationTarget::Instance("Patient") if name != "$export" => {
                    let is_held = self.is_id(self.parts.id()) && self.has_patient();
                    if !is_held && self.has_patient() {
                        return Err(Denial::AnotherPatient);
                    }
                    self.whole_answer(is_held, permit)
                }
                OperationTarget::Type(on) if *self.parts.method == http::Method::GET && resource_type == Some(on) => {
                    self.hold_search(on, false, permit)
                }
                OperationTarget::System | OperationTarget::Type(_) | OperationTarget::Instance(_) => {
                    Err(Denial::Unenforceable(Unenforceable::Operation))
                }
            },
            Interaction::Capabilities | Interaction::Batch => Ok(()),
        }
    }

    fn condition(&self, permissions: Permissions) -> Condition {
        Condition::new(self.access, permissions)
    }

    fn hold_search(&self, name: &str, by_path: bool, permit: &mut Permit) -> Result<(), Denial> {
        let mut client = constrain::pairs(self.parts.query.unwrap_or_default())?;
        client.extend(constrain::pairs(self.form.unwrap_or_default())?);
        if self.parts.query.is_some_and(|query| query.contains(';')) || self.form.is_some_and(|form| form.contains(';'))
        {
            // Two readings of one search cannot be held to the same limits.
            return Err(Denial::Unenforceable(Unenforceable::Semicolon));
        }
        client.sort();
        client.dedup();
        let held = constrain::parameters(name, &self.alternatives, &client, by_path)?;
        permit.constraints = held.added;
        permit.held_to = held.wanted;
        let condition = self.condition(READ_AND_SEARCH);
        permit.answer = Some(if by_path { condition.sifting() } else { condition });
        Ok(())
    }

    fn hold_change(&self, permit: &mut Permit) -> Result<(), Denial> {
        let is_patient = self.is_the_patient_itself()?;
        if !is_patient {
            permit.current = Some(self.condition(self.permission));
        }
        if matches!(self.interaction, Interaction::Update(_)) {
            permit.body = Some(self.condition(self.permission));
        }
        if let Interaction::Patch(name) = *self.interaction {
            permit.unpatchable = ["resourceType", "id", "meta"].into_iter().map(str::to_owned).collect();
            permit.unpatchable.extend(compartment::deciding_elements(name).map(str::to_owned));
            let constraints = self.alternatives.iter().flat_map(|alternative| &alternative.constraints);
            let parameters = constraints.filter_map(|constraint| super::parameters::find(name, &constraint.name));
            let elements =
                parameters.flat_map(super::parameters::Parameter::paths).filter_map(|path| path.split('.').next());
            permit.unpatchable.extend(elements.map(str::to_owned));
        }
        permit.answer = Some(self.condition(self.permission.union(Permissions::READ)));
        Ok(())
    }

    fn whole_answer(&self, is_held: bool, permit: &mut Permit) -> Result<(), Denial> {
        if !is_held {
            return Err(Denial::Unenforceable(Unenforceable::SystemSearch));
        }
        let client = constrain::pairs(self.parts.query.unwrap_or_default())?;
        constrain::refuse_hiding(&client)?;
        permit.answer = Some(self.condition(READ_AND_SEARCH).sifting());
        Ok(())
    }

    fn is_id(&self, id: Option<&str>) -> bool {
        id.is_some() && id == self.access.patient
    }

    fn has_patient(&self) -> bool {
        self.alternatives.iter().any(|alternative| alternative.patient.is_some())
    }

    fn has_bare_patient(&self) -> bool {
        self.alternatives.iter().any(|alternative| alternative.patient.is_some() && alternative.constraints.is_empty())
    }

    /// `Patient/<the patient in context>`, with nothing more to ask of it. Another patient is refused at once, the same
    /// whether or not there is one.
    fn is_the_patient_itself(&self) -> Result<bool, Denial> {
        if self.interaction.resource_type() != Some("Patient") {
            return Ok(false);
        }
        if self.is_id(self.parts.id()) {
            return Ok(self.has_bare_patient());
        }
        let others = self.alternatives.iter().all(|alternative| alternative.patient.is_some());
        if others { Err(Denial::AnotherPatient) } else { Ok(false) }
    }

    /// Whether the path is that of the patient's own compartment; another patient's is refused.
    fn is_the_patients_compartment(&self) -> Result<bool, Denial> {
        if self.parts.first_segment() != Some("Patient") || !self.has_patient() {
            return Ok(false);
        }
        if self.is_id(self.parts.id()) { Ok(true) } else { Err(Denial::AnotherPatient) }
    }
}
