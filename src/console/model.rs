//! What pages are made of: one value, made anew whenever something changes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::history::History;
use super::standby;
use super::state::State;
use crate::snapshot::live::{LiveObject, LiveStatus};
use crate::snapshot::{Kind, ObjectKey, ObjectReference, Published, Resources};

/// Changes within this time are shown together.
const GATHERED: Duration = Duration::from_millis(100);

/// What pages are made of.
#[derive(Debug, Default)]
pub struct Model {
    /// Grows with each change.
    pub version: u64,
    /// What is told.
    pub live: Arc<LiveStatus>,
    /// Whether that is only what follows from resources: the world outside is asked elsewhere, or was not asked yet.
    pub is_standby: bool,
    /// What was compiled; `None` until the source has been read.
    pub published: Option<Arc<Published>>,
    /// The objects themselves.
    pub resources: Option<Arc<Resources>>,
    /// What conditions were.
    pub history: History,
}

impl Model {
    /// The environments in which something is, by name.
    pub fn environments(&self) -> BTreeSet<&str> {
        let told = self.live.objects.iter().map(|live| live.object.key.namespace.as_str());
        let resources = self.resources.iter();
        let read = resources.flat_map(|resources| {
            let keys = resources.data_adapters.keys().chain(resources.gateways.keys());
            keys.chain(resources.apps.keys()).chain(resources.activations.keys())
        });
        told.chain(read.map(|key| key.namespace.as_str())).collect()
    }

    /// The objects of a kind in an environment, by name.
    pub fn of_kind<'model>(
        &'model self,
        kind: Kind,
        namespace: &'model str,
    ) -> impl Iterator<Item = &'model LiveObject> {
        self.live.of_kind(kind).filter(move |live| live.object.key.namespace == namespace)
    }

    /// One object.
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&LiveObject> {
        self.live.get(&ObjectReference::new(kind, ObjectKey::new(namespace, name)))
    }

    /// The activations that hang on an object.
    pub fn activations_on<'model>(
        &'model self,
        object: &'model ObjectReference,
    ) -> impl Iterator<Item = &'model LiveObject> {
        self.of_kind(Kind::Activation, &object.key.namespace).filter(move |live| self.live.hangs_on(live, object))
    }

    /// The name that people gave an object, else its own.
    pub fn display_name(&self, object: &ObjectReference) -> String {
        let given = self.resources.as_ref().and_then(|resources| match object.kind {
            Kind::App => resources.apps.get(&object.key)?.spec.display_name.clone(),
            Kind::Gateway => resources.gateways.get(&object.key)?.spec.display_name.clone(),
            Kind::DataAdapter => resources.data_adapters.get(&object.key)?.spec.display_name.clone(),
            Kind::Activation | Kind::Secret | Kind::ConfigMap => None,
        });
        given.unwrap_or_else(|| object.key.name.clone())
    }

    /// The state of an object; what is not there is failing.
    pub fn state(&self, object: &ObjectReference) -> State {
        self.live.get(object).map_or(State::Failing, State::of)
    }
}

/// Keeps a model until `stop`.
pub fn follow(
    mut resources: watch::Receiver<Option<Arc<Resources>>>,
    mut published: watch::Receiver<Option<Arc<Published>>>,
    mut live: watch::Receiver<Arc<LiveStatus>>,
    stop: CancellationToken,
) -> watch::Receiver<Arc<Model>> {
    let (sender, receiver) = watch::channel(Arc::default());
    tokio::spawn(async move {
        let mut history = History::default();
        let mut version = 0;
        loop {
            let mut told = live.borrow_and_update().clone();
            let compiled = published.borrow_and_update().clone();
            let mut is_standby = false;
            match &compiled {
                Some(compiled) if told.objects.is_empty() && !compiled.reports.is_empty() => {
                    is_standby = true;
                    told = Arc::new(standby::status(&compiled.reports, Timestamp::now()));
                }
                Some(_) | None => history.record(&told, Timestamp::now()),
            }
            version += 1;
            sender.send_replace(Arc::new(Model {
                version,
                live: told,
                is_standby,
                published: compiled,
                resources: resources.borrow_and_update().clone(),
                history: history.clone(),
            }));
            tokio::select! {
                () = stop.cancelled() => return,
                changed = live.changed() => if changed.is_err() { return },
                changed = published.changed() => if changed.is_err() { return },
                changed = resources.changed() => if changed.is_err() { return },
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(GATHERED) => {}
            }
        }
    });
    receiver
}
