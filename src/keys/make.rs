//! Makes key pairs and gateway keys: aws-lc-rs generates and signs, rcgen writes the certificate.
//!
//! CPU-heavy (an RSA key of 4096 bits takes about a second): call it on a blocking thread, one key at a time, so that
//! a thousand new activations do not starve the requests that are being served.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, KeyUsagePurpose, SerialNumber};
use zeroize::Zeroizing;

use crate::values::key::{KeyPairMaterial, KeyProblem, PairKind, ParsedKeyPair, SealingKey, SigningKey, file, pem};
use crate::values::secret::SecretBytes;

/// How long a certificate of ours is valid. It wraps a key that somebody registered by hand; the key is rotated by its
/// revision, and an EHR that looks at the date must not lock the app out before.
const CERTIFICATE_YEARS: i64 = 10;

/// RFC 5280 appendix A: the upper bound of a commonName, in characters.
const LONGEST_COMMON_NAME: usize = 64;

/// Why no key could be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// aws-lc-rs failed; it tells no reason (most likely the system's random source).
    #[error("the key could not be generated; is the system's random source available?")]
    Generate,
    /// The date lies outside what a certificate can say (RFC 5280 §4.1.2.5), so the clock is wrong.
    #[error("the clock says {now}, and a certificate of {CERTIFICATE_YEARS} years cannot begin then; set the clock")]
    Clock {
        /// The time that was given.
        now: Timestamp,
    },
    /// rcgen failed.
    #[error("the certificate could not be written: {0}")]
    Certificate(#[from] rcgen::Error),
    /// What was made cannot be read back: a defect of ours.
    #[error("the key that was made is not usable: it {0}")]
    Unusable(#[from] KeyProblem),
}

impl From<Unspecified> for MakeError {
    fn from(_: Unspecified) -> Self {
        Self::Generate
    }
}

/// The three files of a gateway's signing Secret, freshly made.
#[derive(Clone, Debug)]
pub struct GatewayKeyMaterial {
    es256_private_pem: SecretBytes,
    rs256_private_pem: SecretBytes,
    sealing_key: SecretBytes,
}

impl GatewayKeyMaterial {
    /// The files by name, as a Secret's data.
    pub fn into_data(self) -> BTreeMap<String, SecretBytes> {
        BTreeMap::from([
            (file::ES256_PRIVATE_PEM.to_owned(), self.es256_private_pem),
            (file::RS256_PRIVATE_PEM.to_owned(), self.rs256_private_pem),
            (file::SEALING_KEY.to_owned(), self.sealing_key),
        ])
    }
}

/// Makes a key pair with a self-signed certificate that is valid for ten years from `now`.
///
/// `common_name` is what people call the app; it may hold anything. In the certificate, control characters become
/// spaces and what is beyond 64 characters is cut; an empty name becomes `hearthgate`.
pub fn make_pair(kind: PairKind, common_name: &str, now: Timestamp) -> Result<KeyPairMaterial, MakeError> {
    let (private, certifier) = match kind {
        PairKind::Rsa2048 => generate_rsa(KeySize::Rsa2048)?,
        PairKind::Rsa3072 => generate_rsa(KeySize::Rsa3072)?,
        PairKind::Rsa4096 => generate_rsa(KeySize::Rsa4096)?,
        PairKind::P384 => generate_p384()?,
    };
    let signing = SigningKey::from_pkcs8(&private, ParsedKeyPair::ALGORITHMS)?;
    let certificate = certificate_parameters(common_name, now)?.self_signed(&certifier)?;
    Ok(KeyPairMaterial {
        private_pem: private_pem(&private),
        public_pem: signing.public().to_pem(),
        certificate_pem: pem::encode(pem::CERTIFICATE, certificate.der()).to_string(),
        jwk: signing.jwk(),
    })
}

/// Makes a gateway's keys: P-256 for access tokens, RSA of 2048 bits for id_tokens, and 32 random bytes for the store.
pub fn make_gateway_keys() -> Result<GatewayKeyMaterial, MakeError> {
    let es256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?.to_pkcs8v1()?;
    let (rs256, _) = generate_rsa(KeySize::Rsa2048)?;
    let mut sealing = Zeroizing::new([0; SealingKey::LENGTH]);
    rand::fill(sealing.as_mut_slice())?;
    let mut sealing_key = STANDARD.encode(sealing.as_slice());
    sealing_key.push('\n');
    Ok(GatewayKeyMaterial {
        es256_private_pem: private_pem(es256.as_ref()),
        rs256_private_pem: private_pem(&rs256),
        sealing_key: sealing_key.into(),
    })
}

fn generate_rsa(size: KeySize) -> Result<(Zeroizing<Vec<u8>>, Certifier), MakeError> {
    let key = RsaKeyPair::generate(size)?;
    let der: Pkcs8V1Der<'_> = key.as_der()?;
    Ok((Zeroizing::new(der.as_ref().to_vec()), Certifier::Rsa(key)))
}

fn generate_p384() -> Result<(Zeroizing<Vec<u8>>, Certifier), MakeError> {
    let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING)?;
    let der = key.to_pkcs8v1()?;
    Ok((Zeroizing::new(der.as_ref().to_vec()), Certifier::P384(key)))
}

fn private_pem(der: &[u8]) -> SecretBytes {
    SecretBytes::new(std::mem::take(&mut *pem::encode(pem::PRIVATE_KEY, der)).into_bytes())
}

fn certificate_parameters(common_name: &str, now: Timestamp) -> Result<CertificateParams, MakeError> {
    let clock = || MakeError::Clock { now };
    let end = now.to_zoned(TimeZone::UTC).checked_add(CERTIFICATE_YEARS.years()).map_err(|_| clock())?.timestamp();
    // rcgen speaks in terms of the `time` crate; this is the one date of it that we need.
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since_epoch = |at: Timestamp| u64::try_from(at.as_second()).map(Duration::from_secs).map_err(|_| clock());
    let mut parameters = CertificateParams::default();
    parameters.not_before = epoch + since_epoch(now)?;
    parameters.not_after = epoch + since_epoch(end)?;
    parameters.serial_number = Some(serial_number()?);
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, certificate_name(common_name));
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Ok(parameters)
}

fn certificate_name(name: &str) -> String {
    let cleaned: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let cut: String = cleaned.trim().chars().take(LONGEST_COMMON_NAME).collect();
    let cut = cut.trim_end();
    if cut.is_empty() { "hearthgate".to_owned() } else { cut.to_owned() }
}

/// RFC 5280 §4.1.2.2: positive, at most 20 octets. 127 random bits, of which the first is set.
fn serial_number() -> Result<SerialNumber, MakeError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes)?;
    if let Some(first) = bytes.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    Ok(SerialNumber::from_slice(&bytes))
}

/// Signs the certificate with the new key. rcgen has a type for that, which would keep its own, unwiped copy of the
/// private key.
enum Certifier {
    Rsa(RsaKeyPair),
    P384(EcdsaKeyPair),
}

impl rcgen::PublicKeyData for Certifier {
    fn der_bytes(&self) -> &[u8] {
        match self {
            Self::Rsa(key) => key.public_key().as_ref(),
            Self::P384(key) => key.public_key().as_ref(),
        }
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self {
            Self::Rsa(_) => &rcgen::PKCS_RSA_SHA256,
            Self::P384(_) => &rcgen::PKCS_ECDSA_P384_SHA384,
        }
    }
}

impl rcgen::SigningKey for Certifier {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let random = rand::SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(|_| rcgen::Error::RemoteKeyError)?;
                Ok(signature)
            }
            Self::P384(key) => {
                let signature = key.sign(&random, message).map_err(|_| rcgen::Error::RemoteKeyError)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::key::GatewayKeys;
    use rstest::rstest;

    fn now() -> Timestamp {
        "2026-02-28T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_new_pair_is_whole_and_valid_for_ten_years() {
        let pair = make_pair(PairKind::P384, "Schedule Sync", now()).unwrap();
        let parsed = ParsedKeyPair::from_whole_data(&pair.into_data()).unwrap();
        assert_eq!(parsed.kind(), PairKind::P384.key_kind());
        let certificate = parsed.certificate().unwrap();
        assert_eq!(certificate.not_after(), "2036-02-28T12:00:00Z".parse().unwrap());
        assert_eq!(certificate.public(), parsed.public());
    }

    #[test]
    fn two_pairs_are_never_the_same() {
        let make = || make_pair(PairKind::P384, "x", now()).unwrap();
        let (one, other) = (make(), make());
        assert_ne!(one.jwk, other.jwk);
        assert_ne!(one.certificate_pem, other.certificate_pem);
    }

    #[test]
    fn new_gateway_keys_are_whole_and_no_two_seal_alike() {
        let make = || GatewayKeys::from_data(&make_gateway_keys().unwrap().into_data()).unwrap();
        let (one, other) = (make(), make());
        assert_ne!(one.es256.public(), other.es256.public());
        assert_ne!(one.rs256.public(), other.rs256.public());
        assert_ne!(one.sealing.expose(), other.sealing.expose());
    }

    #[rstest]
    #[case::plain("Schedule Sync", "Schedule Sync")]
    #[case::any_script("Zdraví – 健康 🏥", "Zdraví – 健康 🏥")]
    #[case::control("good\0.evil\n", "good .evil")]
    #[case::empty("", "hearthgate")]
    #[case::blank(" \t ", "hearthgate")]
    #[case::long(&"é".repeat(200), &"é".repeat(64))]
    fn any_name_becomes_a_common_name(#[case] name: &str, #[case] expected: &str) {
        assert_eq!(certificate_name(name), expected);
    }

    #[rstest]
    #[case::before_the_epoch("1969-12-31T23:59:59Z")]
    #[case::beyond_what_a_certificate_can_say("9990-01-01T00:00:00Z")]
    fn an_impossible_clock_is_an_error_and_no_panic(#[case] now: &str) {
        let now: Timestamp = now.parse().unwrap();
        let error = make_pair(PairKind::P384, "x", now).unwrap_err();
        assert!(matches!(error, MakeError::Clock { .. }), "{error}");
    }
}
