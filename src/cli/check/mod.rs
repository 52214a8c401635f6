//! `hearthgate check`: everything that can be said about YAML before it is merged.

mod github;
mod json;
mod junit;
pub(super) mod problem;
mod sarif;
mod suppression;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::offline::{load, readable};
use super::platform::PlatformOptions;
use super::{Outcome, print_document};
use crate::snapshot::compile;
use crate::source::schema::DEFAULT_NAMESPACE;
use problem::Problems;

/// Check YAML offline: schema, rules between fields, and everything between objects.
///
/// Reads *.yaml, *.yml and *.json of files and directories, or `-` for standard input. The rules are those of the
/// running system: what passes here is served there. Warnings never change the exit code, and the format does not
/// either: 0 without errors, 1 with.
///
/// A finding is silenced where it arises, by a comment on its line or above (# hearthgate: ignore HG8001 -- the reason),
/// or by an annotation of the object (hearthgate.dev/ignore: HG8001).
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate check examples/quickstart\n  kubectl kustomize overlays/north | hearthgate check -\n  hearthgate check . --secrets-elsewhere -o github\n  hearthgate check . -o sarif > hearthgate.sarif"
)]
pub(super) struct Check {
    /// Files or directories; `-` is standard input
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    /// Take credentials that are in no file for granted (External Secrets, Sealed Secrets)
    #[arg(long)]
    secrets_elsewhere: bool,
    #[command(flatten)]
    platform: PlatformOptions,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// JUnit XML, for test reports
    Junit,
    /// Annotations of GitHub Actions
    Github,
}

impl Check {
    pub(super) fn run(self) -> Outcome {
        readable(&self.paths)?;
        let platform = self.platform.offline()?;
        let loaded = load(DEFAULT_NAMESPACE, &self.paths);
        let mut resources = loaded.resources();
        if self.secrets_elsewhere {
            resources.assume_credentials(|object| loaded.names(object));
        }
        let (_, reports) = compile(&resources, &platform);
        let problems = Problems::collect(&loaded, &reports, Timestamp::now());
        match self.output {
            Output::Text => text::print(&loaded, &problems),
            Output::Json => json::print(&loaded, &problems),
            Output::Sarif => print_document(format!("{:#}\n", sarif::print(&problems)).as_bytes())?,
            Output::Junit => print_document(junit::print(&loaded, &problems)?.as_bytes())?,
            Output::Github => {
                print_document(github::print(&problems, &text::summary(&loaded, &problems)).as_bytes())?;
            }
        }
        Ok(if problems.errors() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
