//! `hearthgate probe`: ask the EHR now.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::completions;
use super::live::LiveOptions;
use super::{Outcome, block_on};
use crate::api::common::condition;
use crate::api::{ActivationStatus, ConditionStatus};
use crate::snapshot::Kind;

/// Ask the EHR for a token now, and say what it answers.
///
/// Use it after registering the key: otherwise a refused key is asked for less and less often.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hearthgate probe schedule-sync-at-epic --wait 30")]
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

impl Probe {
    pub(super) fn run(self) -> Outcome {
        block_on(async {
            let deadline = Instant::now() + Duration::from_secs(self.wait);
            loop {
                let status = self.live.status().await?;
                let live = self.live.find(&status, &[Kind::Activation], &self.activation)?;
                let key = &live.object.key;
                self.live.send(reqwest::Method::POST, &format!("/probe/{}/{}", key.namespace, key.name)).await?;
                let status = self.live.status().await?;
                let live = self.live.find(&status, &[Kind::Activation], &self.activation)?;
                let accepted = live.condition(condition::EHR_AUTHENTICATED);
                let Some(accepted) = accepted else {
                    println!("{}: this method asks the EHR for no token", self.activation);
                    return Ok(ExitCode::SUCCESS);
                };
                if accepted.status == ConditionStatus::True {
                    println!("{}: {}", self.activation, accepted.message);
                    return Ok(ExitCode::SUCCESS);
                }
                if Instant::now() >= deadline {
                    println!("{}: {}: {}", self.activation, accepted.reason, accepted.message);
                    if let Some(next_step) = live.status_as::<ActivationStatus>().next_step {
                        println!("next: {next_step}");
                    }
                    return Ok(ExitCode::FAILURE);
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        })?
    }
}
