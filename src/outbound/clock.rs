//! Time as an argument, so that a test can let an hour pass.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::DATE;
use jiff::Timestamp;

/// By how many seconds the clock of whoever answered is ahead of ours (RFC 9110 §6.6.1), where it tells.
pub fn clock_skew(headers: &HeaderMap, now: Timestamp) -> Option<i64> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    Some(theirs.as_second().saturating_sub(now.as_second()))
}

/// Two clocks: what time it is, and how much time has passed.
pub trait Clock: fmt::Debug + Send + Sync {
    /// What time it is: for assertions and for people. It may jump when somebody sets it.
    fn now(&self) -> Timestamp;

    /// How long this clock has run: for lifetimes. It never goes back.
    fn elapsed(&self) -> Duration;
}

/// The system's clocks. All of them count from the same start.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn elapsed(&self) -> Duration {
        static STARTED: OnceLock<Instant> = OnceLock::new();
        STARTED.get_or_init(Instant::now).elapsed()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::sync::Mutex;

    use super::*;

    /// A clock that stands still until it is told.
    #[derive(Debug)]
    pub(crate) struct ManualClock {
        start: Timestamp,
        passed: Mutex<Duration>,
    }

    impl ManualClock {
        pub(crate) fn starting_at(start: Timestamp) -> Self {
            Self { start, passed: Mutex::default() }
        }

        pub(crate) fn advance(&self, by: Duration) {
            *self.passed.lock().unwrap() += by;
        }
    }

    impl Clock for ManualClock {
        fn now(&self) -> Timestamp {
            self.start + *self.passed.lock().unwrap()
        }

        fn elapsed(&self) -> Duration {
            *self.passed.lock().unwrap()
        }
    }
}
