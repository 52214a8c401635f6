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
    /// `None`: no ceiling.
    pub(super) scopes: Option<&'scopes ScopeSet>,
}

/// What is left under all ceilings, and which of the asked scopes each of them drops.
pub(super) fn lower(asked: &ScopeSet, ceilings: &[Ceiling<'_>]) -> (ScopeSet, Vec<DroppedScope>) {
    let mut granted = asked.clone();
    let mut dropped: Vec<DroppedScope> = Vec::new();
    for ceiling in ceilings {
        let Some(scopes) = ceiling.scopes else { continue };
        for scope in granted.not_covered_by(scopes) {
            dropped.push(DroppedScope { scope: scope.to_string(), dropped_by: ceiling.owner.clone() });
        }
        granted = granted.intersect(scopes);
    }
    (granted, dropped)
}
