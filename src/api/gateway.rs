//! Gateway: where apps reach an EHR.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::common::{Condition, HttpUrl, LocalReference};

/// A FHIR base and OAuth 2.0 / SMART on FHIR authorization server in front of one data adapter.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "hearthgate.dev",
    version = "v1alpha1",
    kind = "Gateway",
    plural = "fhirgateways",
    singular = "fhirgateway",
    shortname = "fgw",
    category = "hearthgate",
    namespaced,
    status = "GatewayStatus",
    derive = "PartialEq",
    doc = "A FHIR base and OAuth 2.0 / SMART on FHIR authorization server in front of one data adapter.",
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(name = "Adapter", type_ = "string", json_path = ".spec.dataAdapterRef.name"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    selectable = ".spec.dataAdapterRef.name",
    validation = Rule::new("self.metadata.name != 'keys'")
        .message("the name 'keys' is reserved: the EHR-facing key sets live at <platform>/<namespace>/keys/"),
    cel
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.publicUrl) || !self.publicUrl.endsWith('/')")
        .message("publicUrl must not end with a slash: it is the OAuth issuer and compared exactly").field_path(".publicUrl"),
    validation = Rule::new("!has(self.publicUrl) || !self.publicUrl.contains('?')")
        .message("publicUrl must not have a query").field_path(".publicUrl"),
)]
pub struct GatewaySpec {
    /// Name shown to people.
    #[schemars(length(min = 1, max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The data adapter that this gateway stands in front of.
    pub data_adapter_ref: LocalReference,
    /// The gateway's public URL: its OAuth issuer, and the prefix of all its endpoints. Absent:
    /// `<platform public URL>/<namespace>/<name>`. Another host than the platform's needs `--allow-public-host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<HttpUrl>,
    /// How long an access token lives, in seconds.
    #[schemars(range(min = 10, max = 3600))]
    #[serde(default = "default_access_token_lifetime")]
    pub access_token_lifetime_seconds: u32,
    /// Ceiling on what any app may be granted here. Absent: no ceiling. Empty: nothing at all.
    #[schemars(length(max = 256), inner(length(min = 1, max = 512)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_scopes: Option<Vec<String>>,
    /// FHIR operations (such as `$export`, `$everything`) that may pass. Default: none.
    #[schemars(length(max = 64), inner(length(min = 2, max = 128), regex(pattern = r"^\$[A-Za-z][A-Za-z0-9-]*$")))]
    #[serde(default)]
    pub operations: Vec<String>,
    /// The keys that sign this gateway's tokens.
    #[serde(default)]
    pub signing_keys: SigningKeys,
    /// Which web pages may call this gateway from a browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Limit per app on FHIR and private API requests; token requests are not counted. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Switches the gateway off, live tokens included, within a second. Nothing is deleted.
    #[serde(default)]
    pub suspend: bool,
}

const fn default_access_token_lifetime() -> u32 {
    300
}

/// The keys that sign a gateway's tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SigningKeys {
    /// Raise it to rotate: new keys are made, published, and then signed with; older ones still verify.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(default = "first_revision")]
    pub revision: u32,
}

impl Default for SigningKeys {
    fn default() -> Self {
        Self { revision: first_revision() }
    }
}

const fn first_revision() -> u32 {
    1
}

/// Cross-origin resource sharing (Fetch standard).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cors {
    /// Origins (scheme, host and port) whose pages may call the token endpoint and the FHIR API. Those of the apps'
    /// redirect URIs are allowed by themselves.
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 512), regex(pattern = r"^https?://[^/?#@\x00-\x20\x7f-\xa0\pZ]+$"))
    )]
    #[serde(default)]
    pub allowed_origins: Vec<String>,
}

/// A limit on requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Requests a second, sustained.
    #[schemars(range(min = 1, max = 100_000))]
    pub requests_per_second: u32,
    /// Requests that may come at once above that. Default: one second's worth.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

/// What Hearthgate found out about a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// The generation of the spec that this status is about; `-1` before the first look.
    #[serde(default = "super::unseen")]
    pub observed_generation: i64,
    /// `Accepted`, `ResolvedRefs`, `Programmed`, `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The public URL, which is the OAuth issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The FHIR base that apps use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fhir_base_url: Option<String>,
    /// The OAuth 2.0 token endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// The SMART discovery document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smart_configuration_url: Option<String>,
    /// The revision of the gateway's own keys that signs its tokens: every ready replica has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_revision: Option<u32>,
}
