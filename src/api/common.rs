//! What the four kinds share: references, URLs, conditions.

use std::borrow::Cow;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The API group of every resource of ours.
pub const GROUP: &str = "hearthgate.dev";
/// The API version of every resource of ours.
pub const VERSION: &str = "v1alpha1";
/// The label without which a Secret or ConfigMap is never seen: `credential` or `key-pair`.
pub const USE_LABEL: &str = "hearthgate.dev/use";
/// Annotation on a credential: the only hosts (comma separated) that it may be sent to.
pub const ALLOWED_HOSTS_ANNOTATION: &str = "hearthgate.dev/allowed-hosts";
/// Annotation on any object: codes (comma separated) that `hearthgate check` does not tell of it.
pub const IGNORE_ANNOTATION: &str = "hearthgate.dev/ignore";
/// Annotation on an Activation: a new value asks for a probe of the EHR now.
pub const PROBE_REQUESTED_ANNOTATION: &str = "hearthgate.dev/probe-requested-at";

/// Annotation on an Activation: the git revision that it was deployed from, put there by whatever deploys it. Audit lines
/// carry it.
pub const GIT_REVISION_ANNOTATION: &str = "hearthgate.dev/git-revision";

/// A reference to another object of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct LocalReference {
    /// Name of the object, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// One entry of a Secret in the same namespace. The Secret must carry the label `hearthgate.dev/use: credential`;
/// without it, it is never read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct SecretKeyReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the entry inside the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

// The patterns here and in the kinds name white space and control characters one by one: `\s` is ASCII to the API
// server's RE2, and Unicode to the offline check.

/// An absolute `http` or `https` URL without userinfo or fragment. Whether plain `http` may be used for it is decided
/// by the installation (`--allow-address`), not by the schema.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HttpUrl(pub String);

impl JsonSchema for HttpUrl {
    fn schema_name() -> Cow<'static, str> {
        "HttpUrl".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": 2048,
            "x-kubernetes-validations": [{
                "rule": r"self.matches('^https?://[^/?#@\\x00-\\x20\\x7f-\\xa0\\pZ]+([/?][^#\\x00-\\x20\\x7f-\\xa0\\pZ]*)?$')",
                "message": "must be an absolute http or https URL without userinfo, fragment or white space"
            }]
        })
    }
}

/// A redirect URI as registered by an app (RFC 6749 §3.1.2): absolute, without fragment; compared byte by byte.
/// Private-use schemes of native apps (RFC 8252) are allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RedirectUri(pub String);

impl JsonSchema for RedirectUri {
    fn schema_name() -> Cow<'static, str> {
        "RedirectUri".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": 2048,
            "x-kubernetes-validations": [
                {
                    "rule": r"self.matches('^[A-Za-z][A-Za-z0-9+.-]*:[^#\\x00-\\x20\\x7f-\\xa0\\pZ]+$')",
                    "message": "must be an absolute URI without fragment or white space"
                },
                {
                    "rule": "!self.lowerAscii().matches('^(javascript|data|vbscript|file|about|blob):')",
                    "message": "must not use a scheme that a browser executes or reads locally"
                },
                {
                    "rule": r"!self.matches('^https?:') || self.matches('^https?://[^/?#@\\x00-\\x20\\x7f-\\xa0\\pZ]+([/?][^#\\x00-\\x20\\x7f-\\xa0\\pZ]*)?$')",
                    "message": "an http or https redirect URI must name a host and no userinfo"
                }
            ]
        })
    }
}

/// `True`, `False` or `Unknown`, as in every Kubernetes condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// The condition holds.
    True,
    /// The condition does not hold; the reason says why.
    False,
    /// Not known (yet).
    Unknown,
}

impl ConditionStatus {
    /// The word as it stands in YAML.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// One aspect of an object's state (Kubernetes API conventions, "Typical status properties").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which aspect: `Accepted`, `ResolvedRefs`, `Programmed`, `Ready`, ….
    #[serde(rename = "type")]
    #[schemars(length(max = 316))]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: ConditionStatus,
    /// One CamelCase word; `hearthgate explain` knows each one.
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// What is so, and why, for a person.
    #[schemars(length(max = 32768))]
    pub message: String,
    /// The generation of the spec that this verdict is about.
    pub observed_generation: i64,
    /// When `status` last changed (RFC 3339).
    #[schemars(length(max = 64))]
    pub last_transition_time: String,
}

/// The names of the conditions that Hearthgate writes.
pub mod condition {
    /// The spec is well formed and wins every conflict.
    pub const ACCEPTED: &str = "Accepted";
    /// Every reference leads to a usable object.
    pub const RESOLVED_REFS: &str = "ResolvedRefs";
    /// The object is in the snapshot that is served.
    pub const PROGRAMMED: &str = "Programmed";
    /// The key that the EHR must trust exists and may be used.
    pub const KEY_READY: &str = "KeyReady";
    /// The EHR accepted a real token request.
    pub const EHR_AUTHENTICATED: &str = "EHRAuthenticated";
    /// The adapter's CapabilityStatement was read.
    pub const REACHABLE: &str = "Reachable";
    /// The app's launch URI answered.
    pub const LAUNCH_URI_REACHABLE: &str = "LaunchUriReachable";
    /// The app's health URI answered with success.
    pub const HEALTHY: &str = "Healthy";
    /// The summary.
    pub const READY: &str = "Ready";
    /// Work is under way; present only while true (kstatus).
    pub const RECONCILING: &str = "Reconciling";
    /// No progress without a person; present only while true (kstatus).
    pub const STALLED: &str = "Stalled";
}
