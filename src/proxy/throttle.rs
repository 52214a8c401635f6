//! Wrong client credentials are counted, and above a number a minute answered 429: guessing gets slow, and what a guesser
//! costs is bounded. A right secret always passes, so nobody can lock a client out. A signature costs more to check than
//! a secret, so whoever failed that often has a few a second checked and no more.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures a minute, a client and an address.
const FAILURES: u32 = 100;
const WINDOW: Duration = Duration::from_mins(1);
/// Between two signatures of a pair with too many failures.
const BETWEEN_SIGNATURES: Duration = Duration::from_millis(200);
/// More pairs than that are not remembered at once.
const PAIRS: usize = 10_000;

/// Counts failures by a hash of client ID and address.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    hasher: RandomState,
    windows: Mutex<HashMap<u64, Window>>,
}

#[derive(Debug)]
struct Window {
    start: Instant,
    failures: u32,
    /// When a signature was last checked in spite of too many failures.
    checked: Option<Instant>,
}

impl Throttle {
    /// Counts a failure and tells whether there have been too many.
    pub(super) fn failed(&self, client_id: &str, address: IpAddr, now: Instant) -> bool {
        let pair = self.pair(client_id, address);
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= PAIRS {
            windows.retain(|_, window| now.duration_since(window.start) < WINDOW);
            if windows.len() >= PAIRS {
                windows.clear();
            }
        }
        let window = windows.entry(pair).or_insert(Window { start: now, failures: 0, checked: None });
        if now.duration_since(window.start) >= WINDOW {
            *window = Window { start: now, failures: 0, checked: None };
        }
        window.failures = window.failures.saturating_add(1);
        window.failures > FAILURES
    }

    /// Whether a signature of this client from this address is to be checked now.
    pub(super) fn may_check(&self, client_id: &str, address: IpAddr, now: Instant) -> bool {
        let pair = self.pair(client_id, address);
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(window) = windows.get_mut(&pair) else { return true };
        if window.failures <= FAILURES || now.duration_since(window.start) >= WINDOW {
            return true;
        }
        if window.checked.is_some_and(|checked| now.duration_since(checked) < BETWEEN_SIGNATURES) {
            return false;
        }
        window.checked = Some(now);
        true
    }

    fn pair(&self, client_id: &str, address: IpAddr) -> u64 {
        self.hasher.hash_one((client_id, address))
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

    #[test]
    fn whoever_failed_too_often_has_five_signatures_a_second_checked() {
        let throttle = Throttle::default();
        let now = Instant::now();
        let address = IpAddr::from([192, 0, 2, 1]);
        let checked = |from: Instant| {
            let times = (0..1000).map(|millisecond| from + Duration::from_millis(millisecond));
            times.filter(|time| throttle.may_check("a", address, *time)).count()
        };
        assert_eq!(checked(now), 1000);
        assert_eq!((0..=FAILURES).filter(|_| throttle.failed("a", address, now)).count(), 1);
        assert_eq!(checked(now), 5);
        assert!(throttle.may_check("b", address, now));
        assert_eq!(checked(now + WINDOW), 1000);
    }
}
