//! `hearthgate crds`: the CustomResourceDefinitions.

use std::process::ExitCode;

use clap::Args;

use super::{Outcome, print_document};
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
        print_document(crd::to_yaml()?.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}
