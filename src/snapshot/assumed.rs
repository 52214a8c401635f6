//! Credentials that are somewhere else: in a pull request, the Secrets that External Secrets or Sealed Secrets will make
//! are in no file. What is asked about access must not depend on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::resources::{Secret, SecretUse};
use super::{Kind, ObjectKey, ObjectReference, Resources};
use crate::api::SecretKeyReference;
use crate::api::data_adapter::CredentialEncoding;
use crate::values::secret::SecretBytes;

/// Good as a client secret (16 characters and more) and as a Basic credential (a colon).
const PLACEHOLDER: &str = "assumed:assumed-assumed-assumed";

impl Resources {
    /// Puts a stand-in for each client secret and Basic credential that is referred to and not there, and tells which.
    /// Those that `is_known` are left alone: what is there and cannot be used is a fault. Certificates and keys are
    /// never assumed.
    pub fn assume_credentials(&mut self, is_known: impl Fn(&ObjectReference) -> bool) -> Vec<ObjectReference> {
        let mut missing: BTreeMap<ObjectKey, BTreeMap<String, SecretBytes>> = BTreeMap::new();
        for (key, text) in self.credential_references() {
            let entries = missing.entry(key.0).or_default();
            entries.insert(key.1, SecretBytes::from(text));
        }
        let mut assumed = Vec::new();
        for (key, data) in missing {
            let object = ObjectReference::new(Kind::Secret, key.clone());
            if self.secrets.contains_key(&key) || is_known(&object) {
                continue;
            }
            let secret = Secret::new(key.clone(), SecretUse::Credential, BTreeMap::new(), data);
            self.secrets.insert(key, Arc::new(secret));
            assumed.push(object);
        }
        assumed
    }

    /// Every reference to a credential, with what may stand there.
    fn credential_references(&self) -> Vec<((ObjectKey, String), String)> {
        let at =
            |owner: &ObjectKey, reference: &SecretKeyReference| (owner.sibling(&reference.name), reference.key.clone());
        let of_apps = self.apps.iter().flat_map(|(key, own)| {
            let secrets = own.spec.client_secrets.iter().flatten();
            secrets.map(move |own| (at(key, &own.secret_ref), PLACEHOLDER.to_owned()))
        });
        let of_adapters = self.data_adapters.iter().filter_map(|(key, own)| {
            let external = own.spec.external_auth.as_ref()?;
            let text = match external.encoding {
                CredentialEncoding::Plain => PLACEHOLDER.to_owned(),
                CredentialEncoding::Base64 => STANDARD.encode(PLACEHOLDER),
            };
            Some((at(key, &external.client_secret_ref), text))
        });
        let of_activations = self.activations.iter().flat_map(|(key, own)| {
            let method = &own.spec.ehr_authentication;
            let system = method.system.as_ref();
            let references = [
                system.and_then(|system| Some(&system.client_credentials.as_ref()?.client_secret_ref)),
                system.and_then(|system| Some(&system.basic.as_ref()?.client_secret_ref)),
                method.user.as_ref().and_then(|user| user.client_secret_ref.as_ref()),
            ];
            references.into_iter().flatten().map(move |own| (at(key, own), PLACEHOLDER.to_owned()))
        });
        of_apps.chain(of_adapters).chain(of_activations).collect()
    }
}
