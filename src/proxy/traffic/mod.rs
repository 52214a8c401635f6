//! What is known of the traffic to each EHR: whether it may be called now, by whom, and how fast.

mod admission;
mod rates;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::DATE;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;

use self::admission::Admission;
pub(super) use self::admission::Crowded;
use self::rates::Rates;
use crate::outbound::breaker::Breaker;
use crate::outbound::clock::clock_skew;
use crate::outbound::retry::Budget;
use crate::snapshot::{Activation, DataAdapter, Snapshot};

/// The traffic to all EHRs.
#[derive(Debug)]
pub(super) struct Traffic {
    started: Instant,
    /// By the adapter's UID.
    adapters: Mutex<HashMap<String, Arc<AdapterTraffic>>>,
    rates: Rates,
}

/// The traffic to one EHR.
#[derive(Debug, Default)]
pub(super) struct AdapterTraffic {
    pub(super) breaker: Breaker,
    pub(super) budget: Budget,
    pub(super) admission: Arc<Admission>,
    /// Until when it asked not to be called, by the activation's UID; the empty one stands for everybody.
    pauses: Mutex<HashMap<String, Duration>>,
    clock: Mutex<EhrClock>,
}

/// What an EHR's answers tell of its clock.
#[derive(Debug, Default)]
struct EhrClock {
    /// The `Date` that was last read, and our second then: a busy EHR says the same many times a second.
    read: Option<(HeaderValue, i64)>,
    /// By how many seconds it is ahead of ours, once an answer told.
    skew: Option<i64>,
}

/// The EHR asked for a pause that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paused {
    pub(super) left: Duration,
    /// All calls, not only those of this activation.
    pub(super) everybody: bool,
}

impl Default for Traffic {
    fn default() -> Self {
        Self { started: Instant::now(), adapters: Mutex::default(), rates: Rates::default() }
    }
}

impl Traffic {
    /// How long this has run: the clock of pauses and breakers.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The traffic to this EHR.
    pub(super) fn of(&self, adapter: &DataAdapter) -> Arc<AdapterTraffic> {
        let mut adapters = self.adapters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = adapters.get(&adapter.uid) {
            return Arc::clone(known);
        }
        Arc::clone(adapters.entry(adapter.uid.clone()).or_default())
    }

    /// The same, if there has been any.
    pub(super) fn known(&self, adapter: &DataAdapter) -> Option<Arc<AdapterTraffic>> {
        self.adapters.lock().unwrap_or_else(PoisonError::into_inner).get(&adapter.uid).cloned()
    }

    /// Counts a request of an app against the limit of its gateway. The error is how long to wait.
    pub(super) fn within_rate(&self, activation: &Activation) -> Result<(), Duration> {
        let Some(limit) = &activation.gateway.rate_limit else { return Ok(()) };
        self.rates.check(&activation.uid, limit)
    }

    /// Forgets what is gone.
    pub(super) fn retain(&self, snapshot: &Snapshot) {
        let mut adapters = self.adapters.lock().unwrap_or_else(PoisonError::into_inner);
        adapters.retain(|uid, _| snapshot.data_adapters.values().any(|adapter| adapter.uid == *uid));
        drop(adapters);
        self.rates.retain(|uid| snapshot.activation_by_uid(uid).is_some());
    }
}

impl AdapterTraffic {
    /// Whether the EHR asked not to be called now.
    pub(super) fn paused(&self, activation: Option<&Activation>, now: Duration) -> Option<Paused> {
        let mut pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        if pauses.is_empty() {
            return None;
        }
        pauses.retain(|_, until| *until > now);
        let left = |uid: &str| pauses.get(uid).map(|until| until.saturating_sub(now));
        left("")
            .map(|left| Paused { left, everybody: true })
            .or_else(|| left(&activation?.uid).map(|left| Paused { left, everybody: false }))
    }

    /// The EHR asks not to be called for a while; by this activation, or (`None`) by anybody.
    pub(super) fn pause(&self, activation: Option<&Activation>, pause: Duration, now: Duration) {
        let uid = activation.map(|activation| activation.uid.clone()).unwrap_or_default();
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, now.saturating_add(pause));
    }

    /// Reads the EHR's clock off an answer.
    pub(super) fn note_date(&self, headers: &HeaderMap, now: Timestamp) {
        let Some(date) = headers.get(DATE) else { return };
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if clock.read.as_ref().is_some_and(|(known, second)| known == date && *second == now.as_second()) {
            return;
        }
        if let Some(skew) = clock_skew(headers, now) {
            *clock = EhrClock { read: Some((date.clone(), now.as_second())), skew: Some(skew) };
        }
    }

    /// By how many seconds the EHR's clock is ahead of ours.
    pub(super) fn skew(&self) -> Option<i64> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner).skew
    }
}
