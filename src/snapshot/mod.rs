//! Resources compiled into what is served (the [`Snapshot`]) and what is told (the [`Report`]s).
//!
//! [`compile()`] is pure, total and deterministic. Standalone, operator, proxy and offline checks all call it, so they
//! cannot disagree. A change becomes visible by building a whole new Snapshot and swapping one pointer.

pub mod access;
pub mod activation;
pub mod app;
mod assumed;
mod compile;
pub mod data_adapter;
pub mod difference;
pub mod digest;
pub mod gateway;
pub mod key_pair;
pub mod live;
pub mod platform;
pub mod report;
pub mod resources;
pub mod routes;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

pub use activation::{Activation, EhrAuthentication, NotLive};
pub use app::App;
pub use compile::{Compiler, compile};
pub use data_adapter::DataAdapter;
use gateway::DiscoveryDocuments;
pub use gateway::Gateway;
pub use key_pair::KeyPair;
pub use platform::Platform;
pub use report::{Finding, Report};
pub use resources::{Kind, ObjectKey, ObjectReference, Resources};
pub use routes::{Place, Routes};

/// What one compilation gave: published as one value, so that nobody sees the snapshot of one moment with the reports of
/// another.
#[derive(Debug)]
pub struct Published {
    /// What is served.
    pub snapshot: Arc<Snapshot>,
    /// What is told, sorted by kind, namespace and name.
    pub reports: Vec<Arc<Report>>,
    /// Refused edits, those of unknown objects too.
    pub rejections: Vec<resources::Rejection>,
    /// Computed once, then remembered: they follow from the snapshot and the reports.
    digests: OnceLock<Arc<digest::Digests>>,
}

impl Published {
    /// Puts together what one compilation gave.
    pub fn new(
        snapshot: impl Into<Arc<Snapshot>>,
        reports: impl IntoIterator<Item = impl Into<Arc<Report>>>,
        rejections: Vec<resources::Rejection>,
    ) -> Self {
        let reports = reports.into_iter().map(Into::into).collect();
        Self { snapshot: snapshot.into(), reports, rejections, digests: OnceLock::new() }
    }

    /// The same for who serves and tells nobody: the digests stay, and the reports, which are the greater part, go.
    #[must_use]
    pub fn without_reports(self) -> Self {
        self.digests();
        Self { reports: Vec::new(), ..self }
    }
}

/// What was compiled, and what came of it: for whoever asks about configuration, and serves nobody.
#[derive(Clone, Copy, Debug)]
pub struct Compiled<'compiled> {
    /// The objects.
    pub resources: &'compiled Resources,
    /// What would be served of them.
    pub snapshot: &'compiled Snapshot,
    /// What is told of them, sorted.
    pub reports: &'compiled [Report],
    /// Secrets that are not there, and were taken for granted.
    pub assumed: &'compiled [ObjectReference],
}

impl<'compiled> Compiled<'compiled> {
    /// What is told of an object.
    pub fn report(&self, object: &ObjectReference) -> Option<&'compiled Report> {
        let place = self.reports.binary_search_by(|report| report.object.cmp(object)).ok()?;
        self.reports.get(place)
    }
}

/// The immutable, compiled form of all resources. The proxy serves exactly one at a time; a request keeps the one that
/// it began with to its end.
#[derive(Debug)]
pub struct Snapshot {
    /// What the command line said.
    pub platform: Platform,
    /// The accepted adapters.
    pub data_adapters: BTreeMap<ObjectKey, Arc<DataAdapter>>,
    /// The gateways that can be served.
    pub gateways: BTreeMap<ObjectKey, Arc<Gateway>>,
    /// The accepted apps.
    pub apps: BTreeMap<ObjectKey, Arc<App>>,
    /// The activations that can be served, suspended ones and those outside their window too.
    pub activations: BTreeMap<ObjectKey, Arc<Activation>>,
    /// The key pairs that face EHRs, by namespace and pair name.
    pub key_pairs: BTreeMap<ObjectKey, Arc<KeyPair>>,
    /// Which gateway a URL belongs to.
    pub routes: Routes,
    pub(super) apps_by_client_id: HashMap<String, Arc<App>>,
    pub(super) activations_by_uid: HashMap<String, Arc<Activation>>,
    /// By gateway, then by app.
    pub(super) activations_by_pair: HashMap<ObjectKey, HashMap<ObjectKey, Arc<Activation>>>,
    /// What is told of each gateway, as it is sent.
    pub(super) documents: HashMap<ObjectKey, DiscoveryDocuments>,
}

impl Snapshot {
    /// The app that has this client ID.
    pub fn app_by_client_id(&self, client_id: &str) -> Option<&Arc<App>> {
        self.apps_by_client_id.get(client_id)
    }

    /// The activation with this UID, as tokens name it.
    pub fn activation_by_uid(&self, uid: &str) -> Option<&Arc<Activation>> {
        self.activations_by_uid.get(uid)
    }

    /// What is told of a gateway, as it is sent.
    pub fn documents_of(&self, gateway: &ObjectKey) -> Option<&DiscoveryDocuments> {
        self.documents.get(gateway)
    }

    /// The activations on this gateway, in no order.
    pub fn activations_at(&self, gateway: &ObjectKey) -> impl Iterator<Item = &Arc<Activation>> {
        self.activations_by_pair.get(gateway).into_iter().flat_map(HashMap::values)
    }

    /// The activation of this app on this gateway.
    pub fn activation_of(&self, gateway: &ObjectKey, app: &ObjectKey) -> Option<&Arc<Activation>> {
        self.activations_by_pair.get(gateway)?.get(app)
    }
}
