//! Key pairs that face EHRs: which exist, which is missing, what is published.

use std::sync::Arc;

use jiff::Timestamp;

use super::ObjectKey;
use crate::values::key::{KeyError, PairIdentity, PairKind, SigningKey, Thumbprint};

/// What parsing a key pair's Secret gave.
pub type ParsedKeyPair = Result<crate::values::key::ParsedKeyPair, KeyError>;
/// What parsing a gateway's signing Secret gave.
pub type ParsedGatewayKeys = Result<Arc<crate::values::key::GatewayKeys>, KeyError>;

/// A key pair with all its revisions.
#[derive(Debug)]
pub struct KeyPair {
    /// Namespace, and the pair's name.
    pub key: ObjectKey,
    /// The App that it belongs to.
    pub app: String,
    /// Algorithm and size.
    pub kind: PairKind,
    /// The revision that the specs ask for: the highest that any of its activations names.
    pub wanted: PairIdentity,
    /// Whether somebody brings the key, so that none is made.
    pub brought: bool,
    /// The revisions that exist and may be used, oldest first. Withdrawn ones are not in it.
    pub revisions: Vec<Arc<KeyRevision>>,
    /// The key that must be made now, if any.
    pub missing: Option<MissingKey>,
    /// Where the EHR fetches the public keys.
    pub jwks_url: String,
    /// The published key set (JSON): every revision that an EHR may still need.
    pub jwks: Arc<str>,
}

/// One revision of a pair.
#[derive(Debug)]
pub struct KeyRevision {
    /// From 1.
    pub revision: u32,
    /// The Secret that holds it.
    pub secret_name: String,
    /// RFC 7638 thumbprint, which is also the `kid`.
    pub thumbprint: Thumbprint,
    /// The same as text: thousands of statuses and pins are held against it.
    pub kid: String,
    /// Signs.
    pub signing: SigningKey,
    /// The key set (JSON) that holds this key alone, as most pairs publish it.
    pub jwks: Arc<str>,
    /// The certificate (PEM), where the Secret holds one.
    pub certificate_pem: Option<Arc<str>>,
    /// The certificate's SHA-256 fingerprint, where there is one.
    pub certificate_fingerprint: Option<String>,
    /// When the certificate begins, where there is one: mostly when the key was made.
    pub not_before: Option<Timestamp>,
    /// When the certificate ends (RFC 3339), where there is one.
    pub not_after: Option<String>,
}

/// A key that the control plane must make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingKey {
    /// Whose it will be: App, pair, revision, kind.
    pub identity: PairIdentity,
    /// Subject (CN) of its certificate.
    pub common_name: String,
}
