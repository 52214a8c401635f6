//! A directory as a source of resources: read at the start, watched, and read again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::accept::{Accepted, is_same};
use super::identity::{Identities, IdentityError};
use super::loaded::{Ignored, Loaded, Reader, SETTLED_AFTER};
use super::watch::Watch;
use crate::snapshot::resources::{Kept, Rejection, Resources};

/// How often to look for what no event told (network file systems tell none).
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// The latest resources. `None` until a source has read everything once.
pub type Delivered = watch::Receiver<Option<Arc<Resources>>>;

/// A directory of YAML, which behaves as an API server would: what is accepted is served, what is not changes nothing.
pub struct DirectorySource {
    core: Arc<Mutex<Core>>,
    watch: Watch,
    kept: watch::Receiver<Arc<Kept>>,
    sender: watch::Sender<Option<Arc<Resources>>>,
    /// When to look at files that had just been written.
    settle: Option<Instant>,
}

/// What touches the disk: only threads that may block work with it.
struct Core {
    reader: Reader,
    accepted: Accepted,
    new_uid: Box<dyn FnMut() -> Uuid + Send>,
    told: BTreeSet<Ignored>,
}

impl std::fmt::Debug for DirectorySource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DirectorySource").finish_non_exhaustive()
    }
}

impl DirectorySource {
    /// Reads the directory once; the receiver holds what is in it (it is never `None`).
    ///
    /// `state` (created if missing) keeps UIDs and generations, and is not read for resources. `kept` is what the
    /// control plane generated and found out. A directory that does not exist yet is no error: it may come.
    pub fn open(
        directory: &Path,
        state: &Path,
        kept: watch::Receiver<Arc<Kept>>,
        new_uid: impl FnMut() -> Uuid + Send + 'static,
    ) -> Result<(Self, Delivered), IdentityError> {
        let identities = Identities::open(state, jiff::Timestamp::now())?;
        let core = Core {
            reader: Reader::new(directory.into(), state.into()),
            accepted: Accepted::new(identities),
            new_uid: Box::new(new_uid),
            told: BTreeSet::new(),
        };
        let (sender, receiver) = watch::channel(None);
        let watch = Watch::new(directory);
        let mut source = Self { core: Arc::new(Mutex::new(core)), watch, kept, sender, settle: None };
        // Watched first, then read: nothing that is written in between is missed.
        source.watch.follow(&lock(&source.core).reader.folders());
        let (folders, unsettled) = lock(&source.core).look();
        source.watch.follow(&folders);
        source.settle = unsettled.then(|| Instant::now() + SETTLED_AFTER);
        source.deliver();
        Ok((source, receiver))
    }

    /// Follows the directory until it is told to stop, or nobody listens any more.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut clock = interval_at(Instant::now() + LOOK_AGAIN, LOOK_AGAIN);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut has_keeper = true;
        loop {
            let settle = self.settle;
            let settled = async {
                match settle {
                    Some(moment) => sleep_until(moment).await,
                    None => std::future::pending().await,
                }
            };
            let look = tokio::select! {
                () = stop.cancelled() => return,
                () = self.sender.closed() => return,
                () = self.watch.changed() => true,
                () = settled => true,
                _ = clock.tick() => self.blocking(|core| core.reader.is_stale()).await,
                changed = self.kept.changed(), if has_keeper => {
                    has_keeper = changed.is_ok();
                    false
                }
            };
            if look {
                self.look().await;
            }
            self.deliver();
        }
    }

    async fn look(&mut self) {
        // A new folder may hold files that were written before it was watched: look once more, but not for ever.
        for _ in 0..5 {
            let (folders, unsettled) = self.blocking(Core::look).await;
            self.settle = unsettled.then(|| Instant::now() + SETTLED_AFTER);
            if !self.watch.follow(&folders) {
                return;
            }
        }
    }

    async fn blocking<Answer: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Core) -> Answer + Send + 'static,
    ) -> Answer {
        let core = Arc::clone(&self.core);
        match tokio::task::spawn_blocking(move || work(&mut lock(&core))).await {
            Ok(answer) => answer,
            // A panic goes on here; a runtime that shuts down ends this task too.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Hands over what changed, and only that.
    fn deliver(&mut self) {
        let kept = Arc::clone(&self.kept.borrow_and_update());
        let resources = lock(&self.core).accepted.resources(&kept);
        self.sender.send_if_modified(|delivered| {
            let before = delivered.as_deref();
            if before.is_some_and(|before| is_same(before, &resources)) {
                return false;
            }
            tell(before.map_or(&[], |before| &before.rejections), &resources.rejections);
            *delivered = Some(Arc::new(resources));
            true
        });
    }
}

impl Core {
    /// Reads, accepts and remembers. Returns the folders to watch, and whether something may still be half written.
    fn look(&mut self) -> (BTreeSet<PathBuf>, bool) {
        let (loaded, folders) = self.reader.read();
        self.accepted.apply(&loaded, &mut *self.new_uid);
        if let Err(error) = self.accepted.identities.save() {
            tracing::error!(%error, "UIDs and generations are not kept: objects get new ones at the next start");
        }
        self.tell_ignored(&loaded);
        (folders, loaded.is_unsettled())
    }

    fn tell_ignored(&mut self, loaded: &Loaded) {
        let ignored: BTreeSet<_> = loaded.ignored.iter().cloned().collect();
        for Ignored { location, what } in ignored.difference(&self.told) {
            tracing::info!(%location, "ignored: {what}");
        }
        self.told = ignored;
    }
}

fn lock(core: &Mutex<Core>) -> MutexGuard<'_, Core> {
    // After a panic in there the program ends; what a last reader sees is whole.
    core.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tell(before: &[Rejection], now: &[Rejection]) {
    for rejection in now.iter().filter(|rejection| !before.contains(rejection)) {
        let Rejection { object, code, message, location } = rejection;
        let object = object.as_ref().map(ToString::to_string);
        tracing::warn!(%location, object, code = code.number(), "refused, so nothing changed: {message}");
    }
    if now.is_empty() && !before.is_empty() {
        tracing::info!("everything in the directory is accepted again");
    }
}
