//! Activation: one app allowed on one gateway, with the credentials that the EHR gave that pair.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Condition, HttpUrl, LocalReference, SecretKeyReference};

/// One app allowed on one gateway, with the credentials that the EHR gave that pair.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "hearthgate.dev",
    version = "v1alpha1",
    kind = "Activation",
    plural = "activations",
    singular = "activation",
    shortname = "actv",
    category = "hearthgate",
    namespaced,
    status = "ActivationStatus",
    derive = "PartialEq",
    doc = "One app allowed on one gateway, with the credentials that the EHR gave that pair.",
    printcolumn(name = "App", type_ = "string", json_path = ".spec.appRef.name"),
    printcolumn(name = "Gateway", type_ = "string", json_path = ".spec.gatewayRef.name"),
    printcolumn(name = "Key", type_ = "string", json_path = ".status.conditions[?(@.type=='KeyReady')].status"),
    printcolumn(
        name = "EHR",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='EHRAuthenticated')].status"
    ),
    printcolumn(name = "Served", type_ = "string", json_path = ".status.served"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Next-Step", type_ = "string", json_path = ".status.nextStep", priority = 1),
    selectable = ".spec.appRef.name",
    selectable = ".spec.gatewayRef.name",
    cel
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.appRef == oldSelf.appRef")
        .message("appRef is immutable: tokens and keys belong to this app; create another Activation").field_path(".appRef"),
    validation = Rule::new("self.gatewayRef == oldSelf.gatewayRef")
        .message("gatewayRef is immutable: tokens are bound to this gateway; create another Activation").field_path(".gatewayRef"),
    validation = Rule::new("!has(self.notBefore) || !has(self.expiresAt) || self.notBefore < self.expiresAt")
        .message("notBefore must be earlier than expiresAt").field_path(".expiresAt"),
)]
pub struct ActivationSpec {
    /// The app that is let in. Immutable.
    pub app_ref: LocalReference,
    /// The gateway that it is let in at. Immutable.
    pub gateway_ref: LocalReference,
    /// Ceiling below the app's own scopes. Absent: what the app asks for. Empty: nothing at all.
    #[schemars(length(max = 256), inner(length(min = 1, max = 512)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The activation has no effect before this moment (RFC 3339).
    #[schemars(schema_with = "date_time")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// The activation has no effect from this moment on (RFC 3339); live tokens end with it.
    #[schemars(schema_with = "date_time")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// How Hearthgate proves to the EHR who it is, for this app.
    pub ehr_authentication: EhrAuthentication,
    /// Switches this activation off, live tokens included, within a second. Its key stays.
    #[serde(default)]
    pub suspend: bool,
}

fn date_time(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "format": "date-time", "maxLength": 64 })
}

/// How Hearthgate proves to the EHR who it is, for one app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.type == 'System' ? has(self.system) && !has(self.user) : has(self.user) && !has(self.system)")
        .message("type System needs the field system and no user; type User needs the field user and no system").field_path(".type"),
)]
pub struct EhrAuthentication {
    /// `System`: the app acts by itself, without a user. `User`: a user of the EHR logs in there (SMART App Launch).
    #[serde(rename = "type")]
    pub type_: EhrAuthenticationType,
    /// How to authenticate without a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<SystemAuthentication>,
    /// How to broker a SMART launch to the EHR.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserAuthentication>,
}

/// Who acts at the EHR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum EhrAuthenticationType {
    /// The app by itself.
    System,
    /// A user of the EHR.
    User,
}

/// How to authenticate to the EHR without a user: exactly one way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.backendAuth) ? 1 : 0) + (has(self.clientCredentials) ? 1 : 0) + (has(self.basic) ? 1 : 0) + (has(self.none) ? 1 : 0) == 1")
        .message("give exactly one of backendAuth, clientCredentials, basic and none"),
)]
pub struct SystemAuthentication {
    /// SMART Backend Services: a JWT signed with a key that the EHR trusts. Hearthgate makes the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_auth: Option<BackendAuth>,
    /// OAuth 2.0 client credentials with a shared secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_credentials: Option<ClientCredentials>,
    /// HTTP Basic on every FHIR call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicAuthentication>,
    /// No authentication at all: an open FHIR server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub none: Option<NoAuthentication>,
}

/// SMART Backend Services at the EHR.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendAuth {
    /// The client ID that the EHR's vendor gave. May be absent until they give it: the key is made before.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[\x21-\x7e]+$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The app's name at the vendor; the subject of the certificate.
    #[schemars(length(min = 1, max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_name: Option<String>,
    /// The EHR's token endpoint. Absent: the adapter's, else what the EHR's SMART configuration says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_url: Option<HttpUrl>,
    /// The `aud` of the assertion. Default: the adapter's, else the token URL.
    #[schemars(length(min = 1, max = 2048))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Scopes to ask the EHR for. Absent: none are sent (Epic decides by the registration).
    #[schemars(length(max = 256), inner(length(min = 1, max = 512)))]
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The key pair that signs. Absent: one of the activation's own, RS384, 2048 bits.
    #[serde(default)]
    pub key_pair: KeyPair,
}

/// A key pair that the EHR must trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyPair {
    /// Name of the pair; activations of one App that give the same name share it. Default: the activation's name.
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How assertions are signed.
    #[serde(default)]
    pub algorithm: KeyAlgorithm,
    /// Size of an RSA key in bits: 2048, 3072 or 4096.
    #[schemars(schema_with = "rsa_bits")]
    #[serde(default = "default_rsa_bits")]
    pub rsa_bits: u32,
    /// Raise it to rotate: the next key is made and published, and signs once the EHR has accepted it.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(default = "first_revision")]
    pub revision: u32,
    /// RFC 7638 thumbprints of the keys that must exist. If one is missing (a rebuilt cluster, a lost backup), that is
    /// told, and no new key is made in its place.
    #[schemars(length(max = 16), inner(length(min = 43, max = 43), regex(pattern = r"^[A-Za-z0-9_-]{43}$")))]
    #[serde(default)]
    pub thumbprints: Vec<String>,
    /// RFC 7638 thumbprints of keys never to be used or published again: the answer to a leaked key.
    #[schemars(length(max = 64), inner(length(min = 43, max = 43), regex(pattern = r"^[A-Za-z0-9_-]{43}$")))]
    #[serde(default)]
    pub withdrawn: Vec<String>,
    /// A key of one's own instead of one that Hearthgate makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeyPairSecretReference>,
}

impl Default for KeyPair {
    fn default() -> Self {
        Self {
            name: None,
            algorithm: KeyAlgorithm::default(),
            rsa_bits: default_rsa_bits(),
            revision: first_revision(),
            thumbprints: Vec::new(),
            withdrawn: Vec::new(),
            secret_ref: None,
        }
    }
}

fn rsa_bits(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "integer", "format": "int32", "enum": [2048, 3072, 4096] })
}

const fn default_rsa_bits() -> u32 {
    2048
}

const fn first_revision() -> u32 {
    1
}

/// How assertions are signed (RFC 7518 §3.1; SMART asks servers for at least one of the two).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum KeyAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    #[default]
    #[serde(rename = "RS384")]
    Rs384,
    /// ECDSA on P-384 with SHA-384.
    #[serde(rename = "ES384")]
    Es384,
}

/// A Secret with the label `hearthgate.dev/use: key-pair` that holds a private key of one's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct KeyPairSecretReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the entry with the PKCS#8 private key in PEM.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default = "default_private_key_entry")]
    pub key: String,
}

fn default_private_key_entry() -> String {
    "private.pem".into()
}

/// OAuth 2.0 client credentials with a shared secret, at the EHR.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientCredentials {
    /// The client ID that the EHR gave.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[\x21-\x7e]+$"))]
    pub client_id: String,
    /// The Secret's entry with the client secret that the EHR gave.
    pub client_secret_ref: SecretKeyReference,
    /// The EHR's token endpoint. Absent: the adapter's, else what the EHR's SMART configuration says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_url: Option<HttpUrl>,
    /// How the secret is sent (RFC 6749 §2.3.1).
    #[serde(default)]
    pub token_endpoint_auth_method: TokenEndpointAuthMethod,
    /// Scopes to ask the EHR for.
    #[schemars(length(max = 256), inner(length(min = 1, max = 512)))]
    #[serde(default)]
    pub scopes: Vec<String>,
}

/// How a client secret is sent (RFC 7591 §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenEndpointAuthMethod {
    /// In the `Authorization` header.
    #[default]
    ClientSecretBasic,
    /// In the form body.
    ClientSecretPost,
}

/// HTTP Basic on every FHIR call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuthentication {
    /// The Secret's entry with `user:password`.
    pub client_secret_ref: SecretKeyReference,
}

/// No authentication at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct NoAuthentication {}

/// A SMART launch brokered to the EHR.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.clientSecretRef) && has(self.keyPair))")
        .message("give one of clientSecretRef and keyPair, or neither for a public client of the EHR").field_path(".clientSecretRef"),
    validation = Rule::new("!has(self.tokenEndpointAuthMethod) || has(self.clientSecretRef)")
        .message("tokenEndpointAuthMethod says how the secret of clientSecretRef is sent: give both, or neither").field_path(".tokenEndpointAuthMethod"),
)]
pub struct UserAuthentication {
    /// The client ID that the EHR's vendor gave.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[\x21-\x7e]+$"))]
    pub client_id: String,
    /// The Secret's entry with the client secret that the EHR gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<SecretKeyReference>,
    /// How the secret is sent (RFC 6749 §2.3.1). Absent: client_secret_basic. Without a secret there is nothing to choose:
    /// a key pair signs (private_key_jwt), and a public client sends its client ID alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_method: Option<TokenEndpointAuthMethod>,
    /// The key pair that proves to the EHR who we are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_pair: Option<KeyPair>,
    /// Scopes to ask the EHR for. Absent: what the app was granted.
    #[schemars(length(max = 256), inner(length(min = 1, max = 512)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The EHR's authorization endpoint. Absent: the adapter's, else what the EHR's SMART configuration says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_url: Option<HttpUrl>,
    /// The EHR's token endpoint. Absent: the adapter's, else what the EHR's SMART configuration says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_url: Option<HttpUrl>,
}

/// What Hearthgate found out about an Activation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivationStatus {
    /// The generation of the spec that this status is about; `-1` before the first look.
    #[serde(default = "super::unseen")]
    pub observed_generation: i64,
    /// `Accepted`, `ResolvedRefs`, `Programmed`, `KeyReady`, `EHRAuthenticated`, `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// What a person must do now, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_step: Option<String>,
    /// Why the EHR refuses, as far as that can be seen from here: likeliest first. Present while it refuses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub likely_causes: Vec<LikelyCause>,
    /// Ready replicas that serve this object as it stands, such as `3/3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served: Option<String>,
    /// The keys of the pair that this activation signs with, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyStatus>,
    /// The newest key's X.509 certificate (PEM), for EHRs that take an uploaded file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_pem: Option<String>,
    /// Where the EHR can fetch the public keys: the first way to register them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// What the EHR must send users back to (`User` only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    /// What the EHR launches the app with (`User` only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_url: Option<String>,
    /// Everything that an app's developer needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connection>,
    /// Scopes that the app asks for and does not get, and who dropped them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped_scopes: Vec<DroppedScope>,
    /// The value of the annotation `hearthgate.dev/probe-requested-at` that was answered last: the EHR was asked since it
    /// was put there, or this method has nothing to ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_probe_at: Option<String>,
}

/// Something that may be the reason why an EHR refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LikelyCause {
    /// What may be wrong.
    pub cause: CauseKind,
    /// How much speaks for it.
    pub likelihood: Likelihood,
    /// What speaks for it and what to do, in a sentence or two.
    pub hint: String,
}

/// What may be wrong where an EHR refuses a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum CauseKind {
    /// The key is not registered, has not got there yet, or cannot be fetched.
    KeyUnknown,
    /// The client ID is wrong, or that of another environment.
    ClientId,
    /// The `aud` of the assertion is not what the EHR expects.
    Audience,
    /// Our clock and the EHR's differ too much.
    Clock,
    /// The EHR does not take the algorithm that signs.
    Algorithm,
    /// The key was registered in a form that the EHR does not use.
    KeyForm,
    /// At the EHR, the client ID does not stand for a user yet.
    UserMissing,
    /// The client secret is wrong.
    ClientSecret,
    /// The secret is sent in another way than the EHR wants.
    AuthMethod,
    /// Scopes are asked for that the EHR does not know.
    Scopes,
    /// The EHR does not let the client have tokens in this way.
    Grant,
}

/// How much speaks for a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Likelihood {
    /// A fact that can be seen from here speaks for it.
    Evident,
    /// It is what it mostly is.
    Likely,
    /// It cannot be ruled out.
    Possible,
}

/// One key of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyStatus {
    /// Which revision of the pair.
    pub revision: u32,
    /// The `kid` that assertions carry: the thumbprint.
    pub kid: String,
    /// The RFC 7638 thumbprint (SHA-256, base64url).
    pub thumbprint: String,
    /// What the key is used for now.
    pub state: KeyState,
    /// Name of the Secret that holds it.
    pub secret_name: String,
    /// SHA-256 fingerprint of the certificate, as `openssl x509 -fingerprint -sha256` prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_fingerprint: Option<String>,
    /// When the certificate ends (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// When signing moved over to this key (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_since: Option<String>,
}

/// What a key of a pair is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum KeyState {
    /// Published, not yet accepted by the EHR.
    Pending,
    /// Signs the assertions.
    Signing,
    /// Signed before; still published while the EHR may have it cached.
    Retiring,
    /// No longer published.
    Retired,
    /// Never to be used or published again.
    Withdrawn,
    /// Recorded or pinned, but its Secret is gone.
    Lost,
}

/// Everything that an app's developer needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// The app's client ID.
    pub client_id: String,
    /// The FHIR base to call.
    pub fhir_base_url: String,
    /// The token endpoint to ask.
    pub token_url: String,
    /// The authorization endpoint (`User` only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_url: Option<String>,
    /// The most that a token can hold.
    #[serde(default)]
    pub granted_scopes: Vec<String>,
}

/// A scope that an app asks for and does not get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DroppedScope {
    /// The scope, or the part of it that is lost.
    pub scope: String,
    /// Who dropped it, such as `Gateway epic`.
    pub dropped_by: String,
}
