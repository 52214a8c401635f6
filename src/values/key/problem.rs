//! What can be wrong with key material. Messages name the file and the fault, never the content: they end up in status,
//! logs and on screens.

use super::{Algorithm, KeyKind};

/// What is wrong with one piece of key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// The file is not there.
    #[error("is missing")]
    Missing,
    /// The file is longer than any key.
    #[error("is longer than 64 KiB, so it is no key")]
    TooLong,
    /// No `-----BEGIN …-----` line.
    #[error("holds no PEM block; it must hold one \"{expected}\" block")]
    NoPem {
        /// The label that was looked for.
        expected: &'static str,
    },
    /// Begun and not ended, or what is between is not Base64.
    #[error("holds a damaged PEM block; copy the file again, unchanged")]
    DamagedPem,
    /// More than one block where one is meant.
    #[error("holds more than one PEM block; keep only the \"{expected}\" block")]
    SeveralBlocks {
        /// The label that was looked for.
        expected: &'static str,
    },
    /// A PKCS#1 or SEC 1 private key.
    #[error("is in the older \"{found}\" form; convert it with `openssl pkcs8 -topk8 -nocrypt`")]
    OldForm {
        /// The label that was found.
        found: &'static str,
    },
    /// A private key under a passphrase.
    #[error(
        "is encrypted; decrypt it with `openssl pkcs8`, since a running gateway has nobody to ask for a passphrase"
    )]
    Encrypted,
    /// Another label than the expected one.
    #[error("holds another kind of PEM block; it must hold one \"{expected}\" block")]
    OtherBlock {
        /// The label that was looked for.
        expected: &'static str,
    },
    /// The DER inside cannot be read, or the numbers in it do not belong together.
    #[error("is damaged: its parts cannot be read or do not fit together")]
    Damaged,
    /// A readable key of a kind that we do not use.
    #[error("is neither an RSA nor a P-256 nor a P-384 key")]
    Unsupported,
    /// RSA below 2048 or above 8192 bits.
    #[error("is an RSA key of {bits} bits; at least 2048 and at most 8192 are needed")]
    RsaSize {
        /// The length of the modulus.
        bits: usize,
    },
    /// The key is good, but not for this place.
    #[error("is of kind {found}, which {wanted} cannot use")]
    WrongKind {
        /// What it is.
        found: KeyKind,
        /// What it should sign.
        wanted: WantedAlgorithms,
    },
    /// Two files of one pair hold different keys.
    #[error("does not fit private.pem: it holds another key")]
    OtherKey,
    /// Not a JSON object.
    #[error("is not a JSON object")]
    NotJson,
    /// A JWK without a member that its `kty` needs (RFC 7518 §6).
    #[error("has no `{member}`, or it is not text")]
    MemberMissing {
        /// The member's name.
        member: &'static str,
    },
    /// A JWK member that is not Base64url, or has the wrong length.
    #[error("has a `{member}` that is not Base64url of the right length")]
    MemberInvalid {
        /// The member's name.
        member: &'static str,
    },
    /// A private or symmetric key where only a public one belongs.
    #[error(
        "holds a private key: replace that key, since it was written where public keys are, and give the public half only"
    )]
    PrivateJwk,
    /// Our own `jwk.json` with another `kid`, `use` or `alg` than it must have.
    #[error("has another `{member}` than this key must have; leave the file out, it can be derived")]
    JwkDiffers {
        /// The member's name.
        member: &'static str,
    },
    /// Not X.509.
    #[error("is not an X.509 certificate")]
    NotACertificate,
    /// The sealing key is not 32 bytes of Base64.
    #[error("is not 32 bytes in Base64")]
    SealingKey,
}

/// The algorithms that a place in a Secret takes; shown as `RS384 or ES384`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedAlgorithms(pub &'static [Algorithm]);

impl WantedAlgorithms {
    /// Only this one.
    pub(super) const fn one(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Rs256 => &[Algorithm::Rs256],
            Algorithm::Rs384 => &[Algorithm::Rs384],
            Algorithm::Es256 => &[Algorithm::Es256],
            Algorithm::Es384 => &[Algorithm::Es384],
        })
    }
}

impl std::fmt::Display for WantedAlgorithms {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, algorithm) in self.0.iter().enumerate() {
            if position > 0 {
                formatter.write_str(" or ")?;
            }
            formatter.write_str(algorithm.as_str())?;
        }
        Ok(())
    }
}

/// One file of a Secret or key directory is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} {problem}")]
pub struct KeyError {
    /// The file, one of [`super::file`].
    pub file: &'static str,
    /// What is wrong with it.
    #[source]
    pub problem: KeyProblem,
}

impl KeyProblem {
    /// This problem, found in that file.
    pub fn in_file(self, file: &'static str) -> KeyError {
        KeyError { file, problem: self }
    }
}
