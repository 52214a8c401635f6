//! Scope lists of specs, and who drops what.

use super::super::{Finding, Kind, ObjectKey};
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
    /// Whose it is.
    pub(super) owner: (Kind, &'scopes ObjectKey),
    /// Where the activation's spec names it.
    pub(super) field: &'static str,
    /// `None`: no ceiling.
    pub(super) scopes: Option<&'scopes ScopeSet>,
}

/// A scope that a ceiling drops, wholly or in part.
pub(super) struct Dropped {
    pub(super) scope: DroppedScope,
    /// What the ceiling leaves of it.
    left: ScopeSet,
    field: &'static str,
}

impl Dropped {
    pub(super) fn finding(&self, app: &str) -> Finding {
        let DroppedScope { scope, dropped_by } = &self.scope;
        let permitted = if self.left.is_empty() {
            format!("which {dropped_by} does not permit")
        } else {
            format!("of which {dropped_by} permits only {}", self.left)
        };
        let message = format!("App {app} asks for {scope}, {permitted}");
        Finding::new(Code::ScopeNeverGranted, self.field, message)
    }
}

/// What is left under all ceilings, and which of the asked scopes each of them drops.
pub(super) fn lower(asked: &ScopeSet, ceilings: &[Ceiling<'_>]) -> (ScopeSet, Vec<Dropped>) {
    let mut granted = asked.clone();
    let mut dropped = Vec::new();
    for ceiling in ceilings {
        let Some(scopes) = ceiling.scopes else { continue };
        let (kind, owner) = ceiling.owner;
        dropped.extend(granted.not_covered_by(scopes).map(|scope| Dropped {
            scope: DroppedScope { scope: scope.to_string(), dropped_by: format!("{kind} {}", owner.name) },
            left: ScopeSet::from_iter([scope.clone()]).intersect(scopes),
            field: ceiling.field,
        }));
        granted = granted.intersect(scopes);
    }
    (granted, dropped)
}
