//! Following references to Secrets and ConfigMaps, and judging URLs: what every kind needs while it is checked.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use secrecy::SecretString;

use super::super::report::Detail;
use super::super::resources::{ObservedActivation, Secret, SecretUse};
use super::super::{Finding, Kind, ObjectKey, ObjectReference, Platform, Report, Resources};
use super::Reports;
use super::memory::Reads;
use crate::api::data_adapter::CaBundleKind;
use crate::api::{HttpUrl, SecretKeyReference};
use crate::values::code::Code;
use crate::values::key::{PairIdentity, annotation};
use crate::values::secret::SecretBytes;
use crate::values::url::EndpointUrl;

/// Resources and platform, with the indexes that keep compiling linear.
pub(super) struct Lookup<'resources> {
    /// Secrets and ConfigMaps are read by the methods below, which note it.
    pub(super) resources: &'resources Resources,
    pub(super) platform: &'resources Platform,
    /// Key pair Secrets by namespace and the pair that their annotation names.
    key_secrets: HashMap<&'resources str, HashMap<&'resources str, Vec<&'resources Arc<Secret>>>>,
    /// What was read since that was last asked.
    reads: RefCell<Reads>,
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
        let mut key_secrets: HashMap<_, HashMap<_, Vec<_>>> = HashMap::new();
        for secret in resources.secrets.values().filter(|secret| secret.usage == SecretUse::KeyPair) {
            if let Some(pair) = secret.annotations.get(annotation::KEY_PAIR) {
                let in_namespace = key_secrets.entry(secret.key.namespace.as_str()).or_default();
                in_namespace.entry(pair.as_str()).or_default().push(secret);
            }
        }
        Self { resources, platform, key_secrets, reads: RefCell::default() }
    }

    /// What was read since this was last asked.
    pub(super) fn take_reads(&self) -> Reads {
        self.reads.take()
    }

    /// What status records of an activation.
    pub(super) fn observed(&self, activation: &ObjectKey) -> Option<&'resources Arc<ObservedActivation>> {
        let all = &self.resources.observed.activations;
        if all.is_empty() { None } else { all.get(&activation.to_string()) }
    }

    /// The Secrets that say that they are revisions of this pair, sorted by name.
    pub(super) fn revisions_of(&self, pair: &ObjectKey) -> &[&'resources Arc<Secret>] {
        let found = self.key_secrets_of(pair);
        self.reads.borrow_mut().revisions(pair, found);
        found
    }

    /// The same, without a note.
    pub(super) fn key_secrets_of(&self, pair: &ObjectKey) -> &[&'resources Arc<Secret>] {
        let in_namespace = self.key_secrets.get(pair.namespace.as_str());
        in_namespace.and_then(|pairs| pairs.get(pair.name.as_str())).map_or(&[], Vec::as_slice)
    }

    /// The Secrets of a namespace whose names begin like this, sorted by name.
    pub(super) fn secrets_named(&self, prefix: &ObjectKey) -> Vec<&'resources Arc<Secret>> {
        let found: Vec<_> = self.secrets_from(prefix).collect();
        self.reads.borrow_mut().named(prefix, &found);
        found
    }

    /// The same, without a note.
    pub(super) fn secrets_from(&self, prefix: &ObjectKey) -> impl Iterator<Item = &'resources Arc<Secret>> {
        let begins = |key: &ObjectKey| key.namespace == prefix.namespace && key.name.starts_with(&prefix.name);
        self.resources.secrets.range(prefix..).take_while(move |(key, _)| begins(key)).map(|(_, secret)| secret)
    }

    fn secret_at(&self, key: ObjectKey) -> Option<&'resources Arc<Secret>> {
        let found = self.resources.secrets.get(&key);
        self.reads.borrow_mut().secret(key, found);
        found
    }

    /// The Secret that holds, or would hold, this revision.
    pub(super) fn secret_of(&self, pair: &ObjectKey, identity: &PairIdentity) -> Option<&'resources Arc<Secret>> {
        self.secret_at(pair.sibling(&identity.secret_name()))
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
            let elsewhere = match receiver {
                Receiver::Host(url) if !allowed.contains(&url.host()) => Some((url.host(), "")),
                Receiver::Discovered => {
                    let host = "a host that only the EHR's SMART configuration tells".to_owned();
                    Some((host, ": give tokenUrl at one of them"))
                }
                Receiver::Ourselves | Receiver::Host(_) => None,
            };
            if let Some((host, hint)) = elsewhere {
                let message = format!(
                    "Secret {namespace}/{} may not be sent to {host}, since its annotation hearthgate.dev/allowed-hosts names {}{hint}",
                    reference.name,
                    if allowed.is_empty() { "no host".into() } else { allowed.join(", ") }
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
        match self.secret_at(ObjectKey::new(namespace, name)) {
            Some(secret) if secret.usage == usage => Ok(secret),
            // The label command would be wrong advice: whoever made it another kind of Secret meant it.
            Some(secret) => {
                let message = format!(
                    "Secret {namespace}/{name} is labelled hearthgate.dev/use={}, and only one labelled {} may be used here",
                    secret.usage.as_str(),
                    usage.as_str()
                );
                Err(Finding::new(Code::SecretNotFound, field, message))
            }
            None => Err(missing_object("Secret", "secret", namespace, name, usage.as_str(), field)),
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
        let key = ObjectKey::new(namespace, name);
        let found = self.resources.config_maps.get(&key);
        self.reads.borrow_mut().config_map(key, found);
        let config_map =
            found.ok_or_else(|| missing_object("ConfigMap", "configmap", namespace, name, "credential", field))?;
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
    pub(super) fn report_unused(&self, reports: &mut Reports<'resources>) {
        let referred = referred(self.resources);
        for secret in self.resources.secrets.values() {
            if secret.usage == SecretUse::Credential
                && !referred.contains(&(secret.key.namespace.as_str(), secret.key.name.as_str()))
            {
                let object = ObjectReference::new(Kind::Secret, secret.key.clone());
                let mut report = Report::new(object, "", 0, Detail::Other);
                report.findings.push(Finding::new(
                    Code::UnusedSecret,
                    "",
                    "it is labelled hearthgate.dev/use=credential, but nothing refers to it",
                ));
                reports.add(&secret.key, report);
            }
        }
    }
}

/// The credentials that specs name. An object with a fault names its Secrets too: nobody should delete them meanwhile.
fn referred(resources: &Resources) -> HashSet<(&str, &str)> {
    let apps = resources.apps.iter().flat_map(|(key, app)| {
        let secrets = app.spec.client_secrets.iter().flatten();
        secrets.map(|secret| (key.namespace.as_str(), secret.secret_ref.name.as_str()))
    });
    let adapters = resources.data_adapters.iter().flat_map(|(key, adapter)| {
        let external = adapter.spec.external_auth.as_ref().map(|auth| &auth.client_secret_ref.name);
        let tls = adapter.spec.tls.as_ref();
        let bundle =
            tls.and_then(|tls| tls.ca_bundle_ref.as_ref()).filter(|bundle| bundle.kind == CaBundleKind::Secret);
        let certificate = tls.and_then(|tls| tls.client_certificate_ref.as_ref()).map(|certificate| &certificate.name);
        let names = [external, bundle.map(|bundle| &bundle.name), certificate].into_iter().flatten();
        names.map(|name| (key.namespace.as_str(), name.as_str()))
    });
    let activations = resources.activations.iter().flat_map(|(key, activation)| {
        let system = activation.spec.ehr_authentication.system.as_ref();
        let user = activation.spec.ehr_authentication.user.as_ref();
        let credentials = system.and_then(|system| system.client_credentials.as_ref());
        let basic = system.and_then(|system| system.basic.as_ref());
        [
            credentials.map(|auth| &auth.client_secret_ref.name),
            basic.map(|auth| &auth.client_secret_ref.name),
            user.and_then(|user| user.client_secret_ref.as_ref()).map(|reference| &reference.name),
        ]
        .into_iter()
        .flatten()
        .map(|name| (key.namespace.as_str(), name.as_str()))
    });
    apps.chain(adapters).chain(activations).collect()
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
