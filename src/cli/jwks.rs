//! `hearthgate jwks`: the public keys to register at an EHR.

use std::process::ExitCode;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::completions;
use super::live::{LiveOptions, client};
use super::{Outcome, block_on};
use crate::api::ActivationStatus;
use crate::snapshot::Kind;

/// Print the JWK Set of an activation's key pair as the EHR fetches it, or its URL.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate jwks schedule-sync-at-epic --url\n  hearthgate jwks schedule-sync-at-epic"
)]
pub(super) struct Jwks {
    /// The activation.
    #[arg(add = ArgValueCandidates::new(completions::activations))]
    activation: String,
    /// Only the URL that the EHR must be given.
    #[arg(long)]
    url: bool,
    #[command(flatten)]
    live: LiveOptions,
}

/// Why there is no key set.
#[derive(Debug, thiserror::Error)]
enum JwksError {
    /// The method has no key.
    #[error("activation {0} has no key pair: its method needs none")]
    None(String),
    /// The public listener does not answer as an EHR would find it.
    #[error("{url} answered {status}: this is what the EHR would see, too")]
    Unserved { url: String, status: u16 },
}

impl Jwks {
    pub(super) fn run(self) -> Outcome {
        block_on(async {
            let status = self.live.status().await?;
            let live = self.live.find(&status, &[Kind::Activation], &self.activation)?;
            let url = live.status_as::<ActivationStatus>().jwks_url.ok_or(JwksError::None(self.activation))?;
            if self.url {
                println!("{url}");
                return Ok(ExitCode::SUCCESS);
            }
            let response = client()?.get(&url).send().await?;
            if !response.status().is_success() {
                return Err(JwksError::Unserved { url, status: response.status().as_u16() }.into());
            }
            let set: serde_json::Value = response.json().await?;
            println!("{set:#}");
            Ok(ExitCode::SUCCESS)
        })?
    }
}
