//! Tokens whose signature held, by the SHA-256 of the token. Only the costly half of verifying is remembered; every
//! request judges expiry, activation and scopes anew.
//!
//! A token that is not known costs several times what a request with a known one does, whether it is good or made up. So
//! unknown ones wait in a line and are checked one by one, and before each everybody else has a turn: whoever sends
//! thousands of bad tokens waits behind them, and those with good ones do not.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use moka::future::Cache;
use tokio::sync::Semaphore;

use crate::protocol::jwt::{self, TokenRefused, VerifiedToken};
use crate::snapshot::Gateway;

/// How many tokens are remembered. Refused ones never are, so only clients that hold good tokens fill it.
const CAPACITY: u64 = 50_000;
/// No token lives longer.
const LIFETIME: Duration = Duration::from_hours(1);

/// The cache.
pub(super) struct Signatures {
    known: Cache<[u8; 32], Arc<VerifiedToken>>,
    /// Who may check an unknown one now: one for each core.
    turns: Semaphore,
}

impl Default for Signatures {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let known = Cache::builder().max_capacity(CAPACITY).time_to_live(LIFETIME).build();
        Self { known, turns: Semaphore::new(cores) }
    }
}

impl Signatures {
    /// The token, its signature checked now or before.
    pub(super) async fn verify(&self, token: &str, gateway: &Gateway) -> Result<Arc<VerifiedToken>, TokenRefused> {
        if token.len() > jwt::MAXIMUM_LENGTH {
            return Err(TokenRefused::Invalid);
        }
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        if let Some(known) = self.known.get(&key).await {
            return Ok(known);
        }
        let verified = {
            // Nobody closes it: without a turn, which cannot be, it would be checked all the same.
            let _turn = self.turns.acquire().await;
            tokio::task::yield_now().await;
            Arc::new(jwt::verify(token, gateway)?)
        };
        self.known.insert(key, Arc::clone(&verified)).await;
        Ok(verified)
    }
}
