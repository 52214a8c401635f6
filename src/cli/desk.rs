//! One activation with everything that people at a desk need to know of it: what it asks for, from its YAML, and what is
//! told of it, by a running server or, without one, by the files alone.

use std::error::Error;
use std::sync::Arc;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use jiff::Timestamp;

use super::block_on;
use super::completions;
use super::live::LiveOptions;
use super::offline::{Looked, Offline, Paths};
use super::platform::PlatformOptions;
use crate::api::{self, ActivationStatus, GatewayStatus};
use crate::snapshot::live::{LiveObject, LiveStatus};
use crate::snapshot::{Activation, Kind, ObjectKey};

/// Which activation, and where to look for it.
#[derive(Debug, Args)]
pub(super) struct DeskOptions {
    /// The activation
    #[arg(add = ArgValueCandidates::new(completions::activations))]
    activation: String,
    #[command(flatten)]
    paths: Paths,
    #[command(flatten)]
    platform: PlatformOptions,
    #[command(flatten)]
    live: LiveOptions,
}

/// One activation that is in order.
pub(super) struct Desk {
    /// Its name and namespace.
    pub(super) key: ObjectKey,
    /// As it is served.
    pub(super) activation: Arc<Activation>,
    /// As it is written.
    pub(super) spec: Arc<api::Activation>,
    /// Its app, as it is written.
    pub(super) app: Arc<api::App>,
    /// What is told of it.
    pub(super) status: ActivationStatus,
    /// What is told of its gateway.
    pub(super) gateway: GatewayStatus,
    /// What a reader should know about all this, such as that nobody was asked.
    pub(super) note: Option<String>,
}

/// Why nothing can be said of it.
#[derive(Debug, thiserror::Error)]
enum DeskError {
    /// It is not served.
    #[error("activation {name} cannot be used yet: {cause}")]
    Faulty { name: String, cause: String },
}

impl DeskOptions {
    /// Looks at the files, or asks the server.
    pub(super) fn open(&self) -> Result<Desk, Box<dyn Error>> {
        let Looked { offline, live, .. } = block_on(self.paths.clone().look(&self.live, &self.platform))??;
        let nobody_asked = live.is_none();
        let status = live.unwrap_or_else(|| offline.told(Timestamp::now()));
        let mut desk = self.find(&offline, &status)?;
        if nobody_asked {
            desk.note = self.platform.hint();
        }
        Ok(desk)
    }

    fn find(&self, offline: &Offline, status: &LiveStatus) -> Result<Desk, Box<dyn Error>> {
        let live = self.live.find(status, &[Kind::Activation], &self.activation)?;
        let key = live.object.key.clone();
        let gateway = live.reference(Kind::Gateway).and_then(|gateway| status.get(gateway));
        let faulty = || DeskError::Faulty {
            name: self.activation.clone(),
            cause: status
                .root_cause(live)
                .map_or_else(|| format!("`hearthgate status {}` says why", self.activation), |cause| cause.to_string()),
        };
        let activation = offline.snapshot.activations.get(&key).ok_or_else(faulty)?;
        let spec = offline.resources.activations.get(&key).ok_or_else(faulty)?;
        let app = offline.resources.apps.get(&activation.app.key).ok_or_else(faulty)?;
        Ok(Desk {
            activation: Arc::clone(activation),
            spec: Arc::clone(spec),
            app: Arc::clone(app),
            status: live.status_as(),
            gateway: gateway.map(LiveObject::status_as).unwrap_or_default(),
            note: None,
            key,
        })
    }
}
