//! Wrong client secrets are counted, and above a number a minute answered 429: guessing gets slow, and what a guesser
//! costs is bounded. A right secret always passes, so nobody can lock a client out.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures a minute, a client and an address.
const FAILURES: u32 = 100;
const WINDOW: Duration = Duration::from_mins(1);
/// More pairs than that are not remembered at once.
const PAIRS: usize = 10_000;

/// Counts failures by a hash of client ID and address.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    hasher: RandomState,
    windows: Mutex<HashMap<u64, (Instant, u32)>>,
}

impl Throttle {
    /// Counts a failure and tells whether there have been too many.
    pub(super) fn failed(&self, client_id: &str, address: IpAddr, now: Instant) -> bool {
        let pair = self.hasher.hash_one((client_id, address));
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= PAIRS {
            windows.retain(|_, (start, _)| now.duration_since(*start) < WINDOW);
            if windows.len() >= PAIRS {
                windows.clear();
            }
        }
        let (start, count) = windows.entry(pair).or_insert((now, 0));
        if now.duration_since(*start) >= WINDOW {
            (*start, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count > FAILURES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hundred_and_first_failure_in_a_minute_is_too_many() {
        let throttle = Throttle::default();
        let now = Instant::now();
        let address = IpAddr::from([192, 0, 2, 1]);
        assert!((0..100).all(|_| !throttle.failed("a", address, now)));
        assert!(throttle.failed("a", address, now));
        assert!(!throttle.failed("b", address, now));
        assert!(!throttle.failed("a", IpAddr::from([192, 0, 2, 2]), now));
        assert!(!throttle.failed("a", address, now + WINDOW));
    }
}
