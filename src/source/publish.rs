//! Latest resources → compile → publish. The one loop behind every source.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use crate::snapshot::{Platform, Published, Resources, Snapshot, compile};

/// The longest pause between two compilations: an edit must not wait for it longer than people notice.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Where compilations go.
#[derive(Clone, Debug)]
pub struct Publisher {
    platform: Platform,
    served: Arc<ArcSwapOption<Snapshot>>,
    published: watch::Sender<Option<Arc<Published>>>,
}

impl Publisher {
    /// A publisher that has published nothing yet.
    pub fn new(platform: Platform) -> Self {
        Self { platform, served: Arc::default(), published: watch::Sender::new(None) }
    }

    /// The snapshot to serve: one pointer, swapped whole.
    pub fn served(&self) -> Arc<ArcSwapOption<Snapshot>> {
        Arc::clone(&self.served)
    }

    /// The latest compilation, for whoever acts on it.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Published>>> {
        self.published.subscribe()
    }

    /// Compiles whatever is newest, again and again, until the source ends. Resources that were overtaken while
    /// compiling are never compiled.
    ///
    /// A source that has something from the start delivers `Arc<Resources>`, one that must sync first an `Option`.
    pub async fn run<Delivered>(self, mut resources: watch::Receiver<Delivered>)
    where
        Delivered: Clone + Into<Option<Arc<Resources>>>,
    {
        loop {
            let newest = resources.borrow_and_update().clone();
            if let Some(newest) = newest.into() {
                let platform = self.platform.clone();
                let started = Instant::now();
                let compiled = tokio::task::spawn_blocking(move || {
                    let (snapshot, reports) = compile(&newest, &platform);
                    Published { snapshot: Arc::new(snapshot), reports, rejections: newest.rejections.clone() }
                });
                match compiled.await {
                    Ok(published) => self.publish(published),
                    Err(error) => tracing::error!(%error, "compiling failed; what was served stays"),
                }
                // While thousands of objects arrive, half of the time is left for serving them.
                tokio::time::sleep(started.elapsed().min(LONGEST_PAUSE)).await;
            }
            if resources.changed().await.is_err() {
                return;
            }
        }
    }

    fn publish(&self, published: Published) {
        self.served.store(Some(Arc::clone(&published.snapshot)));
        let activations = published.snapshot.activations.len();
        tracing::debug!(activations, reports = published.reports.len(), "published a snapshot");
        self.published.send_replace(Some(Arc::new(published)));
    }
}
