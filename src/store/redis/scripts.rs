//! The steps that read and write, in Lua: the server runs each as a whole, so that no other client comes between. The
//! same decisions stand in `embedded/operations.rs`.
//!
//! A record is a hash of content, version and, where it is not just there, state (`taken`, `ended`). The revocations
//! are a sorted set of digests by their expiry, and a stream that tells the followers what is new in it.

use jiff::Timestamp;
use redis::{Script, ScriptInvocation};

use super::{key, lifetime};
use crate::store::{Address, RotateFamily, Sealed};

pub(super) const CONTENT: &str = "content";
pub(super) const VERSION: &str = "version";
pub(super) const STATE: &str = "state";

/// All revocations: digest by expiry in milliseconds.
pub(super) const REVOCATIONS: &str = "hearthgate:revocations";
/// What was added to them.
pub(super) const REVOCATION_STREAM: &str = "hearthgate:revocations:new";
/// The fields of an entry of that stream.
pub(super) const DIGEST_FIELD: &str = "digest";
pub(super) const UNTIL_FIELD: &str = "until";

/// Replicas' clocks may differ by this much; until then an expired revocation is kept, in milliseconds.
const CLOCK_DIFFERENCE: i64 = 10 * 60 * 1_000;

const PUT: &str = "
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'content', ARGV[1], 'version', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
";

const REPLACE: &str = "
local held = redis.call('HMGET', KEYS[1], 'version', 'state')
if not held[1] or held[2] then return 'absent' end
if held[1] ~= ARGV[3] then return 'changed' end
redis.call('HSET', KEYS[1], 'content', ARGV[1])
redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 'replaced'
";

const TAKE: &str = "
local held = redis.call('HMGET', KEYS[1], 'content', 'state')
if not held[1] then return false end
if held[2] then return {'again', held[1]} end
redis.call('HSET', KEYS[1], 'state', 'taken')
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return {'first', held[1]}
";

/// Begins every script that revokes. KEYS: the set, the stream. ARGV: digest, expiry, what expired before is removed.
const REVOKING: &str = "
local function revoke(set, stream, digest, expiry, expired)
  local held = redis.call('ZSCORE', set, digest)
  if held and tonumber(held) >= tonumber(expiry) then return end
  redis.call('ZADD', set, expiry, digest)
  redis.call('XADD', stream, 'MAXLEN', '~', 10000, '*', 'digest', digest, 'until', expiry)
  redis.call('ZREMRANGEBYSCORE', set, '-inf', expired)
end
local function finish(family, lifetime)
  redis.call('DEL', family)
  redis.call('HSET', family, 'state', 'ended')
  redis.call('PEXPIRE', family, lifetime)
end
";

const REVOKE: &str = "
revoke(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
";

const END_FAMILY: &str = "
revoke(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
finish(KEYS[3], ARGV[4])
";

const ROTATE_FAMILY: &str = "
local held = redis.call('HMGET', KEYS[3], 'version', 'state')
if not held[1] or held[2] then return 'unknown' end
local version, presented = tonumber(held[1]), tonumber(ARGV[5])
if presented > version then return 'unknown' end
if presented < version then
  revoke(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
  finish(KEYS[3], ARGV[4])
  return 'reused'
end
redis.call('HSET', KEYS[3], 'content', ARGV[6])
redis.call('HINCRBY', KEYS[3], 'version', 1)
redis.call('PEXPIRE', KEYS[3], ARGV[7])
return 'rotated'
";

const COUNT: &str = "
local number = redis.call('INCR', KEYS[1])
if number == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return number
";

/// The scripts, with their digests: the server is sent each text once.
#[derive(Debug)]
pub(super) struct Scripts {
    put: Script,
    replace: Script,
    take: Script,
    revoke: Script,
    end_family: Script,
    rotate_family: Script,
    count: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            put: Script::new(PUT),
            replace: Script::new(REPLACE),
            take: Script::new(TAKE),
            revoke: Script::new(&format!("{REVOKING}{REVOKE}")),
            end_family: Script::new(&format!("{REVOKING}{END_FAMILY}")),
            rotate_family: Script::new(&format!("{REVOKING}{ROTATE_FAMILY}")),
            count: Script::new(COUNT),
        }
    }

    /// Answers whether it was absent.
    pub(super) fn put(&self, record: &Sealed, now: Timestamp) -> ScriptInvocation<'_> {
        let mut call = self.put.key(key(&record.address()));
        call.arg(record.as_bytes()).arg(lifetime(record.until(), now));
        call
    }

    /// Answers `replaced`, `changed` or `absent`.
    pub(super) fn replace(&self, version: u64, record: &Sealed, now: Timestamp) -> ScriptInvocation<'_> {
        let mut call = self.replace.key(key(&record.address()));
        call.arg(record.as_bytes()).arg(lifetime(record.until(), now)).arg(version);
        call
    }

    /// Answers `first` or `again` with the content, or nothing.
    pub(super) fn take(&self, address: &Address, remember_until: Timestamp, now: Timestamp) -> ScriptInvocation<'_> {
        let mut call = self.take.key(key(address));
        call.arg(lifetime(remember_until, now));
        call
    }

    pub(super) fn revoke(&self, revocation: &Address, until: Timestamp, now: Timestamp) -> ScriptInvocation<'_> {
        revoking(&self.revoke, revocation, until, now)
    }

    pub(super) fn end_family(&self, family: &Address, until: Timestamp, now: Timestamp) -> ScriptInvocation<'_> {
        let mut call = revoking(&self.end_family, family, until, now);
        call.key(key(family)).arg(lifetime(until, now));
        call
    }

    /// Answers `rotated`, `reused` or `unknown`.
    pub(super) fn rotate_family(&self, step: &RotateFamily, now: Timestamp) -> ScriptInvocation<'_> {
        let family = step.next.address();
        let mut call = revoking(&self.rotate_family, &family, step.revoked_until, now);
        call.key(key(&family))
            .arg(lifetime(step.revoked_until, now))
            .arg(step.presented)
            .arg(step.next.as_bytes())
            .arg(lifetime(step.next.until(), now));
        call
    }

    /// Answers the number.
    pub(super) fn count(&self, address: &Address, until: Timestamp, now: Timestamp) -> ScriptInvocation<'_> {
        let mut call = self.count.key(key(address));
        call.arg(lifetime(until, now));
        call
    }
}

/// What every revoking script is given first.
fn revoking<'a>(script: &'a Script, address: &Address, until: Timestamp, now: Timestamp) -> ScriptInvocation<'a> {
    let mut call = script.key(REVOCATIONS);
    call.key(REVOCATION_STREAM)
        .arg(address.digest().as_slice())
        .arg(until.as_millisecond())
        .arg(now.as_millisecond().saturating_sub(CLOCK_DIFFERENCE));
    call
}
