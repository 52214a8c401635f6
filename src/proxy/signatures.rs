//! Tokens whose signature held, by the SHA-256 of the token. Only the costly half of verifying is remembered; every
//! request judges expiry, activation and scopes anew.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use moka::future::Cache;

use crate::protocol::jwt::{self, TokenRefused, VerifiedToken};
use crate::snapshot::Gateway;

/// How many tokens are remembered. Refused ones never are, so only clients that hold good tokens fill it.
const CAPACITY: u64 = 50_000;
/// No token lives longer.
const LIFETIME: Duration = Duration::from_hours(1);

/// The cache.
pub(super) struct Signatures(Cache<[u8; 32], Arc<VerifiedToken>>);

impl Default for Signatures {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(CAPACITY).time_to_live(LIFETIME).build())
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
        if let Some(known) = self.0.get(&key).await {
            return Ok(known);
        }
        let verified = Arc::new(jwt::verify(token, gateway)?);
        self.0.insert(key, Arc::clone(&verified)).await;
        Ok(verified)
    }
}
