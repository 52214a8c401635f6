//! One Secret with key material, whatever store it is kept in: in a cluster an object, standalone a directory.

use std::collections::BTreeMap;

use crate::keys::DamagedKey;
use crate::keys::make::GatewayKeyMaterial;
use crate::values::key::{GatewayIdentity, GatewayKeys, KeyPairMaterial, PairIdentity, ParsedKeyPair, secret_type};
use crate::values::secret::SecretBytes;

/// A Secret that holds a key pair or a gateway's signing keys. A clone shares the secret bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySecret {
    /// The environment.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// Our labels, see [`label`](crate::values::key::label).
    pub labels: BTreeMap<String, String>,
    /// Our annotations, see [`annotation`](crate::values::key::annotation).
    pub annotations: BTreeMap<String, String>,
    /// `type`, one of [`secret_type`].
    pub secret_type: String,
    /// The files, see [`file`](crate::values::key::file).
    pub data: BTreeMap<String, SecretBytes>,
}

/// The whole Secret for a new pair.
pub fn pair_secret(namespace: &str, identity: &PairIdentity, material: KeyPairMaterial) -> KeySecret {
    KeySecret {
        namespace: namespace.to_owned(),
        name: identity.secret_name(),
        labels: PairIdentity::labels(),
        annotations: identity.annotations(),
        secret_type: secret_type::KEY_PAIR.to_owned(),
        data: material.into_data(),
    }
}

/// The whole Secret for a gateway's new signing keys.
pub fn gateway_secret(namespace: &str, identity: &GatewayIdentity, material: GatewayKeyMaterial) -> KeySecret {
    KeySecret {
        namespace: namespace.to_owned(),
        name: identity.secret_name(),
        labels: GatewayIdentity::labels(),
        annotations: identity.annotations(),
        secret_type: secret_type::GATEWAY_SIGNING.to_owned(),
        data: material.into_data(),
    }
}

impl KeySecret {
    /// Whether all the files of its type are there, can be read, and fit each other.
    pub fn check(&self) -> Result<(), DamagedKey> {
        match self.secret_type.as_str() {
            secret_type::KEY_PAIR => ParsedKeyPair::from_whole_data(&self.data).map(drop)?,
            secret_type::GATEWAY_SIGNING => GatewayKeys::from_data(&self.data).map(drop)?,
            other => return Err(DamagedKey::UnknownType { found: other.to_owned() }),
        }
        Ok(())
    }
}
