//! Keys as values: the algorithms, the four files of a key pair, the three of a gateway, and whose a key is.
//!
//! Everything here is parsing, checking and signing of bytes that somebody else has read: no file, no clock. Keys are
//! made in `keys::make`. Two halves of one module meet here on purpose: what the compiler decides about a key Secret
//! (does it parse, do its halves fit, whose is it) and what the proxy does with it (sign, verify) must be one code.
//!
//! One exception to "randomness is an argument": aws-lc-rs takes the ECDSA nonce and the RSA blinding from its own
//! generator while it signs. That is where they belong; a signature's *content* depends on arguments alone.

mod certificate;
mod der;
mod gateway;
mod jwk_set;
mod owner;
mod pair;
pub mod pem;
mod problem;
mod public;
mod signing;
mod thumbprint;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use certificate::{Certificate, CertificateFingerprint};
pub use gateway::{GatewayKeys, SealingKey};
pub use jwk_set::{JwkSet, KeyNotFound, holds_kid};
pub use owner::{GatewayIdentity, NotOurs, PairIdentity, annotation, label, secret_type};
pub use pair::{KeyPairMaterial, ParsedKeyPair};
pub use problem::{KeyError, KeyProblem, WantedAlgorithms};
pub use public::{PublicKey, SignatureInvalid, VerifyingKey};
pub use signing::{JwsHeader, SignError, SigningKey};
pub use thumbprint::{Thumbprint, ThumbprintInvalid};

/// The files (data keys) of the Secrets that hold key material.
pub mod file {
    /// The private key of a pair, PKCS#8 PEM. The one file that a brought pair must have.
    pub const PRIVATE_PEM: &str = "private.pem";
    /// The public key of a pair, SubjectPublicKeyInfo PEM.
    pub const PUBLIC_PEM: &str = "public.pem";
    /// A certificate for the public key, PEM: what an EHR's registration page takes.
    pub const CERTIFICATE_PEM: &str = "certificate.pem";
    /// The public key as a JSON Web Key (RFC 7517), `use` = `sig`, `kid` = its RFC 7638 thumbprint.
    pub const JWK_JSON: &str = "jwk.json";
    /// The four files of a key pair that we made.
    pub const OF_A_PAIR: [&str; 4] = [PRIVATE_PEM, PUBLIC_PEM, CERTIFICATE_PEM, JWK_JSON];

    /// A gateway's key for access tokens, P-256, PKCS#8 PEM.
    pub const ES256_PRIVATE_PEM: &str = "es256-private.pem";
    /// A gateway's key for id_tokens, RSA, PKCS#8 PEM.
    pub const RS256_PRIVATE_PEM: &str = "rs256-private.pem";
    /// The key that the store seals its records with: 32 bytes in Base64.
    pub const SEALING_KEY: &str = "sealing.key";
    /// The three files of a gateway's signing Secret.
    pub const OF_A_GATEWAY: [&str; 3] = [ES256_PRIVATE_PEM, RS256_PRIVATE_PEM, SEALING_KEY];
}

/// The signature algorithms that we sign with or verify (RFC 7518 §3.1). There is no `none` and nothing symmetric, so
/// that no code path can be talked into them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256: id_tokens (OpenID Connect Core §15.1 makes it mandatory).
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384: assertions to an EHR (SMART Backend Services).
    Rs384,
    /// ECDSA on P-256 with SHA-256: access tokens.
    Es256,
    /// ECDSA on P-384 with SHA-384: assertions to an EHR (SMART Backend Services).
    Es384,
}

impl Algorithm {
    /// All of them, those that SMART asks for first.
    pub const ALL: [Self; 4] = [Self::Rs384, Self::Es384, Self::Rs256, Self::Es256];

    /// The `alg` value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
        }
    }

    /// Whether keys of this kind make signatures of this algorithm. An EC algorithm is bound to one curve (RFC 7518 §3.4).
    pub const fn fits(self, kind: KeyKind) -> bool {
        matches!(
            (self, kind),
            (Self::Rs256 | Self::Rs384, KeyKind::Rsa { .. })
                | (Self::Es256, KeyKind::P256)
                | (Self::Es384, KeyKind::P384)
        )
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// An `alg` that is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a supported signature algorithm; use RS256, RS384, ES256 or ES384")]
pub struct AlgorithmUnknown;

impl FromStr for Algorithm {
    type Err = AlgorithmUnknown;

    fn from_str(text: &str) -> Result<Self, AlgorithmUnknown> {
        match text {
            "RS256" => Ok(Self::Rs256),
            "RS384" => Ok(Self::Rs384),
            "ES256" => Ok(Self::Es256),
            "ES384" => Ok(Self::Es384),
            _ => Err(AlgorithmUnknown),
        }
    }
}

/// What kind of key was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// RSA; 2048 to 8192 bits are read.
    Rsa {
        /// The length of the modulus in bits.
        bits: usize,
    },
    /// The NIST curve P-256.
    P256,
    /// The NIST curve P-384.
    P384,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(formatter, "RSA {bits}"),
            Self::P256 => formatter.pad("P-256"),
            Self::P384 => formatter.pad("P-384"),
        }
    }
}

/// What an activation asks a key pair to be: `keyPair.algorithm` and `keyPair.rsaBits` in one, so that no impossible
/// combination can be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PairKind {
    /// `RS384` with 2048 bits, the default.
    Rsa2048,
    /// `RS384` with 3072 bits.
    Rsa3072,
    /// `RS384` with 4096 bits.
    Rsa4096,
    /// `ES384`.
    P384,
}

impl PairKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::P384];

    /// From a spec's two fields; `None` for an algorithm or size that is not offered to EHRs. The size is ignored for
    /// `ES384`.
    pub const fn of(algorithm: Algorithm, rsa_bits: u32) -> Option<Self> {
        match (algorithm, rsa_bits) {
            (Algorithm::Rs384, 2048) => Some(Self::Rsa2048),
            (Algorithm::Rs384, 3072) => Some(Self::Rsa3072),
            (Algorithm::Rs384, 4096) => Some(Self::Rsa4096),
            (Algorithm::Es384, _) => Some(Self::P384),
            (Algorithm::Rs384 | Algorithm::Rs256 | Algorithm::Es256, _) => None,
        }
    }

    /// The algorithm that a pair of this kind signs with.
    pub const fn algorithm(self) -> Algorithm {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => Algorithm::Rs384,
            Self::P384 => Algorithm::Es384,
        }
    }

    /// The length of the modulus in bits, for RSA.
    pub const fn rsa_bits(self) -> Option<usize> {
        match self {
            Self::Rsa2048 => Some(2048),
            Self::Rsa3072 => Some(3072),
            Self::Rsa4096 => Some(4096),
            Self::P384 => None,
        }
    }

    /// What such a key is found to be when it is read back.
    pub const fn key_kind(self) -> KeyKind {
        match self.rsa_bits() {
            Some(bits) => KeyKind::Rsa { bits },
            None => KeyKind::P384,
        }
    }
}

impl fmt::Display for PairKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.algorithm(), self.key_kind())
    }
}

#[cfg(test)]
mod tests;
