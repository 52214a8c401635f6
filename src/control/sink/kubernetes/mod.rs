//! The sink of a cluster: statuses by server-side apply, keys in Secrets, Events on transitions.
//!
//! What a status says is what the next start reads back, so nothing else is recorded anywhere. A status is written only
//! if it differs from the one that is there: a converged operator writes nothing.

mod apply;
mod events;
mod known;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use kube::Client;

use self::apply::Applier;
use self::events::Events;
use self::known::Known;
use super::{Recorded, Sink, SinkError};
use crate::control::ObjectStatus;
use crate::keys::kubernetes::SecretKeyStore;
use crate::keys::{KeySecret, KeyStore};
use crate::values::api_failure::ApiFailure;

/// Statuses that are written at once.
const WRITES_AT_ONCE: usize = 16;

/// Writes to a cluster.
pub struct KubernetesSink {
    store: SecretKeyStore,
    applier: Applier,
    events: Events,
    known: Mutex<Known>,
}

/// A cluster that was looked at.
#[derive(Debug)]
pub struct Opened {
    /// The sink.
    pub sink: KubernetesSink,
    /// What was told and recorded before, as the statuses hold it.
    pub recorded: Recorded,
}

impl fmt::Debug for KubernetesSink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KubernetesSink").field("store", &self.store).finish_non_exhaustive()
    }
}

impl KubernetesSink {
    /// Reads what statuses say now. `namespaces`: where to look; none: everywhere. `reporter` names this process in
    /// Events.
    pub async fn open(client: Client, namespaces: &BTreeSet<String>, reporter: &str) -> Result<Opened, ApiFailure> {
        let recorded = known::read(&client, namespaces).await?;
        let known = Known::of(&recorded);
        let sink = Self {
            store: SecretKeyStore::new(client.clone(), namespaces.iter().cloned()),
            applier: Applier::new(client.clone()),
            events: Events::start(client, reporter),
            known: Mutex::new(known),
        };
        Ok(Opened { sink, recorded })
    }

    async fn write_now(&self, recorded: &Recorded) -> Result<(), SinkError> {
        let changed: Vec<&Arc<ObjectStatus>> = {
            let mut known = self.known();
            known.retain(recorded);
            recorded.objects.iter().filter(|status| known.differs(status)).collect()
        };
        let writes: Vec<_> = changed.into_iter().map(|status| self.write_one(status).boxed()).collect();
        let mut writes = stream::iter(writes).buffer_unordered(WRITES_AT_ONCE);
        let mut failed = None;
        while let Some(written) = writes.next().await {
            let Err((status, failure)) = written else { continue };
            let is_away = matches!(failure, ApiFailure::Unreachable(_) | ApiFailure::TimedOut);
            failed.get_or_insert_with(|| format!("cannot write the status of {}: {failure}", status.object));
            // The others would fail alike, and each would wait for it.
            if is_away {
                break;
            }
        }
        failed.map_or(Ok(()), |failed| Err(SinkError(failed)))
    }

    async fn write_one<'call>(
        &self,
        status: &'call Arc<ObjectStatus>,
    ) -> Result<(), (&'call ObjectStatus, ApiFailure)> {
        match self.applier.apply(status).await {
            Ok(()) => {
                let transitions = self.known().learn(status);
                for transition in transitions {
                    self.events.tell(status, transition);
                }
                Ok(())
            }
            // Deleted meanwhile, or deleted and made anew: the watch tells, and the new object gets a status of its own.
            Err(failure) if failure.is_not_found() || apply::is_another_object(&failure) => Ok(()),
            Err(failure) => Err((status, failure)),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for KubernetesSink {
    fn key_store(&self) -> &dyn KeyStore {
        &self.store
    }

    /// The watch brings it.
    fn deliver(&self, _: &KeySecret) {}

    fn write<'call>(&'call self, recorded: &'call Recorded) -> BoxFuture<'call, Result<(), SinkError>> {
        self.write_now(recorded).boxed()
    }
}
