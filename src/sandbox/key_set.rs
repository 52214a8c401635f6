//! A JWK Set as a client publishes it (RFC 7517 §5), and the choice of the one key that may verify an assertion.

use serde_json::{Map, Value};

use super::public_key::{Algorithm, KeyError, PublicKey};

/// The private members of RSA, EC and symmetric keys (RFC 7518 §6.2.2, §6.2.1, §6.4).
const PRIVATE_MEMBERS: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];

/// The keys of a set. One that cannot be used is kept with the reason, and matters only when its `kid` is asked for.
#[derive(Debug, Clone)]
pub(super) struct KeySet {
    keys: Vec<PublishedKey>,
}

#[derive(Debug, Clone)]
struct PublishedKey {
    kid: Option<String>,
    key_type: String,
    usage: Option<String>,
    operations: Option<Vec<String>>,
    algorithm: Option<String>,
    key: Result<PublicKey, KeyError>,
}

/// Why a set is not one, or holds no key for an assertion.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetError {
    #[error("it is not a JWK Set: an object with an array \"keys\" of objects")]
    NotAKeySet,
    #[error("it publishes a private or symmetric key (kid {0:?}): withdraw that key at once")]
    PrivateKey(Option<String>),
    #[error("it has no {key_type} key with the kid {kid:?}")]
    UnknownKid { kid: String, key_type: &'static str },
    #[error("it has {count} keys with the kid {kid:?}, exactly one must match")]
    Ambiguous { kid: String, count: usize },
    #[error("the key {kid:?} is not for signatures (use is {usage:?})")]
    WrongUse { kid: String, usage: String },
    #[error("the key {kid:?} is not for verifying (key_ops)")]
    WrongOperations { kid: String },
    #[error("the key {kid:?} is for the algorithm {published}, the assertion says {presented}")]
    WrongAlgorithm { kid: String, published: String, presented: &'static str },
    #[error("the key {kid:?} cannot be used: {reason}")]
    Unusable { kid: String, reason: KeyError },
}

impl KeySet {
    /// Reads a JWK Set document. A set that shows a private key is refused as a whole.
    pub(super) fn parse(document: &Value) -> Result<KeySet, KeySetError> {
        let members = document.get("keys").and_then(Value::as_array).ok_or(KeySetError::NotAKeySet)?;
        let mut keys = Vec::with_capacity(members.len());
        for member in members {
            let jwk = member.as_object().ok_or(KeySetError::NotAKeySet)?;
            if PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name)) {
                return Err(KeySetError::PrivateKey(text(jwk, "kid")));
            }
            keys.push(PublishedKey {
                kid: text(jwk, "kid"),
                key_type: text(jwk, "kty").unwrap_or_default(),
                usage: text(jwk, "use"),
                operations: jwk
                    .get("key_ops")
                    .and_then(Value::as_array)
                    .map(|names| names.iter().filter_map(|name| name.as_str().map(ToOwned::to_owned)).collect()),
                algorithm: text(jwk, "alg"),
                key: PublicKey::from_jwk(jwk),
            });
        }
        Ok(KeySet { keys })
    }

    /// The one key whose `kid` and `kty` match (SMART App Launch 2.2, client-confidential-asymmetric: none or several
    /// fail), provided that it is for signatures with this algorithm.
    pub(super) fn select(&self, kid: &str, algorithm: Algorithm) -> Result<&PublicKey, KeySetError> {
        let mut matching =
            self.keys.iter().filter(|key| key.kid.as_deref() == Some(kid) && key.key_type == algorithm.key_type());
        let Some(key) = matching.next() else {
            return Err(KeySetError::UnknownKid { kid: kid.to_owned(), key_type: algorithm.key_type() });
        };
        let others = matching.count();
        if others > 0 {
            return Err(KeySetError::Ambiguous { kid: kid.to_owned(), count: others + 1 });
        }
        key.fits(kid, algorithm)?;
        key.key.as_ref().map_err(|reason| KeySetError::Unusable { kid: kid.to_owned(), reason: reason.clone() })
    }
}

impl PublishedKey {
    fn fits(&self, kid: &str, algorithm: Algorithm) -> Result<(), KeySetError> {
        if let Some(usage) = self.usage.as_deref().filter(|usage| *usage != "sig") {
            return Err(KeySetError::WrongUse { kid: kid.to_owned(), usage: usage.to_owned() });
        }
        if self.operations.as_ref().is_some_and(|names| !names.iter().any(|name| name == "verify")) {
            return Err(KeySetError::WrongOperations { kid: kid.to_owned() });
        }
        match self.algorithm.as_deref() {
            Some(published) if published != algorithm.name() => Err(KeySetError::WrongAlgorithm {
                kid: kid.to_owned(),
                published: published.to_owned(),
                presented: algorithm.name(),
            }),
            _ => Ok(()),
        }
    }
}

fn text(jwk: &Map<String, Value>, name: &str) -> Option<String> {
    jwk.get(name).and_then(Value::as_str).map(ToOwned::to_owned)
}
