//! DataAdapter: spec → what the calls to an EHR need, ready made.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use secrecy::SecretString;

use super::ObjectKey;
use crate::api::data_adapter::{CircuitBreaker, DataSourceType};
use crate::api::gateway::RateLimit;
use crate::values::url::EndpointUrl;

/// An EHR that can be called.
#[derive(Debug)]
pub struct DataAdapter {
    /// Namespace and name.
    pub key: ObjectKey,
    /// The object's UID.
    pub uid: String,
    /// Name shown to people.
    pub display_name: String,
    /// The kind of EHR.
    pub data_source_type: DataSourceType,
    /// The FHIR base. Paths are appended to [`EndpointUrl::without_slash`].
    pub fhir_base: EndpointUrl,
    /// Defaults for activations.
    pub oauth: OAuthDefaults,
    /// Access to private APIs; `None` where the adapter has none.
    pub external_auth: Option<ExternalAuth>,
    /// Static headers for every request.
    pub request_headers: Vec<(HeaderName, HeaderValue)>,
    /// Trust and identity on TLS connections.
    pub tls: Tls,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// Attempts in all for requests that may be repeated, the first included.
    pub maximum_attempts: u32,
    /// Of all requests, the share that may be repeats, in percent.
    pub retry_budget_percent: u32,
    /// When to leave a failing EHR alone.
    pub circuit_breaker: CircuitBreaker,
    /// Limit on requests, all apps together.
    pub rate_limit: Option<RateLimit>,
    /// Switched off.
    pub suspend: bool,
}

/// OAuth defaults for the activations of an adapter.
#[derive(Clone, Debug, Default)]
pub struct OAuthDefaults {
    /// The EHR's token endpoint.
    pub token_url: Option<EndpointUrl>,
    /// The EHR's authorization endpoint.
    pub authorization_url: Option<EndpointUrl>,
    /// The `aud` of assertions.
    pub audience: Option<String>,
}

/// How long to wait for an EHR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// Until the response's headers are there.
    pub request: Duration,
    /// Longest silence within a streaming body.
    pub idle: Duration,
}

/// Trust and identity on TLS connections to an EHR; PEM, parsed where connections are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities to trust instead of the system's.
    pub ca_bundle_pem: Option<String>,
    /// The client certificate chain to show.
    pub client_certificate_pem: Option<String>,
    /// Its private key.
    pub client_key_pem: Option<crate::values::secret::SecretBytes>,
}

/// Access to an EHR's private APIs.
#[derive(Debug)]
pub struct ExternalAuth {
    /// The header that carries the client ID, and the client ID.
    pub client_id_header: (HeaderName, HeaderValue),
    /// The whole value of the `Authorization` header (`Basic …`).
    pub authorization: SecretString,
    /// Base URL of the private APIs.
    pub api_endpoint: EndpointUrl,
    /// What may be called; `None`: everything below the endpoint.
    pub routes: Option<Vec<PrivateApiRoute>>,
}

/// A part of the private APIs that may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateApiRoute {
    /// Methods that may be used.
    pub methods: Vec<Method>,
    /// Prefix of the path, without a slash at its end; matches at a segment's border.
    pub path_prefix: String,
}
