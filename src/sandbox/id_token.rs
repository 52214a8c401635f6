//! The EHR as an OpenID provider: id_tokens signed with RS256 (OpenID Connect Core §3.1.3.7, SMART asks for RS256), its key
//! set and its discovery document.

use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::faults::TokenAlterations;
use super::issued::fingerprint;
use super::{JWKS_PATH, Shared};

/// The key that signs, made when it is first needed.
#[derive(Debug, Default)]
pub(super) struct IdTokens {
    key: RwLock<Option<Arc<SigningKey>>>,
}

#[derive(Debug)]
struct SigningKey {
    kid: String,
    modulus: String,
    exponent: String,
    pair: RsaKeyPair,
}

impl SigningKey {
    fn make() -> Option<SigningKey> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).ok()?;
        let public: PublicKeyComponents<Vec<u8>> = pair.public_key().into();
        let modulus = URL_SAFE_NO_PAD.encode(&public.n);
        let kid = URL_SAFE_NO_PAD.encode(fingerprint(&modulus));
        Some(SigningKey { kid, modulus, exponent: URL_SAFE_NO_PAD.encode(&public.e), pair })
    }

    fn sign(&self, message: &str) -> Option<Vec<u8>> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).ok()?;
        Some(signature)
    }
}

impl IdTokens {
    /// A compact JWS of the claims; `None` where no key can be made.
    pub(super) fn issue(&self, claims: &Value, alterations: &TokenAlterations) -> Option<String> {
        let key = self.key()?;
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": key.kid });
        let coded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", coded(&header), coded(claims));
        let mut signature = key.sign(&message)?;
        if let Some(first) = signature.first_mut().filter(|_| alterations.id_token_forged) {
            *first ^= 1;
        }
        Some(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Signs with another key from now on, and publishes that one alone: what an EHR does after a leak.
    pub(super) fn replace_key(&self) {
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn key_set(&self) -> Value {
        let keys: Vec<Value> = self
            .key()
            .iter()
            .map(|key| {
                json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": key.kid, "n": key.modulus, "e": key.exponent })
            })
            .collect();
        json!({ "keys": keys })
    }

    fn key(&self) -> Option<Arc<SigningKey>> {
        if let Some(key) = &*self.key.read().unwrap_or_else(PoisonError::into_inner) {
            return Some(Arc::clone(key));
        }
        let mut place = self.key.write().unwrap_or_else(PoisonError::into_inner);
        if place.is_none() {
            *place = SigningKey::make().map(Arc::new);
        }
        place.clone()
    }
}

/// The public key set.
pub(super) async fn jwks(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(shared.id_tokens.key_set())
}

/// `openid-configuration` (OpenID Connect Discovery §3).
pub(super) async fn openid_configuration(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({
        "issuer": shared.issuer(),
        "authorization_endpoint": shared.authorization_url(),
        "token_endpoint": shared.token_url(),
        "jwks_uri": format!("{}{JWKS_PATH}", shared.base_url),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": super::discovery::CLIENT_AUTHENTICATION,
        "token_endpoint_auth_signing_alg_values_supported": super::discovery::ASSERTION_ALGORITHMS,
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": super::discovery::SCOPES,
        "claims_supported": ["iss", "sub", "aud", "iat", "exp", "auth_time", "nonce", "fhirUser", "name"],
        "authorization_response_iss_parameter_supported": true,
    }))
}
