//! Private keys, parsed once, that make JSON Web Signatures.
//!
//! aws-lc-rs is called directly: `jsonwebtoken` parses (and for RSA checks) the private key again for every signature,
//! which costs more than the signature.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RsaKeyPair, RsaSignatureEncoding,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::der::{Family, family_of_pkcs8, why_no_rsa};
use super::problem::WantedAlgorithms;
use super::{Algorithm, KeyKind, KeyProblem, PublicKey, Thumbprint, pem};

/// A private key that signs with one algorithm. aws-lc-rs has checked that its parts fit together; the memory that
/// holds it is wiped when the last clone goes. A clone is one reference, and any number of threads may sign at once.
#[derive(Clone)]
pub struct SigningKey(Arc<Inner>);

struct Inner {
    algorithm: Algorithm,
    private: Private,
    public: PublicKey,
}

enum Private {
    Rsa(RsaKeyPair, &'static RsaSignatureEncoding, &'static digest::Algorithm),
    Ec(EcdsaKeyPair, &'static digest::Algorithm),
}

/// The header parameters that a caller may choose (RFC 7515 §4.1). `alg` and `kid` are the key's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct JwsHeader<'text> {
    /// `typ`: `JWT` for assertions and id_tokens, `at+jwt` for access tokens (RFC 9068 §2.1).
    pub typ: Option<&'text str>,
    /// `jku`: the JWKS URL that was registered at the receiver, where it asks for it.
    pub jku: Option<&'text str>,
}

#[derive(Serialize)]
struct WholeHeader<'text> {
    alg: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    typ: Option<&'text str>,
    kid: Thumbprint,
    #[serde(skip_serializing_if = "Option::is_none")]
    jku: Option<&'text str>,
}

/// A signature that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The claims are no JSON.
    #[error("the claims cannot be written as JSON: {0}")]
    Claims(#[from] serde_json::Error),
    /// aws-lc-rs refused; it tells no reason.
    #[error("the signature could not be computed")]
    Refused,
}

impl SigningKey {
    /// Reads a PKCS#8 PEM and takes the first of `wanted` that the key can sign with.
    pub fn from_pem(text: &[u8], wanted: &'static [Algorithm]) -> Result<Self, KeyProblem> {
        Self::from_pkcs8(&pem::only_block(text, pem::PRIVATE_KEY)?, wanted)
    }

    /// Reads PKCS#8 DER (RFC 5208) and takes the first of `wanted` that the key can sign with.
    pub fn from_pkcs8(der: &[u8], wanted: &'static [Algorithm]) -> Result<Self, KeyProblem> {
        let choose = |found| {
            let fitting = wanted.iter().copied().find(|algorithm| algorithm.fits(found));
            fitting.ok_or(KeyProblem::WrongKind { found, wanted: WantedAlgorithms(wanted) })
        };
        match family_of_pkcs8(der)? {
            Family::Rsa => {
                let key = RsaKeyPair::from_pkcs8(der).map_err(|_| why_no_rsa(der))?;
                let public = PublicKey::from_rsa(key.public_key())?;
                let algorithm = choose(public.kind())?;
                let private = match algorithm {
                    Algorithm::Rs256 => Private::Rsa(key, &RSA_PKCS1_SHA256, &digest::SHA256),
                    Algorithm::Rs384 => Private::Rsa(key, &RSA_PKCS1_SHA384, &digest::SHA384),
                    Algorithm::Es256 | Algorithm::Es384 => {
                        return Err(KeyProblem::WrongKind { found: public.kind(), wanted: WantedAlgorithms(wanted) });
                    }
                };
                Ok(Self(Arc::new(Inner { algorithm, private, public })))
            }
            Family::P256 => {
                let algorithm = choose(KeyKind::P256)?;
                Self::from_ec(der, algorithm, KeyKind::P256, &ECDSA_P256_SHA256_FIXED_SIGNING, &digest::SHA256)
            }
            Family::P384 => {
                let algorithm = choose(KeyKind::P384)?;
                Self::from_ec(der, algorithm, KeyKind::P384, &ECDSA_P384_SHA384_FIXED_SIGNING, &digest::SHA384)
            }
        }
    }

    fn from_ec(
        der: &[u8],
        algorithm: Algorithm,
        kind: KeyKind,
        signing: &'static EcdsaSigningAlgorithm,
        digest: &'static digest::Algorithm,
    ) -> Result<Self, KeyProblem> {
        let key = EcdsaKeyPair::from_pkcs8(signing, der).map_err(|_| KeyProblem::Damaged)?;
        let public = PublicKey::from_ec(kind, key.public_key().as_ref())?;
        Ok(Self(Arc::new(Inner { algorithm, private: Private::Ec(key, digest), public })))
    }

    /// The algorithm that it signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    /// The public half, computed from the private one.
    pub fn public(&self) -> &PublicKey {
        &self.0.public
    }

    /// The `kid` that its signatures bear.
    pub fn thumbprint(&self) -> Thumbprint {
        self.0.public.thumbprint()
    }

    /// The public half as the JWK to publish for this key.
    pub fn jwk(&self) -> serde_json::Value {
        self.0.public.jwk(self.0.algorithm)
    }

    /// Signs the claims and returns the compact form (RFC 7515 §7.1). The result is a credential.
    pub fn sign(&self, header: &JwsHeader<'_>, claims: &impl Serialize) -> Result<String, SignError> {
        let header =
            WholeHeader { alg: self.0.algorithm.as_str(), typ: header.typ, kid: self.thumbprint(), jku: header.jku };
        let mut token = String::with_capacity(1024);
        URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(&header)?, &mut token);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims)?, &mut token);
        let signature = self.sign_bytes(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// The JWS signature of these bytes: PKCS#1 v1.5, or the bare `r ‖ s` (RFC 7518 §3.3, §3.4).
    pub fn sign_bytes(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.0.private {
            Private::Rsa(key, encoding, algorithm) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign_digest(*encoding, &digest::digest(algorithm, message), &mut signature)
                    .map_err(|_| SignError::Refused)?;
                Ok(signature)
            }
            Private::Ec(key, algorithm) => {
                let signature = key.sign_digest(&digest::digest(algorithm, message)).map_err(|_| SignError::Refused)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey({}, {:?}, [redacted])", self.0.algorithm, self.0.public)
    }
}
