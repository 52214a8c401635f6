//! The store that replicas share: Valkey, or Redis from version 6.2 on.
//!
//! Each step is one command or one script, which the server runs without interleaving any other; a Redis Cluster is not
//! supported, since a script touches a family and the list of revocations. The server must not evict
//! (`maxmemory-policy noeviction`): what is evicted could be used a second time. It must have a database number of its
//! own: all keys begin with `hearthgate:`, and two installations in one database would share revocations.

mod follow;
mod link;
mod scripts;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use redis::{ScriptInvocation, cmd};
use tokio_util::task::AbortOnDropHandle;

use self::link::Link;
use self::scripts::Scripts;
use super::{
    Address, FamilyStart, FirstUse, Health, OpenError, Replaced, Revocations, RotateFamily, Rotation, Sealed, Store,
    StoreError, StoreFuture, Stored, Taken,
};

/// A server that is silent for longer is away, even if its connection stands.
const REACHABLE_WITHIN: Duration = Duration::from_secs(2);

/// The store in a Valkey or Redis server.
pub struct RedisStore {
    link: Arc<Link>,
    scripts: Arc<Scripts>,
    revocations: Arc<Revocations>,
    _follower: AbortOnDropHandle<()>,
}

impl RedisStore {
    /// The store behind a URL, `redis://[[user]:password@]host[:port][/database]`, or `rediss://` for TLS (with a CA
    /// bundle of PEM certificates if the system's do not know the server's).
    ///
    /// Connects in the background and again whenever the connection is lost; until it has, every step answers
    /// [`StoreError::Away`]. Must be called within a tokio runtime.
    pub fn open(url: &str, ca_bundle: Option<&[u8]>) -> Result<Self, OpenError> {
        let link = Arc::new(Link::new(url, ca_bundle)?);
        let scripts = Arc::new(Scripts::new());
        let revocations = Arc::new(Revocations::new());
        let follower = tokio::spawn(follow::follow(Arc::clone(&link), Arc::clone(&scripts), Arc::clone(&revocations)));
        Ok(Self { link, scripts, revocations, _follower: AbortOnDropHandle::new(follower) })
    }

    async fn run<T: redis::FromRedisValue>(
        &self,
        address: Address,
        invocation: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        self.link.run(address.kind(), invocation).await
    }
}

impl Store for RedisStore {
    fn use_once(&self, address: Address, until: Timestamp, now: Timestamp) -> StoreFuture<'_, FirstUse> {
        async move {
            let mut command = cmd("SET");
            command.arg(key(&address)).arg(1).arg("NX").arg("PX").arg(lifetime(until, now));
            let set: Option<String> = self.link.command(address.kind(), &command).await?;
            Ok(if set.is_some() { FirstUse::First } else { FirstUse::Repeated })
        }
        .boxed()
    }

    fn put(&self, record: Sealed, now: Timestamp) -> StoreFuture<'_, ()> {
        async move {
            let address = record.address();
            let stored: bool = self.run(address, &self.scripts.put(&record, now)).await?;
            if stored { Ok(()) } else { Err(StoreError::Exists { address }) }
        }
        .boxed()
    }

    fn get(&self, address: Address, now: Timestamp) -> StoreFuture<'_, Option<Stored>> {
        async move {
            let mut command = cmd("HMGET");
            command.arg(key(&address)).arg(scripts::CONTENT).arg(scripts::VERSION).arg(scripts::STATE);
            let found: (Option<Vec<u8>>, Option<u64>, Option<String>) =
                self.link.command(address.kind(), &command).await?;
            let (Some(content), Some(version), None) = found else { return Ok(None) };
            let record = Sealed::from_bytes(address, content)?;
            Ok((now < record.until()).then_some(Stored { record, version }))
        }
        .boxed()
    }

    fn replace(&self, version: u64, record: Sealed, now: Timestamp) -> StoreFuture<'_, Replaced> {
        async move {
            let word: String = self.run(record.address(), &self.scripts.replace(version, &record, now)).await?;
            match word.as_str() {
                "replaced" => Ok(Replaced::Replaced),
                "changed" => Ok(Replaced::Changed),
                "absent" => Ok(Replaced::Absent),
                _ => Err(link::unexpected()),
            }
        }
        .boxed()
    }

    fn remove(&self, address: Address) -> StoreFuture<'_, ()> {
        async move { self.link.command(address.kind(), cmd("DEL").arg(key(&address))).await }.boxed()
    }

    fn take(&self, address: Address, remember_until: Timestamp, now: Timestamp) -> StoreFuture<'_, Taken> {
        async move {
            let found: Option<(String, Vec<u8>)> =
                self.run(address, &self.scripts.take(&address, remember_until, now)).await?;
            let Some((word, content)) = found else { return Ok(Taken::Absent) };
            let record = Sealed::from_bytes(address, content)?;
            match word.as_str() {
                "first" => Ok(Taken::First(record)),
                "again" => Ok(Taken::Again(record)),
                _ => Err(link::unexpected()),
            }
        }
        .boxed()
    }

    fn start_family(&self, record: Sealed, now: Timestamp) -> StoreFuture<'_, FamilyStart> {
        async move {
            let started: bool = self.run(record.address(), &self.scripts.put(&record, now)).await?;
            Ok(if started { FamilyStart::Started } else { FamilyStart::Refused })
        }
        .boxed()
    }

    fn rotate_family(&self, step: RotateFamily, now: Timestamp) -> StoreFuture<'_, Rotation> {
        async move {
            let family = step.next.address();
            let word: String = self.run(family, &self.scripts.rotate_family(&step, now)).await?;
            match word.as_str() {
                "rotated" => Ok(Rotation::Rotated),
                "reused" => {
                    self.revocations.insert(&family.revocation(), step.revoked_until, now)?;
                    Ok(Rotation::Reused)
                }
                "unknown" => Ok(Rotation::Unknown),
                _ => Err(link::unexpected()),
            }
        }
        .boxed()
    }

    fn end_family(&self, family: Address, until: Timestamp, now: Timestamp) -> StoreFuture<'_, ()> {
        async move {
            // First here: if the server is away, the follower tells it when it is back.
            self.revocations.insert(&family.revocation(), until, now)?;
            self.run(family, &self.scripts.end_family(&family, until, now)).await
        }
        .boxed()
    }

    fn revoke(&self, revocation: Address, until: Timestamp, now: Timestamp) -> StoreFuture<'_, ()> {
        async move {
            self.revocations.insert(&revocation, until, now)?;
            self.run(revocation, &self.scripts.revoke(&revocation, until, now)).await
        }
        .boxed()
    }

    fn count(&self, address: Address, until: Timestamp, now: Timestamp) -> StoreFuture<'_, u64> {
        async move { self.run(address, &self.scripts.count(&address, until, now)).await }.boxed()
    }

    fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    fn health(&self) -> Health {
        Health {
            reachable: self.revocations.heard_within(REACHABLE_WITHIN),
            revocations_synced: self.revocations.synced(),
            revocations_silence: self.revocations.silence(),
            revocations: self.revocations.len(),
        }
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RedisStore").field("server", &self.link.server()).finish_non_exhaustive()
    }
}

/// The server's key of a record.
fn key(address: &Address) -> String {
    format!("hearthgate:{}:{}", address.kind(), address.hex())
}

/// How long a key lives, in milliseconds. As a span, so that only the replicas' clocks count, and never the server's.
fn lifetime(until: Timestamp, now: Timestamp) -> i64 {
    // The server refuses 0, and forgets after 1 ms what should be gone already.
    until.as_millisecond().saturating_sub(now.as_millisecond()).max(1)
}
