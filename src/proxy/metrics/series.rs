//! Series whose labels are objects: they go when their objects go, so that their number is bounded by what is configured.

use std::fmt::{self, Debug};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::family::{Family, MetricConstructor};

use crate::snapshot::{ObjectKey, Snapshot};

/// An object as a label's value: `namespace/name`, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy) struct Object(pub(in crate::proxy) Option<ObjectKey>);

impl From<&ObjectKey> for Object {
    fn from(key: &ObjectKey) -> Self {
        Self(Some(key.clone()))
    }
}

impl EncodeLabelValue for Object {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        use fmt::Write as _;
        self.0.as_ref().map_or(Ok(()), |key| write!(encoder, "{key}"))
    }
}

impl Object {
    /// Whether it is nothing, or one that `lives` knows.
    pub(super) fn is(&self, lives: impl FnOnce(&ObjectKey) -> bool) -> bool {
        self.0.as_ref().is_none_or(lives)
    }
}

/// Labels that name objects.
pub(super) trait Labels: EncodeLabelSet + Clone + Debug + Eq + Hash + Send + Sync + 'static {
    /// Their names.
    const NAMES: &'static [&'static str];

    /// Whether all the objects are still there.
    fn live_in(&self, snapshot: &Snapshot) -> bool;
}

/// A metric for each set of labels.
pub(super) struct Series<L, M, C = fn() -> M> {
    pub(super) family: Family<L, M, C>,
    /// All that were ever made, since a family does not tell.
    known: Mutex<Vec<L>>,
}

impl<L: Labels, M, C: MetricConstructor<M>> Series<L, M, C> {
    pub(super) fn new(family: Family<L, M, C>) -> Self {
        Self { family, known: Mutex::default() }
    }

    /// Does something to the metric of these labels.
    pub(super) fn with(&self, labels: &L, act: impl FnOnce(&M)) {
        if let Some(metric) = self.family.get(labels) {
            return act(&metric);
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).push(labels.clone());
        act(&self.family.get_or_create(labels));
    }

    /// Drops those whose objects are gone.
    pub(super) fn prune(&self, snapshot: &Snapshot) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).retain(|labels| {
            let lives = labels.live_in(snapshot);
            if !lives {
                self.family.remove(labels);
            }
            lives
        });
    }
}
