//! What an interaction needs (SMART App Launch 2.2 "Scopes for requesting FHIR Resources"), and whether scopes give it.
//!
//! Only `system/` scopes count: no user stands behind these tokens. A scope that is narrowed (`?category=…`) permits
//! nothing but searches by GET that carry that very condition; it gives no reads, since what a read returns is only known
//! afterwards.

use std::collections::BTreeSet;

use super::search;
use super::{Denial, Interaction, OperationTarget, Parts};
use crate::values::scope::{Constraint, Context, Permissions, ResourceScope, Scope, ScopeSet};

/// A permission on a type of resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The type; `None`: all of them.
    pub resource_type: Option<String>,
    /// The permissions, all of them.
    pub permissions: Permissions,
    /// Whether a parameter asks for it, not the interaction itself.
    pub parameter: bool,
}

impl Need {
    fn new(resource_type: Option<&str>, permissions: Permissions) -> Self {
        Self { resource_type: resource_type.map(str::to_owned), permissions, parameter: false }
    }

    pub(super) fn of_parameter(resource_type: Option<&str>, permissions: Permissions) -> Self {
        Self { parameter: true, ..Self::new(resource_type, permissions) }
    }

    /// The scope that would meet it.
    fn scope(&self, constraints: Vec<Constraint>) -> ResourceScope {
        ResourceScope {
            context: Context::System,
            resource_type: self.resource_type.clone(),
            permissions: self.permissions,
            constraints,
            version1: false,
        }
    }
}

/// Operations that bring along resources of other types than the one that they are called on.
const WIDE_OPERATIONS: [&str; 5] = ["$everything", "$export", "$document", "$graphql", "$meta"];

/// Everything that a request needs. `form` is the body of a search by POST.
///
/// An operation of a type or instance needs `rs` on the type, of the system `rs` on all types, and so do those that bring
/// other types along (`$everything`, `$export`, …). What else it does, the gateway's owner vouches for by listing it.
pub fn needs(interaction: &Interaction<'_>, parts: &Parts<'_>, form: Option<&str>) -> Result<Vec<Need>, Denial> {
    const READ_AND_SEARCH: Permissions = Permissions::VERSION1_READ;
    let search = Permissions::SEARCH;
    let mut needs = match *interaction {
        Interaction::Capabilities => Vec::new(),
        Interaction::Read(name) | Interaction::VersionRead(name) | Interaction::HistoryInstance(name) => {
            vec![Need::new(Some(name), Permissions::READ)]
        }
        Interaction::HistoryType(name) | Interaction::SearchType(name) | Interaction::SearchTypeByPost(name) => {
            vec![Need::new(Some(name), search)]
        }
        Interaction::HistorySystem | Interaction::SearchCompartment(None) => vec![Need::new(None, search)],
        Interaction::SearchCompartment(Some(name)) => vec![Need::new(Some(name), search)],
        Interaction::SearchSystem | Interaction::SearchSystemByPost => {
            // Of a search by POST some EHRs read the query and some the body: every list must name types, or it is all.
            let lists = [parts.query, form];
            let by_place: Vec<Vec<String>> = lists
                .into_iter()
                .filter(|text| text.is_some_and(|text| !text.is_empty()))
                .map(|text| search::types_of_system_search([text, None]))
                .collect::<Result<_, _>>()?;
            if by_place.is_empty() || by_place.iter().any(Vec::is_empty) {
                vec![Need::new(None, search)]
            } else {
                by_place.iter().flatten().map(|name| Need::new(Some(name), search)).collect()
            }
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
        Interaction::Batch => return Err(Denial::Batch),
        Interaction::Operation { name, target } => match target {
            OperationTarget::Type(on) | OperationTarget::Instance(on) if !WIDE_OPERATIONS.contains(&name) => {
                vec![Need::new(Some(on), READ_AND_SEARCH)]
            }
            OperationTarget::System | OperationTarget::Type(_) | OperationTarget::Instance(_) => {
                vec![Need::new(None, READ_AND_SEARCH)]
            }
        },
    };
    search::add_needs(parts.query.unwrap_or_default(), interaction.query_kind(), &mut needs)?;
    if let Some(form) = form {
        search::add_needs(form, search::Kind::Search, &mut needs)?;
    }
    if let (Interaction::ConditionalCreate(_), Some(criteria)) = (interaction, parts.if_none_exist) {
        search::add_needs(criteria.trim_start_matches('?'), search::Kind::Search, &mut needs)?;
    }
    Ok(needs)
}

/// Decides whether scopes (the token's, within today's ceiling) permit a request at a gateway that lists these
/// operations.
pub fn decide(
    scopes: &ScopeSet,
    operations: &BTreeSet<String>,
    interaction: &Interaction<'_>,
    parts: &Parts<'_>,
    form: Option<&str>,
) -> Result<(), Denial> {
    if let Interaction::Operation { name, .. } = interaction
        && !operations.contains(*name)
    {
        return Err(Denial::OperationNotAllowed { name: (*name).to_owned() });
    }
    for need in needs(interaction, parts, form)? {
        let conditions = match interaction {
            Interaction::SearchType(_) if !need.parameter => search::conditions(parts.query),
            _ => Vec::new(),
        };
        if !scopes.covers(&Scope::Resource(need.scope(conditions))) {
            let wanted = need.scope(Vec::new()).to_string();
            return Err(Denial::Scope { wanted, parameter: need.parameter });
        }
    }
    Ok(())
}
