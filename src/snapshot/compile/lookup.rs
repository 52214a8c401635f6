//! Following references to Secrets and ConfigMaps, and judging URLs: what every kind needs while it is checked.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use secrecy::SecretString;

use super::super::report::Detail;
use super::super::resources::{Secret, SecretUse};
use super::super::{Finding, Kind, ObjectKey, ObjectReference, Platform, Report, Resources};
use super::Reports;
use crate::api::{HttpUrl, SecretKeyReference};
use crate::values::code::Code;
use crate::values::key::{PairIdentity, annotation};
use crate::values::secret::SecretBytes;
use crate::values::url::EndpointUrl;

/// Resources and platform, with the indexes that keep compiling linear.
pub(super) struct Lookup<'resources> {
    pub(super) resources: &'resources Resources,
    pub(super) platform: &'resources Platform,
    /// Key pair Secrets by namespace and the pair that their annotation names.
    key_secrets: BTreeMap<ObjectKey, Vec<&'resources Arc<Secret>>>,
    /// Credentials that something refers to.
    used: RefCell<BTreeSet<ObjectKey>>,
}

/// Where a credential would be sent.
pub(super) enum Receiver<'url> {
    /// To us: apps present it.
    Ourselves,
    /// To this URL's host.
    Host(&'url EndpointUrl),
    /// To wherever the EHR's SMART configuration says.
    Discovered,
}

impl<'resources> Lookup<'resources> {
    pub(super) fn new(resources: &'resources Resources, platform: &'resources Platform) -> Self {
        let mut key_secrets: BTreeMap<ObjectKey, Vec<_>> = BTreeMap::new();
        for secret in resources.secrets.values().filter(|secret| secret.usage == SecretUse::KeyPair) {
            if let Some(pair) = secret.annotations.get(annotation::KEY_PAIR) {
                key_secrets.entry(secret.key.sibling(pair)).or_default().push(secret);
            }
        }
        Self { resources, platform, key_secrets, used: RefCell::default() }
    }

    /// The Secrets that say that they are revisions of this pair, sorted by name.
    pub(super) fn revisions_of(&self, pair: &ObjectKey) -> &[&'resources Arc<Secret>] {
        self.key_secrets.get(pair).map_or(&[], Vec::as_slice)
    }

    /// The Secret that holds, or would hold, this revision.
    pub(super) fn secret_of(&self, pair: &ObjectKey, identity: &PairIdentity) -> Option<&'resources Arc<Secret>> {
        self.resources.secrets.get(&pair.sibling(&identity.secret_name()))
    }

    /// The bytes of a credential.
    pub(super) fn credential(
        &self,
        namespace: &str,
        reference: &SecretKeyReference,
        receiver: &Receiver<'_>,
        field: &str,
    ) -> Result<&'resources SecretBytes, Finding> {
        let secret = self.secret(namespace, &reference.name, SecretUse::Credential, field)?;
        if let Some(allowed) = &secret.allowed_hosts {
            let host = match receiver {
                Receiver::Ourselves => None,
                Receiver::Host(url) => Some(url.host()),
                Receiver::Discovered => Some("(as the EHR's SMART configuration says)".into()),
            };
            if let Some(host) = host.filter(|host| !allowed.contains(host)) {
                let message = format!(
                    "Secret {namespace}/{} may not be sent to {host}: its annotation hearthgate.dev/allowed-hosts names {}",
                    reference.name,
                    allowed.join(", ")
                );
                return Err(Finding::new(Code::HostNotAllowed, field, message));
            }
        }
        secret
            .data
            .get(&reference.key)
            .ok_or_else(|| missing_entry("Secret", namespace, &reference.name, &reference.key, field))
    }

    /// A credential that is text.
    pub(super) fn credential_text(
        &self,
        namespace: &str,
        reference: &SecretKeyReference,
        receiver: &Receiver<'_>,
        field: &str,
    ) -> Result<SecretString, Finding> {
        let bytes = self.credential(namespace, reference, receiver, field)?;
        // A trailing line break comes from `echo` and editors, and is never meant.
        let text = bytes
            .expose_str()
            .map(|text| text.trim_end_matches(['\r', '\n']))
            .map_err(|_| invalid_entry(namespace, reference, field, "is not UTF-8 text"))?;
        if text.is_empty() {
            return Err(invalid_entry(namespace, reference, field, "is empty"));
        }
        Ok(SecretString::from(text))
    }

    /// A labelled Secret.
    pub(super) fn secret(
        &self,
        namespace: &str,
        name: &str,
        usage: SecretUse,
        field: &str,
    ) -> Result<&'resources Arc<Secret>, Finding> {
        let key = ObjectKey::new(namespace, name);
        match self.resources.secrets.get(&key).filter(|secret| secret.usage == usage) {
            Some(secret) => {
                self.used.borrow_mut().insert(key);
                Ok(secret)
            }
            None => {
                let label = match usage {
                    SecretUse::Credential => "credential",
                    SecretUse::KeyPair => "key-pair",
                    SecretUse::GatewaySigning => "gateway-signing",
                };
                Err(missing_object("Secret", "secret", namespace, name, label, field))
            }
        }
    }

    /// One entry of a labelled ConfigMap.
    pub(super) fn config_map_entry(
        &self,
        namespace: &str,
        name: &str,
        entry: &str,
        field: &str,
    ) -> Result<&'resources str, Finding> {
        let config_map = self
            .resources
            .config_maps
            .get(&ObjectKey::new(namespace, name))
            .ok_or_else(|| missing_object("ConfigMap", "configmap", namespace, name, "credential", field))?;
        config_map
            .data
            .get(entry)
            .map(String::as_str)
            .ok_or_else(|| missing_entry("ConfigMap", namespace, name, entry, field))
    }

    /// A URL that we would call: well formed, and no literal address that is closed.
    pub(super) fn url(&self, url: &HttpUrl, field: &str) -> Result<EndpointUrl, Finding> {
        let parsed = EndpointUrl::parse(&url.0)
            .map_err(|error| Finding::new(Code::InvalidSpec, field, format!("{field} {error}")))?;
        self.platform
            .addresses
            .judge_literal(&parsed)
            .map_err(|refusal| Finding::new(Code::AddressNotAllowed, field, format!("{field}: {refusal}")))?;
        Ok(parsed)
    }

    /// Like [`Lookup::url`], for a field that may be absent; faults go to `findings`.
    pub(super) fn optional_url(
        &self,
        url: Option<&HttpUrl>,
        field: &str,
        findings: &mut Vec<Finding>,
    ) -> Option<EndpointUrl> {
        self.url(url?, field).map_err(|finding| findings.push(finding)).ok()
    }

    /// Warns of credentials that nothing refers to.
    pub(super) fn report_unused(&self, reports: &mut Reports) {
        let used = self.used.borrow();
        for secret in self.resources.secrets.values() {
            if secret.usage == SecretUse::Credential && !used.contains(&secret.key) {
                let object = ObjectReference::new(Kind::Secret, secret.key.clone());
                let mut report = Report::new(object, "", 0, Detail::Other);
                report.findings.push(Finding::new(
                    Code::UnusedSecret,
                    "",
                    format!("Secret {} is labelled hearthgate.dev/use, but nothing refers to it", secret.key),
                ));
                reports.add(report);
            }
        }
    }
}

fn missing_object(kind: &str, resource: &str, namespace: &str, name: &str, label: &str, field: &str) -> Finding {
    let message = format!(
        "{kind} {namespace}/{name} is missing, or lacks the label: kubectl label {resource} -n {namespace} {name} hearthgate.dev/use={label}"
    );
    Finding::new(Code::SecretNotFound, field, message)
}

fn missing_entry(kind: &str, namespace: &str, name: &str, entry: &str, field: &str) -> Finding {
    let message = format!("{kind} {namespace}/{name} has no entry {entry:?}");
    Finding::new(Code::SecretKeyMissing, field, message)
}

/// Says what is wrong with an entry, never what is in it.
pub(super) fn invalid_entry(namespace: &str, reference: &SecretKeyReference, field: &str, fault: &str) -> Finding {
    let message = format!("entry {:?} of Secret {namespace}/{} {fault}", reference.key, reference.name);
    Finding::new(Code::SecretInvalid, field, message)
}
