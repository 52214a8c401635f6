//! Public keys: read from PEM, JWK or a certificate, written as PEM and JWK, and turned into verifiers.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::der::{Family, bit_length, family_of_spki};
use super::problem::WantedAlgorithms;
use super::{Algorithm, KeyKind, KeyProblem, Thumbprint, pem};

/// A public RSA, P-256 or P-384 key that aws-lc-rs has accepted: the sizes are in bounds, the point is on its curve.
///
/// Two keys are equal when they are the same key, whatever form they were read from. A clone is one reference.
#[derive(Clone)]
pub struct PublicKey(Arc<Inner>);

struct Inner {
    kind: KeyKind,
    spki: Vec<u8>,
    members: Members,
    thumbprint: Thumbprint,
}

/// The members that RFC 7638 §3.2 requires, in Base64url.
enum Members {
    Rsa { n: String, e: String },
    Ec { curve: &'static Curve, x: String, y: String },
}

/// What differs between our two curves.
struct Curve {
    name: &'static str,
    kind: KeyKind,
    verification: &'static EcdsaVerificationAlgorithm,
    /// Bytes of one coordinate.
    coordinate: usize,
    /// The DER of a SubjectPublicKeyInfo with an uncompressed point, up to and with the 0x04 that begins the point.
    spki_prefix: &'static [u8],
}

static P256: Curve = Curve {
    name: "P-256",
    kind: KeyKind::P256,
    verification: &ECDSA_P256_SHA256_FIXED,
    coordinate: 32,
    spki_prefix: &[
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
    ],
};

static P384: Curve = Curve {
    name: "P-384",
    kind: KeyKind::P384,
    verification: &ECDSA_P384_SHA384_FIXED,
    coordinate: 48,
    spki_prefix: &[
        0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04,
        0x00, 0x22, 0x03, 0x62, 0x00, 0x04,
    ],
};

impl PublicKey {
    /// Reads one SubjectPublicKeyInfo in PEM.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyProblem> {
        Self::from_spki(&pem::only_block(text, pem::PUBLIC_KEY)?)
    }

    /// Reads a SubjectPublicKeyInfo in DER (RFC 5280 §4.1).
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyProblem> {
        match family_of_spki(der)? {
            Family::Rsa => Self::from_rsa(&rsa::PublicKey::from_der(der).map_err(|_| KeyProblem::Damaged)?),
            Family::P256 => Self::from_point(&P256, der),
            Family::P384 => Self::from_point(&P384, der),
        }
    }

    /// Reads a JWK (RFC 7517, RFC 7518 §6). `use`, `alg`, `kid` and members that we don't know are not looked at;
    /// a private or symmetric key is refused, since whoever published it must replace it.
    pub fn from_jwk(jwk: &Value) -> Result<Self, KeyProblem> {
        let members = jwk.as_object().ok_or(KeyProblem::NotJson)?;
        if members.contains_key("d") || members.contains_key("k") {
            return Err(KeyProblem::PrivateJwk);
        }
        match text(members, "kty")? {
            "RSA" => {
                let (n, e) = (octets(members, "n")?, octets(members, "e")?);
                let (n, e) = (without_leading_zeros(&n), without_leading_zeros(&e));
                let bits = bit_length(n);
                if !(2048..=8192).contains(&bits) {
                    return Err(KeyProblem::RsaSize { bits });
                }
                let der: PublicKeyX509Der<'_> =
                    RsaPublicKeyComponents { n, e }.as_der().map_err(|_| KeyProblem::Damaged)?;
                Self::from_spki(der.as_ref())
            }
            "EC" => {
                let curve = match text(members, "crv")? {
                    "P-256" => &P256,
                    "P-384" => &P384,
                    _ => return Err(KeyProblem::Unsupported),
                };
                let mut point = vec![0x04];
                for member in ["x", "y"] {
                    let coordinate = octets(members, member)?;
                    // RFC 7518 §6.2.1.2: the full size of a coordinate, leading zeros and all.
                    if coordinate.len() != curve.coordinate {
                        return Err(KeyProblem::MemberInvalid { member });
                    }
                    point.extend_from_slice(&coordinate);
                }
                Self::from_point(curve, &point)
            }
            _ => Err(KeyProblem::Unsupported),
        }
    }

    pub(super) fn from_rsa(key: &rsa::PublicKey) -> Result<Self, KeyProblem> {
        let n = key.modulus().big_endian_without_leading_zero();
        let e = key.exponent().big_endian_without_leading_zero();
        let bits = bit_length(n);
        if !(2048..=8192).contains(&bits) {
            return Err(KeyProblem::RsaSize { bits });
        }
        let spki: PublicKeyX509Der<'_> = key.as_der().map_err(|_| KeyProblem::Damaged)?;
        let (n, e) = (URL_SAFE_NO_PAD.encode(n), URL_SAFE_NO_PAD.encode(e));
        Ok(Self::new(KeyKind::Rsa { bits }, spki.as_ref().to_vec(), Members::Rsa { n, e }))
    }

    /// From anything that aws-lc-rs reads as a point of this curve: a SubjectPublicKeyInfo, or the bare point.
    fn from_point(curve: &'static Curve, bytes: &[u8]) -> Result<Self, KeyProblem> {
        let parsed = ParsedPublicKey::new(curve.verification, bytes).map_err(|_| KeyProblem::Damaged)?;
        let spki: PublicKeyX509Der<'_> = parsed.as_der().map_err(|_| KeyProblem::Damaged)?;
        let coordinates = spki.as_ref().strip_prefix(curve.spki_prefix).ok_or(KeyProblem::Damaged)?;
        let (x, y) = coordinates.split_at_checked(curve.coordinate).ok_or(KeyProblem::Damaged)?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        Ok(Self::new(curve.kind, spki.as_ref().to_vec(), Members::Ec { curve, x, y }))
    }

    /// The public key of an EC pair, given as its uncompressed point.
    pub(super) fn from_ec(kind: KeyKind, point: &[u8]) -> Result<Self, KeyProblem> {
        match kind {
            KeyKind::P256 => Self::from_point(&P256, point),
            KeyKind::P384 => Self::from_point(&P384, point),
            KeyKind::Rsa { .. } => Err(KeyProblem::Unsupported),
        }
    }

    fn new(kind: KeyKind, spki: Vec<u8>, members: Members) -> Self {
        // Base64url and curve names need no escaping, so this is the JSON that RFC 7638 §3 hashes.
        let thumbprint = Thumbprint::of_required_members(&match &members {
            Members::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
            Members::Ec { curve, x, y } => {
                format!(r#"{{"crv":"{}","kty":"EC","x":"{x}","y":"{y}"}}"#, curve.name)
            }
        });
        Self(Arc::new(Inner { kind, spki, members, thumbprint }))
    }

    /// What kind of key it is.
    pub fn kind(&self) -> KeyKind {
        self.0.kind
    }

    /// Its RFC 7638 thumbprint.
    pub fn thumbprint(&self) -> Thumbprint {
        self.0.thumbprint
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> &[u8] {
        &self.0.spki
    }

    /// The SubjectPublicKeyInfo in PEM.
    pub fn to_pem(&self) -> String {
        pem::encode(pem::PUBLIC_KEY, &self.0.spki).to_string()
    }

    /// The JWK to publish: the key, `use` = `sig`, `kid` = thumbprint, and the one `alg` that it signs with.
    pub fn jwk(&self, algorithm: Algorithm) -> Value {
        let mut jwk = Map::new();
        let mut put = |name: &str, value: &str| jwk.insert(name.to_owned(), Value::String(value.to_owned()));
        match &self.0.members {
            Members::Rsa { n, e } => {
                put("kty", "RSA");
                put("n", n);
                put("e", e);
            }
            Members::Ec { curve, x, y } => {
                put("kty", "EC");
                put("crv", curve.name);
                put("x", x);
                put("y", y);
            }
        }
        put("use", "sig");
        put("alg", algorithm.as_str());
        put("kid", &self.0.thumbprint.to_string());
        Value::Object(jwk)
    }

    /// A verifier for this one algorithm; parsed once, so that a check costs only the check.
    pub fn verifying_key(&self, algorithm: Algorithm) -> Result<VerifyingKey, KeyProblem> {
        let verification: &'static dyn VerificationAlgorithm = match algorithm {
            Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
            Algorithm::Es384 => &ECDSA_P384_SHA384_FIXED,
        };
        if !algorithm.fits(self.0.kind) {
            return Err(KeyProblem::WrongKind { found: self.0.kind, wanted: WantedAlgorithms::one(algorithm) });
        }
        let key = ParsedPublicKey::new(verification, self.spki()).map_err(|_| KeyProblem::Damaged)?;
        Ok(VerifyingKey { algorithm, key: Arc::new(key) })
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.spki == other.0.spki
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({}, {})", self.0.kind, self.0.thumbprint)
    }
}

/// A public key made ready to check signatures of one algorithm. A clone is one reference, and any number of threads
/// may use it at once.
#[derive(Clone)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    key: Arc<ParsedPublicKey>,
}

/// The signature was not made over this message by this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not fit")]
pub struct SignatureInvalid;

impl VerifyingKey {
    /// The one algorithm that it checks; a token whose header names another must be refused before it comes here.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Checks a JWS signature (RFC 7515 §5.2, RFC 7518 §3): `message` is the signing input, the first two parts of the
    /// compact form with the dot between them; an EC `signature` is the bare `r ‖ s`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
        self.key.verify_sig(message, signature).map_err(|_| SignatureInvalid)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "VerifyingKey({})", self.algorithm)
    }
}

fn text<'jwk>(jwk: &'jwk Map<String, Value>, member: &'static str) -> Result<&'jwk str, KeyProblem> {
    jwk.get(member).and_then(Value::as_str).ok_or(KeyProblem::MemberMissing { member })
}

fn octets(jwk: &Map<String, Value>, member: &'static str) -> Result<Vec<u8>, KeyProblem> {
    URL_SAFE_NO_PAD.decode(text(jwk, member)?).map_err(|_| KeyProblem::MemberInvalid { member })
}

/// RFC 7518 §6.3.1.1 forbids a leading zero in `n`, and notes that implementations write one all the same.
fn without_leading_zeros(mut octets: &[u8]) -> &[u8] {
    while let Some((0, rest)) = octets.split_first() {
        octets = rest;
    }
    octets
}
