//! The circuit breaker: an EHR that fails half the time is left alone for a while, so that requests fail at once instead
//! of waiting for it, and it gets the rest that it may need.
//!
//! Closed → open when enough calls of the window failed; open → one call tries after the pause; that one decides.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::api::data_adapter::CircuitBreaker;

/// Into how many parts the window is cut: old calls leave it part by part.
const BUCKETS: u32 = 10;

/// What the breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Everything.
    Closed,
    /// Nothing.
    Open,
    /// One call, which is under way.
    Probing,
}

/// Whether an EHR may be called. Time is an argument: how long the caller's clock has run.
#[derive(Debug)]
pub struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    opened_at: Duration,
    buckets: [Bucket; BUCKETS as usize],
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    number: u128,
    calls: u32,
    failures: u32,
}

/// The breaker is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// When to ask again.
    pub retry_after: Duration,
}

/// A call that was let through. Dropped without an end (its client went away), it counts for nothing.
#[derive(Debug)]
#[must_use]
pub struct Admitted<'breaker> {
    breaker: &'breaker Breaker,
    is_probe: bool,
    ended: bool,
}

impl Default for Breaker {
    fn default() -> Self {
        let state =
            State { phase: Phase::Closed, opened_at: Duration::ZERO, buckets: [Bucket::default(); BUCKETS as usize] };
        Self { state: Mutex::new(state) }
    }
}

impl Breaker {
    /// Asks for a call now.
    pub fn admit(&self, settings: &CircuitBreaker, now: Duration) -> Result<Admitted<'_>, Open> {
        let mut state = self.state();
        let is_probe = match state.phase {
            Phase::Closed => false,
            Phase::Probing => return Err(Open { retry_after: Duration::from_secs(1) }),
            Phase::Open => {
                let pause = Duration::from_secs(settings.open_seconds.into());
                let waited = now.saturating_sub(state.opened_at);
                let left = pause.saturating_sub(waited);
                if !left.is_zero() {
                    return Err(Open { retry_after: left });
                }
                state.phase = Phase::Probing;
                true
            }
        };
        Ok(Admitted { breaker: self, is_probe, ended: false })
    }

    /// What it lets through.
    pub fn phase(&self) -> Phase {
        self.state().phase
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted<'_> {
    /// Tells how the call ended. Whether that opened the breaker.
    pub fn ended(mut self, failed: bool, settings: &CircuitBreaker, now: Duration) -> bool {
        self.ended = true;
        let mut state = self.breaker.state();
        if self.is_probe {
            if !failed {
                *state = State { phase: Phase::Closed, ..State::new_at(now) };
                return false;
            }
            state.open(now);
            return true;
        }
        // Calls that began before it opened tell nothing new.
        state.phase == Phase::Closed && state.count(failed, settings, now)
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if self.is_probe && !self.ended {
            // The pause is over: the next call is the probe.
            self.breaker.state().phase = Phase::Open;
        }
    }
}

impl State {
    fn new_at(now: Duration) -> Self {
        Self { phase: Phase::Closed, opened_at: now, buckets: [Bucket::default(); BUCKETS as usize] }
    }

    fn open(&mut self, now: Duration) {
        *self = Self { phase: Phase::Open, ..Self::new_at(now) };
    }

    fn count(&mut self, failed: bool, settings: &CircuitBreaker, now: Duration) -> bool {
        let width = (Duration::from_secs(settings.window_seconds.into()) / BUCKETS).as_nanos().max(1);
        let number = now.as_nanos() / width;
        let place = usize::try_from(number % u128::from(BUCKETS)).unwrap_or_default();
        if let Some(bucket) = self.buckets.get_mut(place) {
            if bucket.number != number {
                *bucket = Bucket { number, ..Bucket::default() };
            }
            bucket.calls = bucket.calls.saturating_add(1);
            bucket.failures = bucket.failures.saturating_add(u32::from(failed));
        }
        if !failed {
            return false;
        }
        let recent = self.buckets.iter().filter(|bucket| bucket.number + u128::from(BUCKETS) > number);
        let (calls, failures) = recent.fold((0_u64, 0_u64), |(calls, failures), bucket| {
            (calls + u64::from(bucket.calls), failures + u64::from(bucket.failures))
        });
        let opens = calls >= settings.minimum_requests.into()
            && failures.saturating_mul(100) >= calls.saturating_mul(settings.failure_percent.into());
        if opens {
            self.open(now);
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Makes a call that ends at once. Whether it was let through.
    fn call(breaker: &Breaker, failed: bool, now: Duration) -> bool {
        let settings = CircuitBreaker::default();
        breaker.admit(&settings, now).map(|admitted| admitted.ended(failed, &settings, now)).is_ok()
    }

    #[test]
    fn half_of_twenty_calls_within_ten_seconds_open_it() {
        let breaker = Breaker::default();
        for number in 0..19 {
            assert!(call(&breaker, number % 2 == 0, SECOND));
        }
        assert_eq!(breaker.phase(), Phase::Closed, "19 calls never open it");
        assert!(call(&breaker, true, 2 * SECOND));
        assert_eq!(breaker.phase(), Phase::Open);
        assert_eq!(
            breaker.admit(&CircuitBreaker::default(), 5 * SECOND).unwrap_err(),
            Open { retry_after: Duration::from_secs(7) }
        );
    }

    #[test]
    fn fewer_failures_and_old_ones_do_not() {
        let breaker = Breaker::default();
        for number in 0..100 {
            assert!(call(&breaker, number % 3 == 0, SECOND), "a third");
        }
        let breaker = Breaker::default();
        for _ in 0..15 {
            assert!(call(&breaker, true, SECOND));
        }
        for _ in 0..15 {
            assert!(call(&breaker, true, 12 * SECOND), "the first fifteen have left the window");
        }
    }

    #[test]
    fn one_call_tries_after_the_pause_and_decides() {
        let breaker = Breaker::default();
        let settings = CircuitBreaker::default();
        for _ in 0..20 {
            call(&breaker, true, SECOND);
        }
        let probe = breaker.admit(&settings, 11 * SECOND).unwrap();
        assert!(breaker.admit(&settings, 11 * SECOND).is_err(), "one at a time");
        assert!(probe.ended(true, &settings, 12 * SECOND));
        assert!(!call(&breaker, false, 21 * SECOND), "another pause");
        drop(breaker.admit(&settings, 22 * SECOND).unwrap());
        assert!(call(&breaker, false, 22 * SECOND), "a probe that nobody waited for is made by the next call");
        assert_eq!(breaker.phase(), Phase::Closed);
        for _ in 0..19 {
            assert!(call(&breaker, true, 23 * SECOND), "it has forgotten what was before");
        }
    }
}
