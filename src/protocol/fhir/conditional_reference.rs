//! Conditional references (FHIR R4 §3.1.0.11.3, `Patient?identifier=…` in place of a reference): searches of their own, in
//! what is written. Some servers resolve them in every write, not in transactions alone.

use serde_json::Value;

use super::access::{Access, Reach};
use super::permission::{Need, Via, out_of_reach};
use super::{Denial, Unenforceable, interaction, search};
use crate::values::scope::Permissions;

/// Judges all of them in a resource: each needs what its search would.
pub(super) fn judge(access: &Access<'_>, value: &Value) -> Result<(), Denial> {
    match value {
        Value::Object(members) => members.iter().try_for_each(|(name, member)| match member {
            Value::String(reference) if name == "reference" && reference.contains('?') => judge_one(access, reference),
            other => judge(access, other),
        }),
        Value::Array(items) => items.iter().try_for_each(|item| judge(access, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn judge_one(access: &Access<'_>, reference: &str) -> Result<(), Denial> {
    let (resource_type, criteria) = reference.split_once('?').unwrap_or((reference, ""));
    if !interaction::is_type(resource_type) {
        return Err(Denial::Reference);
    }
    let mut needs = vec![Need::of_parameter(Via::Chain, Some(resource_type), Permissions::SEARCH)];
    let of = search::Of { kind: search::Kind::Search, resource_type: Some(resource_type) };
    search::add_needs(criteria, of, &mut needs)?;
    for need in needs {
        for permission in need.permissions.each() {
            let reach = access.reach(need.resource_type.as_deref(), permission);
            if let Reach::Within(_) = reach.map_err(|reason| out_of_reach(reason, &need, access))? {
                return Err(Denial::Unenforceable(Unenforceable::Chain));
            }
        }
    }
    Ok(())
}
