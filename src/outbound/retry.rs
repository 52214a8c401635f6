//! Asking again: how often in all, after which pause, and what an EHR says about that itself.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use http::HeaderMap;
use http::header::RETRY_AFTER;
use jiff::Timestamp;

/// An EHR that asks for a longer pause gets this one, and is asked then.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// So many repeats are free, whatever the share: else the first failure of a quiet hour could not be repeated.
const RESERVE: f64 = 10.0;

/// Of all requests, only a share may be repeats: repeats of an EHR that fails anyway are what keeps it down.
#[derive(Debug)]
pub struct Budget(Mutex<f64>);

impl Default for Budget {
    fn default() -> Self {
        Self(Mutex::new(RESERVE))
    }
}

impl Budget {
    /// A request was made: `percent` of a repeat is earned.
    pub fn earn(&self, percent: u32) {
        let mut balance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *balance = (*balance + f64::from(percent) / 100.0).min(RESERVE);
    }

    /// Whether a repeat may be made; it is paid for.
    pub fn spend(&self, percent: u32) -> bool {
        let mut balance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let may = percent > 0 && *balance >= 1.0;
        if may {
            *balance -= 1.0;
        }
        may
    }
}

/// The pauses before repeats: from 50 ms, doubling up to a second, each with jitter so that those who failed together do
/// not come back together.
pub fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(1))
        .with_jitter()
        .without_max_times()
        .build()
}

/// How long an answer asks to wait (RFC 9110 §10.2.3: seconds, or a date), at most [`LONGEST_PAUSE`].
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            Duration::from_secs(u64::try_from(until.as_second().saturating_sub(now.as_second())).unwrap_or(0))
        }
    };
    Some(asked.min(LONGEST_PAUSE))
}

/// Whole seconds for a `Retry-After` header: rounded up, at least one.
pub fn seconds(pause: Duration) -> u32 {
    let rounded = pause.as_secs().saturating_add(u64::from(pause.subsec_nanos() > 0));
    u32::try_from(rounded).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn repeats_are_a_share_of_requests() {
        let budget = Budget::default();
        assert_eq!((0..20).filter(|_| budget.spend(20)).count(), 10, "the reserve");
        for _ in 0..9 {
            budget.earn(20);
        }
        assert_eq!((0..20).filter(|_| budget.spend(20)).count(), 1);
        assert!(!Budget::default().spend(0), "none at all");
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let pauses: Vec<_> = pauses().take(20).collect();
        assert_eq!(pauses.len(), 20);
        assert!(pauses[0] >= Duration::from_millis(50) && pauses[0] <= Duration::from_millis(100));
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(2)), "{pauses:?}");
    }

    #[test]
    fn a_pause_is_asked_for_in_seconds_or_by_a_date() {
        let now: Timestamp = "2026-06-10T12:00:00Z".parse().unwrap();
        let of =
            |text: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]), now);
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("86400"), Some(LONGEST_PAUSE));
        assert_eq!(of("Wed, 10 Jun 2026 12:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(of("Wed, 10 Jun 2026 11:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(of("soon"), None);
        assert_eq!([seconds(Duration::ZERO), seconds(Duration::from_millis(1500))], [1, 2]);
    }
}
