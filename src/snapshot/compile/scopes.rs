//! Scope lists of specs, and who drops what.

use super::super::Finding;
use crate::api::activation::DroppedScope;
use crate::values::code::Code;
use crate::values::scope::{Scope, ScopeSet};

/// Parses a list of scopes; each fault is told with its index.
pub(super) fn parse(scopes: &[String], field: &str, findings: &mut Vec<Finding>) -> ScopeSet {
    let parsed = scopes.iter().enumerate().filter_map(|(index, text)| {
        let scope: Result<Scope, _> = text.parse();
        scope
            .map_err(|error| {
                let field = format!("{field}[{index}]");
                findings.push(Finding::new(Code::InvalidScope, &field, format!("{field}: {error}")));
            })
            .ok()
    });
    parsed.collect()
}

/// A ceiling, and whose it is.
pub(super) struct Ceiling<'scopes> {
    /// Such as `Gateway epic`.
    pub(super) owner: String,
    /// Where the activation's spec names it.
    pub(super) field: &'static str,
    /// `None`: no ceiling.
    pub(super) scopes: Option<&'scopes ScopeSet>,
}

/// What is left under all ceilings, and which of the asked scopes each of them drops, wholly or in part.
pub(super) fn lower(
    app: &str,
    asked: &ScopeSet,
    ceilings: &[Ceiling<'_>],
    findings: &mut Vec<Finding>,
) -> (ScopeSet, Vec<DroppedScope>) {
    let mut granted = asked.clone();
    let mut dropped = Vec::new();
    for ceiling in ceilings {
        let Some(scopes) = ceiling.scopes else { continue };
        for scope in granted.not_covered_by(scopes) {
            let left = ScopeSet::from_iter([scope.clone()]).intersect(scopes);
            let permitted = if left.is_empty() {
                format!("which {} does not permit", ceiling.owner)
            } else {
                format!("of which {} permits only {left}", ceiling.owner)
            };
            let message = format!("App {app} asks for {scope}, {permitted}");
            findings.push(Finding::new(Code::ScopeNeverGranted, ceiling.field, message));
            dropped.push(DroppedScope { scope: scope.to_string(), dropped_by: ceiling.owner.clone() });
        }
        granted = granted.intersect(scopes);
    }
    (granted, dropped)
}
