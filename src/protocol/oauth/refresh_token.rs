//! The refresh token grant (RFC 6749 §6): never for another client, never for more than was granted.

use super::OAuthError;
use super::authorization_code::Grant;
use super::error::GrantFault;
use crate::snapshot::App;
use crate::values::scope::{Scope, ScopeSet};

/// Judges a refresh token's grant and the scope that is asked for: what the next access token holds.
///
/// `within` is what of the grant holds under today's ceiling. Asking for more than the grant is an error, asking for what
/// a ceiling took meanwhile is not: the answer's `scope` shows it.
pub fn judge(grant: &Grant, app: &App, scope: Option<&str>, within: &ScopeSet) -> Result<ScopeSet, OAuthError> {
    if grant.client_id != app.client_id {
        return Err(GrantFault::Unknown.into());
    }
    let Some(asked) = scope else { return Ok(within.clone()) };
    let granted = ScopeSet::parse(&grant.scope).unwrap_or_default();
    let mut scopes = ScopeSet::new();
    for word in asked.split(' ').filter(|word| !word.is_empty()) {
        let scope: Scope = word.parse().map_err(|_| OAuthError::ScopeNotGranted)?;
        if !granted.covers(&scope) {
            return Err(OAuthError::ScopeNotGranted);
        }
        scopes.insert(scope);
    }
    let scopes = scopes.intersect(within);
    if scopes.is_empty() { Err(OAuthError::ScopeUnavailable) } else { Ok(scopes) }
}
