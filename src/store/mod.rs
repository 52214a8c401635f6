//! The state that replicas share: what may be used once, what was revoked, whose session is whose.
//!
//! One [`Store`] trait, two implementations: [`EmbeddedStore`] (one file, one process) and [`RedisStore`] (Valkey or
//! Redis, any number of replicas). The trait's methods are whole decisions, each atomic across tasks, connections and
//! processes, and not a key-value map: a `get` followed by a `set` is how two replicas accept the same authorization
//! code. What a method answers as done is done: after a crash it still is (with Valkey, as far as its own
//! persistence reaches: `appendfsync everysec` may lose the last second).
//!
//! Nothing readable is kept. A record's key is a digest ([`Address`]), its content is [`Sealed`] for that address with
//! the gateway's sealing key. [`Records`] is the view that the endpoints work with: typed, for one gateway.
//!
//! Every method takes the time as an argument. A record is there while `now < until`.

mod address;
mod embedded;
mod error;
mod family;
mod records;
mod redis;
mod revocations;
mod seal;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use jiff::Timestamp;

pub use address::{Address, Kind};
pub use embedded::{EmbeddedStore, SetAside};
pub use error::{OpenError, SealProblem, StoreError};
pub use family::{Family, FamilyId, Rotated};
pub use records::{Record, Records, Take};
pub use redis::RedisStore;
pub use revocations::{Health, Revocations};
pub use seal::{LONGEST_CONTENT, Sealed, Sealer};

/// What a method of [`Store`] returns: boxed, so that the trait is object safe.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Whether something that may be used once was used for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstUse {
    /// Nobody used it before; from now on it is used.
    First,
    /// It was used before and has not expired since.
    Repeated,
}

/// A record as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its content, still sealed.
    pub record: Sealed,
    /// How often it was written, from 1 on; what [`Store::replace`] compares, and a family's generation.
    pub version: u64,
}

/// What became of a [`Store::replace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The record is the new one now.
    Replaced,
    /// Somebody else replaced it since that version was read; nothing was written.
    Changed,
    /// There is no such record; nothing was written.
    Absent,
}

/// What [`Store::take`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nobody took it before, and nobody else will.
    First(Sealed),
    /// It was taken before: this is what the first taker got, so that what was issued for it can be revoked.
    Again(Sealed),
    /// There is no such record, or it expired.
    Absent,
}

/// What became of a [`Store::start_family`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyStart {
    /// The family lives, at generation 1.
    Started,
    /// It was ended before it began (its authorization code came a second time), or it lives already.
    Refused,
}

/// One step of a refresh-token family (RFC 9700 §4.14.2): the token of one generation for that of the next.
#[derive(Clone, Debug)]
pub struct RotateFamily {
    /// The generation of the token that was presented. That it is genuine is known already ([`Family`]).
    pub presented: u64,
    /// The family's record from now on; its expiry is the family's.
    pub next: Sealed,
    /// Until when access tokens of this family could be valid: how long its revocation is remembered, if it comes to
    /// that.
    pub revoked_until: Timestamp,
}

/// What became of a [`Store::rotate_family`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The family is at the next generation.
    Rotated,
    /// The token had been used before: the family is ended and its access tokens are revoked, by this very step.
    Reused,
    /// There is no such family, it expired, it was ended, or it never came as far as that generation.
    Unknown,
}

/// The state that replicas share. See the [module](self) for what holds of every method.
///
/// [`StoreError::Away`] leaves open whether the step was made: a request that timed out may still arrive. So an
/// endpoint answers 503, and a one-time value that was presented with it may be spent.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Marks something as used until `until`: of any number of racing callers exactly one gets [`FirstUse::First`].
    fn use_once(&self, address: Address, until: Timestamp, now: Timestamp) -> StoreFuture<'_, FirstUse>;

    /// Keeps a new record until the time that it is sealed with.
    ///
    /// [`StoreError::Exists`] if there is one at this address: to change a record, [`replace`](Self::replace) it.
    fn put(&self, record: Sealed, now: Timestamp) -> StoreFuture<'_, ()>;

    /// The record at an address, unless it is absent, expired, taken or ended.
    fn get(&self, address: Address, now: Timestamp) -> StoreFuture<'_, Option<Stored>>;

    /// Replaces a record, if it still has the version that the caller read.
    fn replace(&self, version: u64, record: Sealed, now: Timestamp) -> StoreFuture<'_, Replaced>;

    /// Removes a record, whether or not there is one.
    fn remove(&self, address: Address) -> StoreFuture<'_, ()>;

    /// Takes a record out: of any number of racing callers exactly one gets [`Taken::First`].
    ///
    /// What was taken is remembered until `remember_until` (or its own expiry, whichever is later), so that the second
    /// taker is told apart from a guesser.
    fn take(&self, address: Address, remember_until: Timestamp, now: Timestamp) -> StoreFuture<'_, Taken>;

    /// Begins a refresh-token family at generation 1.
    fn start_family(&self, record: Sealed, now: Timestamp) -> StoreFuture<'_, FamilyStart>;

    /// Moves a family on by one generation, or ends it: of any number of racing callers that present the same
    /// generation exactly one gets [`Rotation::Rotated`].
    fn rotate_family(&self, step: RotateFamily, now: Timestamp) -> StoreFuture<'_, Rotation>;

    /// Ends a family, begun or not, and revokes its access tokens on all replicas until `until`.
    fn end_family(&self, family: Address, until: Timestamp, now: Timestamp) -> StoreFuture<'_, ()>;

    /// Revokes an access token, or all of a family, on all replicas until `until` (its `exp`).
    ///
    /// This replica refuses it at once, even if the store is away: it tells the store when that is back.
    fn revoke(&self, revocation: Address, until: Timestamp, now: Timestamp) -> StoreFuture<'_, ()>;

    /// Counts one more of something, and says how many there were since the count began. It ends at the `until` that
    /// the first caller named. A count may be forgotten by a restart.
    fn count(&self, address: Address, until: Timestamp, now: Timestamp) -> StoreFuture<'_, u64>;

    /// What is revoked, in this process's memory: asking costs no I/O and goes on while the store is away.
    fn revocations(&self) -> &Revocations;

    /// How the store is, for `/readyz` and metrics.
    fn health(&self) -> Health;
}
