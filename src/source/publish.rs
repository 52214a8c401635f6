//! Latest resources → compile → publish. The one loop behind every source.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use std::{io, thread};

use arc_swap::ArcSwapOption;
use tokio::sync::{oneshot, watch};

use crate::snapshot::{Platform, Published, Resources, Snapshot, compile};

/// The longest pause between two compilations: an edit must not wait for it longer than people notice.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Where compilations go.
#[derive(Clone, Debug)]
pub struct Publisher {
    platform: Platform,
    keeps_reports: bool,
    served: Arc<ArcSwapOption<Snapshot>>,
    published: watch::Sender<Option<Arc<Published>>>,
}

impl Publisher {
    /// A publisher that has published nothing yet.
    pub fn new(platform: Platform) -> Self {
        Self { platform, keeps_reports: true, served: Arc::default(), published: watch::Sender::new(None) }
    }

    /// The same for who tells nobody what is wrong with an object: see [`Published::without_reports`].
    #[must_use]
    pub fn without_reports(self) -> Self {
        Self { keeps_reports: false, ..self }
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
        let compiler = match Compiler::start(self.platform.clone(), self.keeps_reports) {
            Ok(compiler) => compiler,
            Err(error) => {
                tracing::error!(%error, "nothing can be compiled: there is no thread for it");
                return;
            }
        };
        loop {
            let newest = resources.borrow_and_update().clone();
            if let Some(newest) = newest.into() {
                let started = Instant::now();
                match compiler.compile(newest).await {
                    Some(published) => compiler.free(self.publish(published)),
                    None => tracing::error!("compiling failed; what was served stays"),
                }
                // While thousands of objects arrive, half of the time is left for serving them.
                tokio::time::sleep(started.elapsed().min(LONGEST_PAUSE)).await;
            }
            if resources.changed().await.is_err() {
                return;
            }
        }
    }

    /// Gives back what was published before.
    fn publish(&self, published: Published) -> Option<Arc<Published>> {
        self.served.store(Some(Arc::clone(&published.snapshot)));
        let activations = published.snapshot.activations.len();
        tracing::debug!(activations, "published a snapshot");
        self.published.send_replace(Some(Arc::new(published)))
    }
}

/// What the compiling thread is asked for.
enum Job {
    Compile(Arc<Resources>, oneshot::Sender<Published>),
    Free(Arc<Published>),
}

/// One thread for all compilations. Allocators keep what a thread freed for that thread: of a pool, every thread that
/// ever compiled would keep the room of a snapshot of thousands of objects, and this one needs it for the next. It also
/// frees what was overtaken, which takes milliseconds that no request should wait for.
struct Compiler(mpsc::Sender<Job>);

impl Compiler {
    fn start(platform: Platform, keeps_reports: bool) -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel();
        thread::Builder::new().name("compiler".to_owned()).spawn(move || {
            while let Ok(job) = jobs.recv() {
                match job {
                    // Nobody listens any more if the process ends.
                    Job::Compile(resources, reply) => {
                        if let Some(published) = compiled(&resources, &platform, keeps_reports) {
                            drop(reply.send(published));
                        }
                    }
                    Job::Free(overtaken) => drop(overtaken),
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// `None`: it panicked, which is told.
    async fn compile(&self, resources: Arc<Resources>) -> Option<Published> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Job::Compile(resources, reply)).ok()?;
        answer.await.ok()
    }

    fn free(&self, overtaken: Option<Arc<Published>>) {
        if let Some(overtaken) = overtaken {
            drop(self.0.send(Job::Free(overtaken)));
        }
    }
}

fn compiled(resources: &Resources, platform: &Platform, keeps_reports: bool) -> Option<Published> {
    catch_unwind(AssertUnwindSafe(|| {
        let (snapshot, reports) = compile(resources, platform);
        let published = Published::new(snapshot, reports, resources.rejections.clone());
        if keeps_reports { published } else { published.without_reports() }
    }))
    .ok()
}
