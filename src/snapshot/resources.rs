//! The plain bag that a source delivers: everything that [`compile`](super::compile()) may know.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::key_pair::{KeyRevision, ParsedGatewayKeys, ParsedKeyPair};
use crate::api;
use crate::api::common::condition;
use crate::values::code::Code;
use crate::values::key::{file, label};
use crate::values::secret::SecretBytes;

/// The kinds of objects that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// How to reach an EHR.
    DataAdapter,
    /// Where apps reach an EHR.
    Gateway,
    /// A client's registration.
    App,
    /// One app on one gateway.
    Activation,
    /// `v1/Secret`.
    Secret,
    /// `v1/ConfigMap`.
    ConfigMap,
}

impl Kind {
    /// The kind as it stands in YAML.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DataAdapter => "DataAdapter",
            Self::Gateway => "Gateway",
            Self::App => "App",
            Self::Activation => "Activation",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Namespace and name: what identifies an object among those of its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// The environment.
    pub namespace: String,
    /// Unique in the namespace.
    pub name: String,
}

impl ObjectKey {
    /// Puts the two together.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The object of that name in the same namespace.
    #[must_use]
    pub fn sibling(&self, name: &str) -> Self {
        Self::new(self.namespace.clone(), name)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// One object, named in full.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectReference {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    #[serde(flatten)]
    pub key: ObjectKey,
}

impl ObjectReference {
    /// Puts the two together.
    pub fn new(kind: Kind, key: ObjectKey) -> Self {
        Self { kind, key }
    }
}

impl fmt::Display for ObjectReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.kind, self.key)
    }
}

/// Everything that the compiler may know.
///
/// Objects have passed schema and CEL, and carry `uid` and `generation` in their metadata (a source without an API
/// server fills them in); `creationTimestamp` may be absent. Only labelled Secrets and ConfigMaps are in it.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// The adapters.
    pub data_adapters: BTreeMap<ObjectKey, Arc<api::DataAdapter>>,
    /// The gateways.
    pub gateways: BTreeMap<ObjectKey, Arc<api::Gateway>>,
    /// The apps.
    pub apps: BTreeMap<ObjectKey, Arc<api::App>>,
    /// The activations.
    pub activations: BTreeMap<ObjectKey, Arc<api::Activation>>,
    /// The labelled Secrets, generated key pairs among them.
    pub secrets: BTreeMap<ObjectKey, Arc<Secret>>,
    /// The labelled ConfigMaps (CA bundles).
    pub config_maps: BTreeMap<ObjectKey, Arc<ConfigMap>>,
    /// The only part of status that is ever read back.
    pub observed: Observed,
    /// Edits that an API server would have refused. Their objects stand in the bag as they were before, or not at all.
    pub rejections: Vec<Rejection>,
}

/// What a source without an API server gets from the control plane: the keys that it made, and what it recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// The Secrets with keys.
    pub secrets: BTreeMap<ObjectKey, Arc<Secret>>,
    /// What was recorded.
    pub observed: Observed,
}

/// What a labelled Secret may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretUse {
    /// Label value `credential`: client secrets, Basic credentials, certificates.
    Credential,
    /// Label value `key-pair`: made by us, or brought.
    KeyPair,
    /// Label value `gateway-signing`: a gateway's own keys, made by us. Nothing can refer to them.
    GatewaySigning,
}

impl SecretUse {
    /// The value of the label `hearthgate.dev/use`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::KeyPair => label::USE_KEY_PAIR,
            Self::GatewaySigning => label::USE_GATEWAY_SIGNING,
        }
    }

    /// What a value of that label permits. `None`: the Secret is not for us.
    pub fn of_label(value: &str) -> Option<Self> {
        [Self::Credential, Self::KeyPair, Self::GatewaySigning].into_iter().find(|usage| usage.as_str() == value)
    }
}

/// A labelled Secret.
#[derive(Debug)]
pub struct Secret {
    /// Namespace and name.
    pub key: ObjectKey,
    /// What the label permits.
    pub usage: SecretUse,
    /// The annotation `hearthgate.dev/allowed-hosts`: the only hosts that it may be sent to. `None`: any.
    pub allowed_hosts: Option<Vec<String>>,
    /// The annotations, which tell whose a key pair is.
    pub annotations: BTreeMap<String, String>,
    /// The entries.
    pub data: BTreeMap<String, SecretBytes>,
    /// A digest of the entries that were dropped: see [`Secret::without_public_files`].
    dropped: Option<[u8; 32]>,
    /// Parsed once, then remembered as long as this Secret does not change (which makes another value of it): parsing
    /// is a pure function of `data`, so whoever compiles cannot tell the difference but by the clock.
    pub(super) parsed_key_pair: OnceLock<ParsedKeyPair>,
    /// The revision that it is, of a pair that we made.
    pub(super) key_revision: OnceLock<Arc<KeyRevision>>,
    pub(super) parsed_gateway_keys: OnceLock<ParsedGatewayKeys>,
}

impl Secret {
    /// A Secret as it was read. Nothing is parsed yet.
    pub fn new(
        key: ObjectKey,
        usage: SecretUse,
        annotations: BTreeMap<String, String>,
        data: BTreeMap<String, SecretBytes>,
    ) -> Self {
        let allowed_hosts = annotations.get(api::common::ALLOWED_HOSTS_ANNOTATION).map(|hosts| {
            hosts.split(',').map(|host| host.trim().to_ascii_lowercase()).filter(|host| !host.is_empty()).collect()
        });
        Self {
            key,
            usage,
            allowed_hosts,
            annotations,
            data,
            parsed_key_pair: OnceLock::new(),
            key_revision: OnceLock::new(),
            dropped: None,
            parsed_gateway_keys: OnceLock::new(),
        }
    }
}

/// The public files of a key pair, all of which follow from the private one.
const PUBLIC_FILES: [&str; 3] = [file::PUBLIC_PEM, file::CERTIFICATE_PEM, file::JWK_JSON];

impl Secret {
    /// The same without the public files of a key pair, once they are read and fit: of thousands of pairs they are half of
    /// what there is, and nobody reads them again. A digest stands for them, so that a change of one is still a change.
    #[must_use]
    pub fn without_public_files(mut self) -> Self {
        let parsed = self.parsed_key_pair.get_or_init(|| crate::values::key::ParsedKeyPair::from_data(&self.data));
        if parsed.is_err() {
            return self;
        }
        let mut context = Context::new(&SHA256);
        for name in PUBLIC_FILES {
            if let Some(bytes) = self.data.remove(name) {
                context.update(name.as_bytes());
                context.update(&bytes.len().to_be_bytes());
                context.update(bytes.expose());
            }
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        self.dropped = Some(digest);
        self
    }
}

impl PartialEq for Secret {
    /// Equal when what was read is equal; what was parsed from it follows.
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
            && self.usage == other.usage
            && self.annotations == other.annotations
            && self.data == other.data
            && self.dropped == other.dropped
    }
}

/// A labelled ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigMap {
    /// Namespace and name.
    pub key: ObjectKey,
    /// The entries.
    pub data: BTreeMap<String, String>,
}

/// The part of status that is read back: what cannot be computed again from specs and Secrets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observed {
    /// By activation: the keys that were recorded for it, and which one it signs with.
    pub activations: BTreeMap<String, Arc<ObservedActivation>>,
    /// By gateway: the revision that signs its tokens, once every ready replica has reported it.
    pub gateways: BTreeMap<String, u32>,
}

/// What status records of an activation. Maps in [`Observed`] are keyed by `<namespace>/<name>`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ObservedActivation {
    /// The keys, as `status.keys` holds them.
    pub keys: Vec<api::activation::KeyStatus>,
    /// Whether the EHR ever accepted a token request of this activation.
    pub accepted_before: bool,
}

impl ObservedActivation {
    /// What a status says of it.
    ///
    /// Whether the EHR ever accepted follows from what acceptance leaves behind: the condition, its reason (`Refused`
    /// is only told of what was accepted before), or a key that signs, which it does by proof only.
    pub fn of(status: &api::ActivationStatus) -> Self {
        let was_accepted = |condition: &api::Condition| {
            condition.type_ == condition::EHR_AUTHENTICATED
                && (condition.status == api::ConditionStatus::True || condition.reason == Code::Refused.reason())
        };
        let accepted_before =
            status.conditions.iter().any(was_accepted) || status.keys.iter().any(|key| key.signing_since.is_some());
        Self { keys: status.keys.clone(), accepted_before }
    }
}

/// An edit that an API server would have refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// The object, as far as it could be told.
    pub object: Option<ObjectReference>,
    /// What is wrong.
    pub code: Code,
    /// What is wrong, for a person: names the field, never a secret.
    pub message: String,
    /// Where it stands.
    pub location: Location,
}

/// A place in a file; lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Location {
    /// Path as given by the person (relative to the directory that is read).
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.file, self.line, self.column)
    }
}
