//! Gateway: spec → what requests at its URLs need, ready made.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::{DataAdapter, ObjectKey};
use crate::api::gateway::RateLimit;
use crate::values::key::{GatewayKeys, VerifyingKey};
use crate::values::scope::ScopeSet;

/// A gateway that can be served.
#[derive(Debug)]
pub struct Gateway {
    /// Namespace and name.
    pub key: ObjectKey,
    /// The object's UID.
    pub uid: String,
    /// Name shown to people.
    pub display_name: String,
    /// Public URL without a slash at its end: the OAuth issuer, `B`.
    pub issuer: String,
    /// `B/fhir`: the FHIR base, and the audience of access tokens.
    pub fhir_base: String,
    /// `B/oauth2/token`.
    pub token_endpoint: String,
    /// The EHR behind it.
    pub data_adapter: Arc<DataAdapter>,
    /// Lifetime of access tokens.
    pub access_token_lifetime: Duration,
    /// Ceiling on what any app may be granted; `None`: no ceiling.
    pub allowed_scopes: Option<ScopeSet>,
    /// FHIR operations that may pass, each with its `$`.
    pub operations: BTreeSet<String>,
    /// Origins whose pages may call.
    pub allowed_origins: BTreeSet<String>,
    /// Limit on requests per app.
    pub rate_limit: Option<RateLimit>,
    /// The keys that sign and verify its tokens; empty until they are made.
    pub signing: GatewaySigning,
    /// Switched off.
    pub suspend: bool,
}

/// The discovery documents of a gateway (JSON), each made when it is first asked for, then remembered: thousands of
/// activations are looked at for one. It follows from the gateway and its activations, so it belongs to a snapshot.
#[derive(Debug, Default)]
pub struct DiscoveryDocuments {
    /// `B/fhir/.well-known/smart-configuration`
    pub smart_configuration: OnceLock<Bytes>,
    /// `/.well-known/oauth-authorization-server<path of B>`
    pub authorization_server: OnceLock<Bytes>,
    /// `B/.well-known/openid-configuration`
    pub openid_configuration: OnceLock<Bytes>,
}

impl Gateway {
    /// `B/oauth2/introspect`
    pub fn introspection_endpoint(&self) -> String {
        format!("{}/oauth2/introspect", self.issuer)
    }

    /// `B/oauth2/revoke`
    pub fn revocation_endpoint(&self) -> String {
        format!("{}/oauth2/revoke", self.issuer)
    }
}

/// A gateway's own keys.
#[derive(Debug, Default)]
pub struct GatewaySigning {
    /// The keys to sign with; `None` until made.
    pub current: Option<GatewayKeyRevision>,
    /// Every revision there is, oldest first: what tokens are verified with.
    pub revisions: Vec<GatewayKeyRevision>,
    /// The published key set (JSON).
    pub jwks: String,
    /// The revision that the control plane must make, if it is missing.
    pub missing_revision: Option<u32>,
}

/// One revision of a gateway's own keys.
#[derive(Clone, Debug)]
pub struct GatewayKeyRevision {
    /// From 1.
    pub revision: u32,
    /// `kid` of the access tokens that it signs.
    pub es256_kid: String,
    /// The keys.
    pub keys: Arc<GatewayKeys>,
    /// Verifies access tokens.
    pub es256_verifying: VerifyingKey,
}
