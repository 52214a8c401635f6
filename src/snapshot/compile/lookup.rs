//! Following references to Secrets and ConfigMaps, and judging URLs: what every kind needs while it is checked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use secrecy::SecretString;

use super::super::report::Detail;
use super::super::resources::{ObservedActivation, Secret, SecretUse};
use super::super::{Finding, Kind, ObjectKey, ObjectReference, Platform, Report, Resources};
use super::Reports;
use crate::api::data_adapter::CaBundleKind;
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
        Self { resources, platform, key_secrets }
    }

    /// What status records of an activation.
    pub(super) fn observed(&self, activation: &ObjectKey) -> Option<&'resources ObservedActivation> {
        let all = &self.resources.observed.activations;
        if all.is_empty() { None } else { all.get(&activation.to_string()).map(AsRef::as_ref) }
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
        let found = self.resources.secrets.get(&ObjectKey::new(namespace, name));
        match found {
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
        let referred = referred(self.resources);
        for secret in self.resources.secrets.values() {
            if secret.usage == SecretUse::Credential && !referred.contains(&secret.key) {
                let object = ObjectReference::new(Kind::Secret, secret.key.clone());
                let mut report = Report::new(object, "", 0, Detail::Other);
                report.findings.push(Finding::new(
                    Code::UnusedSecret,
                    "",
                    "it is labelled hearthgate.dev/use=credential, but nothing refers to it",
                ));
                reports.add(report);
            }
        }
    }
}

/// The credentials that specs name. An object with a fault names its Secrets too: nobody should delete them meanwhile.
fn referred(resources: &Resources) -> BTreeSet<ObjectKey> {
    let apps = resources.apps.iter().flat_map(|(key, app)| {
        app.spec.client_secrets.iter().flatten().map(|secret| key.sibling(&secret.secret_ref.name))
    });
    let adapters = resources.data_adapters.iter().flat_map(|(key, adapter)| {
        let external = adapter.spec.external_auth.as_ref().map(|auth| &auth.client_secret_ref.name);
        let tls = adapter.spec.tls.as_ref();
        let bundle =
            tls.and_then(|tls| tls.ca_bundle_ref.as_ref()).filter(|bundle| bundle.kind == CaBundleKind::Secret);
        let certificate = tls.and_then(|tls| tls.client_certificate_ref.as_ref()).map(|certificate| &certificate.name);
        [external, bundle.map(|bundle| &bundle.name), certificate].into_iter().flatten().map(|name| key.sibling(name))
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
        .map(|name| key.sibling(name))
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
