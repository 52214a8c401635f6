//! Follows the revocations: every replica knows of each within a second.
//!
//! On a connection of its own it reads the set whole, then waits at the stream for what is new; the wait ends twice a
//! second, so that a dead connection is noticed as fast. After every loss it reads the set whole again, and tells the
//! server what this replica knows and the server does not: a revocation made while the server was away, or one that a
//! server without persistence forgot.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, cmd};

use super::link::{Link, reason};
use super::scripts::{DIGEST_FIELD, REVOCATION_STREAM, REVOCATIONS, Scripts, UNTIL_FIELD};
use crate::store::{Address, Kind, Revocations};

/// How long one wait at the stream takes, in milliseconds.
const WAIT: usize = 500;
/// A connection that does not answer for so long is dead.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);
/// Between attempts to connect.
const PAUSE: Duration = Duration::from_millis(250);
/// How many revocations are read with one command.
const AT_ONCE: usize = 1_000;
/// The set is read whole again this often: a replica that fell behind further than the stream reaches catches up.
const READ_WHOLE_EVERY: Duration = Duration::from_mins(1);

type Entry = (String, Vec<(String, Vec<u8>)>);

/// Runs until its task is aborted.
pub(super) async fn follow(link: Arc<Link>, scripts: Arc<Scripts>, revocations: Arc<Revocations>) {
    let mut was_reached = true;
    loop {
        let error = match link.connect(ANSWER_WITHIN).await {
            Ok(connection) => {
                let mut follower = Follower { connection, scripts: &scripts, revocations: &revocations };
                let Err(error) = follower.follow(&link, &mut was_reached).await;
                // What broke this connection most likely broke the other: nobody need run into it.
                link.drop_connection().await;
                error
            }
            Err(error) => error,
        };
        revocations.mark_lost();
        if was_reached {
            tracing::warn!(server = link.server(), reason = reason(&error), "the store is away");
            was_reached = false;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What never comes.
enum Never {}

struct Follower<'a> {
    connection: MultiplexedConnection,
    scripts: &'a Scripts,
    revocations: &'a Revocations,
}

impl Follower<'_> {
    async fn follow(&mut self, link: &Link, was_reached: &mut bool) -> Result<Never, RedisError> {
        self.warn_of_eviction(link).await?;
        loop {
            // The place in the stream first: what is added while the set is read is then told twice, and never lost.
            let mut place = self.newest_place().await?;
            self.read_whole().await?;
            if !*was_reached {
                tracing::info!(server = link.server(), "the store is back");
                *was_reached = true;
            }
            let read = Instant::now();
            while read.elapsed() < READ_WHOLE_EVERY {
                for (entry_place, fields) in self.wait(&place).await? {
                    self.learn(&fields);
                    place = entry_place;
                }
                self.revocations.mark_heard();
            }
            self.revocations.prune(Timestamp::now());
        }
    }

    async fn newest_place(&mut self) -> Result<String, RedisError> {
        let newest: Vec<Entry> = cmd("XREVRANGE")
            .arg(REVOCATION_STREAM)
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(1)
            .query_async(&mut self.connection)
            .await?;
        Ok(newest.into_iter().next().map_or_else(|| "0-0".to_owned(), |(place, _)| place))
    }

    /// Reads the set whole, and adds to it what only this replica knows.
    async fn read_whole(&mut self) -> Result<(), RedisError> {
        let mut servers: HashMap<Address, i64> = HashMap::new();
        let mut cursor = 0_u64;
        loop {
            let (next, found): (u64, Vec<(Vec<u8>, i64)>) = cmd("ZSCAN")
                .arg(REVOCATIONS)
                .arg(cursor)
                .arg("COUNT")
                .arg(AT_ONCE)
                .query_async(&mut self.connection)
                .await?;
            let now = Timestamp::now();
            for (digest, until) in found {
                if let Some(revocation) = address(&digest) {
                    self.insert(revocation, until, now);
                    servers.insert(revocation, until);
                }
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        let now = Timestamp::now();
        for (revocation, until) in self.revocations.held(now) {
            if servers.get(&revocation).is_none_or(|servers| *servers < until.as_millisecond()) {
                let told = self.scripts.revoke(&revocation, until, now);
                told.invoke_async::<()>(&mut self.connection).await?;
            }
        }
        self.revocations.mark_synced();
        Ok(())
    }

    /// Waits for what comes after a place in the stream; nothing may come.
    async fn wait(&mut self, place: &str) -> Result<Vec<Entry>, RedisError> {
        let streams: Option<Vec<(String, Vec<Entry>)>> = cmd("XREAD")
            .arg("COUNT")
            .arg(AT_ONCE)
            .arg("BLOCK")
            .arg(WAIT)
            .arg("STREAMS")
            .arg(REVOCATION_STREAM)
            .arg(place)
            .query_async(&mut self.connection)
            .await?;
        Ok(streams.into_iter().flatten().flat_map(|(_, entries)| entries).collect())
    }

    fn learn(&self, fields: &[(String, Vec<u8>)]) {
        let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_slice());
        let until = field(UNTIL_FIELD).and_then(|until| std::str::from_utf8(until).ok()?.parse().ok());
        if let (Some(revocation), Some(until)) = (field(DIGEST_FIELD).and_then(address), until) {
            self.insert(revocation, until, Timestamp::now());
        } else {
            tracing::warn!("the store's list of revocations holds an entry that is none of ours");
        }
    }

    fn insert(&self, revocation: Address, until: i64, now: Timestamp) {
        // An expiry beyond what a date can say is a revocation for ever.
        let until = Timestamp::from_millisecond(until).unwrap_or(Timestamp::MAX);
        if until > now
            && let Err(error) = self.revocations.insert(&revocation, until, now)
        {
            tracing::error!(%error, "a revocation that another replica made is not held here");
        }
    }

    /// Says once a connection if the server may throw away what must not be used twice.
    async fn warn_of_eviction(&mut self, link: &Link) -> Result<(), RedisError> {
        let memory: Result<String, RedisError> = cmd("INFO").arg("memory").query_async(&mut self.connection).await;
        let memory = match memory {
            Ok(memory) => memory,
            // A server that does not let us ask is used all the same.
            Err(error) if !error.is_io_error() => return Ok(()),
            Err(error) => return Err(error),
        };
        let value = |name: &str| memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let (limit, policy) = (value("maxmemory"), value("maxmemory_policy"));
        if limit != Some("0") && policy.is_some_and(|policy| policy.trim() != "noeviction") {
            tracing::warn!(
                server = link.server(),
                policy,
                "the store evicts records when its memory is full, and what is evicted can be used twice: \
                 set maxmemory-policy to noeviction"
            );
        }
        Ok(())
    }
}

fn address(digest: &[u8]) -> Option<Address> {
    Some(Address::from_digest(Kind::Revocation, digest.try_into().ok()?))
}
