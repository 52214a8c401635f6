//! Tokens whose signature held, by the SHA-256 of the token. Only the costly half of verifying is remembered; every
//! request judges expiry, activation and scopes anew.
//!
//! A token that is not known costs several times what a request with a known one does, whether it is good or made up.
//! Where tokens are made up, the unknown ones wait in a line and are checked one by one, and before each everybody else
//! has a turn: whoever sends thousands of bad tokens waits behind them, and those with good ones do not. The line costs a
//! turn of the event loop a token, so nobody stands in it while what comes is good.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use moka::sync::Cache;
use nohash_hasher::{BuildNoHashHasher, IsEnabled};
use tokio::sync::Semaphore;

use crate::protocol::jwt::{self, TokenRefused, VerifiedToken};
use crate::snapshot::Gateway;

/// How many tokens are remembered. Refused ones never are, so only clients that hold good tokens fill it.
const CAPACITY: u64 = 50_000;
/// No token lives longer.
const LIFETIME: Duration = Duration::from_hours(1);
/// How many unknown tokens after one that was refused wait in the line: while one in so many is bad, all do.
const SUSPECTED: u32 = 256;

/// The cache.
pub(super) struct Signatures {
    known: Cache<TokenDigest, Arc<VerifiedToken>, BuildNoHashHasher<TokenDigest>>,
    /// How many of the next unknown tokens wait in the line.
    suspected: AtomicU32,
    /// Who of the line may check now: one for each core.
    turns: Semaphore,
}

impl Default for Signatures {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let known = Cache::builder().max_capacity(CAPACITY).time_to_live(LIFETIME);
        Self {
            known: known.build_with_hasher(BuildNoHashHasher::default()),
            suspected: AtomicU32::new(0),
            turns: Semaphore::new(cores),
        }
    }
}

impl Signatures {
    /// The token, its signature checked now or before.
    pub(super) async fn verify(&self, token: &str, gateway: &Gateway) -> Result<Arc<VerifiedToken>, TokenRefused> {
        if token.len() > jwt::MAXIMUM_LENGTH {
            return Err(TokenRefused::Invalid);
        }
        let digest = TokenDigest::of(token);
        if let Some(known) = self.known.get(&digest) {
            return Ok(known);
        }
        let _turn = if self.suspected.load(Ordering::Relaxed) > 0 {
            // Nobody closes it: without a turn, which cannot be, it would be checked all the same.
            let turn = self.turns.acquire().await;
            tokio::task::yield_now().await;
            turn.ok()
        } else {
            None
        };
        match jwt::verify(token, gateway) {
            Ok(verified) => {
                let _ = self.suspected.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                let verified = Arc::new(verified);
                self.known.insert(digest, Arc::clone(&verified));
                Ok(verified)
            }
            Err(refused) => {
                self.suspected.store(SUSPECTED, Ordering::Relaxed);
                Err(refused)
            }
        }
    }
}

/// The SHA-256 of a token. It is its own hash: nobody finds two good tokens whose digests begin alike, and no others
/// are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
struct TokenDigest([u8; 32]);

impl TokenDigest {
    fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }
}

impl Hash for TokenDigest {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.0.first_chunk().map_or(0, |first| u64::from_le_bytes(*first)));
    }
}

impl IsEnabled for TokenDigest {}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use jiff::Timestamp;
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::protocol::jwt::Subject;
    use crate::protocol::test_support;
    use crate::snapshot::{ObjectKey, Snapshot};
    use crate::values::scope::ScopeSet;

    struct Setup {
        signatures: Signatures,
        snapshot: Snapshot,
    }

    impl Setup {
        fn new() -> Self {
            Self { signatures: Signatures::default(), snapshot: test_support::snapshot() }
        }

        fn token(&self, jti: &str) -> String {
            let activation = &self.snapshot.activations[&ObjectKey::new("default", "sync-epic")];
            let scopes = ScopeSet::parse("system/Patient.rs").unwrap();
            let issued = jwt::issue(activation, Subject::Client, &scopes, Timestamp::UNIX_EPOCH, jti).unwrap();
            issued.token.expose_secret().to_owned()
        }

        /// What is answered without a turn in the line: `None` where one is waited for.
        fn at_once(&self, token: &str) -> Option<Result<String, TokenRefused>> {
            let gateway = &self.snapshot.gateways[&ObjectKey::new("default", "epic")];
            let answer = self.signatures.verify(token, gateway).now_or_never()?;
            Some(answer.map(|verified| verified.claims().jti.clone()))
        }

        async fn in_line(&self, token: &str) -> Result<(), TokenRefused> {
            let gateway = &self.snapshot.gateways[&ObjectKey::new("default", "epic")];
            self.signatures.verify(token, gateway).await.map(drop)
        }
    }

    #[test]
    fn good_tokens_wait_for_nobody() {
        let setup = Setup::new();
        for jti in ["1", "2", "3"] {
            assert_eq!(setup.at_once(&setup.token(jti)), Some(Ok(jti.into())));
        }
    }

    #[tokio::test]
    async fn after_a_bad_token_the_unknown_wait_and_the_known_do_not() {
        let setup = Setup::new();
        let known = setup.token("known");
        assert_eq!(setup.at_once(&known), Some(Ok("known".into())));
        assert_eq!(setup.at_once("made.up.token"), Some(Err(TokenRefused::Invalid)), "who sends the first is told");
        assert_eq!(setup.at_once("made.up.again"), None);
        assert_eq!(setup.at_once(&setup.token("new")), None);
        assert_eq!(setup.at_once(&known), Some(Ok("known".into())));
        assert_eq!(setup.in_line("made.up.again").await, Err(TokenRefused::Invalid));
        assert_eq!(setup.in_line(&setup.token("new")).await, Ok(()));
    }

    #[tokio::test]
    async fn in_the_line_is_one_a_core() {
        let setup = Setup::new();
        assert_eq!(setup.in_line("made.up.token").await, Err(TokenRefused::Invalid));
        let everybody = u32::try_from(setup.signatures.turns.available_permits()).unwrap();
        let turns = setup.signatures.turns.acquire_many(everybody).await.unwrap();
        let token = setup.token("new");
        let mut waits = std::pin::pin!(setup.in_line(&token));
        for _ in 0..3 {
            assert!(futures_util::poll!(waits.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
        drop(turns);
        assert_eq!(waits.await, Ok(()));
    }

    #[tokio::test]
    async fn nobody_waits_any_more_once_enough_good_ones_came() {
        let setup = Setup::new();
        assert_eq!(setup.in_line("made.up.token").await, Err(TokenRefused::Invalid));
        for number in 0..SUSPECTED {
            let token = setup.token(&number.to_string());
            assert_eq!(setup.at_once(&token), None, "the {number}th still waits");
            assert_eq!(setup.in_line(&token).await, Ok(()));
        }
        assert_eq!(setup.at_once(&setup.token("new")), Some(Ok("new".into())));
    }
}
