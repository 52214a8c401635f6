//! The public keys that clients registered, and the one thing that they are for: to verify a signature.
//!
//! Verified with aws-lc-rs itself rather than with a JWT library, so that a mistake in the library that the gateway
//! signs with cannot be shared by the side that checks it.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey as X509PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Epic refuses RSA keys below this size.
const SMALLEST_RSA_BITS: usize = 2048;

/// The signature algorithms that Epic names for client assertions (RFC 7518 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Es256,
    Es384,
}

impl Algorithm {
    /// Reads the `alg` member of a JWS header; anything else than the five, `none` and HS256 included, is `None`.
    pub(super) fn from_name(name: &str) -> Option<Algorithm> {
        match name {
            "RS256" => Some(Algorithm::Rs256),
            "RS384" => Some(Algorithm::Rs384),
            "RS512" => Some(Algorithm::Rs512),
            "ES256" => Some(Algorithm::Es256),
            "ES384" => Some(Algorithm::Es384),
            _ => None,
        }
    }

    /// The name as it stands in a JWS header.
    pub(super) fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
        }
    }

    /// Whether it signs with an elliptic curve, which Epic allows for clients with a JWK Set URL only.
    pub(super) fn is_elliptic(self) -> bool {
        matches!(self, Algorithm::Es256 | Algorithm::Es384)
    }

    /// The `kty` of the keys that fit (RFC 7518 §6.1).
    pub(super) fn key_type(self) -> &'static str {
        if self.is_elliptic() { "EC" } else { "RSA" }
    }
}

/// A public key that can verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PublicKey {
    /// Modulus and exponent, big-endian without leading zeros.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    /// An uncompressed point on P-256.
    P256 { point: Vec<u8> },
    /// An uncompressed point on P-384.
    P384 { point: Vec<u8> },
}

/// Why something is not a key that this EHR takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyError {
    #[error("it is not PEM (a block that begins with -----BEGIN CERTIFICATE----- or -----BEGIN PUBLIC KEY-----)")]
    NotPem,
    #[error("it holds a private key: an EHR must never see one; send the certificate or the public key")]
    PrivateKey,
    #[error("a PEM block {0:?} is neither a CERTIFICATE nor a PUBLIC KEY")]
    WrongBlock(String),
    #[error("the X.509 certificate cannot be read")]
    UnreadableCertificate,
    #[error("the public key cannot be read")]
    UnreadableKey,
    #[error("as PEM only RSA keys are taken; elliptic curves need a JWK Set URL")]
    NotRsa,
    #[error("the RSA key has {0} bits, at least 2048 are needed")]
    RsaTooSmall(usize),
    #[error("the member {0:?} is missing or is not base64url without padding")]
    Member(&'static str),
    #[error("the key type {0:?} is not RSA or EC")]
    KeyType(String),
    #[error("the curve {0:?} is neither P-256 nor P-384")]
    Curve(String),
}

impl PublicKey {
    /// Reads what a person uploads: an X.509 certificate or a SubjectPublicKeyInfo, as PEM, RSA only.
    pub(super) fn from_pem(text: &str) -> Result<PublicKey, KeyError> {
        if text.contains("PRIVATE KEY-----") {
            return Err(KeyError::PrivateKey);
        }
        let (_, pem) = parse_x509_pem(text.trim_start().as_bytes()).map_err(|_| KeyError::NotPem)?;
        match pem.label.as_str() {
            "CERTIFICATE" => {
                let certificate = pem.parse_x509().map_err(|_| KeyError::UnreadableCertificate)?;
                PublicKey::from_subject(certificate.public_key())
            }
            "PUBLIC KEY" => {
                let (_, subject) =
                    SubjectPublicKeyInfo::from_der(&pem.contents).map_err(|_| KeyError::UnreadableKey)?;
                PublicKey::from_subject(&subject)
            }
            other => Err(KeyError::WrongBlock(other.to_owned())),
        }
    }

    fn from_subject(subject: &SubjectPublicKeyInfo<'_>) -> Result<PublicKey, KeyError> {
        match subject.parsed().map_err(|_| KeyError::UnreadableKey)? {
            X509PublicKey::RSA(key) => PublicKey::rsa(key.modulus, key.exponent),
            _ => Err(KeyError::NotRsa),
        }
    }

    /// Reads the bare public members of a JWK (RFC 7518 §6): `n` and `e`, or `crv`, `x` and `y`.
    pub(super) fn from_jwk(jwk: &Map<String, Value>) -> Result<PublicKey, KeyError> {
        match jwk.get("kty").and_then(Value::as_str).unwrap_or_default() {
            "RSA" => PublicKey::rsa(&member(jwk, "n")?, &member(jwk, "e")?),
            "EC" => {
                let mut point = vec![4];
                point.extend(member(jwk, "x")?);
                point.extend(member(jwk, "y")?);
                match (jwk.get("crv").and_then(Value::as_str).unwrap_or_default(), point.len()) {
                    ("P-256", 65) => Ok(PublicKey::P256 { point }),
                    ("P-384", 97) => Ok(PublicKey::P384 { point }),
                    ("P-256" | "P-384", _) => Err(KeyError::UnreadableKey),
                    (other, _) => Err(KeyError::Curve(other.to_owned())),
                }
            }
            other => Err(KeyError::KeyType(other.to_owned())),
        }
    }

    fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<PublicKey, KeyError> {
        let modulus = without_leading_zeros(modulus);
        let bits = match modulus.first() {
            Some(first) => modulus.len() * 8 - first.leading_zeros() as usize,
            None => 0,
        };
        if bits < SMALLEST_RSA_BITS {
            return Err(KeyError::RsaTooSmall(bits));
        }
        Ok(PublicKey::Rsa { modulus: modulus.to_vec(), exponent: without_leading_zeros(exponent).to_vec() })
    }

    /// Whether `signature` (in JWS form, RFC 7515) is this key's signature of `message`. A key of another type than the
    /// algorithm's never verifies.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match (self, algorithm) {
            (PublicKey::Rsa { modulus, exponent }, Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }
                    .verify(rsa_parameters(algorithm), message, signature)
                    .is_ok()
            }
            (PublicKey::P256 { point }, Algorithm::Es256) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            (PublicKey::P384 { point }, Algorithm::Es384) => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, signature).is_ok()
            }
            _ => false,
        }
    }
}

fn rsa_parameters(algorithm: Algorithm) -> &'static RsaParameters {
    match algorithm {
        Algorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs256 | Algorithm::Es256 | Algorithm::Es384 => &RSA_PKCS1_2048_8192_SHA256,
    }
}

fn member(jwk: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, KeyError> {
    let text = jwk.get(name).and_then(Value::as_str).ok_or(KeyError::Member(name))?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Member(name))
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}
