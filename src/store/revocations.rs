//! What is revoked, in memory: every request with a bearer token asks, so asking costs a look-up and no I/O.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{Address, Kind, StoreError};

/// The most revocations that are held at once. They live as long as an access token does (an hour at most), so this is
/// far above what anybody revokes and far below what would hurt (about 60 bytes each).
const MOST_REVOCATIONS: usize = 1_000_000;

/// How the store is, for `/readyz` and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether the store answers. Where it does not, what needs one-time use answers 503, and bearer checks go on.
    pub reachable: bool,
    /// Whether the revocations were read whole since this process started: without them a replica is not ready.
    pub revocations_synced: bool,
    /// For how long nothing was heard of new revocations; `None` before the first time. Above a second they are late.
    pub revocations_silence: Option<Duration>,
    /// How many revocations are held.
    pub revocations: usize,
}

/// The revoked access tokens and families of all gateways, held by one process and fed by its store.
#[derive(Debug)]
pub struct Revocations {
    until: RwLock<HashMap<[u8; Address::DIGEST_LENGTH], Timestamp>>,
    synced: AtomicBool,
    lost: AtomicBool,
    heard: Mutex<Option<Instant>>,
    changes: watch::Sender<u64>,
}

impl Revocations {
    pub(super) fn new() -> Self {
        Self {
            until: RwLock::default(),
            synced: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            heard: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// Whether what lies at this [`Kind::Revocation`] address is revoked.
    pub fn contains(&self, revocation: &Address, now: Timestamp) -> bool {
        self.read().get(revocation.digest()).is_some_and(|until| now < *until)
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// Whether the store's were read whole since this process started. Never becomes false again: when the store goes
    /// away the last set is still the best there is.
    pub fn synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    /// Tells whenever something was added, as a number that grows.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Adds one; an earlier one of the same address is prolonged and never shortened.
    pub(super) fn insert(&self, revocation: &Address, until: Timestamp, now: Timestamp) -> Result<(), StoreError> {
        let mut held = self.write();
        if held.len() >= MOST_REVOCATIONS && !held.contains_key(revocation.digest()) {
            held.retain(|_, until| now < *until);
            if held.len() >= MOST_REVOCATIONS {
                return Err(StoreError::Full { kind: Kind::Revocation });
            }
        }
        let entry = held.entry(*revocation.digest()).or_insert(until);
        *entry = until.max(*entry);
        drop(held);
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
        Ok(())
    }

    /// Forgets what expired.
    pub(super) fn prune(&self, now: Timestamp) {
        self.write().retain(|_, until| now < *until);
    }

    /// What is held and not expired.
    pub(super) fn held(&self, now: Timestamp) -> Vec<(Address, Timestamp)> {
        self.read()
            .iter()
            .filter(|(_, until)| now < **until)
            .map(|(digest, until)| (Address::from_digest(Kind::Revocation, *digest), *until))
            .collect()
    }

    /// The store's were read whole.
    pub(super) fn mark_synced(&self) {
        self.synced.store(true, Ordering::Release);
        self.mark_heard();
    }

    /// The store told what is new, if anything is.
    pub(super) fn mark_heard(&self) {
        *self.last_heard() = Some(Instant::now());
        self.lost.store(false, Ordering::Release);
    }

    /// The connection on which the store tells is lost.
    pub(super) fn mark_lost(&self) {
        self.lost.store(true, Ordering::Release);
    }

    /// Whether the store told something lately, if only that nothing is new.
    pub(super) fn heard_within(&self, time: Duration) -> bool {
        !self.lost.load(Ordering::Acquire) && self.silence().is_some_and(|silence| silence < time)
    }

    /// For how long the store has told nothing.
    pub(super) fn silence(&self) -> Option<Duration> {
        self.last_heard().map(|heard| heard.elapsed())
    }

    // A panic while one of these locks is held leaves a whole map and a whole instant behind.

    fn read(&self) -> RwLockReadGuard<'_, HashMap<[u8; Address::DIGEST_LENGTH], Timestamp>> {
        self.until.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<[u8; Address::DIGEST_LENGTH], Timestamp>> {
        self.until.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_heard(&self) -> MutexGuard<'_, Option<Instant>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::Revocations;
    use crate::store::{Address, Kind};

    fn at(second: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
    }

    #[test]
    fn a_revocation_holds_until_its_token_expires_and_is_then_forgotten() {
        let revocations = Revocations::new();
        let token = Address::of(Kind::Revocation, "clinic/epic", "token");
        revocations.insert(&token, at(10), at(0)).unwrap();
        assert!(revocations.contains(&token, at(9)));
        assert!(!revocations.contains(&token, at(10)));
        assert!(!revocations.contains(&Address::of(Kind::Revocation, "clinic/epic", "other"), at(9)));
        revocations.prune(at(10));
        assert!(revocations.is_empty());
    }

    #[test]
    fn a_second_revocation_never_shortens_the_first() {
        let revocations = Revocations::new();
        let token = Address::of(Kind::Revocation, "clinic/epic", "token");
        revocations.insert(&token, at(10), at(0)).unwrap();
        revocations.insert(&token, at(5), at(0)).unwrap();
        assert!(revocations.contains(&token, at(9)));
        assert_eq!(revocations.len(), 1);
    }

    #[test]
    fn whoever_watches_learns_of_a_revocation() {
        let revocations = Revocations::new();
        let changes = revocations.changes();
        revocations.insert(&Address::of(Kind::Revocation, "g", "t"), at(10), at(0)).unwrap();
        assert!(changes.has_changed().unwrap());
    }
}
