//! The tables of the file, and what one row of them says.

use std::collections::BTreeMap;

use jiff::Timestamp;
use redb::{ReadTransaction, ReadableTable as _, Table, TableDefinition, WriteTransaction};

use super::limit;
use crate::store::{Address, Kind, SealProblem, Sealed, StoreError, Stored};

/// One byte of kind, then the digest.
const KEY_LENGTH: usize = 1 + Address::DIGEST_LENGTH;
type Key = [u8; KEY_LENGTH];

const RECORDS: TableDefinition<'_, &Key, &[u8]> = TableDefinition::new("records");
/// The keys in the order in which they expire (milliseconds since 1970).
const EXPIRY: TableDefinition<'_, (i64, &Key), ()> = TableDefinition::new("expiry");

/// How many expired records one sweep removes, so that no request waits long behind it.
pub(super) const SWEPT_AT_ONCE: usize = 1_000;

/// How many rows of each kind there are.
pub(super) type Counts = BTreeMap<Kind, u64>;

/// What a row is, beside its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// There.
    Live,
    /// Taken; kept to tell the second taker.
    Taken,
    /// A family that was ended; kept so that it is not begun.
    Ended,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) state: State,
    pub(super) until: Timestamp,
    pub(super) version: u64,
    /// Sealed, or empty.
    pub(super) content: Vec<u8>,
}

impl Row {
    /// A mark without content.
    pub(super) fn mark(state: State, until: Timestamp) -> Self {
        Self { state, until, version: 1, content: Vec::new() }
    }

    pub(super) fn of(record: &Sealed, version: u64) -> Self {
        Self { state: State::Live, until: record.until(), version, content: record.as_bytes().to_vec() }
    }

    /// Whether a reader may see it.
    pub(super) fn is_there(&self, now: Timestamp) -> bool {
        self.state == State::Live && now < self.until
    }

    pub(super) fn into_stored(self, address: Address) -> Result<Stored, StoreError> {
        let version = self.version;
        Ok(Stored { record: self.into_sealed(address)?, version })
    }

    pub(super) fn into_sealed(self, address: Address) -> Result<Sealed, StoreError> {
        Sealed::from_bytes(address, self.content)
    }

    /// One byte of state, eight of expiry, eight of version, then the content.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(17 + self.content.len());
        bytes.push(match self.state {
            State::Live => 0,
            State::Taken => 1,
            State::Ended => 2,
        });
        bytes.extend(self.until.as_millisecond().to_be_bytes());
        bytes.extend(self.version.to_be_bytes());
        bytes.extend_from_slice(&self.content);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (state, rest) = bytes.split_first()?;
        let (until, rest) = rest.split_first_chunk()?;
        let (version, content) = rest.split_first_chunk()?;
        Some(Self {
            state: match state {
                0 => State::Live,
                1 => State::Taken,
                2 => State::Ended,
                _ => return None,
            },
            until: Timestamp::from_millisecond(i64::from_be_bytes(*until)).ok()?,
            version: u64::from_be_bytes(*version),
            content: content.to_vec(),
        })
    }
}

/// The rows within one write transaction.
pub(super) struct Rows<'t> {
    records: Table<'t, &'static Key, &'static [u8]>,
    expiry: Table<'t, (i64, &'static Key), ()>,
    counts: Counts,
    changed: bool,
    broken: Option<redb::Error>,
}

impl<'t> Rows<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction, counts: Counts) -> Result<Self, redb::Error> {
        Ok(Self {
            records: transaction.open_table(RECORDS)?,
            expiry: transaction.open_table(EXPIRY)?,
            counts,
            changed: false,
            broken: None,
        })
    }

    /// The row of an address, unless it expired.
    pub(super) fn get(&mut self, address: &Address, now: Timestamp) -> Result<Option<Row>, StoreError> {
        Ok(self.any(address)?.filter(|row| now < row.until))
    }

    /// Writes a row in place of whatever lies there.
    pub(super) fn set(&mut self, address: &Address, row: &Row, now: Timestamp) -> Result<(), StoreError> {
        let kind = address.kind();
        if let Some(before) = self.any(address)? {
            self.unlist(address, before.until)?;
        } else {
            if self.count(kind) >= limit(kind) {
                // One step is enough for one record, and nobody waits long for it.
                self.sweep(now)?;
            }
            if self.count(kind) >= limit(kind) {
                return Err(StoreError::Full { kind });
            }
            *self.counts.entry(kind).or_default() += 1;
        }
        self.changed = true;
        let key = key(address);
        let written = self.records.insert(&key, row.encode().as_slice()).map(drop);
        self.checked(written)?;
        let listed = self.expiry.insert((row.until.as_millisecond(), &key), ()).map(drop);
        self.checked(listed)
    }

    /// Removes a row, if there is one.
    pub(super) fn delete(&mut self, address: &Address) -> Result<(), StoreError> {
        let Some(row) = self.any(address)? else { return Ok(()) };
        self.unlist(address, row.until)?;
        self.changed = true;
        let removed = self.records.remove(&key(address)).map(drop);
        self.checked(removed)?;
        self.forget(address.kind());
        Ok(())
    }

    /// Removes up to [`SWEPT_AT_ONCE`] rows that expired, and says how many.
    pub(super) fn sweep(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        let mut swept = 0;
        while swept < SWEPT_AT_ONCE {
            let first = self.expiry.first().map(|entry| entry.map(|(entry, _)| (entry.value().0, *entry.value().1)));
            let Some((until, key)) = self.checked(first)?.filter(|(until, _)| *until <= now.as_millisecond()) else {
                break;
            };
            self.changed = true;
            let unlisted = self.expiry.remove((until, &key)).map(drop);
            self.checked(unlisted)?;
            let removed = self.records.remove(&key).map(|row| row.is_some());
            if self.checked(removed)?
                && let Some(kind) = Kind::ALL.into_iter().find(|kind| Some(&kind.number()) == key.first())
            {
                self.forget(kind);
            }
            swept += 1;
        }
        Ok(swept)
    }

    /// Ends the work: the counts as they are once this is committed, or why it must not be. `None`: nothing changed.
    pub(super) fn finish(self) -> Result<Option<Counts>, redb::Error> {
        match self.broken {
            Some(error) => Err(error),
            None => Ok(self.changed.then_some(self.counts)),
        }
    }

    fn any(&mut self, address: &Address) -> Result<Option<Row>, StoreError> {
        let found = self.records.get(&key(address)).map(|row| row.map(|row| Row::decode(row.value())));
        match self.checked(found)? {
            None => Ok(None),
            Some(Some(row)) => Ok(Some(row)),
            Some(None) => Err(unreadable(address)),
        }
    }

    fn unlist(&mut self, address: &Address, until: Timestamp) -> Result<(), StoreError> {
        self.changed = true;
        let removed = self.expiry.remove((until.as_millisecond(), &key(address))).map(drop);
        self.checked(removed)
    }

    fn count(&self, kind: Kind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or_default()
    }

    fn forget(&mut self, kind: Kind) {
        if let Some(count) = self.counts.get_mut(&kind) {
            *count = count.saturating_sub(1);
        }
    }

    /// Remembers that the file failed: then nothing of this transaction is committed.
    fn checked<T>(&mut self, result: Result<T, redb::StorageError>) -> Result<T, StoreError> {
        result.map_err(|error| {
            let reason = error.to_string();
            self.broken = Some(error.into());
            StoreError::Away { reason }
        })
    }
}

/// The row of an address as last committed.
pub(super) fn read(transaction: &ReadTransaction, address: &Address) -> Result<Option<Row>, StoreError> {
    let away = |error: redb::Error| StoreError::Away { reason: error.to_string() };
    let records = transaction.open_table(RECORDS).map_err(|error| away(error.into()))?;
    match records.get(&key(address)).map_err(|error| away(error.into()))? {
        None => Ok(None),
        Some(bytes) => Row::decode(bytes.value()).map(Some).ok_or_else(|| unreadable(address)),
    }
}

/// How many rows of each kind are committed.
pub(super) fn counts(transaction: &ReadTransaction) -> Result<Counts, redb::Error> {
    let records = transaction.open_table(RECORDS)?;
    let mut counts = Counts::new();
    for kind in Kind::ALL {
        let number = records.range::<&Key>(&filled(kind, 0)..=&filled(kind, u8::MAX))?.count();
        counts.insert(kind, u64::try_from(number).unwrap_or(u64::MAX));
    }
    Ok(counts)
}

/// The committed revocations that have not expired.
pub(super) fn revocations(
    transaction: &ReadTransaction,
    now: Timestamp,
) -> Result<Vec<(Address, Timestamp)>, redb::Error> {
    let records = transaction.open_table(RECORDS)?;
    let mut revocations = Vec::new();
    for entry in records.range::<&Key>(&filled(Kind::Revocation, 0)..=&filled(Kind::Revocation, u8::MAX))? {
        let (key, row) = entry?;
        match (key.value().last_chunk(), Row::decode(row.value())) {
            (Some(digest), Some(row)) if now < row.until => {
                revocations.push((Address::from_digest(Kind::Revocation, *digest), row.until));
            }
            (Some(_), Some(_)) => {}
            (None, _) | (_, None) => tracing::error!("the store's file holds a revocation that cannot be read"),
        }
    }
    Ok(revocations)
}

fn key(address: &Address) -> Key {
    let mut key = filled(address.kind(), 0);
    for (to, from) in key.iter_mut().skip(1).zip(address.digest()) {
        *to = *from;
    }
    key
}

/// The keys between which a kind's lie: its number, and a digest of one repeated byte.
fn filled(kind: Kind, byte: u8) -> Key {
    let mut key = [byte; KEY_LENGTH];
    if let Some(first) = key.first_mut() {
        *first = kind.number();
    }
    key
}

fn unreadable(address: &Address) -> StoreError {
    StoreError::Unopenable { address: *address, problem: SealProblem::Form }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::{Row, State};

    proptest! {
        #[test]
        fn a_row_reads_back_as_it_was_written(
            state in prop_oneof![Just(State::Live), Just(State::Taken), Just(State::Ended)],
            until in 0..4_000_000_000_000_i64,
            version in any::<u64>(),
            content in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let row = Row { state, until: Timestamp::from_millisecond(until).unwrap(), version, content };
            prop_assert_eq!(Row::decode(&row.encode()), Some(row));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Row::decode(&bytes);
        }
    }
}
