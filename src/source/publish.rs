//! Latest resources → compile → publish. The one loop behind every source.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use std::{io, thread};

use arc_swap::ArcSwapOption;
use tokio::sync::{oneshot, watch};

use crate::snapshot::{self, Platform, Published, Resources, Snapshot};
use crate::values::pace::Pace;

/// Between two compilations, an edit must not wait longer than people notice. While thousands of objects arrive, half of
/// the time is left for serving them.
const PROMPT: Pace = Pace::new(1, 2, Duration::from_millis(250));
/// The same for who serves nobody: whatever follows from a compilation (statuses, counts, pages) is made for all objects
/// each time, and takes several times as long as the compilation.
const UNHURRIED: Pace = Pace::new(1, 100, Duration::from_secs(1));

/// Where compilations go.
#[derive(Clone, Debug)]
pub struct Publisher {
    platform: Platform,
    keeps_reports: bool,
    pace: Pace,
    served: Arc<ArcSwapOption<Snapshot>>,
    published: watch::Sender<Option<Arc<Published>>>,
}

impl Publisher {
    /// A publisher that has published nothing yet.
    pub fn new(platform: Platform) -> Self {
        let (served, published) = (Arc::default(), watch::Sender::new(None));
        Self { platform, keeps_reports: true, pace: PROMPT, served, published }
    }

    /// The same for who tells nobody what is wrong with an object: see [`Published::without_reports`].
    #[must_use]
    pub fn without_reports(self) -> Self {
        Self { keeps_reports: false, ..self }
    }

    /// The same for who serves nobody: edits that come one after the other are gathered longer.
    #[must_use]
    pub fn unhurried(self) -> Self {
        Self { pace: UNHURRIED, ..self }
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
    pub async fn run<Delivered>(mut self, mut resources: watch::Receiver<Delivered>)
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
        let mut waiting_since = Instant::now();
        loop {
            let newest = resources.borrow_and_update().clone();
            if let Some(newest) = newest.into() {
                let waited = waiting_since.elapsed();
                let started = Instant::now();
                match compiler.compile(newest).await {
                    Some(published) => compiler.free(self.publish(published)),
                    None => tracing::error!("compiling failed; what was served stays"),
                }
                tokio::time::sleep(self.pace.pause(waited, started.elapsed())).await;
                waiting_since = Instant::now();
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
        let new = move || {
            let compiler = snapshot::Compiler::new(platform.clone());
            if keeps_reports { compiler } else { compiler.without_reports() }
        };
        let mut compiler = new();
        thread::Builder::new().name("compiler".to_owned()).spawn(move || {
            while let Ok(job) = jobs.recv() {
                match job {
                    // Nobody listens any more if the process ends.
                    Job::Compile(resources, reply) => {
                        if let Some(published) = compiled(&resources, &mut compiler, keeps_reports) {
                            drop(reply.send(published));
                        } else {
                            // What it remembers may be half of something.
                            compiler = new();
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

fn compiled(resources: &Resources, compiler: &mut snapshot::Compiler, keeps_reports: bool) -> Option<Published> {
    catch_unwind(AssertUnwindSafe(|| {
        let (snapshot, reports) = compiler.compile(resources);
        let published = Published::new(snapshot, reports, resources.rejections.clone());
        if keeps_reports { published } else { published.without_reports() }
    }))
    .ok()
}
