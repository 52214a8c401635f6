//! Keys in a cluster's Secrets.
//!
//! The only verbs are get, list and create: the operator's Role has no others on Secrets, so no bug of ours can
//! overwrite or delete a key. What is made is `immutable: true`, so nobody else overwrites it by accident either.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};

use super::{Created, Doing, KeySecret, KeyStore, KeyStoreError, Listing};
use crate::values::api_failure::ApiFailure;
use crate::values::key::secret_type;
use crate::values::secret::SecretBytes;

/// How many Secrets come in one answer of a list.
const PAGE: u32 = 100;
const SELECTOR: &str = "hearthgate.dev/use in (key-pair,gateway-signing)";

/// Keys in the Secrets of a cluster, each read live: no cache is ever believed about keys.
#[derive(Clone)]
pub struct SecretKeyStore {
    client: Client,
    namespaces: BTreeSet<String>,
}

impl fmt::Debug for SecretKeyStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SecretKeyStore").field("namespaces", &self.namespaces).finish_non_exhaustive()
    }
}

impl SecretKeyStore {
    /// The cluster that the client speaks to. `namespaces` are those that [`KeyStore::list`] looks into; none: all.
    pub fn new(client: Client, namespaces: impl IntoIterator<Item = String>) -> Self {
        Self { client, namespaces: namespaces.into_iter().collect() }
    }

    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn read(&self, namespace: &str, name: &str) -> Result<Option<KeySecret>, KeyStoreError> {
        let found = self
            .secrets(namespace)
            .get_opt(name)
            .await
            .map_err(|error| cluster(Doing::Read, namespace, name, error))?;
        Ok(found.map(|secret| key_secret(namespace, name, secret)))
    }

    async fn create_now(&self, key: KeySecret) -> Result<Created, KeyStoreError> {
        let (namespace, name) = (key.namespace.clone(), key.name.clone());
        if let Err(problem) = key.check() {
            return Err(KeyStoreError::Refused { name: format!("{namespace}/{name}"), problem });
        }
        if let Some(existing) = self.read(&namespace, &name).await? {
            return Ok(Created::AlreadyExists(Box::new(existing)));
        }
        match self.secrets(&namespace).create(&PostParams::default(), &secret(key)).await {
            Ok(_) => Ok(Created::New),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                match self.read(&namespace, &name).await? {
                    Some(existing) => Ok(Created::AlreadyExists(Box::new(existing))),
                    // Somebody took it away again between the two; the next attempt sees clearer.
                    None => Err(cluster(Doing::Write, &namespace, &name, kube::Error::Api(status))),
                }
            }
            Err(error) => Err(cluster(Doing::Write, &namespace, &name, error)),
        }
    }

    async fn get_now(&self, namespace: String, name: String) -> Result<Option<KeySecret>, KeyStoreError> {
        let Some(key) = self.read(&namespace, &name).await? else { return Ok(None) };
        // Another's Secret is whole in its own way; whoever asked sees whose it is.
        if is_ours(&key.secret_type) { whole(key).map(Some) } else { Ok(Some(key)) }
    }

    async fn list_now(&self) -> Result<Listing, KeyStoreError> {
        let mut listing = Listing::default();
        if self.namespaces.is_empty() {
            list_into(&Api::all(self.client.clone()), &mut listing).await?;
        }
        for namespace in &self.namespaces {
            list_into(&self.secrets(namespace), &mut listing).await?;
        }
        Ok(listing)
    }
}

impl KeyStore for SecretKeyStore {
    fn create(&self, key: &KeySecret) -> BoxFuture<'_, Result<Created, KeyStoreError>> {
        self.create_now(key.clone()).boxed()
    }

    fn get(&self, namespace: &str, name: &str) -> BoxFuture<'_, Result<Option<KeySecret>, KeyStoreError>> {
        self.get_now(namespace.to_owned(), name.to_owned()).boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, KeyStoreError>> {
        self.list_now().boxed()
    }
}

async fn list_into(secrets: &Api<Secret>, listing: &mut Listing) -> Result<(), KeyStoreError> {
    let mut parameters = ListParams::default().labels(SELECTOR).limit(PAGE);
    loop {
        let page = secrets.list(&parameters).await.map_err(|error| cluster(Doing::Read, "", "", error))?;
        for secret in page.items {
            let (Some(namespace), Some(name)) = (secret.metadata.namespace.clone(), secret.metadata.name.clone())
            else {
                continue;
            };
            // A key that somebody brought has the label too, and is theirs to keep.
            if secret.type_.as_deref().is_some_and(is_ours) {
                match whole(key_secret(&namespace, &name, secret)) {
                    Ok(key) => listing.keys.push(key),
                    Err(error) => listing.damaged.push(error),
                }
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => break,
        }
    }
    listing.keys.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    Ok(())
}

fn is_ours(secret_type: &str) -> bool {
    matches!(secret_type, secret_type::KEY_PAIR | secret_type::GATEWAY_SIGNING)
}

fn whole(key: KeySecret) -> Result<KeySecret, KeyStoreError> {
    match key.check() {
        Ok(()) => Ok(key),
        Err(problem) => Err(KeyStoreError::DamagedSecret { name: format!("{}/{}", key.namespace, key.name), problem }),
    }
}

fn cluster(doing: Doing, namespace: &str, name: &str, error: kube::Error) -> KeyStoreError {
    let what = if name.is_empty() { "the key Secrets".to_owned() } else { format!("Secret {namespace}/{name}") };
    KeyStoreError::Cluster { doing, what, failure: error.into() }
}

/// The object that a key is in a cluster.
pub(super) fn secret(key: KeySecret) -> Secret {
    let data: BTreeMap<_, _> =
        key.data.into_iter().map(|(name, bytes)| (name, ByteString(bytes.expose().to_vec()))).collect();
    Secret {
        metadata: ObjectMeta {
            namespace: Some(key.namespace),
            name: Some(key.name),
            labels: Some(key.labels),
            annotations: Some(key.annotations),
            ..ObjectMeta::default()
        },
        type_: Some(key.secret_type),
        immutable: Some(true),
        data: Some(data),
        ..Secret::default()
    }
}

/// The key that is in an object of this name.
pub(super) fn key_secret(namespace: &str, name: &str, secret: Secret) -> KeySecret {
    let data = secret.data.unwrap_or_default().into_iter().map(|(name, bytes)| (name, SecretBytes::new(bytes.0)));
    KeySecret {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        labels: secret.metadata.labels.unwrap_or_default(),
        annotations: secret.metadata.annotations.unwrap_or_default(),
        secret_type: secret.type_.unwrap_or_default(),
        data: data.collect(),
    }
}

impl KeyStoreError {
    /// What the API server said, where the store is a cluster.
    pub fn api_failure(&self) -> Option<&ApiFailure> {
        match self {
            Self::Cluster { failure, .. } => Some(failure),
            Self::InvalidName { .. }
            | Self::Refused { .. }
            | Self::Damaged { .. }
            | Self::DamagedSecret { .. }
            | Self::NoSpace { .. }
            | Self::NotAllowed { .. }
            | Self::Io { .. }
            | Self::Interrupted => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::make::make_pair;
    use crate::keys::secret::pair_secret;
    use crate::values::key::{PairIdentity, PairKind};

    fn key() -> KeySecret {
        let identity = PairIdentity { app: "sync".into(), pair: "sync".into(), revision: 1, kind: PairKind::P384 };
        let material = make_pair(PairKind::P384, "Sync", "2026-02-28T12:00:00Z".parse().unwrap()).unwrap();
        pair_secret("cardiology", &identity, material)
    }

    #[test]
    fn a_key_goes_into_a_secret_and_comes_back_the_same() {
        let key = key();
        let secret = secret(key.clone());
        assert_eq!(key_secret("cardiology", "sync-key-1", secret), key);
    }

    #[test]
    fn a_key_secret_is_immutable_and_hangs_on_nothing_that_could_take_it_away() {
        let secret = secret(key());
        assert_eq!(secret.immutable, Some(true));
        assert_eq!(secret.type_.as_deref(), Some("hearthgate.dev/key-pair"));
        assert_eq!(secret.metadata.owner_references, None);
        assert_eq!(secret.metadata.finalizers, None);
        let annotations = secret.metadata.annotations.unwrap();
        assert_eq!(annotations["argocd.argoproj.io/sync-options"], "Prune=false");
        assert_eq!(annotations["argocd.argoproj.io/compare-options"], "IgnoreExtraneous");
    }

    #[test]
    fn a_secret_of_a_key_that_lost_its_private_half_is_damaged_and_not_absent() {
        let mut key = key();
        key.data.remove("private.pem");
        let error = whole(key).unwrap_err();
        assert!(matches!(error, KeyStoreError::DamagedSecret { .. }), "{error}");
        assert!(error.to_string().starts_with("Secret cardiology/sync-key-1 is not a whole key: "), "{error}");
    }
}
