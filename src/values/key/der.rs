//! The two DER envelopes around a key, looked into just far enough to know what kind of key it is. aws-lc-rs reads the
//! key itself, but answers "no" alike for a key that is broken and one of a kind that we don't use.

use x509_parser::asn1_rs::{Integer, OctetString, Sequence};
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION};
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use super::KeyProblem;

/// What the envelope says is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Rsa,
    P256,
    P384,
}

/// The kind of key in a PKCS#8 `PrivateKeyInfo` (RFC 5208 §5).
pub(super) fn family_of_pkcs8(der: &[u8]) -> Result<Family, KeyProblem> {
    let (after, envelope) = Sequence::from_der(der).map_err(|_| KeyProblem::Damaged)?;
    if !after.is_empty() {
        return Err(KeyProblem::Damaged);
    }
    let (rest, _version) = u8::from_der(&envelope.content).map_err(|_| KeyProblem::Damaged)?;
    let (_, algorithm) = AlgorithmIdentifier::from_der(rest).map_err(|_| KeyProblem::Damaged)?;
    family(&algorithm)
}

/// The kind of key in a `SubjectPublicKeyInfo` (RFC 5280 §4.1).
pub(super) fn family_of_spki(der: &[u8]) -> Result<Family, KeyProblem> {
    let (after, info) = SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyProblem::Damaged)?;
    if !after.is_empty() {
        return Err(KeyProblem::Damaged);
    }
    family(&info.algorithm)
}

fn family(algorithm: &AlgorithmIdentifier<'_>) -> Result<Family, KeyProblem> {
    if algorithm.algorithm == OID_PKCS1_RSAENCRYPTION {
        return Ok(Family::Rsa);
    }
    if algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
        return Err(KeyProblem::Unsupported);
    }
    let curve = algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    match curve {
        Some(curve) if curve == OID_EC_P256 => Ok(Family::P256),
        Some(curve) if curve == OID_NIST_EC_P384 => Ok(Family::P384),
        Some(_) | None => Err(KeyProblem::Unsupported),
    }
}

/// Why aws-lc-rs refused an RSA private key: it answers alike for one that is too small and one that is broken, and
/// only the first tells a person what to do.
pub(super) fn why_no_rsa(der: &[u8]) -> KeyProblem {
    match rsa_bits_of_pkcs8(der) {
        Some(bits) if !(2048..=8192).contains(&bits) => KeyProblem::RsaSize { bits },
        Some(_) | None => KeyProblem::Damaged,
    }
}

/// The length of the modulus in an RSAPrivateKey (RFC 8017 §A.1.2) within PKCS#8.
fn rsa_bits_of_pkcs8(der: &[u8]) -> Option<usize> {
    let (_, envelope) = Sequence::from_der(der).ok()?;
    let (rest, _version) = u8::from_der(&envelope.content).ok()?;
    let (rest, _algorithm) = AlgorithmIdentifier::from_der(rest).ok()?;
    let (_, private_key) = OctetString::from_der(rest).ok()?;
    let (_, numbers) = Sequence::from_der(private_key.as_ref()).ok()?;
    let (rest, _version) = u8::from_der(&numbers.content).ok()?;
    let (_, modulus) = Integer::from_der(rest).ok()?;
    Some(bit_length(modulus.as_ref()))
}

/// The length of a number in bits, leading zeros not counted.
pub(super) fn bit_length(big_endian: &[u8]) -> usize {
    let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
    match big_endian.get(zeros) {
        None => 0,
        Some(first) => (big_endian.len() - zeros) * 8 - first.leading_zeros() as usize,
    }
}
