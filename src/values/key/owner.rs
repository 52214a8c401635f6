//! Whose a key is: the names, labels and annotations of a key's Secret, and whether one that is already there may be
//! adopted. The compiler reports what this refuses as `KeyBelongsToAnother`, and the key store writes what it asks for:
//! one code for both, so that we always recognize what we made.

use std::collections::BTreeMap;

use super::{Algorithm, KeyKind, PairKind, ParsedKeyPair};

/// Annotations of a Secret with key material.
pub mod annotation {
    /// The App that a pair was made for, by name.
    pub const APP: &str = "hearthgate.dev/app";
    /// The pair's name.
    pub const KEY_PAIR: &str = "hearthgate.dev/key-pair";
    /// The Gateway that signing keys were made for, by name.
    pub const GATEWAY: &str = "hearthgate.dev/gateway";
    /// The revision, a decimal number from 1.
    pub const REVISION: &str = "hearthgate.dev/revision";
    /// The pair's algorithm, `RS384` or `ES384`.
    pub const ALGORITHM: &str = "hearthgate.dev/algorithm";
    /// The length of an RSA modulus in bits.
    pub const RSA_BITS: &str = "hearthgate.dev/rsa-bits";
    /// Argo CD: `Prune=false`, so that it never deletes a key.
    pub const ARGOCD_SYNC_OPTIONS: &str = "argocd.argoproj.io/sync-options";
    /// Argo CD: `IgnoreExtraneous`, so that a key that is not in git is no drift.
    pub const ARGOCD_COMPARE_OPTIONS: &str = "argocd.argoproj.io/compare-options";
}

/// Labels of a Secret with key material.
pub mod label {
    /// What a Secret is for; only those with this label are ever read.
    pub const USE: &str = "hearthgate.dev/use";
    /// The value of [`USE`] on key pairs.
    pub const USE_KEY_PAIR: &str = "key-pair";
    /// The value of [`USE`] on a gateway's signing keys. Not `key-pair`: what carries that can be named by an
    /// Activation, and then a gateway's key would sign a token for an audience of the Activation's choosing.
    pub const USE_GATEWAY_SIGNING: &str = "gateway-signing";
    /// Who manages the object, by the Kubernetes convention.
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// The value of [`MANAGED_BY`] on everything of ours.
    pub const MANAGED_BY_US: &str = "hearthgate";
}

/// The `type` of a Secret with key material.
pub mod secret_type {
    /// A key pair facing an EHR.
    pub const KEY_PAIR: &str = "hearthgate.dev/key-pair";
    /// A gateway's signing keys.
    pub const GATEWAY_SIGNING: &str = "hearthgate.dev/gateway-signing";
}

/// One revision of one pair: what it is made for. All names are names of objects in the Secret's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairIdentity {
    /// The App, by `metadata.name`.
    pub app: String,
    /// The pair (`keyPair.name`, else the Activation's name).
    pub pair: String,
    /// `keyPair.revision`, from 1.
    pub revision: u32,
    /// Algorithm and size.
    pub kind: PairKind,
}

/// One revision of one gateway's signing keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayIdentity {
    /// The Gateway, by `metadata.name`.
    pub gateway: String,
    /// `signingKeys.revision`, from 1.
    pub revision: u32,
}

/// Why a Secret that is already there is not taken for ours. Reads as the end of "Secret x …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    /// It bears no annotation that says whose it is.
    #[error("has no annotation {annotation}, so it was not made for {wanted:?}")]
    Unmarked {
        /// The annotation that is missing.
        annotation: &'static str,
        /// What it would have to say.
        wanted: String,
    },
    /// It says that it is another's.
    #[error("says {annotation}: {found:?}, and not {wanted:?}")]
    MarkedForAnother {
        /// The annotation that differs.
        annotation: &'static str,
        /// What it says.
        found: String,
        /// What it would have to say.
        wanted: String,
    },
    /// Its annotations fit and the key in it is of another kind.
    #[error("holds a key of kind {found}, and not {wanted}")]
    OtherKind {
        /// What is in it.
        found: KeyKind,
        /// What was asked for.
        wanted: KeyKind,
    },
}

impl PairIdentity {
    /// The Secret's name.
    pub fn secret_name(&self) -> String {
        format!("{}-key-{}", self.pair, self.revision)
    }

    /// The annotations that its Secret is made with.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let mut annotations = kept_by_argo_cd();
        let mut put = |name: &str, value: String| annotations.insert(name.to_owned(), value);
        put(annotation::APP, self.app.clone());
        put(annotation::KEY_PAIR, self.pair.clone());
        put(annotation::REVISION, self.revision.to_string());
        put(annotation::ALGORITHM, self.algorithm().to_string());
        if let Some(bits) = self.kind.rsa_bits() {
            put(annotation::RSA_BITS, bits.to_string());
        }
        annotations
    }

    /// The labels that its Secret is made with.
    pub fn labels() -> BTreeMap<String, String> {
        labels(label::USE_KEY_PAIR)
    }

    /// Whether a Secret of this name that is already there is this very pair: its annotations name the same App, pair,
    /// revision and algorithm, and the key in it is of the kind that was asked for.
    pub fn may_adopt(&self, annotations: &BTreeMap<String, String>, found: &ParsedKeyPair) -> Result<(), NotOurs> {
        says(annotations, annotation::APP, &self.app)?;
        says(annotations, annotation::KEY_PAIR, &self.pair)?;
        says(annotations, annotation::REVISION, &self.revision.to_string())?;
        says(annotations, annotation::ALGORITHM, self.algorithm().as_str())?;
        let (found, wanted) = (found.kind(), self.kind.key_kind());
        if found == wanted { Ok(()) } else { Err(NotOurs::OtherKind { found, wanted }) }
    }

    fn algorithm(&self) -> Algorithm {
        self.kind.algorithm()
    }
}

impl GatewayIdentity {
    /// The Secret's name.
    pub fn secret_name(&self) -> String {
        format!("{}-signing-{}", self.gateway, self.revision)
    }

    /// The annotations that its Secret is made with.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let mut annotations = kept_by_argo_cd();
        annotations.insert(annotation::GATEWAY.to_owned(), self.gateway.clone());
        annotations.insert(annotation::REVISION.to_owned(), self.revision.to_string());
        annotations
    }

    /// The labels that its Secret is made with.
    pub fn labels() -> BTreeMap<String, String> {
        labels(label::USE_GATEWAY_SIGNING)
    }

    /// Whether a Secret of this name that is already there holds this gateway's keys of this revision.
    pub fn may_adopt(&self, annotations: &BTreeMap<String, String>) -> Result<(), NotOurs> {
        says(annotations, annotation::GATEWAY, &self.gateway)?;
        says(annotations, annotation::REVISION, &self.revision.to_string())
    }
}

fn says(annotations: &BTreeMap<String, String>, annotation: &'static str, wanted: &str) -> Result<(), NotOurs> {
    match annotations.get(annotation) {
        Some(found) if found == wanted => Ok(()),
        Some(found) => Err(NotOurs::MarkedForAnother { annotation, found: found.clone(), wanted: wanted.to_owned() }),
        None => Err(NotOurs::Unmarked { annotation, wanted: wanted.to_owned() }),
    }
}

fn kept_by_argo_cd() -> BTreeMap<String, String> {
    BTreeMap::from([
        (annotation::ARGOCD_SYNC_OPTIONS.to_owned(), "Prune=false".to_owned()),
        (annotation::ARGOCD_COMPARE_OPTIONS.to_owned(), "IgnoreExtraneous".to_owned()),
    ])
}

fn labels(value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (label::USE.to_owned(), value.to_owned()),
        (label::MANAGED_BY.to_owned(), label::MANAGED_BY_US.to_owned()),
    ])
}
