//! Faults that come or go.

use std::collections::BTreeSet;

use serde::Serialize;

use super::super::resources::Rejection;
use super::super::{Compiled, ObjectReference};
use super::Change;
use crate::values::code::{Code, Group};

/// A fault that comes or goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultChange {
    /// Whether it comes or goes.
    pub change: Change,
    /// What kind of fault.
    pub code: Code,
    /// The object, as far as it can be told.
    pub object: Option<ObjectReference>,
    /// What is wrong.
    pub message: String,
    /// The field.
    pub field: String,
    /// Whether it is a warning only.
    pub warning: bool,
}

type Fault = (Code, Option<ObjectReference>, String, String);

pub(super) fn changes(old: &Compiled<'_>, new: &Compiled<'_>) -> Vec<FaultChange> {
    let (before, after) = (faults(old), faults(new));
    let come = after.difference(&before).map(|fault| (Change::Added, fault));
    let gone = before.difference(&after).map(|fault| (Change::Removed, fault));
    come.chain(gone)
        .map(|(change, (code, object, message, field))| FaultChange {
            change,
            code: *code,
            object: object.clone(),
            message: message.clone(),
            field: field.clone(),
            warning: code.group() == Group::Warning,
        })
        .collect()
}

/// What `check` would tell. That a key is still to be made is told elsewhere.
fn faults(compiled: &Compiled<'_>) -> BTreeSet<Fault> {
    let found = compiled.reports.iter().flat_map(|report| {
        let told = report
            .findings
            .iter()
            .filter(|finding| matches!(finding.code.group(), Group::Accepted | Group::ResolvedRefs | Group::Warning));
        told.map(|finding| (finding.code, Some(report.object.clone()), finding.message.clone(), finding.field.clone()))
    });
    let refused = compiled.resources.rejections.iter().map(|own: &Rejection| {
        (own.code, own.object.clone(), format!("{} ({})", own.message, own.location.file), String::new())
    });
    found.chain(refused).collect()
}
