//! The gateways' limits on requests, counted per activation: one app at one gateway.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::api::gateway::RateLimit;

/// A limit as it is counted.
pub(super) type Limiter = DefaultDirectRateLimiter;

/// One limiter an activation that has a limit.
#[derive(Debug, Default)]
pub(super) struct Rates {
    limiters: Mutex<HashMap<String, (RateLimit, Arc<Limiter>)>>,
}

impl Rates {
    /// Counts a request. The error is how long to wait.
    pub(super) fn check(&self, uid: &str, limit: &RateLimit) -> Result<(), Duration> {
        let mut limiters = self.limiters.lock().unwrap_or_else(PoisonError::into_inner);
        let known = limiters.get(uid).filter(|(known, _)| known == limit).map(|(_, limiter)| Arc::clone(limiter));
        let limiter = known.unwrap_or_else(|| {
            let limiter = Arc::new(limiter(limit));
            limiters.insert(uid.to_owned(), (limit.clone(), Arc::clone(&limiter)));
            limiter
        });
        drop(limiters);
        check(&limiter)
    }

    /// Forgets what is gone.
    pub(super) fn retain(&self, lives: impl Fn(&str) -> bool) {
        self.limiters.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| lives(uid));
    }
}

/// Counts for a limit, from an untouched burst on.
pub(super) fn limiter(limit: &RateLimit) -> Limiter {
    let number = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::per_second(number(limit.requests_per_second));
    RateLimiter::direct(quota.allow_burst(number(limit.burst.unwrap_or(limit.requests_per_second))))
}

/// Counts one. The error is how long to wait.
pub(super) fn check(limiter: &Limiter) -> Result<(), Duration> {
    limiter.check().map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_activation_has_its_own_count_and_an_edited_limit_begins_anew() {
        let rates = Rates::default();
        let limit = RateLimit { requests_per_second: 1, burst: Some(3) };
        for uid in ["a", "b"] {
            assert!((0..3).all(|_| rates.check(uid, &limit).is_ok()), "the burst of {uid}");
            let wait = rates.check(uid, &limit).unwrap_err();
            assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        }
        assert!(rates.check("a", &RateLimit { requests_per_second: 2, burst: None }).is_ok());
        rates.retain(|uid| uid == "a");
        assert!(rates.check("b", &limit).is_ok());
    }
}
