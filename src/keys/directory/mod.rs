//! The standalone key store: `<state>/keys/<namespace>/<name>/` holds the same files as a Secret, and `metadata.json`
//! with its type, labels and annotations.
//!
//! A key becomes visible in one step. Its files are written and synced in a hidden sibling, which is then renamed into
//! place; a rename never replaces a directory that holds anything. So whatever kills the process or the machine, a name
//! leads to a whole key or to nothing, and the first of two writers wins. What a dead process left hidden is never
//! read; it may be deleted by hand.

mod files;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Created, DamagedKey, Doing, KeySecret, KeyStore, KeyStoreError, Listing};
use crate::values::secret::SecretBytes;

const METADATA: &str = "metadata.json";

/// Keys in a directory. A clone works on the same directory, and so may other processes.
#[derive(Clone, Debug)]
pub struct DirectoryKeyStore {
    root: PathBuf,
}

/// What a Secret says beside its data.
#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    #[serde(rename = "type")]
    secret_type: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

/// Where a key is or would be; made of checked names only.
struct Place {
    namespace: PathBuf,
    key: PathBuf,
}

impl DirectoryKeyStore {
    /// The store in this directory, which is made (mode 0700) when the first key is. The path itself is the caller's
    /// choice and may lead over links; below it none is followed.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory that a key of this name has.
    pub fn path_of(&self, namespace: &str, name: &str) -> Result<PathBuf, KeyStoreError> {
        Ok(self.place(namespace, name)?.key)
    }

    fn place(&self, namespace: &str, name: &str) -> Result<Place, KeyStoreError> {
        check_name("namespace", namespace, 63)?;
        check_name("Secret name", name, 253)?;
        let namespace = self.root.join(namespace);
        Ok(Place { key: namespace.join(name), namespace })
    }

    fn create_now(&self, key: &KeySecret) -> Result<Created, KeyStoreError> {
        let place = self.place(&key.namespace, &key.name)?;
        if let Err(problem) = key.check() {
            let name = format!("{}/{}", key.namespace, key.name);
            return Err(KeyStoreError::Refused { name, problem });
        }
        if let Some(existing) = self.get_now(&key.namespace, &key.name)? {
            return Ok(Created::AlreadyExists(Box::new(existing)));
        }
        files::make_directories(&place.namespace)?;
        let hidden = place.namespace.join(format!(".new-{}", Uuid::new_v4().simple()));
        let renamed = write_hidden(&hidden, key).and_then(|()| match std::fs::rename(&hidden, &place.key) {
            Ok(()) => Ok(true),
            Err(error) if is_taken(&error) => Ok(false),
            Err(error) => Err(KeyStoreError::io(Doing::Write, &place.key, error)),
        });
        match renamed {
            Ok(true) => {
                // All names on the way, not only this one: whoever made the directories may have died before syncing.
                files::sync_directory(&place.namespace)?;
                files::sync_directory(&self.root)?;
                Ok(Created::New)
            }
            Ok(false) => {
                files::discard(&hidden);
                match self.get_now(&key.namespace, &key.name)? {
                    Some(existing) => Ok(Created::AlreadyExists(Box::new(existing))),
                    // Somebody took it away again between the two; the next attempt sees clearer.
                    None => Err(KeyStoreError::io(Doing::Read, &place.key, io::ErrorKind::NotFound.into())),
                }
            }
            Err(error) => {
                files::discard(&hidden);
                Err(error)
            }
        }
    }

    fn get_now(&self, namespace: &str, name: &str) -> Result<Option<KeySecret>, KeyStoreError> {
        let place = self.place(namespace, name)?;
        if !files::is_directory(&place.namespace)? || !files::is_directory(&place.key)? {
            return Ok(None);
        }
        let key = read(&place.key, namespace, name)?;
        // Whoever made it may have died between the rename and the sync. Before anybody tells an EHR of this key, it
        // must be one that a power cut cannot take away.
        files::sync_directory(&place.namespace)?;
        files::sync_directory(&self.root)?;
        Ok(Some(key))
    }

    fn list_now(&self) -> Result<Listing, KeyStoreError> {
        let mut listing = Listing::default();
        for namespace in files::visible_names(&self.root)? {
            if check_name("namespace", &namespace, 63).is_err() {
                tracing::warn!(path = %self.root.join(&namespace).display(), "not a namespace; ignored");
                continue;
            }
            let names = match files::is_directory(&self.root.join(&namespace)) {
                Ok(true) => files::visible_names(&self.root.join(&namespace)),
                Ok(false) => continue,
                Err(error) => Err(error),
            };
            match names {
                Ok(names) => self.list_namespace(&namespace, &names, &mut listing),
                Err(error) => listing.damaged.push(error),
            }
        }
        Ok(listing)
    }

    fn list_namespace(&self, namespace: &str, names: &[String], listing: &mut Listing) {
        for name in names {
            match self.get_now(namespace, name) {
                Ok(Some(key)) => listing.keys.push(key),
                Ok(None) => {}
                Err(error) => listing.damaged.push(error),
            }
        }
    }

    /// Runs file work where it may block.
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, KeyStoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, KeyStoreError>> {
        let store = self.clone();
        async move {
            match tokio::task::spawn_blocking(move || work(&store)).await {
                Ok(result) => result,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Err(KeyStoreError::Interrupted),
                },
            }
        }
        .boxed()
    }
}

impl KeyStore for DirectoryKeyStore {
    fn create(&self, key: &KeySecret) -> BoxFuture<'_, Result<Created, KeyStoreError>> {
        let key = key.clone();
        self.blocking(move |store| store.create_now(&key))
    }

    fn get(&self, namespace: &str, name: &str) -> BoxFuture<'_, Result<Option<KeySecret>, KeyStoreError>> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.blocking(move |store| store.get_now(&namespace, &name))
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, KeyStoreError>> {
        self.blocking(Self::list_now)
    }
}

/// DNS names as Kubernetes wants them (RFC 1123; a namespace is one label). They are also harmless as file names: no
/// separator, no leading dot, no `..`.
fn check_name(what: &'static str, name: &str, longest: usize) -> Result<(), KeyStoreError> {
    let label = |label: &str| {
        label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let valid = name.len() <= longest && name.split('.').all(label) && (longest > 63 || !name.contains('.'));
    if valid { Ok(()) } else { Err(KeyStoreError::InvalidName { what, name: name.to_owned(), longest }) }
}

/// The answers of rename(2) when the name is in use: by a directory that holds something, or by a file or link.
fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory
    )
}

fn write_hidden(directory: &Path, key: &KeySecret) -> Result<(), KeyStoreError> {
    files::make_directory(directory)?;
    for (name, content) in &key.data {
        files::write_new(&directory.join(name), content.expose())?;
    }
    let metadata = Metadata {
        secret_type: key.secret_type.clone(),
        labels: key.labels.clone(),
        annotations: key.annotations.clone(),
    };
    let path = directory.join(METADATA);
    let mut text =
        serde_json::to_vec_pretty(&metadata).map_err(|error| KeyStoreError::io(Doing::Write, &path, error.into()))?;
    text.push(b'\n');
    files::write_new(&path, &text)?;
    files::sync_directory(directory)
}

fn read(directory: &Path, namespace: &str, name: &str) -> Result<KeySecret, KeyStoreError> {
    let damaged = |problem| KeyStoreError::Damaged { path: directory.to_owned(), problem };
    let mut data = BTreeMap::new();
    let mut metadata: Option<Metadata> = None;
    for file in files::visible_names(directory)? {
        let content = files::read(directory, &file)?;
        if file == METADATA {
            let read = serde_json::from_slice(content.expose());
            metadata = Some(read.map_err(|error| damaged(DamagedKey::Metadata { reason: error.to_string() }))?);
        } else {
            data.insert(file, content);
        }
    }
    let metadata = metadata.ok_or_else(|| damaged(DamagedKey::NoMetadata))?;
    let key = KeySecret {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        labels: metadata.labels,
        annotations: metadata.annotations,
        secret_type: metadata.secret_type,
        data,
    };
    key.check().map_err(damaged)?;
    Ok(key)
}

#[cfg(test)]
mod tests;
