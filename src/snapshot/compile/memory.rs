//! What the last compilation made, so that the next makes anew only what depends on something that changed.
//!
//! Objects, and what a source recorded of them, are shared: what is the very same is unchanged. Whatever else a step
//! reads goes through [`Lookup`], which notes it in [`Reads`]. So what is remembered here is what would be made again;
//! `tests/compile_properties.rs` holds it against compilations that remember nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::key_pair::KeyPair;
use super::super::resources::{ConfigMap, ObservedActivation, Secret};
use super::super::{Activation, App, DataAdapter, Gateway, ObjectKey, Report, Snapshot};
use super::lookup::Lookup;
use crate::api;

/// What was made of the objects of each kind.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) data_adapters: Known<Arc<api::DataAdapter>, CheckedAdapter>,
    pub(super) gateways: Known<GatewayInputs, CheckedGateway>,
    pub(super) apps: Known<Arc<api::App>, (Arc<App>, Arc<Report>)>,
    pub(super) activations: Known<ActivationInputs, Settled>,
    /// The activations that were made anew by the last compilation.
    pub(super) made_anew: Vec<ObjectKey>,
}

impl Memory {
    /// Keeps of the reports of activations that were made just now what digests are made from.
    pub(super) fn shorten_reports(&mut self, snapshot: &Snapshot) {
        for key in std::mem::take(&mut self.made_anew) {
            let Some(settled) = self.activations.made_of(&key) else { continue };
            settled.report = Arc::new(settled.report.shortened(snapshot.digest_of(&settled.report)));
        }
    }
}

/// An adapter, if it is usable, and what is told of it.
type CheckedAdapter = (Option<Arc<DataAdapter>>, Arc<Report>);

/// A gateway's issuer, what would be served, and what is told before it is known who has its URL.
type CheckedGateway = (Arc<str>, Option<Arc<Gateway>>, Arc<Report>);

/// What a gateway is made of: its object, a usable adapter, and the revision that signs.
pub(super) type GatewayInputs = (Arc<api::Gateway>, Arc<DataAdapter>, Option<u32>);

/// What an activation is made of: its object, what was recorded of it, a usable app and a usable gateway.
pub(super) type ActivationInputs = (Arc<api::Activation>, Option<Arc<ObservedActivation>>, (Arc<App>, Arc<Gateway>));

/// What became of an activation that no other was in the way of.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    pub(super) activation: Option<Arc<Activation>>,
    pub(super) report: Arc<Report>,
    pub(super) share: Option<Arc<PairMembers>>,
}

/// A key pair, and who shared it.
#[derive(Debug)]
pub(super) struct PairMembers {
    pub(super) pair: Option<Arc<KeyPair>>,
    pub(super) members: usize,
    pub(super) reads: Reads,
}

/// Whether a value is the very one that it was.
pub(super) trait Same {
    fn is_same(&self, other: &Self) -> bool;
}

impl<T> Same for Arc<T> {
    fn is_same(&self, other: &Self) -> bool {
        Self::ptr_eq(self, other)
    }
}

impl<T: Same> Same for &T {
    fn is_same(&self, other: &Self) -> bool {
        T::is_same(self, other)
    }
}

impl<T: Same> Same for Option<T> {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Some(one), Some(other)) => one.is_same(other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

impl Same for u32 {
    fn is_same(&self, other: &Self) -> bool {
        self == other
    }
}

impl<One: Same, Two: Same> Same for (One, Two) {
    fn is_same(&self, other: &Self) -> bool {
        self.0.is_same(&other.0) && self.1.is_same(&other.1)
    }
}

impl<One: Same, Two: Same, Three: Same> Same for (One, Two, Three) {
    fn is_same(&self, other: &Self) -> bool {
        self.0.is_same(&other.0) && self.1.is_same(&other.1) && self.2.is_same(&other.2)
    }
}

/// What was made of the objects of a kind, and what of.
#[derive(Debug)]
pub(super) struct Known<Inputs, Made>(BTreeMap<ObjectKey, Entry<Inputs, Made>>);

#[derive(Debug)]
struct Entry<Inputs, Made> {
    inputs: Inputs,
    reads: Reads,
    made: Made,
}

impl<Inputs, Made> Default for Known<Inputs, Made> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<Inputs: Same, Made: Clone> Known<Inputs, Made> {
    /// What was made of these inputs, if everything that was read with them is as it was.
    pub(super) fn recall(&self, lookup: &Lookup<'_>, key: &ObjectKey, inputs: &Inputs) -> Option<&Made> {
        let entry = self.0.get(key)?;
        (entry.inputs.is_same(inputs) && entry.reads.hold(lookup)).then_some(&entry.made)
    }

    pub(super) fn remember(&mut self, key: &ObjectKey, inputs: Inputs, reads: Reads, made: Made) {
        self.0.insert(key.clone(), Entry { inputs, reads, made });
    }

    pub(super) fn forget(&mut self, key: &ObjectKey) {
        self.0.remove(key);
    }

    /// What is remembered, else what is made now, and remembered from now on.
    pub(super) fn recall_or(
        &mut self,
        lookup: &Lookup<'_>,
        key: &ObjectKey,
        inputs: Inputs,
        make: impl FnOnce() -> Made,
    ) -> Made {
        if let Some(known) = self.recall(lookup, key, &inputs) {
            return known.clone();
        }
        lookup.take_reads();
        let new = make();
        self.remember(key, inputs, lookup.take_reads(), new.clone());
        new
    }

    /// Forgets objects that are gone.
    pub(super) fn retain<Object>(&mut self, objects: &BTreeMap<ObjectKey, Object>) {
        // Both are sorted.
        let mut there = objects.keys();
        let all_are_there = self.0.keys().all(|known| there.any(|key| key == known));
        if !all_are_there {
            self.0.retain(|key, _| objects.contains_key(key));
        }
    }

    pub(super) fn made_of(&mut self, key: &ObjectKey) -> Option<&mut Made> {
        self.0.get_mut(key).map(|entry| &mut entry.made)
    }
}

/// What a step has read beside its inputs, as it was.
#[derive(Debug, Default)]
pub(super) struct Reads {
    secrets: Vec<(ObjectKey, Option<Arc<Secret>>)>,
    config_maps: Vec<(ObjectKey, Option<Arc<ConfigMap>>)>,
    /// By pair: the Secrets that say that they are its revisions.
    revisions: Vec<(ObjectKey, Vec<Arc<Secret>>)>,
    /// By the beginning of their names: a gateway's own keys.
    named: Vec<(ObjectKey, Vec<Arc<Secret>>)>,
}

impl Reads {
    pub(super) fn secret(&mut self, key: ObjectKey, found: Option<&Arc<Secret>>) {
        self.secrets.push((key, found.cloned()));
    }

    pub(super) fn config_map(&mut self, key: ObjectKey, found: Option<&Arc<ConfigMap>>) {
        self.config_maps.push((key, found.cloned()));
    }

    pub(super) fn revisions(&mut self, pair: &ObjectKey, found: &[&Arc<Secret>]) {
        self.revisions.push((pair.clone(), found.iter().copied().cloned().collect()));
    }

    pub(super) fn named(&mut self, prefix: &ObjectKey, found: &[&Arc<Secret>]) {
        self.named.push((prefix.clone(), found.iter().copied().cloned().collect()));
    }

    /// Whether the same would be read again.
    pub(super) fn hold(&self, lookup: &Lookup<'_>) -> bool {
        let resources = lookup.resources;
        self.secrets.iter().all(|(key, was)| resources.secrets.get(key).is_same(&was.as_ref()))
            && self.config_maps.iter().all(|(key, was)| resources.config_maps.get(key).is_same(&was.as_ref()))
            && self.revisions.iter().all(|(pair, were)| are_same(lookup.key_secrets_of(pair).iter().copied(), were))
            && self.named.iter().all(|(prefix, were)| are_same(lookup.secrets_from(prefix), were))
    }
}

fn are_same<'secrets>(mut now: impl Iterator<Item = &'secrets Arc<Secret>>, were: &[Arc<Secret>]) -> bool {
    were.iter().all(|was| now.next().is_same(&Some(was))) && now.next().is_none()
}
