//! `hearthgate check`: everything that can be said about YAML before it is merged.

mod json;
mod problem;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::Outcome;
use super::platform::PlatformOptions;
use crate::snapshot::compile;
use crate::source::loaded;
use problem::Problems;

/// Check YAML offline: schema, rules between fields, and everything between objects.
///
/// Reads *.yaml, *.yml and *.json of files and directories, or `-` for standard input. The rules are those of the
/// running system: what passes here is served there. Warnings never change the exit code: 0 without errors, 1 with.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate check examples/quickstart\n  kubectl kustomize overlays/north | hearthgate check -\n  hearthgate check . -o json"
)]
pub(super) struct Check {
    /// Files or directories; `-` is standard input
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    platform: PlatformOptions,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// A path that is not there: nothing was checked.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {error}")]
struct PathUnreadable {
    path: PathBuf,
    error: std::io::Error,
}

impl Check {
    pub(super) fn run(self) -> Outcome {
        for path in self.paths.iter().filter(|path| path.as_os_str() != "-") {
            std::fs::metadata(path).map_err(|error| PathUnreadable { path: path.clone(), error })?;
        }
        let platform = self.platform.platform("http://127.0.0.1:8080", true)?;
        let loaded = loaded::read(&self.paths);
        let (_, reports) = compile(&loaded.resources(), &platform);
        let problems = Problems::collect(&loaded, &reports, Timestamp::now());
        match self.output {
            Output::Text => text::print(&loaded, &problems),
            Output::Json => json::print(&loaded, &problems),
        }
        Ok(if problems.errors() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
