//! The standalone sink: keys under `<state>/keys`, statuses and what is read back in `<state>/status.json`.
//!
//! `status.json` is replaced whole (temporary file, fsync, rename, fsync of the directory), so a crash leaves the old or
//! the new one. One that cannot be read is set aside and told, never emptied in silence: it holds which keys an EHR is
//! known to trust.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Recorded, Sink, SinkError};
use crate::keys::directory::DirectoryKeyStore;
use crate::keys::{KeySecret, KeyStore, KeyStoreError};
use crate::snapshot::ObjectKey;
use crate::snapshot::resources::{Kept, Secret, SecretUse};
use crate::values::key::secret_type;

/// The form of `status.json`. Another number is from another release and not touched.
const VERSION: u32 = 1;

const STATUS_FILE: &str = "status.json";
const LOCK_FILE: &str = "lock";

/// Writes to a state directory, which no other process uses meanwhile.
#[derive(Debug)]
pub struct DirectorySink {
    state: PathBuf,
    store: DirectoryKeyStore,
    kept: watch::Sender<Arc<Kept>>,
    /// Held as long as the sink lives.
    _lock: File,
}

/// An opened state directory.
#[derive(Debug)]
pub struct Opened {
    /// The sink.
    pub sink: DirectorySink,
    /// What was told and recorded before.
    pub recorded: Recorded,
    /// The keys and records that the source puts into its Resources: now, and whenever they change.
    pub kept: watch::Receiver<Arc<Kept>>,
    /// What a person should know: keys that cannot be read, a status file that was set aside.
    pub warnings: Vec<String>,
}

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process has it.
    #[error("{} is in use by another hearthgate: stop it, or choose another directory with --state", .0.display())]
    InUse(PathBuf),
    /// The file system refuses.
    #[error("the state directory cannot be used: {} {}: {source}", doing, path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another release wrote it.
    #[error(
        "{} has version {found}, and this release knows {VERSION}: use the release that wrote it, or choose another directory with --state",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The keys cannot be listed.
    #[error("the keys cannot be read: {0}")]
    Keys(#[from] KeyStoreError),
}

#[derive(Serialize)]
struct Written<'call> {
    version: u32,
    #[serde(flatten)]
    recorded: &'call Recorded,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl DirectorySink {
    /// Opens a state directory, which is made where there is none: locks it, reads what was recorded and every key.
    pub async fn open(state: impl Into<PathBuf>) -> Result<Opened, StateError> {
        let state = state.into();
        let blocking = tokio::task::spawn_blocking(move || {
            make_directory(&state)?;
            let lock = lock(&state)?;
            let (recorded, warning) = read(&state.join(STATUS_FILE))?;
            Ok::<_, StateError>((state, lock, recorded, warning))
        });
        let (state, lock, recorded, warning) = match blocking.await {
            Ok(opened) => opened?,
            Err(_) => return Err(StateError::Keys(KeyStoreError::Interrupted)),
        };
        let store = DirectoryKeyStore::new(state.join("keys"));
        let listing = store.list().await?;
        let warnings = warning.into_iter().chain(listing.damaged.iter().map(ToString::to_string)).collect();
        let secrets: BTreeMap<_, _> = listing.keys.iter().filter_map(as_secret).collect();
        let kept = Kept { secrets, observed: recorded.observed.clone() };
        let (kept, receiver) = watch::channel(Arc::new(kept));
        let sink = Self { state, store, kept, _lock: lock };
        Ok(Opened { sink, recorded, kept: receiver, warnings })
    }
}

impl Sink for DirectorySink {
    fn key_store(&self) -> &dyn KeyStore {
        &self.store
    }

    fn deliver(&self, key: &KeySecret) {
        let Some((key, secret)) = as_secret(key) else { return };
        self.kept.send_if_modified(|kept| {
            if kept.secrets.get(&key).is_some_and(|known| *known == secret) {
                return false;
            }
            let mut secrets = kept.secrets.clone();
            secrets.insert(key, secret);
            *kept = Arc::new(Kept { secrets, observed: kept.observed.clone() });
            true
        });
    }

    fn write<'call>(&'call self, recorded: &'call Recorded) -> BoxFuture<'call, Result<(), SinkError>> {
        let path = self.state.join(STATUS_FILE);
        let failed = |error: &dyn std::fmt::Display| SinkError(format!("cannot write {}: {error}", path.display()));
        let text = serde_json::to_vec_pretty(&Written { version: VERSION, recorded });
        let text = text.map_err(|error| failed(&error));
        async move {
            let text = text?;
            let target = self.state.join(STATUS_FILE);
            let written = tokio::task::spawn_blocking(move || replace(&target, &text)).await;
            let written = written.map_err(|_| SinkError("interrupted".to_owned()))?;
            written.map_err(|error| SinkError(format!("cannot write {STATUS_FILE}: {error}")))?;
            // Durable first, served after: a key that signs is recorded as signing before it does.
            self.kept.send_if_modified(|kept| {
                if kept.observed == recorded.observed {
                    return false;
                }
                *kept = Arc::new(Kept { secrets: kept.secrets.clone(), observed: recorded.observed.clone() });
                true
            });
            Ok(())
        }
        .boxed()
    }
}

/// A key as the compiler reads it.
fn as_secret(key: &KeySecret) -> Option<(ObjectKey, Arc<Secret>)> {
    let usage = match key.secret_type.as_str() {
        secret_type::KEY_PAIR => SecretUse::KeyPair,
        secret_type::GATEWAY_SIGNING => SecretUse::GatewaySigning,
        _ => return None,
    };
    let name = ObjectKey::new(key.namespace.clone(), key.name.clone());
    Some((name.clone(), Arc::new(Secret::new(name, usage, key.annotations.clone(), key.data.clone()))))
}

fn trouble(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { doing, path, source }
}

fn make_directory(state: &Path) -> Result<(), StateError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(state).map_err(trouble("make", state))?;
    // Keys lie below: git must never see them.
    let ignore = state.join(".gitignore");
    match OpenOptions::new().write(true).create_new(true).open(&ignore) {
        Ok(mut file) => file.write_all(b"*\n").map_err(trouble("write", &ignore)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(trouble("write", &ignore)(error)),
    }
}

fn lock(state: &Path) -> Result<File, StateError> {
    let path = state.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(trouble("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StateError::InUse(state.to_owned())),
        Err(TryLockError::Error(error)) => Err(trouble("lock", &path)(error)),
    }
}

/// Reads `status.json`; one that cannot be understood is set aside under a name that says so.
fn read(path: &Path) -> Result<(Recorded, Option<String>), StateError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Recorded::default(), None)),
        Err(error) => return Err(trouble("read", path)(error)),
    };
    match serde_json::from_slice::<Version>(&text) {
        Ok(Version { version: VERSION }) => {}
        Ok(Version { version: found }) => return Err(StateError::Version { path: path.to_owned(), found }),
        Err(error) => return set_aside(path, &error),
    }
    match serde_json::from_slice(&text) {
        Ok(recorded) => Ok((recorded, None)),
        Err(error) => set_aside(path, &error),
    }
}

fn set_aside(path: &Path, error: &serde_json::Error) -> Result<(Recorded, Option<String>), StateError> {
    let mut number = 1_u32;
    let aside = loop {
        let candidate = path.with_extension(format!("json.damaged-{number}"));
        if !candidate.exists() {
            break candidate;
        }
        number = number.saturating_add(1);
    };
    fs::rename(path, &aside).map_err(trouble("set aside", path))?;
    let warning = format!(
        "{} could not be read ({error}) and is kept as {}: which key signs is found out anew, and lost keys are noticed only where they are pinned",
        path.display(),
        aside.display()
    );
    Ok((Recorded::default(), Some(warning)))
}

/// Replaces a file whole.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("json.new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
