//! What is kept of an object that a watch delivers: what the compiler reads, and nothing else.
//!
//! Resource versions, managed fields, statuses and foreign annotations are left out, so that an object is equal to what
//! it was before exactly if the compiler cannot tell the difference.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::DeserializeOwned;

use crate::api::{self, common};
use crate::snapshot::resources::{ConfigMap, Kind, ObjectKey, ObservedActivation, Secret, SecretUse};
use crate::values::secret::SecretBytes;

/// What is read of Secrets and ConfigMaps.
const LABELLED: &str = "hearthgate.dev/use in (credential,key-pair,gateway-signing)";

/// An object as the bag holds it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Object {
    pub(super) key: ObjectKey,
    pub(super) content: Content,
}

/// What it says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    DataAdapter(Arc<api::DataAdapter>),
    /// With the revision of its keys that signs.
    Gateway(Arc<api::Gateway>, Option<u32>),
    App(Arc<api::App>),
    Activation(Arc<api::Activation>, ObservedActivation),
    Secret(Arc<Secret>),
    ConfigMap(Arc<ConfigMap>),
}

/// A kind that is watched.
pub(super) trait Watched:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static
{
    /// Its name among the kinds that are read.
    const KIND: Kind;
    /// Which objects of it the API server is asked for.
    const LABELS: Option<&'static str>;
    /// How many come in one answer: enough that a thousand objects are a few round trips.
    const PAGE: u32;

    /// What is kept of it. `None`: it is not for us, though the API server sent it.
    fn keep(self, key: &ObjectKey) -> Option<Content>;
}

impl Watched for api::DataAdapter {
    const KIND: Kind = Kind::DataAdapter;
    const LABELS: Option<&'static str> = None;
    const PAGE: u32 = 500;

    fn keep(mut self, _: &ObjectKey) -> Option<Content> {
        strip(&mut self.metadata);
        self.status = None;
        Some(Content::DataAdapter(Arc::new(self)))
    }
}

impl Watched for api::Gateway {
    const KIND: Kind = Kind::Gateway;
    const LABELS: Option<&'static str> = None;
    const PAGE: u32 = 500;

    fn keep(mut self, _: &ObjectKey) -> Option<Content> {
        strip(&mut self.metadata);
        let signing_revision = self.status.take().and_then(|status| status.signing_revision);
        Some(Content::Gateway(Arc::new(self), signing_revision))
    }
}

impl Watched for api::App {
    const KIND: Kind = Kind::App;
    const LABELS: Option<&'static str> = None;
    const PAGE: u32 = 500;

    fn keep(mut self, _: &ObjectKey) -> Option<Content> {
        strip(&mut self.metadata);
        self.status = None;
        Some(Content::App(Arc::new(self)))
    }
}

impl Watched for api::Activation {
    const KIND: Kind = Kind::Activation;
    const LABELS: Option<&'static str> = None;
    const PAGE: u32 = 500;

    fn keep(mut self, _: &ObjectKey) -> Option<Content> {
        strip(&mut self.metadata);
        let observed = self.status.take().map(|status| ObservedActivation::of(&status)).unwrap_or_default();
        Some(Content::Activation(Arc::new(self), observed))
    }
}

impl Watched for core::Secret {
    const KIND: Kind = Kind::Secret;
    const LABELS: Option<&'static str> = Some(LABELLED);
    /// A Secret may hold a megabyte.
    const PAGE: u32 = 100;

    fn keep(mut self, key: &ObjectKey) -> Option<Content> {
        let usage = SecretUse::of_label(self.metadata.labels.as_ref()?.get(common::USE_LABEL)?)?;
        strip(&mut self.metadata);
        let annotations = self.metadata.annotations.unwrap_or_default();
        // The bytes move; no second copy of them is made.
        let data = self.data.unwrap_or_default().into_iter().map(|(name, bytes)| (name, SecretBytes::new(bytes.0)));
        let secret = Secret::new(key.clone(), usage, annotations, data.collect());
        let kept = if usage == SecretUse::KeyPair { secret.without_public_files() } else { secret };
        Some(Content::Secret(Arc::new(kept)))
    }
}

impl Watched for core::ConfigMap {
    const KIND: Kind = Kind::ConfigMap;
    const LABELS: Option<&'static str> = Some(LABELLED);
    const PAGE: u32 = 100;

    fn keep(self, key: &ObjectKey) -> Option<Content> {
        let data: BTreeMap<_, _> = self.data.unwrap_or_default();
        Some(Content::ConfigMap(Arc::new(ConfigMap { key: key.clone(), data })))
    }
}

/// Leaves of the metadata what the compiler reads: identity, age, generation, and our own annotations.
fn strip(metadata: &mut ObjectMeta) {
    let kept = ObjectMeta {
        name: metadata.name.take(),
        namespace: metadata.namespace.take(),
        uid: metadata.uid.take(),
        generation: metadata.generation,
        creation_timestamp: metadata.creation_timestamp.take(),
        annotations: metadata.annotations.take().and_then(|mut annotations| {
            annotations.retain(|name, _| is_ours(name));
            (!annotations.is_empty()).then_some(annotations)
        }),
        ..ObjectMeta::default()
    };
    *metadata = kept;
}

pub(super) fn is_ours(annotation: &str) -> bool {
    annotation.strip_prefix(common::GROUP).is_some_and(|rest| rest.starts_with('/'))
}

/// Namespace and name of what a watch delivers.
pub(super) fn key(metadata: &ObjectMeta) -> Option<ObjectKey> {
    Some(ObjectKey::new(metadata.namespace.clone()?, metadata.name.clone()?))
}
