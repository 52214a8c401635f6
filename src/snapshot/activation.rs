//! Activation: spec → one app on one gateway, with everything that its requests need.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use secrecy::SecretString;

use super::key_pair::KeyRevision;
use super::{App, Gateway, KeyPair, ObjectKey, ObjectReference};
use crate::api::activation::TokenEndpointAuthMethod;
use crate::values::scope::ScopeSet;
use crate::values::url::EndpointUrl;

/// One app on one gateway.
#[derive(Debug)]
pub struct Activation {
    /// Namespace and name.
    pub key: ObjectKey,
    /// The object's UID, which tokens name.
    pub uid: String,
    /// The spec's generation.
    pub generation: i64,
    /// The app.
    pub app: Arc<App>,
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// The most that a token can hold today: App ∩ Activation ∩ Gateway.
    pub ceiling: ScopeSet,
    /// No effect before.
    pub not_before: Option<Timestamp>,
    /// No effect from then on.
    pub expires_at: Option<Timestamp>,
    /// The suspended object that it hangs on, itself included.
    pub suspended_by: Option<ObjectReference>,
    /// How to authenticate to the EHR.
    pub ehr_authentication: EhrAuthentication,
    /// Changes whenever anything that EHR tokens depend on does (client ID, URLs, scopes, key, secret): EHR tokens are
    /// cached by it.
    pub credential_digest: [u8; 32],
    /// The git revision that the annotation `hearthgate.dev/git-revision` tells: whatever deploys the object puts it
    /// there. Audit lines carry it.
    pub git_revision: Option<String>,
    /// Value of `probe-requested-at`: a new one asks for a probe now.
    pub probe_requested_at: Option<String>,
}

/// Why an activation has no effect now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotLive {
    /// It, or an object that it hangs on, is suspended.
    Suspended(ObjectReference),
    /// It begins later.
    NotYet(Timestamp),
    /// It is over.
    Over(Timestamp),
}

impl fmt::Display for NotLive {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspended(object) => write!(formatter, "{object} is suspended"),
            Self::NotYet(time) => write!(formatter, "it takes effect at {time} (notBefore)"),
            Self::Over(time) => write!(formatter, "it ended at {time} (expiresAt)"),
        }
    }
}

impl Activation {
    /// Whether it has effect at this moment.
    pub fn live_at(&self, now: Timestamp) -> Result<(), NotLive> {
        if let Some(object) = &self.suspended_by {
            return Err(NotLive::Suspended(object.clone()));
        }
        within_window(self.not_before, self.expires_at, now)
    }
}

/// Whether `now` lies in the window `[start, end)`; an absent bound does not bind.
pub(super) fn within_window(start: Option<Timestamp>, end: Option<Timestamp>, now: Timestamp) -> Result<(), NotLive> {
    if let Some(start) = start.filter(|start| now < *start) {
        return Err(NotLive::NotYet(start));
    }
    if let Some(end) = end.filter(|end| now >= *end) {
        return Err(NotLive::Over(end));
    }
    Ok(())
}

/// Where EHR tokens are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenUrl {
    /// As the activation or its adapter says.
    Given(EndpointUrl),
    /// As the EHR's SMART configuration says.
    Discovered,
}

/// How to authenticate to the EHR.
#[derive(Debug)]
pub enum EhrAuthentication {
    /// A signed JWT (SMART Backend Services).
    BackendAuth(BackendAuth),
    /// OAuth 2.0 client credentials with a shared secret.
    ClientCredentials(ClientCredentials),
    /// HTTP Basic on every FHIR call: the whole value of the `Authorization` header.
    Basic(SecretString),
    /// Nothing.
    None,
    /// A SMART launch brokered to the EHR.
    User(User),
}

/// SMART Backend Services at the EHR.
#[derive(Debug)]
pub struct BackendAuth {
    /// The client ID that the vendor gave; `None` until they do.
    pub client_id: Option<String>,
    /// Where tokens are asked for.
    pub token_url: TokenUrl,
    /// The `aud` of the assertion; `None`: the token URL.
    pub audience: Option<String>,
    /// Scopes to ask for, joined by spaces; empty: none are sent.
    pub scopes: String,
    /// The key pair.
    pub pair: Arc<KeyPair>,
    /// The key that signs; `None` while there is none to sign with.
    pub signing: Option<Arc<KeyRevision>>,
}

/// OAuth 2.0 client credentials at the EHR.
#[derive(Debug)]
pub struct ClientCredentials {
    /// The client ID that the EHR gave.
    pub client_id: String,
    /// The secret that the EHR gave.
    pub client_secret: SecretString,
    /// How the secret is sent.
    pub method: TokenEndpointAuthMethod,
    /// Where tokens are asked for.
    pub token_url: TokenUrl,
    /// Scopes to ask for, joined by spaces.
    pub scopes: String,
}

/// A SMART launch brokered to the EHR.
#[derive(Debug)]
pub struct User {
    /// The client ID that the EHR gave.
    pub client_id: String,
    /// How the gateway proves to the EHR who it is.
    pub credential: UserCredential,
    /// Scopes to ask for, joined by spaces; `None`: what the app was granted.
    pub scopes: Option<String>,
    /// Where users log in; `None`: as the EHR's SMART configuration says.
    pub authorization_url: Option<EndpointUrl>,
    /// Where codes are exchanged.
    pub token_url: TokenUrl,
}

/// How the gateway proves to the EHR who it is in a brokered launch.
#[derive(Debug)]
pub enum UserCredential {
    /// A public client: PKCE alone.
    Public,
    /// A shared secret.
    Secret {
        /// The secret.
        secret: SecretString,
        /// How it is sent.
        method: TokenEndpointAuthMethod,
    },
    /// A signed JWT.
    KeyPair {
        /// The key pair.
        pair: Arc<KeyPair>,
        /// The key that signs; `None` while there is none to sign with.
        signing: Option<Arc<KeyRevision>>,
    },
}

impl EhrAuthentication {
    /// The client ID that the EHR knows, where the method has one: what goes along as `Epic-Client-ID`.
    pub fn client_id(&self) -> Option<&str> {
        match self {
            Self::BackendAuth(auth) => auth.client_id.as_deref(),
            Self::ClientCredentials(auth) => Some(&auth.client_id),
            Self::User(auth) => Some(&auth.client_id),
            Self::Basic(_) | Self::None => None,
        }
    }

    /// The key pair that the EHR must trust, and the key that signs now, where the method has one.
    pub fn key_pair(&self) -> Option<(&Arc<KeyPair>, Option<&Arc<KeyRevision>>)> {
        match self {
            Self::BackendAuth(auth) => Some((&auth.pair, auth.signing.as_ref())),
            Self::User(User { credential: UserCredential::KeyPair { pair, signing }, .. }) => {
                Some((pair, signing.as_ref()))
            }
            Self::User(_) | Self::ClientCredentials(_) | Self::Basic(_) | Self::None => None,
        }
    }
}
