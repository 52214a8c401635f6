//! The authorization code grant (RFC 6749 §4.1.3): is this the client, the redirect URI and the verifier that the code
//! was issued for.

use std::sync::Arc;

use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::authorize::Asked;
use super::error::{GrantFault, OAuthError};
use super::token_request::TokenRequest;
use super::user_scopes;
use crate::snapshot::{Activation, App, Gateway, Snapshot};
use crate::values::scope::ScopeSet;

/// How long a code is good for, in seconds (RFC 6749 §4.1.2 says ten minutes at most; clients take one second).
pub const LIFETIME: i64 = 60;

/// What a code or a refresh token stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// UID of the activation.
    pub activation: String,
    /// The client.
    pub client_id: String,
    /// What was granted.
    pub scope: String,
}

/// Judges what was presented with a code.
pub fn judge(asked: &Asked, app: &App, request: &TokenRequest) -> Result<(), OAuthError> {
    if asked.client_id != app.client_id {
        return Err(GrantFault::Unknown.into());
    }
    if request.redirect_uri.as_deref() != Some(asked.redirect_uri.as_str()) {
        return Err(GrantFault::RedirectUri.into());
    }
    let verifier = request.code_verifier.as_ref().map(ExposeSecret::expose_secret);
    if !verifier.is_some_and(|verifier| asked.challenge.is_met_by(verifier)) {
        return Err(GrantFault::Verifier.into());
    }
    Ok(())
}

/// The activation of a grant, as it stands now, and what is left of the scopes under today's ceiling.
pub fn standing(
    snapshot: &Snapshot,
    gateway: &Gateway,
    app: &App,
    grant: &Grant,
    now: Timestamp,
) -> Result<(Arc<Activation>, ScopeSet), OAuthError> {
    let activation = snapshot.activation_of(&gateway.key, &app.key).ok_or(OAuthError::NotActivated)?;
    activation.live_at(now).map_err(OAuthError::NotLive)?;
    // Deleted and recreated is another one.
    if activation.uid != grant.activation {
        return Err(GrantFault::SessionOver.into());
    }
    let granted = ScopeSet::parse(&grant.scope).unwrap_or_default();
    let scopes = granted.intersect(&user_scopes::ceiling(activation));
    if scopes.is_empty() {
        return Err(OAuthError::ScopeUnavailable);
    }
    Ok((Arc::clone(activation), scopes))
}
