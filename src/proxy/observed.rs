//! What metrics read off the running proxy.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::metrics::{Gauges, Observed};
use super::traffic::Traffic;
use crate::outbound::breaker::Phase;
use crate::outbound::{EhrAnswer, EhrTokens};
use crate::snapshot::Snapshot;
use crate::store::{Health, Store};

/// The parts of the proxy that gauges tell of.
pub(super) struct Observation {
    pub(super) snapshot: Arc<ArcSwapOption<Snapshot>>,
    pub(super) ehr_tokens: EhrTokens,
    pub(super) traffic: Arc<Traffic>,
    pub(super) store: Arc<dyn Store>,
}

impl Observed for Observation {
    fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.load_full()
    }

    fn store(&self) -> Health {
        self.store.health()
    }

    fn observe(&self, snapshot: &Snapshot, gauges: &Gauges) {
        self.traffic.retain(snapshot);
        for (key, adapter) in &snapshot.data_adapters {
            if let Some(traffic) = self.traffic.known(adapter) {
                let is_open = traffic.breaker.phase() != Phase::Closed;
                gauges.adapter(key, is_open, traffic.skew(), traffic.admission.load());
            }
        }
        let ages = self.ehr_tokens.ages();
        let outcomes = self.ehr_tokens.outcomes().all();
        for (key, activation) in &snapshot.activations {
            let accepted = outcomes.get(&activation.uid).map(|outcome| outcome.answer == EhrAnswer::Accepted);
            gauges.activation(key, ages.get(&activation.uid).copied(), accepted);
        }
    }
}
