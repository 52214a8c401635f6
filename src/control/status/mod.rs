//! What is told of each object: the compiler's verdict, with what the world outside has to say. Pure.
//!
//! Nothing in a status ticks: it changes when something changed, so a converged installation writes nothing.

mod activation;
mod conditions;
mod ladder;
mod refusal;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) use self::activation::LAST_HANDLED_PROBE;
use self::conditions::Conditions;
use super::findings::{Findings, Probed};
use super::plan;
use crate::api::activation::KeyStatus;
use crate::api::common::condition;
use crate::api::{AppStatus, Condition, ConditionStatus, DataAdapterStatus, GatewayStatus};
use crate::snapshot::report::{Detail, Verdict};
use crate::snapshot::{Kind, ObjectKey, ObjectReference, Published, Report};
use crate::values::code::Code;
use crate::values::key::Thumbprint;

/// Statuses, by kind, namespace and name.
pub type Statuses = Vec<Arc<ObjectStatus>>;

/// The status of one object, as an API server, `/status` and the state file hold it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectStatus {
    /// The object.
    #[serde(flatten)]
    pub object: ObjectReference,
    /// Its UID; empty for an object whose first edit was refused.
    pub uid: String,
    /// The generation of the spec that the status is about.
    pub generation: i64,
    /// The status subresource of its kind.
    pub status: Arc<Value>,
}

impl ObjectStatus {
    /// Its conditions.
    pub fn conditions(&self) -> Vec<Condition> {
        self.list("conditions")
    }

    /// A top-level list, such as `conditions`; empty where there is none.
    pub fn list<Item: DeserializeOwned>(&self, member: &str) -> Vec<Item> {
        let list = self.status.get(member).map(Vec::<Item>::deserialize);
        list.and_then(Result::ok).unwrap_or_default()
    }

    /// Text of a top-level member, such as `nextStep`.
    pub fn text(&self, member: &str) -> Option<&str> {
        self.status.get(member)?.as_str()
    }
}

/// How many proxies serve what was compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serving {
    /// This very process: whatever is compiled is served.
    Here,
    /// Replicas: by object how many serve it as it stands, of how many ready ones. What is missing is served by none.
    Replicas {
        /// Ready ones now.
        ready: u32,
        /// By object: those that serve it, and how many were ready when that was counted.
        serving: BTreeMap<ObjectReference, (u32, u32)>,
        /// By gateway: the revisions of its own keys that every ready replica has.
        signing: BTreeMap<ObjectKey, BTreeSet<u32>>,
    },
}

impl Serving {
    /// Nobody serves anything.
    pub const fn of_nobody() -> Self {
        Self::Replicas { ready: 0, serving: BTreeMap::new(), signing: BTreeMap::new() }
    }

    /// Whether tokens that this revision of a gateway's keys signs are taken everywhere.
    pub fn verifies(&self, gateway: &ObjectKey, revision: u32) -> bool {
        match self {
            Self::Here => true,
            Self::Replicas { signing, .. } => {
                signing.get(gateway).is_some_and(|revisions| revisions.contains(&revision))
            }
        }
    }

    /// Of an object: replicas that serve it, and ready replicas.
    pub fn of(&self, object: &ObjectReference) -> (u32, u32) {
        match self {
            Self::Here => (1, 1),
            Self::Replicas { ready, serving, .. } => serving.get(object).copied().unwrap_or((0, *ready)),
        }
    }
}

/// Everything that statuses are made from.
#[derive(Debug)]
pub struct View<'pass> {
    /// What was compiled.
    pub published: &'pass Published,
    /// What was found out.
    pub findings: &'pass Findings,
    /// The keys of each activation, after rotation.
    pub keys: &'pass BTreeMap<ObjectKey, Vec<KeyStatus>>,
    /// Activations whose EHR has ever accepted a token request.
    pub accepted_before: &'pass BTreeSet<ObjectKey>,
    /// By gateway (`<namespace>/<name>`): the revision of its own keys that signs.
    pub signing: &'pass BTreeMap<String, u32>,
    /// Who serves.
    pub serving: &'pass Serving,
    /// Keys that an EHR has accepted, by the adapter's UID.
    pub accepted_keys: BTreeSet<(&'pass str, Thumbprint)>,
    /// What was told last.
    pub previous: &'pass HashMap<&'pass ObjectReference, &'pass Arc<ObjectStatus>>,
    /// This moment.
    pub now: Timestamp,
}

/// The statuses of all objects of our four kinds, in the order of the reports. One that says what it said before is the
/// very one.
pub fn statuses(view: &View<'_>) -> Statuses {
    let told = |status: ObjectStatus| match view.previous.get(&status.object) {
        Some(before) if ***before == status => Arc::clone(before),
        Some(_) | None => Arc::new(status),
    };
    view.published.reports.iter().filter_map(|report| status(view, report)).map(told).collect()
}

fn status(view: &View<'_>, report: &Report) -> Option<ObjectStatus> {
    if matches!(report.object.kind, Kind::Secret | Kind::ConfigMap) {
        return None;
    }
    let told = Told::of(view, report);
    let mut conditions = Conditions::new(report, view.serving, view.now);
    let status = match &report.detail {
        Detail::DataAdapter { .. } => data_adapter(view, report, conditions, &told),
        Detail::App { client_id, .. } => {
            app(view, report, &mut conditions, &told);
            to_value(&AppStatus {
                observed_generation: report.generation,
                conditions: conditions.finish(report, &told.conditions),
                client_id: Some(client_id.clone()),
            })
        }
        Detail::Gateway { url, fhir_base_url, token_url, .. } => {
            gateway(view, &report.object.key, &mut conditions);
            to_value(&GatewayStatus {
                observed_generation: report.generation,
                conditions: conditions.finish(report, &told.conditions),
                url: Some(url.clone()),
                smart_configuration_url: Some(format!("{fhir_base_url}/.well-known/smart-configuration")),
                fhir_base_url: Some(fhir_base_url.clone()),
                token_url: Some(token_url.clone()),
                signing_revision: view.signing.get(&report.object.key.to_string()).copied(),
            })
        }
        Detail::Activation(detail) => to_value(&activation::status(view, report, detail, conditions, &told)),
        // An object whose first edit was refused: it never came to be.
        Detail::Other => serde_json::json!({
            "observedGeneration": report.generation,
            "conditions": conditions.finish(report, &told.conditions),
        }),
    };
    Some(ObjectStatus {
        object: report.object.clone(),
        uid: report.uid.clone(),
        generation: report.generation,
        status: status.into(),
    })
}

/// What was told of an object before.
struct Told<'pass> {
    status: Option<&'pass ObjectStatus>,
    conditions: Vec<Condition>,
    generation: i64,
}

impl<'pass> Told<'pass> {
    fn of(view: &View<'pass>, report: &Report) -> Self {
        let status = view.previous.get(&report.object).map(|told| &***told).filter(|told| told.uid == report.uid);
        let conditions = status.map(ObjectStatus::conditions).unwrap_or_default();
        Self { status, conditions, generation: report.generation }
    }

    /// What was told of this very spec, unless that was that nothing is known. It stays told until something else is
    /// found out, so that a restart is no news.
    fn of_this_spec(&self, condition: &'static str) -> Option<Verdict> {
        let told = self.conditions.iter().find(|told| told.type_ == condition)?;
        let is_known = told.status != ConditionStatus::Unknown && told.observed_generation == self.generation;
        is_known.then(|| Verdict {
            condition,
            status: told.status,
            reason: told.reason.clone(),
            message: told.message.clone(),
        })
    }
}

/// Statuses are plain data: writing them as JSON cannot fail.
fn to_value(status: &impl Serialize) -> Value {
    serde_json::to_value(status).unwrap_or_default()
}

fn data_adapter(view: &View<'_>, report: &Report, mut conditions: Conditions, told: &Told<'_>) -> Value {
    let mut fhir_version = None;
    let mut software = None;
    if let Some(adapter) = view.published.snapshot.data_adapters.get(&report.object.key) {
        let probed = view.findings.adapters.get(&report.uid);
        let subject = plan::adapter_subject(adapter);
        conditions.add(probe(condition::REACHABLE, probed, &subject, "its CapabilityStatement was read", told));
        match probed.map(|probed| &probed.last) {
            Some(Ok(capabilities)) => {
                fhir_version = Some(capabilities.fhir_version.clone());
                software.clone_from(&capabilities.software);
            }
            // What was known of an EHR that is away, or that was not asked yet, stays known.
            Some(Err(_)) | None => {
                let text = |member| told.status.and_then(|status| status.text(member)).map(str::to_owned);
                fhir_version = text("fhirVersion");
                software = text("software");
            }
        }
    }
    to_value(&DataAdapterStatus {
        observed_generation: report.generation,
        conditions: conditions.finish(report, &told.conditions),
        fhir_version,
        software,
    })
}

fn app(view: &View<'_>, report: &Report, conditions: &mut Conditions, told: &Told<'_>) {
    let Some(app) = view.published.snapshot.apps.get(&report.object.key) else { return };
    if let Some(uri) = &app.launch_uri {
        let probed = view.findings.launches.get(&report.uid);
        conditions.add(probe(condition::LAUNCH_URI_REACHABLE, probed, uri.as_str(), "the launch URI answers", told));
    }
    if let Some(uri) = &app.health_uri {
        let probed = view.findings.health.get(&report.uid);
        conditions.add(probe(condition::HEALTHY, probed, uri.as_str(), "the health URI answers with success", told));
    }
}

fn probe<T>(
    condition: &'static str,
    probed: Option<&Probed<T>>,
    subject: &str,
    good: &str,
    told: &Told<'_>,
) -> Verdict {
    match probed.filter(|probed| probed.subject == subject).map(|probed| &probed.last) {
        Some(Ok(_)) => Verdict::holds(condition, good),
        Some(Err(failure)) => Verdict::fails(condition, failure.code, failure.message.clone()),
        None => told
            .of_this_spec(condition)
            .unwrap_or_else(|| Verdict::unknown(condition, Code::NotReached, "not asked yet")),
    }
}

/// A gateway without its own keys issues no tokens.
fn gateway(view: &View<'_>, key: &ObjectKey, conditions: &mut Conditions) {
    let Some(gateway) = view.published.snapshot.gateways.get(key) else { return };
    if gateway.signing.current.is_some() {
        return;
    }
    let trouble = gateway
        .signing
        .missing_revision
        .map(|revision| key.sibling(&format!("{}-signing-{revision}", key.name)))
        .and_then(|secret| view.findings.keys.get(&secret)?.message.clone());
    let message = match (trouble, gateway.signing.missing_revision) {
        (Some(trouble), _) => format!("its signing keys cannot be made: {trouble}"),
        (None, Some(_)) => "its signing keys are being made".to_owned(),
        (None, None) => "its signing keys do not exist, and --no-new-keys forbids to make them".to_owned(),
    };
    conditions.fail_programmed(Code::Pending, message);
}
