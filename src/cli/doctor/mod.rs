//! `hearthgate doctor`: is this installation in order, as a whole.

mod check;
mod cluster;
mod seen;
mod told;

use std::process::ExitCode;

use anstream::println;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::json;

use self::check::{Check, State};
use super::live::{LiveError, LiveOptions};
use super::style::{BAD, BUSY, GOOD, TITLE};
use super::{Outcome, block_on};

/// Check an installation: its objects and keys, what its EHRs say, and whether its URLs answer as apps and EHRs see them;
/// of a cluster also the kinds' definitions, who runs, with which permissions, and whether proxies reach their store.
///
/// Each check says what is so and, where something is wrong, what to do. Whatever is asked may take three seconds; nothing
/// is changed. Exits with 1 when a check fails; warnings do not count.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate doctor\n  hearthgate doctor -n cardiology -o json\n  hearthgate doctor --server http://127.0.0.1:9191"
)]
pub(super) struct Doctor {
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    live: LiveOptions,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

impl Doctor {
    pub(super) fn run(self) -> Outcome {
        let checks = block_on(self.checks())?;
        let failed = checks.iter().filter(|check| check.state == State::Failed).count();
        match self.output {
            Output::Json => println!("{:#}", json!({ "healthy": failed == 0, "checks": checks })),
            Output::Text => print_text(&checks, failed),
        }
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn checks(&self) -> Vec<Check> {
        let mut checks = seen::server(&self.live).await;
        match self.live.status().await {
            Ok(mut status) => {
                status.objects.retain(|live| {
                    self.live.namespace().is_none_or(|namespace| live.object.key.namespace == namespace)
                });
                checks.extend(cluster::checks(&self.live).await);
                checks.extend(told::checks(&status, Timestamp::now()));
                checks.extend(seen::urls(&status).await);
            }
            // Whoever asks a doctor wants to hear this as a finding, not as a failure of the doctor.
            Err(error) => {
                let hint = match &error {
                    LiveError::NotInstalled => {
                        "Install the chart, or: hearthgate crds | kubectl apply --server-side -f -"
                    }
                    _ => "Start it, or say where it is: --server or --context. Nothing else can be looked at.",
                };
                checks.push(Check::failed(check::Group::Server, error.to_string()).with_hint(hint));
            }
        }
        checks
    }
}

fn print_text(checks: &[Check], failed: usize) {
    let mut group = None;
    for check in checks {
        if group != Some(check.group) {
            println!("{TITLE}{}{TITLE:#}", check.group.title());
            group = Some(check.group);
        }
        let (mark, style) = match check.state {
            State::Fine => ("✓", GOOD),
            State::Doubtful => ("!", BUSY),
            State::Failed => ("✗", BAD),
        };
        println!("  {style}{mark}{style:#} {}", check.finding);
        for hint in &check.hints {
            println!("      {hint}");
        }
    }
    let doubtful = checks.iter().filter(|check| check.state == State::Doubtful).count();
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    println!(
        "\n{} check{}, {failed} failed, {doubtful} warning{}",
        checks.len(),
        plural(checks.len()),
        plural(doubtful)
    );
}
