//! `hearthgate keys`: what keys there are, and backups of them.

mod export;
mod import;
mod list;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::cluster::{ClusterError, ClusterOptions};
use super::{Outcome, block_on, input};
use crate::keys::directory::DirectoryKeyStore;
use crate::keys::kubernetes::SecretKeyStore;
use crate::keys::{KeySecret, KeyStore, KeyStoreError, Listing};

/// List the keys of an installation, back them up, and restore them.
///
/// Of a standalone server with --state, which is DIR/.hearthgate unless serve was told otherwise; else of the cluster.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate keys list --state clinic/.hearthgate\n  hearthgate keys export --passphrase-file phrase.txt --output keys.age\n  hearthgate keys import keys.age --passphrase-file phrase.txt"
)]
pub(super) struct Keys {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    List(list::List),
    Export(export::Export),
    Import(import::Import),
}

impl Keys {
    pub(super) fn run(self) -> Outcome {
        match self.what {
            What::List(command) => command.run(),
            What::Export(command) => command.run(),
            What::Import(command) => command.run(),
        }
    }
}

/// Whose keys.
#[derive(Clone, Debug, Args)]
struct Place {
    /// The state directory of a standalone server [default: the keys of the cluster]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kubeconfig", "context"])]
    state: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterOptions,
}

/// Why nothing can be done.
#[derive(Debug, thiserror::Error)]
enum KeysError {
    /// It is not there.
    #[error("cannot read {path}: {error}", path = .path.display())]
    Read { path: PathBuf, error: std::io::Error },
    /// It cannot be written.
    #[error("cannot write {path}: {error}", path = .path.display())]
    Write { path: PathBuf, error: std::io::Error },
    /// It exists, and may be the only copy of something.
    #[error("{path} exists, and is not overwritten: choose another name", path = .0.display())]
    Exists(PathBuf),
    /// Nothing is given to encrypt with, or to open with.
    #[error("give {0}")]
    NoKey(&'static str),
    /// Whoever has the file can try all of them.
    #[error("the passphrase in {path} has {found} characters: {least} at least", path = .path.display())]
    TooShort { path: PathBuf, found: usize, least: usize },
    /// There is no cluster, and nobody asked for one.
    #[error("there is no cluster to ask; of a standalone server, name where its keys are: --state DIR/.hearthgate")]
    Nowhere,
    /// There is no such cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The store says no.
    #[error(transparent)]
    Store(#[from] KeyStoreError),
    /// Some keys are broken.
    #[error("{0} keys are damaged and would be missing: see above, or leave them out with --without-damaged")]
    Damaged(usize),
    /// There is nothing to keep.
    #[error("there is no key in {0}")]
    Nothing(String),
}

/// Somewhere that keys are kept.
struct Opened {
    store: Box<dyn KeyStore>,
    /// For people.
    name: String,
    cluster: ClusterOptions,
}

impl Place {
    async fn open(&self) -> Result<Opened, KeysError> {
        let cluster = self.cluster.clone();
        if let Some(state) = &self.state {
            let store = Box::new(DirectoryKeyStore::new(state.join("keys")));
            return Ok(Opened { store, name: state.join("keys").display().to_string(), cluster });
        }
        let found = cluster.connect().await.map_err(|error| match error {
            ClusterError::NoCluster(_) => KeysError::Nowhere,
            ClusterError::Kubeconfig(_) | ClusterError::Client(_) => KeysError::Cluster(error),
        })?;
        let name = match found.namespaces.iter().cloned().collect::<Vec<_>>().as_slice() {
            [] => "the cluster".to_owned(),
            namespaces => format!("the cluster's namespaces {}", namespaces.join(", ")),
        };
        let store = Box::new(SecretKeyStore::new(found.client, found.namespaces));
        Ok(Opened { store, name, cluster })
    }

    /// The keys of the namespaces that were asked for, and where they are, for people.
    fn list(&self) -> Result<(Listing, String), Box<dyn std::error::Error>> {
        let listed = block_on(async {
            let opened = self.open().await?;
            let mut listing = opened.store.list().await?;
            listing.keys.retain(|key| opened.wants(key));
            Ok::<_, KeysError>((listing, opened.name))
        })?;
        Ok(listed?)
    }
}

impl Opened {
    /// Whether a key is in a namespace that was asked for.
    fn wants(&self, key: &KeySecret) -> bool {
        self.cluster.covers(&key.namespace)
    }
}

/// A file's bytes; `-` is standard input.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeysError> {
    input::bytes(path).map_err(|error| KeysError::Read { path: path.to_owned(), error })
}

/// A passphrase: the file's text without line breaks at its end.
fn passphrase(path: &Path) -> Result<SecretString, KeysError> {
    let bytes = read(path)?;
    let failed = |error| KeysError::Read { path: path.to_owned(), error: std::io::Error::other(error) };
    let text = std::str::from_utf8(&bytes).map_err(failed)?;
    Ok(SecretString::from(text.trim_end_matches(['\r', '\n'])))
}
