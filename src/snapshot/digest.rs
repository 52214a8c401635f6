//! What this process compiled, in one line an object: replicas that agree on an object's digest serve it alike.
//!
//! The operator compiles the same resources, so it knows what a replica must tell. Only what requests depend on goes into
//! a digest; what status records of the world does not, or a status write would make every replica look behind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::report::{Detail, Finding};
use super::{App, DataAdapter, ObjectReference, Published, Report, Snapshot};

/// The digests of all objects that a snapshot was compiled from.
pub type Digests = BTreeMap<ObjectReference, Digest>;

/// Identifies an object as it was compiled: 128 bits, in hexadecimal where it is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(u128);

impl Published {
    /// The digest of each object of our kinds as it was compiled, with whatever it refers to: an Activation with its
    /// App, its Gateway and that one's DataAdapter.
    pub fn digests(&self) -> Arc<Digests> {
        Arc::clone(self.digests.get_or_init(|| Arc::new(self.compute_digests())))
    }

    fn compute_digests(&self) -> Digests {
        let own: Vec<Digest> = self.reports.iter().map(|report| self.snapshot.digest_of(report)).collect();
        let of_our_kinds = self.reports.iter().filter(|report| !matches!(report.detail, Detail::Other));
        of_our_kinds.map(|report| (report.object.clone(), self.with_references(report, &own))).collect()
    }

    fn with_references(&self, report: &Report, own: &[Digest]) -> Digest {
        let mut hasher = Hasher::new();
        let mut level = vec![&report.object];
        // Activation → Gateway → DataAdapter is the longest chain there is.
        for _ in 0..3 {
            let mut next = Vec::new();
            for object in level {
                let Ok(index) = self.reports.binary_search_by(|report| report.object.cmp(object)) else { continue };
                let (Some(found), Some(digest)) = (self.reports.get(index), own.get(index)) else { continue };
                hasher.number(digest.0);
                next.extend(&found.references);
            }
            level = next;
        }
        hasher.finish()
    }
}

impl Snapshot {
    /// Of the object by itself, remembered with the report, which was made together with this snapshot.
    pub(super) fn digest_of(&self, report: &Report) -> Digest {
        *report.digest.get_or_init(|| self.own_digest(report))
    }

    /// Its generation stands for all that its spec says.
    fn own_digest(&self, report: &Report) -> Digest {
        let mut hasher = Hasher::new();
        hasher.text(report.object.kind.as_str());
        hasher.text(&report.object.key.namespace);
        hasher.text(&report.object.key.name);
        hasher.text(&report.uid);
        hasher.number(report.generation.unsigned_abs().into());
        for Finding { code, message, field } in report.errors() {
            hasher.text(code.number());
            hasher.text(message);
            hasher.text(field);
        }
        let key = &report.object.key;
        match &report.detail {
            Detail::Activation(detail) => {
                hasher.object(detail.suspended_by.as_ref());
                for moment in [detail.not_before, detail.expires_at] {
                    hasher.number(moment.map_or(0, |at| at.as_nanosecond().unsigned_abs()));
                }
                if let Some(activation) = self.activations.get(key) {
                    hasher.bytes(&activation.credential_digest);
                }
            }
            Detail::Gateway { url, fhir_base_url, token_url, suspended_by } => {
                for text in [url, fhir_base_url, token_url] {
                    hasher.text(text);
                }
                hasher.object(suspended_by.as_ref());
                if let Some(gateway) = self.gateways.get(key) {
                    hasher.text(&gateway.signing.jwks);
                }
            }
            Detail::App { client_id, suspended } => {
                hasher.text(client_id);
                hasher.number((*suspended).into());
                if let Some(app) = self.apps.get(key) {
                    hasher.secrets_of_app(app);
                }
            }
            Detail::DataAdapter { suspended } => {
                hasher.number((*suspended).into());
                if let Some(adapter) = self.data_adapters.get(key) {
                    hasher.secrets_of_adapter(adapter);
                }
            }
            Detail::Other => {}
        }
        hasher.finish()
    }
}

/// Takes parts, each with its length, so that no two lists of parts look the same.
struct Hasher(Context);

impl Hasher {
    fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    fn bytes(&mut self, part: &[u8]) {
        self.0.update(&part.len().to_be_bytes());
        self.0.update(part);
    }

    fn text(&mut self, part: &str) {
        self.bytes(part.as_bytes());
    }

    fn number(&mut self, part: u128) {
        self.bytes(&part.to_be_bytes());
    }

    fn object(&mut self, part: Option<&ObjectReference>) {
        self.text(&part.map(ToString::to_string).unwrap_or_default());
    }

    /// A rotated secret is no new generation.
    fn secrets_of_app(&mut self, app: &App) {
        for secret in &app.client_secrets {
            self.text(secret.expose_secret());
        }
    }

    fn secrets_of_adapter(&mut self, adapter: &DataAdapter) {
        if let Some(external) = &adapter.external_auth {
            self.text(external.authorization.expose_secret());
        }
        let tls = &adapter.tls;
        for pem in [&tls.ca_bundle_pem, &tls.client_certificate_pem] {
            self.text(pem.as_deref().unwrap_or_default());
        }
        self.bytes(tls.client_key_pem.as_ref().map_or(&[], |key| key.expose()));
    }

    fn finish(self) -> Digest {
        let digest = self.0.finish();
        let half = digest.as_ref().iter().take(16);
        Digest(half.fold(0, |number, byte| number << 8 | u128::from(*byte)))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'text> Deserialize<'text> for Digest {
    fn deserialize<D: Deserializer<'text>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}
