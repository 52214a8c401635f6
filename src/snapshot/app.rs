//! App: spec → checked registration.

use std::sync::Arc;

use secrecy::SecretString;

use super::ObjectKey;
use crate::api::ClientType;
use crate::values::key::JwkSet;
use crate::values::scope::ScopeSet;
use crate::values::url::EndpointUrl;

/// A registration that was accepted.
#[derive(Debug)]
pub struct App {
    /// Namespace and App ID.
    pub key: ObjectKey,
    /// The object's UID.
    pub uid: String,
    /// Name shown to people.
    pub display_name: String,
    /// The client ID in force.
    pub client_id: String,
    /// The kind of client.
    pub client_type: ClientType,
    /// What the app asks for.
    pub scopes: ScopeSet,
    /// The client secrets in force: compared in constant time, each of them every time.
    pub client_secrets: Vec<SecretString>,
    /// Keys for `private_key_jwt`, given inline.
    pub jwks: Option<serde_json::Value>,
    /// The same, ready to check signatures.
    pub inline_keys: Option<Arc<JwkSet>>,
    /// Where the app publishes its keys.
    pub jwks_uri: Option<EndpointUrl>,
    /// Where users may be sent back to; compared byte by byte.
    pub redirect_uris: Vec<String>,
    /// Where an EHR starts the app. `None` for `BackendService`.
    pub launch_uri: Option<EndpointUrl>,
    /// Polled to tell whether the app is healthy.
    pub health_uri: Option<EndpointUrl>,
    /// Switched off.
    pub suspend: bool,
}
