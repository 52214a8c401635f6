//! When to look again: a directory is watched, never a file.
//!
//! Editors write a new file and rename it over the old one, and Kubernetes swaps `..data`: a watch on the file would
//! stay with the one that is gone. Each folder that holds something is watched by itself, since a recursive watch would
//! follow into `.git` and the state directory, which change all the time. notify's debouncer waits for silence without
//! end; here edits are gathered for 50 ms of silence, but 200 ms at most.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::files;

/// Silence after which a burst of edits is over.
const SILENCE: Duration = Duration::from_millis(50);
/// The longest that an edit waits for further ones.
const LONGEST: Duration = Duration::from_millis(200);

/// Tells when something changed in a set of folders.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    signals: mpsc::Receiver<()>,
    watched: BTreeMap<PathBuf, Option<FolderIdentity>>,
    parent: Option<PathBuf>,
}

#[cfg(unix)]
type FolderIdentity = (u64, u64);
#[cfg(not(unix))]
type FolderIdentity = Option<std::time::SystemTime>;

impl Watch {
    /// A watch on nothing yet. Without a working watcher, whoever holds this must look by the clock.
    pub(super) fn new(directory: &Path) -> Self {
        let (sender, signals) = mpsc::channel(1);
        let root = std::path::absolute(directory).unwrap_or_else(|_| directory.to_path_buf());
        let parent = root.parent().map(Path::to_path_buf);
        let beside = parent.clone();
        let handler = move |event: notify::Result<Event>| {
            // An error means that events were lost: look.
            if event.map_or(true, |event| matters(&event, &root, beside.as_deref())) {
                // Full: a look is due anyway.
                let _ = sender.try_send(());
            }
        };
        let watcher = RecommendedWatcher::new(handler, Config::default().with_follow_symlinks(false))
            .inspect_err(|error| tracing::warn!(%error, "the system offers no file events: looking every 2 seconds"))
            .ok();
        Self { watcher, signals, watched: BTreeMap::new(), parent }
    }

    /// Watches these folders, and the one around the directory (which may itself be replaced). Returns whether any of
    /// them is new: something may have happened in it before it was watched.
    pub(super) fn follow(&mut self, folders: &BTreeSet<PathBuf>) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let wanted: BTreeMap<PathBuf, Option<FolderIdentity>> = folders
            .iter()
            .map(|folder| std::path::absolute(folder).unwrap_or_else(|_| folder.clone()))
            .chain(self.parent.clone())
            .map(|folder| {
                let identity = fs::metadata(&folder).ok().map(|metadata| files::identity(&metadata));
                (folder, identity)
            })
            .collect();
        let gone: Vec<_> = self
            .watched
            .iter()
            .filter(|(folder, identity)| wanted.get(*folder) != Some(identity))
            .map(|(folder, _)| folder.clone())
            .collect();
        for folder in gone {
            // It fails where the folder is gone, and with it its watch.
            let _ = watcher.unwatch(&folder);
            self.watched.remove(&folder);
        }
        let mut is_new = false;
        for (folder, identity) in wanted {
            if self.watched.contains_key(&folder) {
                continue;
            }
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    is_new = true;
                    self.watched.insert(folder, identity);
                }
                Err(error) => tracing::warn!(
                    folder = %folder.display(),
                    %error,
                    "this folder cannot be watched: looking every 2 seconds"
                ),
            }
        }
        is_new
    }

    /// Waits for a burst of edits to be over.
    pub(super) async fn changed(&mut self) {
        if self.signals.recv().await.is_none() {
            // No watcher: somebody else looks by the clock.
            return std::future::pending().await;
        }
        let latest = Instant::now() + LONGEST;
        while let Ok(Ok(Some(()))) = timeout_at(latest, timeout(SILENCE, self.signals.recv())).await {}
    }
}

/// Reading is an event too, and hidden files are not read; `..data` and its kind are what Kubernetes swaps.
fn matters(event: &Event, root: &Path, parent: Option<&Path>) -> bool {
    let is_change = !event.kind.is_access() || event.kind == EventKind::Access(AccessKind::Close(AccessMode::Write));
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let is_hidden = name.starts_with('.') && !name.starts_with("..");
        path == root || (!is_hidden && path.parent() != parent)
    };
    is_change && (event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(is_ours))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use notify::event::{AccessKind, AccessMode, CreateKind, Event, EventKind};

    use super::matters;

    #[test]
    fn only_what_may_change_an_object_matters() {
        let table = [
            (EventKind::Create(CreateKind::File), "/etc/hearth/x.yaml", true),
            (EventKind::Create(CreateKind::Folder), "/etc/hearth", true),
            (EventKind::Create(CreateKind::File), "/etc/passwd", false),
            (EventKind::Create(CreateKind::File), "/etc/hearth/.hearthgate", false),
            (EventKind::Create(CreateKind::File), "/etc/hearth/..data", true),
            (EventKind::Access(AccessKind::Read), "/etc/hearth/x.yaml", false),
            (EventKind::Access(AccessKind::Close(AccessMode::Read)), "/etc/hearth/x.yaml", false),
            (EventKind::Access(AccessKind::Close(AccessMode::Write)), "/etc/hearth/x.yaml", true),
        ];
        for (kind, path, expected) in table {
            let event = Event::new(kind).add_path(path.into());
            assert_eq!(matters(&event, Path::new("/etc/hearth"), Some(Path::new("/etc"))), expected, "{kind:?} {path}");
        }
    }
}
