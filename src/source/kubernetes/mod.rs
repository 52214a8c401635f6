//! A cluster as a source of resources: our four kinds, and the Secrets and ConfigMaps that carry our label.
//!
//! | file | what |
//! |---|---|
//! | `object.rs` | what is kept of an object: 10,000 of them stay small, and a status write is no change |
//! | `bag.rs` | everything that is there now, and whether it changed |
//! | `watch.rs` | one watch of one kind: lists, follows, comes back |
//! | `listing.rs` | one look, for people: everything with its status, without a watch |
//!
//! The label is selected on by the API server, so that other Secrets are never fetched. Nothing is delivered before
//! every kind was listed once; after that the last state stays, however long the API server is away.

mod bag;
pub mod listing;
mod object;
mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use kube::Client;
use tokio::sync::{mpsc, watch as latest};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use self::bag::Bag;
use self::watch::{Event, Watch};
use crate::api;
use crate::snapshot::Resources;

/// Edits that come so soon after one another are delivered together …
const GATHER: Duration = Duration::from_millis(50);
/// … but none waits longer than this.
const GATHER_AT_MOST: Duration = Duration::from_millis(200);
/// Events that may wait to be taken over: enough to list in pages without halting, too few to hold a cluster twice.
const QUEUE: usize = 256;

/// A cluster, all its namespaces or some.
#[derive(Clone)]
pub struct KubernetesSource {
    client: Client,
    namespaces: BTreeSet<String>,
}

impl std::fmt::Debug for KubernetesSource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("KubernetesSource").field("namespaces", &self.namespaces).finish_non_exhaustive()
    }
}

impl KubernetesSource {
    /// The cluster that the client speaks to. No namespaces: all of them, which needs a ClusterRole.
    pub fn new(client: Client, namespaces: impl IntoIterator<Item = String>) -> Self {
        Self { client, namespaces: namespaces.into_iter().collect() }
    }

    /// Follows the cluster until `stop`. The receiver holds `None` until every kind was listed once (so that readiness
    /// is `borrow().is_some()`), then whatever is newest.
    pub fn start(self, stop: CancellationToken) -> latest::Receiver<Option<Arc<Resources>>> {
        let (sender, receiver) = latest::channel(None);
        tokio::spawn(self.run(sender, stop));
        receiver
    }

    async fn run(self, sender: latest::Sender<Option<Arc<Resources>>>, stop: CancellationToken) {
        let (events, mut queue) = mpsc::channel(QUEUE);
        let mut watches = JoinSet::new();
        let mut unlisted = BTreeSet::new();
        for namespace in self.scopes() {
            for spawn in [
                spawn::<api::DataAdapter>,
                spawn::<api::Gateway>,
                spawn::<api::App>,
                spawn::<api::Activation>,
                spawn::<core::Secret>,
                spawn::<core::ConfigMap>,
            ] {
                let number = unlisted.len();
                unlisted.insert(number);
                spawn(&mut watches, &self.client, namespace.clone(), number, &events);
            }
        }
        drop(events);
        tokio::select! {
            () = stop.cancelled() => {}
            () = gather(&mut queue, unlisted, &sender) => {}
        }
        watches.shutdown().await;
    }

    fn scopes(&self) -> Vec<Option<String>> {
        if self.namespaces.is_empty() {
            return vec![None];
        }
        self.namespaces.iter().cloned().map(Some).collect()
    }
}

fn spawn<Resource: object::Watched>(
    watches: &mut JoinSet<()>,
    client: &Client,
    namespace: Option<String>,
    number: usize,
    events: &mpsc::Sender<Event>,
) {
    watches.spawn(Watch::<Resource>::new(client.clone(), namespace, number).run(events.clone()));
}

/// Takes events over and delivers what came of them.
async fn gather(
    queue: &mut mpsc::Receiver<Event>,
    mut unlisted: BTreeSet<usize>,
    sender: &latest::Sender<Option<Arc<Resources>>>,
) {
    let mut bag = Bag::default();
    let mut is_news = false;
    while let Some(event) = queue.recv().await {
        is_news |= take(&mut bag, &mut unlisted, event);
        if !is_news || !unlisted.is_empty() {
            continue;
        }
        let deadline = Instant::now() + GATHER_AT_MOST;
        while let Ok(Some(event)) = timeout_at(deadline.min(Instant::now() + GATHER), queue.recv()).await {
            take(&mut bag, &mut unlisted, event);
            if Instant::now() >= deadline {
                break;
            }
        }
        sender.send_replace(Some(Arc::new(bag.resources())));
        is_news = false;
    }
}

/// Whether anything is different now. That the last kind was listed is news, though it may be empty.
fn take(bag: &mut Bag, unlisted: &mut BTreeSet<usize>, event: Event) -> bool {
    match event {
        Event::Kept(object) => bag.keep(*object),
        Event::Gone(object) => bag.remove(&object),
        Event::Unreadable(object, message) => bag.refuse(&object, message),
        Event::Listed { number, kind, namespace, present } => {
            let removed = bag.retain(kind, namespace.as_deref(), &present);
            let was_last = unlisted.remove(&number) && unlisted.is_empty();
            if was_last {
                tracing::info!("every kind was listed");
            }
            removed || was_last
        }
    }
}

#[cfg(test)]
mod tests;
