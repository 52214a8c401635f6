//! Making key pairs, and the stores that keep them.
//!
//! The promise that everything here serves: **a key that may be registered at an EHR is never overwritten, silently
//! made anew, or deleted by us.** So a store can create, read and list, and has no verb for anything else.

pub mod backup;
pub mod directory;
pub mod kubernetes;
pub mod make;
pub mod secret;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;

use crate::values::api_failure::ApiFailure;
use crate::values::key::KeyError;
pub use secret::KeySecret;

/// Where key material is kept: a directory ([`directory::DirectoryKeyStore`]), or a cluster's Secrets
/// ([`kubernetes::SecretKeyStore`]).
///
/// Object safe, so that the control plane is the same for both.
pub trait KeyStore: Send + Sync {
    /// Keeps a key under its namespace and name, durably: when this answers, the key survives a power cut.
    ///
    /// What is there already stays untouched and is returned, whoever made it; whether it may be adopted is for
    /// [`may_adopt`](crate::values::key::PairIdentity::may_adopt) to say.
    fn create(&self, key: &KeySecret) -> BoxFuture<'_, Result<Created, KeyStoreError>>;

    /// Reads one key from the store itself, not from a cache. `None` means that it is certain to be absent: whatever
    /// cannot be read, or is not whole, is an error.
    fn get(&self, namespace: &str, name: &str) -> BoxFuture<'_, Result<Option<KeySecret>, KeyStoreError>>;

    /// Reads every key there is.
    fn list(&self) -> BoxFuture<'_, Result<Listing, KeyStoreError>>;
}

/// What became of a key that was to be created.
#[derive(Debug)]
pub enum Created {
    /// It is kept.
    New,
    /// There is one of that name already; this is it.
    AlreadyExists(Box<KeySecret>),
}

/// Everything in a store. One damaged key does not hide the others.
#[derive(Debug, Default)]
pub struct Listing {
    /// The whole ones, by namespace and name.
    pub keys: Vec<KeySecret>,
    /// Why each of the others cannot be used.
    pub damaged: Vec<KeyStoreError>,
}

/// Why a key could not be kept or read. Shown to people in reports; holds names and paths, never content.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// A name that Kubernetes would not take either, and that might lead out of the directory.
    #[error("{name:?} is no valid {what}: lower-case letters, digits, '-' and '.', at most {longest} characters")]
    InvalidName {
        /// What was to be named.
        what: &'static str,
        /// The name as given.
        name: String,
        /// How long it may be.
        longest: usize,
    },
    /// The key that was to be kept does not hold together; nothing was written.
    #[error("the key that was to be kept as {name} is not usable: {problem}")]
    Refused {
        /// `namespace/name`.
        name: String,
        /// What is wrong with it.
        problem: DamagedKey,
    },
    /// There is something at the key's place that is no whole key. It is left as it is.
    #[error("{} is not a whole key: {problem}; restore it from a backup, nothing is made in its place", path.display())]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: DamagedKey,
    },
    /// A Secret at the key's place is no whole key. It is left as it is.
    #[error("Secret {name} is not a whole key: {problem}; restore it from a backup, nothing is made in its place")]
    DamagedSecret {
        /// `namespace/name`.
        name: String,
        /// What is wrong with it.
        problem: DamagedKey,
    },
    /// The API server did not do what it was asked.
    #[error("cannot {doing} {what}: {failure}")]
    Cluster {
        /// What was being done.
        doing: Doing,
        /// With what.
        what: String,
        /// What came of it.
        failure: ApiFailure,
    },
    /// The device or the quota is full.
    #[error("no space left to {doing} {}; free some, the key is made at the next attempt", path.display())]
    NoSpace {
        /// What was being done.
        doing: Doing,
        /// The file or directory.
        path: PathBuf,
    },
    /// Permissions, or a read-only file system.
    #[error("not allowed to {doing} {}; the user that runs hearthgate must own the key directory", path.display())]
    NotAllowed {
        /// What was being done.
        doing: Doing,
        /// The file or directory.
        path: PathBuf,
    },
    /// Any other failure of the file system.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: Doing,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The process is shutting down.
    #[error("interrupted before the key store had answered")]
    Interrupted,
}

/// What a store was doing to a file when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Making a file or directory, or writing to it.
    Write,
    /// Reading it.
    Read,
    /// Making sure that it survives a power cut.
    Sync,
}

/// What keeps a directory from being a whole key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DamagedKey {
    /// A file or a link is in the directory's place.
    #[error("it is not a directory (links are not followed)")]
    NotADirectory,
    /// Something in it is a directory, a link or a device.
    #[error("{file} is not a plain file (links are not followed)")]
    NotAFile {
        /// Its name.
        file: String,
    },
    /// A file is larger than any key.
    #[error("{file} is too large for a key")]
    TooLarge {
        /// Its name.
        file: String,
    },
    /// `metadata.json` is missing.
    #[error("metadata.json is missing")]
    NoMetadata,
    /// `metadata.json` cannot be read.
    #[error("metadata.json cannot be read: {reason}")]
    Metadata {
        /// What the parser says.
        reason: String,
    },
    /// The `type` is none of ours.
    #[error("its type is {found:?}, which is no key of ours")]
    UnknownType {
        /// The type.
        found: String,
    },
    /// A key file is missing, broken, or does not fit the others.
    #[error("{0}")]
    Key(#[from] KeyError),
}

impl fmt::Display for Doing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::Sync => "sync",
        })
    }
}

impl KeyStoreError {
    /// Sorts a failure of the file system by what a person does about it.
    fn io(doing: Doing, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { doing, path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::NotAllowed { doing, path },
            _ => Self::Io { doing, path, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_forbidden_directory_say_what_to_do() {
        let full = KeyStoreError::io(Doing::Write, Path::new("/k/a.pem"), io::ErrorKind::StorageFull.into());
        assert_eq!(full.to_string(), "no space left to write /k/a.pem; free some, the key is made at the next attempt");
        let forbidden = KeyStoreError::io(Doing::Read, Path::new("/k"), io::ErrorKind::PermissionDenied.into());
        assert_eq!(
            forbidden.to_string(),
            "not allowed to read /k; the user that runs hearthgate must own the key directory"
        );
    }
}
