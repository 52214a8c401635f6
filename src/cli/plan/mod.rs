//! `hearthgate plan`: what a change does, before it is merged.

mod markdown;
mod outline;
mod text;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::slice;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Outcome;
use super::offline::{Offline, PathUnreadable};
use super::platform::PlatformOptions;
use crate::snapshot::difference::{Difference, difference};
use crate::snapshot::resources::Rejection;

/// Say what a change does: who gains or loses access, which keys are made, which tokens die, what moves, and what a
/// person must do at an EHR.
///
/// OLD and NEW are files or directories, such as two checkouts of one repository. An edit that an API server would refuse
/// changes nothing there, and so it does here; Secrets that are in no file are taken for granted. Exits with 0 when
/// nothing changes, 1 when something does, 2 when the two cannot be compared.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate plan ../main/environments environments\n  hearthgate plan old.yaml new.yaml -o markdown > comment.md\n  git worktree add /tmp/main main && hearthgate plan /tmp/main/environments environments\n  hearthgate plan environments environments --old-public-url https://old.example.org --public-url https://new.example.org"
)]
pub(super) struct Plan {
    /// File or directory as it is
    old: PathBuf,
    /// File or directory as it will be
    new: PathBuf,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    /// The moment, where windows matter (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// The platform's public URL before, where that moves too [default: --public-url]
    #[arg(long, value_name = "URL")]
    old_public_url: Option<String>,
    #[command(flatten)]
    platform: PlatformOptions,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For a comment on a pull request
    Markdown,
    /// For programs
    Json,
}

/// Why the two cannot be compared.
#[derive(Debug, thiserror::Error)]
enum PlanError {
    #[error(transparent)]
    Path(#[from] PathUnreadable),
    /// What is in an unreadable file would be taken for removed.
    #[error(
        "cannot compare: {path} holds what cannot be read, and all of it would be taken for removed. `hearthgate check {path}` says more; first: {first}",
        path = .path.display()
    )]
    Unreadable { path: PathBuf, first: String },
}

impl Plan {
    pub(super) fn run(self) -> Outcome {
        let platform = self.platform.offline()?;
        let old_platform = match &self.old_public_url {
            Some(url) => self.platform.at(url).offline()?,
            None => platform.clone(),
        };
        let old = Offline::read(slice::from_ref(&self.old), &old_platform).map_err(PlanError::from)?;
        let new = Offline::read_after(slice::from_ref(&self.new), &platform, &old).map_err(PlanError::from)?;
        readable(&self.old, &old)?;
        readable(&self.new, &new)?;
        let difference = difference(&old.compiled(), &new.compiled(), self.at.unwrap_or_else(Timestamp::now));
        let hint = self.platform.hint().filter(|_| !difference.keys.is_empty() || !difference.urls.is_empty());
        let notes: Vec<String> = new.assumption().into_iter().chain(hint).collect();
        match self.output {
            Output::Text => anstream::print!("{}", text::print(&difference, &notes)),
            Output::Markdown => print!("{}", markdown::print(&difference, &notes)),
            Output::Json => println!("{:#}", document(&difference, &new)),
        }
        Ok(if difference.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn readable(path: &Path, side: &Offline) -> Result<(), PlanError> {
    let unknown = side.loaded.rejections.iter().find(|rejection| rejection.object.is_none());
    match unknown {
        None => Ok(()),
        Some(Rejection { message, location, .. }) => {
            Err(PlanError::Unreadable { path: path.to_owned(), first: format!("{location}: {message}") })
        }
    }
}

fn document(difference: &Difference, new: &Offline) -> Value {
    let mut document = json!(difference);
    if let Value::Object(members) = &mut document {
        let assumed: Vec<String> = new.assumed.iter().map(|object| object.key.to_string()).collect();
        members.insert("changes".to_owned(), json!(!difference.is_empty()));
        members.insert("assumedSecrets".to_owned(), json!(assumed));
    }
    document
}
