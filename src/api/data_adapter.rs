//! DataAdapter: how to reach an EHR.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Condition, HttpUrl, LocalReference, SecretKeyReference};
use super::gateway::RateLimit;

/// How to reach an EHR: its FHIR base, its habits, and how patiently to treat it.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "hearthgate.dev",
    version = "v1alpha1",
    kind = "DataAdapter",
    plural = "dataadapters",
    singular = "dataadapter",
    shortname = "dadp",
    category = "hearthgate",
    namespaced,
    status = "DataAdapterStatus",
    derive = "PartialEq",
    doc = "How to reach an EHR: its FHIR base, its habits, and how patiently to treat it.",
    printcolumn(name = "FHIR", type_ = "string", json_path = ".status.fhirVersion"),
    printcolumn(name = "Base", type_ = "string", json_path = ".spec.fhirBaseUrl"),
    printcolumn(name = "Reachable", type_ = "string", json_path = ".status.conditions[?(@.type=='Reachable')].status"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    selectable = ".spec.dataSourceType",
    cel
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.externalAuth) || self.backendAuthEnabled")
        .message("externalAuth needs backendAuthEnabled: true").field_path(".externalAuth"),
    validation = Rule::new("!self.fhirBaseUrl.contains('?')")
        .message("fhirBaseUrl must not have a query").field_path(".fhirBaseUrl"),
)]
pub struct DataAdapterSpec {
    /// Name shown to people.
    #[schemars(length(min = 1, max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The kind of EHR, which sets the vendor's known behaviours. `EpicR4External`: the activation's client ID goes
    /// along as `Epic-Client-ID` with token, metadata and FHIR calls. `FhirR4`: any FHIR R4 server, no habits assumed.
    pub data_source_type: DataSourceType,
    /// The EHR's FHIR R4 base URL, such as `https://ehr.example.org/interconnect/api/FHIR/R4`. `https`, unless the
    /// installation opened the address with `--allow-address`.
    pub fhir_base_url: HttpUrl,
    /// OAuth defaults for the activations that go through this adapter. What is absent here and there is read from the
    /// EHR's SMART configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth: Option<OAuthDefaults>,
    /// `false`: FHIR only, and each activation authenticates itself. `true`: besides that, `externalAuth` opens the
    /// EHR's private (non-FHIR) APIs.
    #[serde(default)]
    pub backend_auth_enabled: bool,
    /// Access to the EHR's private (non-FHIR) APIs, for apps that hold the scope `private-api`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_auth: Option<ExternalAuth>,
    /// Static headers added to every request to this EHR. Nothing secret: credentials, hop-by-hop and forwarding
    /// headers are refused.
    #[schemars(length(max = 32))]
    #[serde(default)]
    pub request_headers: Vec<RequestHeader>,
    /// Trust and identity on the TLS connection to the EHR.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// How long to wait for the EHR.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// When to ask again. Only requests that are safe to repeat are repeated.
    #[serde(default)]
    pub retry: Retry,
    /// Limit on requests to this EHR, all apps together. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// When to leave a failing EHR alone for a while.
    #[serde(default)]
    pub circuit_breaker: CircuitBreaker,
    /// Switches everything behind this adapter off, live tokens included, within a second. Nothing is deleted.
    #[serde(default)]
    pub suspend: bool,
}

/// The kind of EHR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum DataSourceType {
    /// Epic's R4 API, from outside the hospital's network.
    EpicR4External,
    /// Oracle Health (Cerner Millennium).
    OracleHealthR4,
    /// athenahealth.
    AthenaR4,
    /// MEDITECH Expanse.
    MeditechR4,
    /// Any FHIR R4 server.
    FhirR4,
}

/// OAuth defaults for the activations of an adapter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuthDefaults {
    /// The EHR's token endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_url: Option<HttpUrl>,
    /// The EHR's authorization endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_url: Option<HttpUrl>,
    /// The `aud` of our client assertions. Default: the token URL.
    #[schemars(length(min = 1, max = 2048))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// Access to an EHR's private APIs: HTTP Basic and a client ID header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!self.apiEndpoint.contains('?')")
        .message("apiEndpoint must not have a query").field_path(".apiEndpoint"),
)]
pub struct ExternalAuth {
    /// The client ID that the EHR's vendor gave; sent in the header named by `clientIdHeader`.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[\x21-\x7e]+$"))]
    pub client_id: String,
    /// The Basic credential: `user:password`, or that already in Base64, as `encoding` says.
    pub client_secret_ref: SecretKeyReference,
    /// How the Secret holds the Basic credential.
    #[serde(default)]
    pub encoding: CredentialEncoding,
    /// Base URL of the private APIs.
    pub api_endpoint: HttpUrl,
    /// Name of the header that carries the client ID.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"))]
    #[serde(default = "default_client_id_header")]
    pub client_id_header: String,
    /// What may be called. Absent: everything below `apiEndpoint` (`hearthgate check` warns).
    #[schemars(length(max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<PrivateApiRoute>>,
}

fn default_client_id_header() -> String {
    "Epic-Client-ID".into()
}

/// How a Basic credential is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CredentialEncoding {
    /// `user:password` as it is.
    #[default]
    Plain,
    /// Already Base64, as it stands behind `Authorization: Basic`.
    Base64,
}

/// A part of the private APIs that may be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrivateApiRoute {
    /// HTTP methods that may be used.
    #[schemars(length(min = 1, max = 8))]
    pub methods: Vec<PrivateApiMethod>,
    /// Path below `apiEndpoint` that the request's path must begin with, at a segment's border. Begins with a slash.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[^?#\x00-\x20\x7f-\xa0\pZ]*$"))]
    pub path_prefix: String,
}

/// A method that may be used on a private API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum PrivateApiMethod {
    /// Read.
    Get,
    /// Read the headers only.
    Head,
    /// Create or act.
    Post,
    /// Replace.
    Put,
    /// Change in part.
    Patch,
    /// Remove.
    Delete,
}

/// A static request header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(self.name.lowerAscii() in ['authorization', 'proxy-authorization', 'cookie', 'set-cookie', 'x-api-key', 'epic-client-id'])")
        .message("this header carries a credential: credentials come from Secrets, never from a spec").field_path(".name"),
    validation = Rule::new("!(self.name.lowerAscii() in ['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'host', 'content-length', 'content-type', 'accept', 'accept-encoding', 'expect'])")
        .message("this header belongs to the connection or the message and is set by the gateway").field_path(".name"),
    validation = Rule::new("!self.name.lowerAscii().matches('^(forwarded|via|x-forwarded-.*|x-real-ip|x-original-.*)$')")
        .message("forwarding headers are set by the gateway alone").field_path(".name"),
)]
pub struct RequestHeader {
    /// Name of the header.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9!#$%&'*+.^`|~-]+$"))]
    pub name: String,
    /// Its value. Nothing secret.
    #[schemars(length(max = 1024), regex(pattern = r"^[\x20-\x7e]*$"))]
    pub value: String,
}

/// Trust and identity on the TLS connection to an EHR.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Certificate authorities (PEM) to trust instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<CaBundleReference>,
    /// A `kubernetes.io/tls` Secret with the client certificate to show (mutual TLS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<LocalReference>,
}

/// One entry of a ConfigMap or Secret that holds certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct CaBundleReference {
    /// `ConfigMap` or `Secret`. It must carry the label `hearthgate.dev/use: credential`.
    pub kind: CaBundleKind,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the entry.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// What kind of object holds a CA bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum CaBundleKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// How long to wait for an EHR.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// Until the connection stands, TLS included; seconds.
    #[schemars(range(min = 1, max = 60))]
    #[serde(default = "Timeouts::default_connect_seconds")]
    pub connect_seconds: u32,
    /// Until the response's headers are there; seconds.
    #[schemars(range(min = 1, max = 600))]
    #[serde(default = "Timeouts::default_request_seconds")]
    pub request_seconds: u32,
    /// Longest silence within a streaming body; seconds.
    #[schemars(range(min = 1, max = 600))]
    #[serde(default = "Timeouts::default_idle_seconds")]
    pub idle_seconds: u32,
}

impl Timeouts {
    const fn default_connect_seconds() -> u32 {
        5
    }

    const fn default_request_seconds() -> u32 {
        60
    }

    const fn default_idle_seconds() -> u32 {
        60
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect_seconds: Self::default_connect_seconds(),
            request_seconds: Self::default_request_seconds(),
            idle_seconds: Self::default_idle_seconds(),
        }
    }
}

/// When to ask an EHR again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Attempts in all, the first included. `1`: never repeat.
    #[schemars(range(min = 1, max = 5))]
    #[serde(default = "Retry::default_max_attempts")]
    pub max_attempts: u32,
    /// Of all requests, the share that may be repeats, in percent.
    #[schemars(range(min = 0, max = 100))]
    #[serde(default = "Retry::default_budget_percent")]
    pub budget_percent: u32,
}

impl Retry {
    const fn default_max_attempts() -> u32 {
        2
    }

    const fn default_budget_percent() -> u32 {
        20
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { max_attempts: Self::default_max_attempts(), budget_percent: Self::default_budget_percent() }
    }
}

/// When to leave a failing EHR alone for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// Opens when at least this share of the calls in the window failed, in percent.
    #[schemars(range(min = 1, max = 100))]
    #[serde(default = "CircuitBreaker::default_failure_percent")]
    pub failure_percent: u32,
    /// Fewer calls than this in the window never open it.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(default = "CircuitBreaker::default_minimum_requests")]
    pub minimum_requests: u32,
    /// Length of the window, seconds.
    #[schemars(range(min = 1, max = 600))]
    #[serde(default = "CircuitBreaker::default_window_seconds")]
    pub window_seconds: u32,
    /// How long it stays open before one call may try again, seconds.
    #[schemars(range(min = 1, max = 600))]
    #[serde(default = "CircuitBreaker::default_open_seconds")]
    pub open_seconds: u32,
}

impl CircuitBreaker {
    const fn default_failure_percent() -> u32 {
        50
    }

    const fn default_minimum_requests() -> u32 {
        20
    }

    const fn default_window_seconds() -> u32 {
        10
    }

    const fn default_open_seconds() -> u32 {
        10
    }
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            failure_percent: Self::default_failure_percent(),
            minimum_requests: Self::default_minimum_requests(),
            window_seconds: Self::default_window_seconds(),
            open_seconds: Self::default_open_seconds(),
        }
    }
}

/// What Hearthgate found out about a DataAdapter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataAdapterStatus {
    /// The generation of the spec that this status is about; `-1` before the first look.
    #[serde(default = "super::unseen")]
    pub observed_generation: i64,
    /// `Accepted`, `ResolvedRefs`, `Programmed`, `Ready`, `Reachable`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The FHIR version that the EHR's CapabilityStatement tells, such as `4.0.1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fhir_version: Option<String>,
    /// The software (name and version) that the EHR's CapabilityStatement tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software: Option<String>,
}
