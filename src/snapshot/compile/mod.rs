//! [`compile`]: resources in, snapshot and reports out.
//!
//! Steps, each on top of the one before: adapters → gateways (and who wins a URL) → apps (and who wins a client ID) →
//! activations (and who wins an app on a gateway) → key pairs (and who wins a name) → routes. A step checks each object
//! by itself; an object with a fault of its own leaves the step, is reported, and whatever refers to it is told so.
//! Nothing else changes: a bad object costs only itself and what depends on it.

mod activation;
mod age;
mod app;
mod authentication;
mod data_adapter;
mod gateway;
mod gateway_signing;
mod key_pair;
mod key_revisions;
mod lookup;
mod memory;
mod scopes;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::gateway::DiscoveryDocuments;
use super::report::{Derived, Detail};
use super::resources::Rejection;
use super::{Finding, Kind, ObjectKey, Platform, Report, Resources, Routes, Snapshot};
use crate::values::code::{Code, Group};
use lookup::Lookup;
use memory::Memory;

/// Compiles resources. Pure and total: no I/O, no clock, and the same input gives the same output.
///
/// Reports come sorted by kind, namespace and name.
pub fn compile(resources: &Resources, platform: &Platform) -> (Snapshot, Vec<Report>) {
    let (snapshot, reports) = Compiler::new(platform.clone()).compile(resources);
    (snapshot, reports.into_iter().map(Arc::unwrap_or_clone).collect())
}

/// Compiles again and again, and makes anew only what depends on what has changed: objects are told by their being the
/// very same, so whoever changes one puts another in its place. What comes out is what [`compile`] gives.
#[derive(Debug)]
pub struct Compiler {
    platform: Platform,
    memory: Memory,
    keeps_reports: bool,
}

impl Compiler {
    /// A compiler that has compiled nothing yet.
    pub fn new(platform: Platform) -> Self {
        Self { platform, memory: Memory::default(), keeps_reports: true }
    }

    /// The same for whoever reads of activations' reports no more than
    /// [`Published::digests`](super::Published::digests) does: of thousands they are the greater part of what is
    /// remembered, and what was not made anew is told without its details.
    #[must_use]
    pub fn without_reports(self) -> Self {
        Self { keeps_reports: false, ..self }
    }

    /// Compiles resources. Reports come sorted by kind, namespace and name.
    pub fn compile(&mut self, resources: &Resources) -> (Snapshot, Vec<Arc<Report>>) {
        let (snapshot, reports) = assemble(resources, &self.platform, &mut self.memory);
        if !self.keeps_reports {
            self.memory.shorten_reports(&snapshot);
        }
        (snapshot, reports)
    }
}

fn assemble(resources: &Resources, platform: &Platform, memory: &mut Memory) -> (Snapshot, Vec<Arc<Report>>) {
    let lookup = Lookup::new(resources, platform);
    let mut reports = Reports::default();

    let data_adapters = data_adapter::all(&lookup, memory, &mut reports);
    let (gateways, unserved) = gateway::all(&lookup, memory, &data_adapters, &mut reports);
    let apps = app::all(&lookup, memory, &mut reports);
    let (activations, key_pairs) = activation::all(&lookup, memory, &gateways, &apps, &mut reports);

    let mut routes = Routes::new(platform.public_url.authority(), platform.public_url.path_without_slash().into());
    for gateway in gateways.values() {
        let (authority, path) = gateway::place(&gateway.issuer);
        routes.serve(authority, path, Arc::clone(gateway));
    }
    for (key, (authority, path)) in unserved {
        routes.refuse(authority, path, key);
    }
    for pair in key_pairs.values() {
        routes.publish(Arc::clone(pair));
    }

    let mut activations_by_pair: HashMap<ObjectKey, HashMap<ObjectKey, _>> = HashMap::new();
    for activation in activations.values() {
        activations_by_pair
            .entry(activation.gateway.key.clone())
            .or_default()
            .insert(activation.app.key.clone(), Arc::clone(activation));
    }

    lookup.report_unused(&mut reports);
    reports.take_rejections(&resources.rejections);
    let snapshot = Snapshot {
        platform: platform.clone(),
        apps_by_client_id: apps.values().map(|app| (app.client_id.clone(), Arc::clone(app))).collect(),
        activations_by_uid: activations
            .values()
            .map(|activation| (activation.uid.clone(), Arc::clone(activation)))
            .collect(),
        activations_by_pair,
        documents: gateways.keys().map(|key| (key.clone(), DiscoveryDocuments::default())).collect(),
        data_adapters,
        gateways,
        apps,
        activations,
        key_pairs,
        routes,
    };
    (snapshot, reports.into_sorted())
}

/// The reports so far, by kind and by namespace and name: looked up thousands of times, by keys that are at hand.
///
/// Those that are remembered are shared: one that is changed becomes another.
#[derive(Default)]
struct Reports<'resources>(BTreeMap<Kind, BTreeMap<&'resources ObjectKey, Arc<Report>>>);

impl<'resources> Reports<'resources> {
    fn add(&mut self, key: &'resources ObjectKey, report: impl Into<Arc<Report>>) {
        let report = report.into();
        self.0.entry(report.object.kind).or_default().insert(key, report);
    }

    fn get(&self, kind: Kind, key: &ObjectKey) -> Option<&Report> {
        self.0.get(&kind)?.get(key).map(AsRef::as_ref)
    }

    fn get_mut(&mut self, kind: Kind, key: &ObjectKey) -> Option<&mut Report> {
        self.0.get_mut(&kind)?.get_mut(key).map(Arc::make_mut)
    }

    /// One to which nothing is added any more.
    fn finished(&mut self, kind: Kind, key: &ObjectKey) -> Option<Arc<Report>> {
        let report = self.0.get_mut(&kind)?.get_mut(key)?;
        finish(report);
        Some(Arc::clone(report))
    }

    fn blame(&mut self, kind: Kind, key: &ObjectKey, finding: Finding) {
        if let Some(report) = self.get_mut(kind, key) {
            report.findings.push(finding);
            report.digest = Derived::default();
        }
    }

    fn is_usable(&self, kind: Kind, key: &ObjectKey) -> bool {
        self.get(kind, key).is_some_and(Report::is_usable)
    }

    fn is_accepted(&self, kind: Kind, key: &ObjectKey) -> bool {
        self.get(kind, key).is_some_and(|report| report.finding(Group::Accepted).is_none())
    }

    /// Hands refused edits to the objects that they were about. One that never came to be gets a report of its own;
    /// what cannot be told apart is reported by the source.
    fn take_rejections(&mut self, rejections: &'resources [Rejection]) {
        for rejection in rejections {
            let Some(object) = &rejection.object else { continue };
            if let Some(report) = self.get_mut(object.kind, &object.key) {
                report.rejections.push(rejection.clone());
                continue;
            }
            let mut report = Report::new(object.clone(), "", 0, Detail::Other);
            let message = format!("{}: {}", rejection.location, rejection.message);
            report.findings.push(Finding::new(rejection.code, "", message));
            report.rejections.push(rejection.clone());
            self.add(&object.key, report);
        }
    }

    fn into_sorted(self) -> Vec<Arc<Report>> {
        let mut sorted: Vec<_> = self.0.into_values().flat_map(BTreeMap::into_values).collect();
        sorted.iter_mut().for_each(finish);
        sorted
    }
}

/// Sorts the findings, and tells each once.
fn finish(report: &mut Arc<Report>) {
    if !report.findings.is_sorted_by(|one, other| one < other) {
        let findings = &mut Arc::make_mut(report).findings;
        findings.sort();
        findings.dedup();
    }
}

/// Says that `field` leads to nothing, or to something that is not usable.
fn unresolved(reports: &Reports<'_>, kind: Kind, key: &ObjectKey, exists: bool, field: &str) -> Option<Finding> {
    if !exists {
        let message = format!("{kind} {} does not exist in namespace {}", key.name, key.namespace);
        return Some(Finding::new(Code::RefNotFound, field, message));
    }
    let report = reports.get(kind, key).filter(|report| !report.is_usable())?;
    let fault = report.errors().min()?;
    let message = format!("{kind} {} is not in order ({})", key.name, fault.code.reason());
    Some(Finding::new(Code::RefNotAccepted, field, message))
}
