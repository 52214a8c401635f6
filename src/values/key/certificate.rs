//! The X.509 certificate around a public key: what Epic and others take as "PEM file".

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use jiff::Timestamp;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{KeyProblem, PublicKey, pem};

/// A certificate that was read: its text, its key, and what a person compares at the EHR.
///
/// Nothing is verified: it is a wrapping for a public key that somebody registers by hand, and no chain or date of it
/// takes part in any decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pem: Arc<str>,
    fingerprint: CertificateFingerprint,
    not_before: Timestamp,
    not_after: Timestamp,
    public: PublicKey,
}

/// The SHA-256 of a certificate's DER, shown as openssl does: `AB:CD:…`, 32 pairs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateFingerprint([u8; 32]);

impl Certificate {
    /// Reads the first certificate of a PEM text; the rest of a chain may follow and is dropped.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyProblem> {
        let der = pem::first_block(text, pem::CERTIFICATE)?;
        let (after, certificate) = X509Certificate::from_der(&der).map_err(|_| KeyProblem::NotACertificate)?;
        if !after.is_empty() {
            return Err(KeyProblem::NotACertificate);
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest::digest(&digest::SHA256, &der).as_ref());
        Ok(Self {
            pem: pem::encode(pem::CERTIFICATE, &der).as_str().into(),
            fingerprint: CertificateFingerprint(fingerprint),
            not_before: Timestamp::from_second(certificate.validity().not_before.timestamp())
                .map_err(|_| KeyProblem::NotACertificate)?,
            not_after: Timestamp::from_second(certificate.validity().not_after.timestamp())
                .map_err(|_| KeyProblem::NotACertificate)?,
            public: PublicKey::from_spki(certificate.public_key().raw)?,
        })
    }

    /// The same around this very value of its key: one is kept, not two.
    pub(super) fn around(self, public: PublicKey) -> Self {
        Self { public, ..self }
    }

    /// The certificate in PEM, one block.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The same to keep: one text for all who do.
    pub fn shared_pem(&self) -> Arc<str> {
        Arc::clone(&self.pem)
    }

    /// Its SHA-256 fingerprint.
    pub fn fingerprint(&self) -> CertificateFingerprint {
        self.fingerprint
    }

    /// The first moment of its validity: of a certificate of ours, when its key was made.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The last moment of its validity.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The key that it certifies.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl fmt::Display for CertificateFingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in self.0.iter().enumerate() {
            if position > 0 {
                formatter.write_str(":")?;
            }
            write!(formatter, "{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for CertificateFingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CertificateFingerprint({self})")
    }
}
