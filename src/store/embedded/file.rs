//! The file itself: one process at a time, complete or absent, and never emptied by us.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;
use redb::{Builder, Database, DatabaseError, ReadableDatabase as _, StorageError, TableDefinition, TableError};
use redb::{TableHandle as _, WriteTransaction};

use super::SetAside;
use super::rows::{self, Counts, Row, Rows};
use crate::store::{Address, OpenError, StoreError};

/// Says that a file is a store of ours, and in which format.
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("hearthgate-store");
const FORMAT_KEY: &str = "format";
const FORMAT: u64 = 1;

/// What redb keeps of the file in memory.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Access to the file; the lock beside it is held for as long as this lives.
#[derive(Debug)]
pub(super) struct StoreFile {
    path: PathBuf,
    /// `None` while the file cannot be used, and once it is closed.
    database: RwLock<Option<Database>>,
    _lock: File,
}

/// Why a file is not opened.
enum Refusal {
    /// It is no store of ours, or not any more: it can be set aside.
    Unusable(String),
    /// It may be all right: it is left alone.
    Open(OpenError),
}

impl StoreFile {
    /// Opens the file or makes it; one that is unusable is moved away first.
    pub(super) fn open(path: &Path, now: Timestamp) -> Result<(Self, Counts, Option<SetAside>), OpenError> {
        let lock = lock(path)?;
        let mut set_aside = None;
        if path.try_exists().map_err(|source| cannot_use(path, source))? {
            match open_existing(path) {
                Ok((database, counts)) => return Ok((Self::new(path, database, lock), counts, None)),
                Err(Refusal::Open(error)) => return Err(error),
                Err(Refusal::Unusable(reason)) => set_aside = Some(move_away(path, reason, now)?),
            }
        }
        make(path)?;
        match open_existing(path) {
            Ok((database, counts)) => Ok((Self::new(path, database, lock), counts, set_aside)),
            Err(Refusal::Open(error)) => Err(error),
            Err(Refusal::Unusable(reason)) => Err(OpenError::Database { path: path.to_owned(), reason }),
        }
    }

    fn new(path: &Path, database: Database, lock: File) -> Self {
        Self { path: path.to_owned(), database: RwLock::new(Some(database)), _lock: lock }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it can be used now; asks without waiting for a reopening.
    pub(super) fn is_usable(&self) -> bool {
        self.database.try_read().is_ok_and(|database| database.is_some())
    }

    /// The row of an address, as last committed.
    pub(super) fn read(&self, address: &Address) -> Result<Option<Row>, StoreError> {
        let guard = self.reading();
        let away = |reason: String| StoreError::Away { reason };
        let database = guard.as_ref().ok_or_else(|| away("its file cannot be used".to_owned()))?;
        rows::read(&database.begin_read().map_err(|error| away(error.to_string()))?, address)
    }

    /// The revocations as last committed.
    pub(super) fn revocations(&self, now: Timestamp) -> Result<Vec<(Address, Timestamp)>, redb::Error> {
        match self.reading().as_ref() {
            Some(database) => rows::revocations(&database.begin_read()?, now),
            None => Ok(Vec::new()),
        }
    }

    /// Makes one transaction; it is committed, and synced, if `work` gives something.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<Option<T>, redb::Error>,
    ) -> Result<Option<T>, String> {
        let guard = self.reading();
        let database = guard.as_ref().ok_or("it is closed")?;
        let make = || -> Result<Option<T>, redb::Error> {
            let transaction = database.begin_write()?;
            let outcome = work(&transaction)?;
            if outcome.is_some() {
                transaction.commit()?;
            } else {
                transaction.abort()?;
            }
            Ok(outcome)
        };
        make().map_err(|error| error.to_string())
    }

    /// Opens the file again after redb gave it up. It is not set aside while the process runs: what is in it may be
    /// all right, and it is judged again at the next start.
    pub(super) fn reopen(&self) -> Result<Counts, OpenError> {
        let mut guard = self.writing();
        // redb must let go of the file before it can have it again.
        *guard = None;
        match open_existing(&self.path) {
            Ok((database, counts)) => {
                *guard = Some(database);
                Ok(counts)
            }
            Err(Refusal::Open(error)) => Err(error),
            Err(Refusal::Unusable(reason)) => Err(OpenError::Database { path: self.path.clone(), reason }),
        }
    }

    /// Lets go of the file.
    pub(super) fn close(&self) {
        *self.writing() = None;
    }

    // A panic while the lock is held leaves a database behind that is judged by its next use.

    fn reading(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> RwLockWriteGuard<'_, Option<Database>> {
        self.database.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cannot_use(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), source }
}

/// Takes the lock beside the file: redb's own is on the file, which may have to be moved away.
fn lock(path: &Path) -> Result<File, OpenError> {
    let place = beside(path, ".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&place)
        .map_err(|source| cannot_use(&place, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(cannot_use(&place, source)),
    }
}

/// Makes an empty store beside the place, and moves it there whole: no crash leaves half a file.
fn make(path: &Path) -> Result<(), OpenError> {
    let place = beside(path, ".new");
    match fs::remove_file(&place) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(cannot_use(&place, source)),
    }
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&place)
        .map_err(|source| cannot_use(&place, source))?;
    let fill = || -> Result<(), redb::Error> {
        let database = builder().create(&place)?;
        let transaction = database.begin_write()?;
        transaction.open_table(ABOUT)?.insert(FORMAT_KEY, FORMAT)?;
        drop(Rows::open(&transaction, Counts::new())?);
        transaction.commit()?;
        Ok(database.close()?)
    };
    fill().map_err(|error| OpenError::Database { path: place.clone(), reason: error.to_string() })?;
    fs::rename(&place, path).map_err(|source| cannot_use(path, source))?;
    sync_directory(path)
}

/// Opens a file that is there, and judges whether it is a store of ours.
fn open_existing(path: &Path) -> Result<(Database, Counts), Refusal> {
    // redb promises errors for what a crash leaves, not for what others do to a file: those may make it panic.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let database = builder().open(path).map_err(|error| judge(path, error))?;
        let counts = check(path, &database)?;
        Ok((database, counts))
    }));
    opened.unwrap_or_else(|_| Err(Refusal::Unusable("reading it made the embedded database panic".to_owned())))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    // The file is small: reading it once at the start is cheap, and finds what was changed behind our back.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

fn judge(path: &Path, error: DatabaseError) -> Refusal {
    let place = || path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            Refusal::Open(OpenError::InUse { path: place() })
        }
        DatabaseError::Storage(StorageError::Io(error)) => match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Refusal::Unusable(error.to_string()),
            _ => Refusal::Open(cannot_use(path, error)),
        },
        error @ (DatabaseError::Storage(StorageError::Corrupted(_))
        | DatabaseError::UpgradeRequired(_)
        | DatabaseError::RepairAborted) => Refusal::Unusable(error.to_string()),
        error => Refusal::Open(OpenError::Database { path: place(), reason: error.to_string() }),
    }
}

/// Whether a sound redb file is a store of ours.
fn check(path: &Path, database: &Database) -> Result<Counts, Refusal> {
    let look = || -> Result<Result<Counts, Refusal>, redb::Error> {
        let transaction = database.begin_read()?;
        if !transaction.list_tables()?.any(|table| table.name() == ABOUT.name()) {
            return Ok(Err(Refusal::Unusable("it is a redb file of another program".to_owned())));
        }
        let format = match transaction.open_table(ABOUT) {
            Ok(about) => about.get(FORMAT_KEY)?.map(|format| format.value()),
            Err(TableError::Storage(error)) => return Err(error.into()),
            Err(_) => None,
        };
        match format {
            Some(FORMAT) => rows::counts(&transaction).map(Ok),
            Some(found) => Ok(Err(Refusal::Open(OpenError::Later { path: path.to_owned(), found }))),
            None => Ok(Err(Refusal::Unusable("it does not say its format".to_owned()))),
        }
    };
    look().unwrap_or_else(|error| Err(Refusal::Unusable(error.to_string())))
}

/// Moves an unusable file out of the way, and tells it: it is never emptied or overwritten.
fn move_away(path: &Path, reason: String, now: Timestamp) -> Result<SetAside, OpenError> {
    let time = now.strftime("%Y%m%dT%H%M%SZ");
    let mut place = beside(path, &format!(".corrupt-{time}"));
    let mut number = 1;
    while place.try_exists().map_err(|source| cannot_use(&place, source))? {
        number += 1;
        place = beside(path, &format!(".corrupt-{time}-{number}"));
    }
    fs::rename(path, &place).map_err(|source| cannot_use(path, source))?;
    sync_directory(path)?;
    tracing::error!(
        path = %path.display(),
        moved_to = %place.display(),
        reason,
        "the store's file is unusable and was set aside; sessions, revocations and used assertions in it are lost"
    );
    Ok(SetAside { path: place, reason })
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// Makes a rename survive a power cut.
fn sync_directory(path: &Path) -> Result<(), OpenError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(|source| cannot_use(directory, source))
}
