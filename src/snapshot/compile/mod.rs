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
mod scopes;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::report::Detail;
use super::resources::Rejection;
use super::{Finding, Kind, ObjectKey, ObjectReference, Platform, Report, Resources, Routes, Snapshot};
use crate::values::code::{Code, Group};
use lookup::Lookup;

/// Compiles resources. Pure and total: no I/O, no clock, and the same input gives the same output.
///
/// Reports come sorted by kind, namespace and name.
pub fn compile(resources: &Resources, platform: &Platform) -> (Snapshot, Vec<Report>) {
    let lookup = Lookup::new(resources, platform);
    let mut reports = Reports::default();

    let data_adapters = data_adapter::all(&lookup, &mut reports);
    let (gateways, unserved) = gateway::all(&lookup, &data_adapters, &mut reports);
    let apps = app::all(&lookup, &mut reports);
    let (activations, key_pairs) = activation::all(&lookup, &gateways, &apps, &mut reports);

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
#[derive(Default)]
struct Reports(BTreeMap<Kind, BTreeMap<ObjectKey, Report>>);

impl Reports {
    fn add(&mut self, report: Report) {
        let ObjectReference { kind, key } = report.object.clone();
        self.0.entry(kind).or_default().insert(key, report);
    }

    fn get(&self, kind: Kind, key: &ObjectKey) -> Option<&Report> {
        self.0.get(&kind)?.get(key)
    }

    fn get_mut(&mut self, kind: Kind, key: &ObjectKey) -> Option<&mut Report> {
        self.0.get_mut(&kind)?.get_mut(key)
    }

    fn blame(&mut self, kind: Kind, key: &ObjectKey, finding: Finding) {
        if let Some(report) = self.get_mut(kind, key) {
            report.findings.push(finding);
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
    fn take_rejections(&mut self, rejections: &[Rejection]) {
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
            self.add(report);
        }
    }

    fn into_sorted(self) -> Vec<Report> {
        self.0
            .into_values()
            .flat_map(BTreeMap::into_values)
            .map(|mut report| {
                report.findings.sort();
                report.findings.dedup();
                report
            })
            .collect()
    }
}

/// Says that `field` leads to nothing, or to something that is not usable.
fn unresolved(reports: &Reports, kind: Kind, key: &ObjectKey, exists: bool, field: &str) -> Option<Finding> {
    if !exists {
        let message = format!("{kind} {} does not exist in namespace {}", key.name, key.namespace);
        return Some(Finding::new(Code::RefNotFound, field, message));
    }
    let report = reports.get(kind, key).filter(|report| !report.is_usable())?;
    let fault = report.errors().min()?;
    let message = format!("{kind} {} is not in order ({})", key.name, fault.code.reason());
    Some(Finding::new(Code::RefNotAccepted, field, message))
}
