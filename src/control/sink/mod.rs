//! Where the control plane writes: a cluster, or a state directory.

pub mod directory;
pub mod kubernetes;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::status::{ObjectStatus, Statuses};
use crate::keys::{KeySecret, KeyStore};
use crate::snapshot::ObjectReference;
use crate::snapshot::resources::Observed;

/// What the control plane tells and records.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// The statuses, by kind, namespace and name. Whoever keeps one shares it: there are thousands.
    pub objects: Statuses,
    /// What is read back.
    pub observed: Observed,
}

impl Recorded {
    /// What is told of an object.
    pub fn of(&self, object: &ObjectReference) -> Option<&Arc<ObjectStatus>> {
        let place = self.objects.binary_search_by(|status| status.object.cmp(object)).ok()?;
        self.objects.get(place)
    }
}

/// Why something could not be written. It is tried again with the next change, and after a while.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SinkError(pub String);

/// Where the control plane writes. Object safe, so that the control plane is the same for both.
pub trait Sink: Send + Sync {
    /// Where keys are kept.
    fn key_store(&self) -> &dyn KeyStore;

    /// Hands a key that is kept to whoever compiles. A cluster's watch does that by itself.
    fn deliver(&self, key: &KeySecret);

    /// Writes what is told and recorded, durably, and hands what was recorded to whoever compiles. Called only when
    /// something changed.
    fn write<'call>(&'call self, recorded: &'call Recorded) -> BoxFuture<'call, Result<(), SinkError>>;
}
