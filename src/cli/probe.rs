//! `hearthgate probe`: ask the EHR now.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::completions;
use super::live::{LiveError, LiveOptions, Place, send};
use super::progress::Spinner;
use super::{Outcome, block_on};
use crate::api::common::{PROBE_REQUESTED_ANNOTATION, condition};
use crate::api::{self, ActivationStatus, ConditionStatus};
use crate::snapshot::Kind;
use crate::snapshot::live::{LiveObject, LiveStatus};

/// How soon an operator that runs takes a request up and has the EHR's answer, or has given the EHR up.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Ask the EHR for a token now, and say what it answers.
///
/// Use it after registering the key: otherwise a refused key is asked for less and less often. The EHR is asked by the
/// server, or in a cluster by the operator, which is told by the annotation hearthgate.dev/probe-requested-at: that needs
/// the permission to patch activations. Exits with 0 when the EHR accepts, 1 when it does not.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate probe schedule-sync-at-epic --wait 30\n  hearthgate probe schedule-sync-at-epic --context production -n north"
)]
pub(super) struct Probe {
    /// The activation.
    #[arg(add = ArgValueCandidates::new(completions::activations))]
    activation: String,
    /// Go on asking for this many seconds until the EHR accepts.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
    #[command(flatten)]
    live: LiveOptions,
}

/// Why the EHR is not asked.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    /// Something else must be mended before.
    #[error("the EHR is not asked, since {0}")]
    NotAsked(String),
    /// Nobody takes the request up.
    #[error(
        "no operator has told the EHR's answer within {} seconds: does one run, and does it watch this namespace?",
        ANSWERED_WITHIN.as_secs()
    )]
    NoOperator,
}

impl Probe {
    pub(super) fn run(self) -> Outcome {
        block_on(async {
            let deadline = Instant::now() + Duration::from_secs(self.wait);
            let spinner = Spinner::start(format!("asking the EHR of {}", self.activation));
            loop {
                let status = self.ask().await?;
                let live = self.find(&status)?;
                let Some(accepted) = live.condition(condition::EHR_AUTHENTICATED) else {
                    spinner.finish();
                    println!("{}: this method asks the EHR for no token", self.activation);
                    return Ok(ExitCode::SUCCESS);
                };
                if accepted.status == ConditionStatus::True {
                    spinner.finish();
                    println!("{}: {}", self.activation, accepted.message);
                    return Ok(ExitCode::SUCCESS);
                }
                if Instant::now() >= deadline {
                    spinner.finish();
                    println!("{}: {}: {}", self.activation, accepted.reason, accepted.message);
                    if let Some(next_step) = live.status_as::<ActivationStatus>().next_step {
                        println!("next: {next_step}");
                    }
                    return Ok(ExitCode::FAILURE);
                }
                spinner.say(format!("{}: {}; asking again", self.activation, accepted.reason));
                tokio::time::sleep(PAUSE).await;
            }
        })?
    }

    fn find<'status>(&self, status: &'status LiveStatus) -> Result<&'status LiveObject, LiveError> {
        self.live.find(status, &[Kind::Activation], &self.activation)
    }

    /// Has the EHR asked, and tells what is known after that.
    async fn ask(&self) -> Result<LiveStatus, Box<dyn std::error::Error>> {
        let status = self.live.status().await?;
        let live = self.find(&status)?;
        if let Some(condition) = live.faults().find(|fault| comes_first(&fault.type_)) {
            let cause = status.root_cause(live).map_or_else(|| condition.message.clone(), |cause| cause.to_string());
            return Err(ProbeError::NotAsked(cause).into());
        }
        let key = &live.object.key;
        match self.live.place() {
            Place::Server(server) => {
                send(&server, reqwest::Method::POST, &format!("/probe/{}/{}", key.namespace, key.name)).await?;
                Ok(self.live.status().await?)
            }
            Place::Cluster => {
                let request = self.request(live).await?;
                let until = Instant::now() + ANSWERED_WITHIN;
                while Instant::now() < until {
                    let status = self.live.status().await?;
                    let answered = self.find(&status)?.status_as::<ActivationStatus>().last_handled_probe_at;
                    if answered.as_ref() == Some(&request) {
                        return Ok(status);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Err(ProbeError::NoOperator.into())
            }
        }
    }

    /// Puts a new request to the operator on the activation, and tells how it will say that it has answered it.
    async fn request(&self, live: &LiveObject) -> Result<String, LiveError> {
        let request = Timestamp::now().to_string();
        let activations: Api<api::Activation> = Api::namespaced(self.live.connect().await?, &live.object.key.namespace);
        let patch = json!({ "metadata": { "annotations": { PROBE_REQUESTED_ANNOTATION: request } } });
        activations
            .patch(&live.object.key.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map_err(|error| LiveError::Change { object: live.object.to_string(), failure: error.into() })?;
        Ok(request)
    }
}

/// Conditions without which an EHR is never asked.
fn comes_first(condition: &str) -> bool {
    [condition::ACCEPTED, condition::RESOLVED_REFS].contains(&condition)
}
