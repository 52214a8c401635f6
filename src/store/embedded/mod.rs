//! The store of one process: a redb file that survives `kill -9` and power cuts.
//!
//! Everything that writes is a job for one thread. It gathers what waits, makes one transaction of it, syncs the file
//! once, and only then answers: so many requests share the price of one sync, and what was answered is on the disk.
//! Reads look at the last committed state and wait for nobody.

mod file;
mod operations;
mod rows;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio_util::task::AbortOnDropHandle;

use self::file::StoreFile;
use self::rows::SWEPT_AT_ONCE;
use self::writer::Writer;
use super::{
    Address, FamilyStart, FirstUse, Health, Kind, OpenError, Replaced, Revocations, RotateFamily, Rotation, Sealed,
    Store, StoreError, StoreFuture, Stored, Taken,
};

/// How often what expired is removed.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// The most counters at once; they live in memory, for a minute each.
const MOST_COUNTS: usize = 100_000;

/// The store in a file of its own process.
pub struct EmbeddedStore {
    file: Arc<StoreFile>,
    writer: Writer,
    revocations: Arc<Revocations>,
    counts: Mutex<HashMap<Address, Count>>,
    set_aside: Option<SetAside>,
    _sweeper: AbortOnDropHandle<()>,
}

/// A file that could not be used as a store, and was moved out of the way.
///
/// What it remembered is gone: users log in again, and revocations and used assertions of the last minutes are not
/// known. That is why it is told, and the file kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Where it is now: beside the new one, `<file>.corrupt-<time>`.
    pub path: PathBuf,
    /// What was wrong with it.
    pub reason: String,
}

#[derive(Clone, Copy)]
struct Count {
    number: u64,
    until: Timestamp,
}

impl EmbeddedStore {
    /// Opens the store in a file, which is made if it is absent; its directory must exist.
    ///
    /// A file that is corrupt or none of ours is moved aside, and [`set_aside`](Self::set_aside) tells: a caller that
    /// starts with this store should say so to a person.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let place = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || StoreFile::open(&place, Timestamp::now())).await;
        let failed = |reason: String| OpenError::Database { path: path.to_owned(), reason };
        let (file, counts, set_aside) = opened.map_err(|error| failed(error.to_string()))??;
        let file = Arc::new(file);
        let revocations = Arc::new(Revocations::new());
        let now = Timestamp::now();
        for (address, until) in file.revocations(now).map_err(|error| failed(error.to_string()))? {
            revocations.insert(&address, until, now).map_err(|error| failed(error.to_string()))?;
        }
        revocations.mark_synced();
        let writer = Writer::start(Arc::clone(&file), counts).map_err(|error| failed(error.to_string()))?;
        let sweeper = tokio::spawn(sweep_regularly(writer.downgrade(), Arc::clone(&revocations)));
        Ok(Self {
            file,
            writer,
            revocations,
            counts: Mutex::default(),
            set_aside,
            _sweeper: AbortOnDropHandle::new(sweeper),
        })
    }

    /// What stood in this store's place and had to be moved away, if anything did.
    pub fn set_aside(&self) -> Option<&SetAside> {
        self.set_aside.as_ref()
    }

    /// Removes what has expired, and says how many records that were. It happens by itself every half a minute.
    pub async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.revocations.prune(now);
        let mut swept = 0;
        loop {
            let some = self.writer.write(move |rows| rows.sweep(now)).await?;
            swept += some;
            if some < SWEPT_AT_ONCE {
                return Ok(swept);
            }
        }
    }

    fn counted(&self, address: Address, until: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MOST_COUNTS && !counts.contains_key(&address) {
            counts.retain(|_, count| now < count.until);
            if counts.len() >= MOST_COUNTS {
                return Err(StoreError::Full { kind: address.kind() });
            }
        }
        let count = counts.entry(address).or_insert(Count { number: 0, until });
        if count.until <= now {
            *count = Count { number: 0, until };
        }
        count.number = count.number.saturating_add(1);
        Ok(count.number)
    }
}

impl Store for EmbeddedStore {
    fn use_once(&self, address: Address, until: Timestamp, now: Timestamp) -> StoreFuture<'_, FirstUse> {
        self.writer.write(move |rows| operations::use_once(rows, address, until, now)).boxed()
    }

    fn put(&self, record: Sealed, now: Timestamp) -> StoreFuture<'_, ()> {
        self.writer.write(move |rows| operations::put(rows, &record, now)).boxed()
    }

    fn get(&self, address: Address, now: Timestamp) -> StoreFuture<'_, Option<Stored>> {
        let file = Arc::clone(&self.file);
        async move {
            let found = tokio::task::spawn_blocking(move || file.read(&address)).await;
            let row = found.map_err(|error| StoreError::Away { reason: error.to_string() })??;
            row.filter(|row| row.is_there(now)).map_or(Ok(None), |row| row.into_stored(address).map(Some))
        }
        .boxed()
    }

    fn replace(&self, version: u64, record: Sealed, now: Timestamp) -> StoreFuture<'_, Replaced> {
        self.writer.write(move |rows| operations::replace(rows, version, &record, now)).boxed()
    }

    fn remove(&self, address: Address) -> StoreFuture<'_, ()> {
        self.writer.write(move |rows| rows.delete(&address)).boxed()
    }

    fn take(&self, address: Address, remember_until: Timestamp, now: Timestamp) -> StoreFuture<'_, Taken> {
        self.writer.write(move |rows| operations::take(rows, address, remember_until, now)).boxed()
    }

    fn start_family(&self, record: Sealed, now: Timestamp) -> StoreFuture<'_, FamilyStart> {
        self.writer.write(move |rows| operations::start_family(rows, &record, now)).boxed()
    }

    fn rotate_family(&self, step: RotateFamily, now: Timestamp) -> StoreFuture<'_, Rotation> {
        async move {
            let (family, until) = (step.next.address(), step.revoked_until);
            let rotation = self.writer.write(move |rows| operations::rotate_family(rows, &step, now)).await?;
            if rotation == Rotation::Reused {
                self.revocations.insert(&family.revocation(), until, now)?;
            }
            Ok(rotation)
        }
        .boxed()
    }

    fn end_family(&self, family: Address, until: Timestamp, now: Timestamp) -> StoreFuture<'_, ()> {
        async move {
            self.revocations.insert(&family.revocation(), until, now)?;
            self.writer.write(move |rows| operations::end_family(rows, family, until, now)).await
        }
        .boxed()
    }

    fn revoke(&self, revocation: Address, until: Timestamp, now: Timestamp) -> StoreFuture<'_, ()> {
        async move {
            self.revocations.insert(&revocation, until, now)?;
            self.writer.write(move |rows| operations::revoke(rows, revocation, until, now)).await
        }
        .boxed()
    }

    fn count(&self, address: Address, until: Timestamp, now: Timestamp) -> StoreFuture<'_, u64> {
        std::future::ready(self.counted(address, until, now)).boxed()
    }

    fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    fn health(&self) -> Health {
        Health {
            reachable: self.file.is_usable(),
            revocations_synced: self.revocations.synced(),
            // Nobody else can revoke anything in this store.
            revocations_silence: Some(Duration::ZERO),
            revocations: self.revocations.len(),
        }
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EmbeddedStore").field("path", &self.file.path()).finish_non_exhaustive()
    }
}

/// Ends when the store is dropped.
async fn sweep_regularly(writer: writer::WeakWriter, revocations: Arc<Revocations>) {
    let mut tick = tokio::time::interval(SWEEP_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let now = Timestamp::now();
        revocations.prune(now);
        loop {
            match writer.write(move |rows| rows.sweep(now)).await {
                None => return,
                Some(Ok(SWEPT_AT_ONCE)) => {}
                // What failed is logged by the writer, and is tried again at the next tick.
                Some(Ok(_) | Err(_)) => break,
            }
        }
    }
}

/// The kinds that this store keeps in its file.
fn limit(kind: Kind) -> u64 {
    match kind {
        // Anybody can begin these, so a flood of them must not take the room of the others, nor the disk.
        Kind::Launch | Kind::Link => 50_000,
        Kind::Assertion | Kind::Code | Kind::Claim | Kind::Attempts => 200_000,
        Kind::Session | Kind::Family => 500_000,
        Kind::Revocation => 1_000_000,
    }
}
