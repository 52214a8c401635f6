//! Tokens of users: a code or a refresh token exchanged, and the user's id_token checked. Nothing is kept here: a user's
//! tokens belong to a session, and sessions to the store.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::request::{self, UserGrant};
use super::{EhrTokenError, EhrTokens, Exchanged};
use crate::protocol::oauth::authorize::user_of;
use crate::protocol::oauth::id_token::{self, EhrUser, Expected, IdTokenInvalid};
use crate::snapshot::Activation;
use crate::snapshot::key_pair::KeyRevision;
use crate::values::url::EndpointUrl;

/// What an EHR gives for a user.
pub struct UserTokens {
    /// For FHIR calls.
    pub access_token: Zeroizing<String>,
    /// For the next access token.
    pub refresh_token: Option<Zeroizing<String>>,
    /// Who the user is; not looked into yet.
    pub id_token: Option<Zeroizing<String>>,
    /// How long the access token is good for.
    pub lifetime: Duration,
    /// What was granted, in the EHR's words.
    pub scope: Option<String>,
    /// All else that it said: the launch's context.
    pub members: Map<String, Value>,
}

/// Why nobody knows who the user is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is no key set to check the id_token with.
    #[error("the EHR's issuer and key set cannot be read: {0}")]
    Unread(#[from] EhrTokenError),
    /// The id_token is not good.
    #[error("the EHR's id_token is refused: {0}")]
    Invalid(#[from] IdTokenInvalid),
}

impl EhrTokens {
    /// Where the EHR has users log in.
    pub async fn authorization_url(&self, activation: &Activation) -> Result<EndpointUrl, EhrTokenError> {
        let user = user_of(activation).ok_or(EhrTokenError::NeedsUser)?;
        if let Some(url) = &user.authorization_url {
            return Ok(url.clone());
        }
        let adapter = &activation.gateway.data_adapter;
        let told = self.shared.discovery.of(adapter, Some(&user.client_id)).await?;
        told.authorization_endpoint.clone().ok_or_else(|| EhrTokenError::UnusableAnswer {
            reason: "its SMART configuration gives no authorization_endpoint; write authorizationUrl".to_owned(),
        })
    }

    /// Exchanges a code or a refresh token of the EHR. Asked once: what breaks off may have been spent. What the answer
    /// tells of the activation's own standing at the EHR is recorded.
    pub async fn of_user(&self, activation: &Activation, grant: UserGrant<'_>) -> Result<UserTokens, EhrTokenError> {
        let shared = &self.shared;
        let exchanged = match self.user_request(activation, grant).await {
            Ok(request) => shared.exchange(activation, request).await,
            Err(error) => Exchanged::failed(error),
        };
        if exchanged.answer.as_ref().err().is_none_or(|error| is_about_us(grant, error)) {
            let signing = activation.ehr_authentication.key_pair().and_then(|(_, signing)| signing);
            shared.record(activation, &exchanged, signing.map(|key| key.thumbprint));
        }
        let granted = exchanged.answer.inspect_err(|error| {
            let (description, clock_skew_seconds) = error.for_the_log();
            let activation = &activation.key;
            tracing::warn!(%activation, %error, description, clock_skew_seconds, "no token of the EHR for a user");
        })?;
        Ok(UserTokens {
            access_token: granted.access_token,
            refresh_token: granted.refresh_token,
            id_token: granted.id_token,
            lifetime: granted.lifetime,
            scope: granted.scope,
            members: granted.members,
        })
    }

    /// Proves a key of an activation of users, to whom alone the EHR gives tokens. Asked for one without a user all the
    /// same, it tells what it thinks of the key: `unauthorized_client` is said to a client that it has authenticated
    /// (RFC 6749 §5.2), `invalid_client` to one that it has not.
    pub(super) async fn prove_for_users(
        &self,
        activation: &Activation,
        key: &KeyRevision,
    ) -> Result<(), EhrTokenError> {
        let shared = &self.shared;
        let auth = user_of(activation).ok_or(EhrTokenError::NeedsUser)?;
        let token_url = shared.token_url(activation, &auth.token_url).await?;
        let adapter = &activation.gateway.data_adapter;
        let request = request::proof_for_users(adapter, auth, key, &token_url, shared.clock.now())?;
        match shared.exchange(activation, request).await.answer {
            Err(EhrTokenError::Refused { error: Some(word), .. }) if word == "unauthorized_client" => Ok(()),
            answer => answer.map(drop),
        }
    }

    async fn user_request(
        &self,
        activation: &Activation,
        grant: UserGrant<'_>,
    ) -> Result<Request<Full<Bytes>>, EhrTokenError> {
        let shared = &self.shared;
        let auth = user_of(activation).ok_or(EhrTokenError::NeedsUser)?;
        let token_url = shared.token_url(activation, &auth.token_url).await?;
        request::user(&activation.gateway.data_adapter, auth, grant, &token_url, shared.clock.now())
    }

    /// Checks the id_token that came along (OpenID Connect Core §3.1.3.7). A key that the key set lacks may be new, so
    /// the set is read again once.
    pub async fn identify(
        &self,
        activation: &Activation,
        id_token: &str,
        nonce: &str,
    ) -> Result<EhrUser, IdentityError> {
        let shared = &self.shared;
        let auth = user_of(activation).ok_or(EhrTokenError::NeedsUser)?;
        let adapter = &activation.gateway.data_adapter;
        let issuer = shared.keys.issuer(adapter, &auth.client_id, &shared.discovery).await?;
        let expected = Expected { issuer: &issuer.issuer, client_id: &auth.client_id, nonce };
        let key_set = shared.keys.key_set(adapter, &issuer.jwks_uri, false).await?;
        match id_token::verify(id_token, &key_set, &expected, shared.clock.now()) {
            Err(IdTokenInvalid::KeyUnknown) => {
                let key_set = shared.keys.key_set(adapter, &issuer.jwks_uri, true).await?;
                Ok(id_token::verify(id_token, &key_set, &expected, shared.clock.now())?)
            }
            answer => Ok(answer?),
        }
    }
}

/// Whether a failure tells of the activation's standing at the EHR, and not of one user's grant alone. A code is whatever
/// a browser brought: whoever makes one up must not change what is said of the activation.
fn is_about_us(grant: UserGrant<'_>, error: &EhrTokenError) -> bool {
    let from_the_ehr = matches!(grant, UserGrant::Refresh(_));
    match error {
        EhrTokenError::Refused { error: Some(word), .. } => match word.as_str() {
            "invalid_grant" => false,
            "invalid_client" | "unauthorized_client" | "unsupported_grant_type" => true,
            _ => from_the_ehr,
        },
        EhrTokenError::Refused { status, error: None, .. } => from_the_ehr || matches!(status, 401 | 403),
        EhrTokenError::KeyUnready
        | EhrTokenError::ClientIdMissing
        | EhrTokenError::NeedsUser
        | EhrTokenError::Unreachable { .. }
        | EhrTokenError::TlsFailed { .. }
        | EhrTokenError::Timeout { .. }
        | EhrTokenError::Unavailable { .. }
        | EhrTokenError::AddressNotAllowed { .. }
        | EhrTokenError::UnusableAnswer { .. }
        | EhrTokenError::Interrupted => true,
    }
}

#[cfg(test)]
mod tests;
