//! `hearthgate crds`: the CustomResourceDefinitions.

use std::process::ExitCode;

use clap::Args;

use super::Outcome;
use crate::api::crd;

/// Print the CustomResourceDefinitions of the four kinds.
///
/// The same bytes stand in `crds/` and in the chart.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hearthgate crds | kubectl apply --server-side -f -")]
pub(super) struct Crds {}

impl Crds {
    #[expect(clippy::unused_self, reason = "every command runs itself")]
    pub(super) fn run(self) -> Outcome {
        print!("{}", crd::to_yaml()?);
        Ok(ExitCode::SUCCESS)
    }
}
