//! Which store the replicas share: options, and opening it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::store::{EmbeddedStore, OpenError, RedisStore, Store};

/// Options about the state that replicas share.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Shared state")]
pub(super) struct StoreOptions {
    /// A Valkey or Redis (redis:// or rediss://) that all replicas share; from the environment where it has a password
    #[arg(long, value_name = "URL", env = "HEARTHGATE_STORE_URL", hide_env_values = true, conflicts_with = "state")]
    store: Option<String>,
    /// Without --store: the directory of a store for this one process [default: a fresh temporary one]
    #[arg(long, value_name = "PATH", env = "HEARTHGATE_STATE")]
    state: Option<PathBuf>,
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreOptionsError {
    /// The directory cannot be made.
    #[error("cannot make the state directory {path}: {error}")]
    Directory { path: PathBuf, error: io::Error },
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl StoreOptions {
    /// Opens it. A Valkey that is away is no error: it is connected to in the background.
    pub(super) async fn open(&self) -> Result<Arc<dyn Store>, StoreOptionsError> {
        if let Some(url) = &self.store {
            return Ok(Arc::new(RedisStore::open(url, None)?));
        }
        let temporary = || std::env::temp_dir().join(format!("hearthgate-proxy-{}", std::process::id()));
        open_embedded(&self.state.clone().unwrap_or_else(temporary)).await
    }
}

/// Opens the store of this one process in a directory, which is made where it is missing.
pub(super) async fn open_embedded(directory: &Path) -> Result<Arc<dyn Store>, StoreOptionsError> {
    std::fs::create_dir_all(directory)
        .map_err(|error| StoreOptionsError::Directory { path: directory.to_owned(), error })?;
    let store = EmbeddedStore::open(&directory.join("store.redb")).await?;
    if let Some(aside) = store.set_aside() {
        tracing::error!(?aside, "the store could not be read and was set aside: sessions and revocations are lost");
    }
    Ok(Arc::new(store))
}
