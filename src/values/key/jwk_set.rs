//! A client's published keys, ready to check its signatures.

use std::sync::OnceLock;

use serde_json::Value;

use super::{Algorithm, PublicKey, VerifyingKey};

/// More keys of one set are not looked at: nobody has as many, and each costs memory for as long as the set is kept.
const MOST_KEYS: usize = 64;

/// The signature keys of a JWK Set (RFC 7517 §5). What is for encryption, of a kind or algorithm that we don't verify,
/// damaged or private is not in it (RFC 7517 §5 asks to ignore it).
#[derive(Debug, Default)]
pub struct JwkSet {
    keys: Vec<SetKey>,
}

/// One key with one algorithm: an RSA key that names none is there once for RS256 and once for RS384.
#[derive(Debug)]
struct SetKey {
    kid: Option<String>,
    algorithm: Algorithm,
    key: PublicKey,
    verifying: OnceLock<VerifyingKey>,
}

/// Why no key of a set is the one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyNotFound {
    /// None has this `kid` and fits the algorithm.
    #[error("no key of the set fits kid and alg")]
    Unknown,
    /// More than one fits (SMART App Launch 2.2, "Asymmetric authentication", asks for exactly one).
    #[error("several keys of the set fit kid and alg")]
    Several,
}

/// Whether a JWK Set holds a key of this `kid`, whatever else is in it.
pub fn holds_kid(document: &Value, kid: &str) -> bool {
    let mut keys = document.get("keys").and_then(Value::as_array).into_iter().flatten();
    keys.any(|key| key.get("kid").and_then(Value::as_str) == Some(kid))
}

impl JwkSet {
    /// Reads a JWK Set; what is none is an empty one.
    pub fn of(document: &Value) -> Self {
        let jwks = document.get("keys").and_then(Value::as_array).into_iter().flatten().take(MOST_KEYS);
        Self { keys: jwks.flat_map(signature_keys).collect() }
    }

    /// Whether no signature can be checked with it.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The one key that a signature of this algorithm under this `kid` is checked with. A signature that names none is
    /// checked only where one key alone fits its algorithm.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<VerifyingKey, KeyNotFound> {
        let fits = |key: &&SetKey| key.algorithm == algorithm && (kid.is_none() || key.kid.as_deref() == kid);
        let mut fitting = self.keys.iter().filter(fits);
        let found = fitting.next().ok_or(KeyNotFound::Unknown)?;
        if fitting.next().is_some() {
            return Err(KeyNotFound::Several);
        }
        if let Some(ready) = found.verifying.get() {
            return Ok(ready.clone());
        }
        let ready = found.key.verifying_key(algorithm).map_err(|_| KeyNotFound::Unknown)?;
        Ok(found.verifying.get_or_init(|| ready).clone())
    }

    /// A `kid` and algorithm that two keys share, so that neither is ever used.
    pub fn ambiguous(&self) -> Option<(&str, Algorithm)> {
        self.keys.iter().enumerate().find_map(|(index, key)| {
            let kid = key.kid.as_deref()?;
            let twin = |other: &SetKey| other.kid.as_deref() == Some(kid) && other.algorithm == key.algorithm;
            self.keys.iter().skip(index + 1).any(twin).then_some((kid, key.algorithm))
        })
    }
}

fn signature_keys(jwk: &Value) -> Vec<SetKey> {
    let text = |member: &str| jwk.get(member).and_then(Value::as_str);
    let verifies = |operations: &Vec<Value>| operations.iter().any(|operation| operation == "verify");
    let for_signatures = text("use").is_none_or(|usage| usage == "sig")
        && jwk.get("key_ops").and_then(Value::as_array).is_none_or(verifies);
    let Ok(key) = PublicKey::from_jwk(jwk) else { return Vec::new() };
    Algorithm::ALL
        .into_iter()
        .filter(|algorithm| for_signatures && algorithm.fits(key.kind()))
        .filter(|algorithm| text("alg").is_none_or(|named| named == algorithm.as_str()))
        .map(|algorithm| SetKey {
            kid: text("kid").map(str::to_owned),
            algorithm,
            key: key.clone(),
            verifying: OnceLock::new(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
    use serde_json::json;

    use super::*;
    use crate::values::key::SigningKey;

    fn ec_jwk(members: &Value) -> Value {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap().to_pkcs8v1().unwrap();
        let mut jwk = SigningKey::from_pkcs8(pair.as_ref(), &[Algorithm::Es384]).unwrap().jwk();
        for (name, value) in members.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    }

    fn found(keys: &[Value], kid: Option<&str>) -> Result<Algorithm, KeyNotFound> {
        JwkSet::of(&json!({ "keys": keys })).find(kid, Algorithm::Es384).map(|key| key.algorithm())
    }

    #[test]
    fn a_key_is_found_by_kid_and_without_one_only_where_it_is_alone() {
        let (a, b) = (ec_jwk(&json!({"kid": "a"})), ec_jwk(&json!({"kid": "b"})));
        assert_eq!(found(&[a.clone(), b.clone()], Some("b")), Ok(Algorithm::Es384));
        assert_eq!(found(&[a.clone(), b.clone()], Some("c")), Err(KeyNotFound::Unknown));
        assert_eq!(found(&[a.clone(), b.clone()], None), Err(KeyNotFound::Several));
        assert_eq!(found(std::slice::from_ref(&a), None), Ok(Algorithm::Es384));
        assert_eq!(found(&[a.clone(), ec_jwk(&json!({"kid": "a"}))], Some("a")), Err(KeyNotFound::Several));
        assert_eq!(found(&[], None), Err(KeyNotFound::Unknown));
    }

    #[test]
    fn what_checks_no_signature_is_left_out() {
        for members in [
            json!({"use": "enc"}),
            json!({"key_ops": ["sign"]}),
            json!({"alg": "ES256"}),
            json!({"alg": "ECDH-ES"}),
            json!({"d": "AAAA"}),
            json!({"x": "AAAA"}),
            json!({"kty": "OKP"}),
        ] {
            assert!(JwkSet::of(&json!({"keys": [ec_jwk(&members)]})).is_empty(), "{members}");
        }
        for document in [json!([]), json!({"keys": {}}), json!({"keys": [1, "a", null]}), json!(null)] {
            assert!(JwkSet::of(&document).is_empty(), "{document}");
        }
    }

    #[test]
    fn two_keys_of_one_name_are_told() {
        let set = JwkSet::of(&json!({"keys": [ec_jwk(&json!({"kid": "a"})), ec_jwk(&json!({"kid": "a"}))]}));
        assert_eq!(set.ambiguous(), Some(("a", Algorithm::Es384)));
        let set = JwkSet::of(&json!({"keys": [ec_jwk(&json!({"kid": "a"})), ec_jwk(&json!({"kid": "b"}))]}));
        assert_eq!(set.ambiguous(), None);
    }
}
