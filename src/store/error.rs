//! What can go wrong with the store. No error holds a key, a content or a URL.

use std::io;
use std::path::PathBuf;

use super::{Address, Kind};

/// Why a step was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached, is too slow, or cannot write. What needs it answers 503.
    #[error("the store is away: {reason}")]
    Away {
        /// What happened, for the log.
        reason: String,
    },
    /// The store took as much as it may hold; nothing was lost. What needs it answers 503.
    #[error(
        "the store is full: no room for another record of kind {kind}; raise its limit or wait for others to expire"
    )]
    Full {
        /// What found no room.
        kind: Kind,
    },
    /// There is a record at this address already.
    #[error("the store has this record already: {address}")]
    Exists {
        /// Where.
        address: Address,
    },
    /// A record does not open: it was changed, moved from another address, or sealed with a key that is gone.
    #[error("the record {address} does not open: {problem}")]
    Unopenable {
        /// Where it lies.
        address: Address,
        /// Why.
        problem: SealProblem,
    },
    /// A content is longer than [`LONGEST_CONTENT`](super::LONGEST_CONTENT).
    #[error("a record of kind {kind} would hold {length} bytes, more than the store takes")]
    TooLong {
        /// What it would be.
        kind: Kind,
        /// Its length in bytes.
        length: usize,
    },
    /// A content cannot be written as JSON: a defect of ours.
    #[error("a record of kind {kind} cannot be written as JSON")]
    Unwritable {
        /// What it would be.
        kind: Kind,
    },
    /// The system's random source gave nothing.
    #[error("the system's random source is not available")]
    NoRandomness,
}

/// Why a sealed record does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealProblem {
    /// It is cut short, or of a form that this version does not know.
    #[error("it is not a sealed record")]
    Form,
    /// None of the gateway's sealing keys made it.
    #[error("it was sealed with a key that this gateway does not have (withdrawn, or from another installation)")]
    UnknownKey,
    /// The key fits and the seal does not: content, expiry or address were changed.
    #[error("its seal is broken")]
    Broken,
    /// It opened, and holds something else than was asked for.
    #[error("its content has another form than expected (written by another version)")]
    Content,
}

/// Why a store cannot be opened at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the file.
    #[error(
        "{} is in use by another process: an embedded store serves one process; \
         give each its own state directory, or share a Valkey with --store redis://…", path.display()
    )]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// The file was written by a later version.
    #[error(
        "{} has format {found}, which this version does not know; \
         run the version that wrote it, or move the file away", path.display()
    )]
    Later {
        /// The store's file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The file or its directory cannot be used.
    #[error("{} cannot be used: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The embedded database cannot be used, though its file is not corrupt.
    #[error("{} cannot be used: {reason}", path.display())]
    Database {
        /// The store's file.
        path: PathBuf,
        /// What redb said.
        reason: String,
    },
    /// The address of Valkey or Redis is no URL that we can use.
    #[error("the store's URL must be redis://[[user]:password@]host[:port][/database], or rediss:// for TLS")]
    Url,
    /// The CA bundle for `rediss://` holds no certificate, or the URL is not `rediss://`.
    #[error("the store's CA bundle must hold PEM certificates, and its URL must be rediss://")]
    CaBundle,
}
