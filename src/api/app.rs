//! App: the registration of a client of the gateway.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Condition, HttpUrl, RedirectUri, SecretKeyReference};

/// An application that may be activated on gateways: who it is, how it proves that, and which scopes it asks for.
/// Its name is the App ID.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "hearthgate.dev",
    version = "v1alpha1",
    kind = "App",
    plural = "smartapps",
    singular = "smartapp",
    shortname = "sapp",
    category = "hearthgate",
    namespaced,
    status = "AppStatus",
    derive = "PartialEq",
    doc = "An application that may be activated on gateways: who it is, how it proves that, and which scopes it asks for. Its name is the App ID.",
    printcolumn(name = "Client-ID", type_ = "string", json_path = ".status.clientId"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.clientType"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    selectable = ".spec.clientType",
    cel
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.clientId) == has(oldSelf.clientId) && (!has(self.clientId) || self.clientId == oldSelf.clientId)")
        .message("clientId is immutable: apps in the field know it; register a new App instead").field_path(".clientId"),
    validation = Rule::new("self.clientType != 'Public' || !(has(self.clientSecrets) || has(self.jwks) || has(self.jwksUri))")
        .message("a Public app cannot keep a secret: remove clientSecrets, jwks and jwksUri, or choose Confidential or BackendService").field_path(".clientType"),
    validation = Rule::new("self.clientType == 'Public' || has(self.clientSecrets) || has(self.jwks) || has(self.jwksUri)")
        .message("a Confidential or BackendService app must prove who it is: give jwksUri or jwks (the better way), or clientSecrets").field_path(".clientType"),
    validation = Rule::new("self.clientType == 'BackendService' || (has(self.redirectUris) && size(self.redirectUris) > 0)")
        .message("a Public or Confidential app needs at least one entry in redirectUris: users are sent back there").field_path(".clientType"),
    validation = Rule::new("!(has(self.jwks) && has(self.jwksUri))")
        .message("give either jwks or jwksUri, not both").field_path(".jwks"),
)]
pub struct AppSpec {
    /// Name shown to people.
    #[schemars(length(min = 1, max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// What the app does, for people who meet it in a list.
    #[schemars(length(max = 4096))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The OAuth 2.0 client ID. Unique on the platform and immutable. Absent: derived from namespace and name, the same
    /// again after delete and recreate; `status.clientId` shows it.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9._~-]{1,128}$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// What kind of client this is. `Public`: runs on a user's device and keeps no secret. `Confidential`: has a server
    /// that keeps its credentials. `BackendService`: no user at all, OAuth2 client credentials.
    pub client_type: ClientType,
    /// Where an EHR or portal starts the app (SMART App Launch). Checked to be a reachable link. Ignored for
    /// `BackendService`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_uri: Option<HttpUrl>,
    /// Where users may be sent back to after authorization; compared byte by byte.
    #[schemars(length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_uris: Option<Vec<RedirectUri>>,
    /// Polled to tell whether the app is healthy. Absent: not monitored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_uri: Option<HttpUrl>,
    /// The SMART scopes (version 1 or 2) that the app asks for, such as `system/Patient.rs`. `private-api` asks for the
    /// adapter's External auth.
    #[schemars(length(max = 256), inner(length(min = 1, max = 512)))]
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The app's public keys as a JWK Set (RFC 7517), for `private_key_jwt`. Never a private key.
    #[schemars(schema_with = "jwks_schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<serde_json::Value>,
    /// Where the app publishes its JWK Set, for `private_key_jwt`: the best way, since the app can rotate its keys
    /// without a change here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<HttpUrl>,
    /// The app's client secrets: one, or two while one replaces the other. Never invented by Hearthgate; each at least
    /// 16 characters.
    #[schemars(length(min = 1, max = 2))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secrets: Option<Vec<ClientSecret>>,
    /// Switches the app off everywhere, live tokens included, within a second. Nothing is deleted.
    #[serde(default)]
    pub suspend: bool,
}

/// The kind of an OAuth 2.0 client (RFC 6749 §2.1, SMART "client types").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ClientType {
    /// Runs on a user's device and keeps no secret.
    Public,
    /// Has a server that keeps its credentials.
    Confidential,
    /// No user at all: OAuth2 client credentials.
    BackendService,
}

/// One client secret, held in a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientSecret {
    /// The Secret's entry that holds the client secret (UTF-8, at least 16 characters).
    pub secret_ref: SecretKeyReference,
}

fn jwks_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "description": "The app's public keys as a JWK Set (RFC 7517), for `private_key_jwt`. Never a private key.",
        "required": ["keys"],
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "keys": {
                "type": "array",
                "description": "The public keys.",
                "minItems": 1,
                "maxItems": 16,
                "items": {
                    "type": "object",
                    "description": "One public key (RFC 7517 §4).",
                    "required": ["kty"],
                    "x-kubernetes-preserve-unknown-fields": true,
                    "x-kubernetes-validations": [{
                        "rule": "!has(self.d) && !has(self.k)",
                        "message": "this is a private or symmetric key: replace it, it has been shown to everyone who can read this object"
                    }],
                    "properties": {
                        "kty": { "type": "string", "description": "Key type: `RSA` or `EC`.", "enum": ["RSA", "EC"] },
                        "d": { "type": "string", "description": "Present only in private keys, which are refused.", "maxLength": 8192 },
                        "k": { "type": "string", "description": "Present only in symmetric keys, which are refused.", "maxLength": 8192 }
                    }
                }
            }
        }
    })
}

/// What Hearthgate found out about an App.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppStatus {
    /// The generation of the spec that this status is about; `-1` before the first look.
    #[serde(default = "super::unseen")]
    pub observed_generation: i64,
    /// `Accepted`, `ResolvedRefs`, `Programmed`, `Ready`, and `LaunchUriReachable`, `Healthy` where they apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The client ID in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}
