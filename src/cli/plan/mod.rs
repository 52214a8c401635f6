//! `hearthgate plan`: what a change does, before it is merged.

mod markdown;
mod outline;
mod text;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::slice;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::known::Known;
use super::live::{ClusterChoice, Scope};
use super::offline::{self, Offline, PathUnreadable};
use super::platform::PlatformOptions;
use super::{Outcome, block_on};
use crate::snapshot::difference::{Difference, difference};
use crate::snapshot::resources::Rejection;
use crate::source::loaded::Loaded;
use crate::source::schema::DEFAULT_NAMESPACE;

/// Say what a change does: who gains or loses access, which keys are made, which tokens die, what moves, and what a
/// person must do at an EHR.
///
/// OLD and NEW are files or directories, such as two checkouts of one repository; or NEW alone is compared with what a
/// cluster holds (--cluster), in the namespaces that it names (-n: this one; -A: all, where what NEW does not hold is taken
/// for removed). An edit that an API server would refuse changes nothing there, and so it does here; Secrets that are in no
/// file are taken for granted, and a cluster's are not read. Exits with 0 when nothing changes, 1 when something does, 2
/// when the two cannot be compared.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate plan ../main/environments environments\n  hearthgate plan --cluster environments\n  kubectl kustomize overlays/north | hearthgate plan --context production -\n  hearthgate plan old.yaml new.yaml -o markdown > comment.md\n  git worktree add /tmp/main main && hearthgate plan /tmp/main/environments environments\n  hearthgate plan environments environments --old-public-url https://old.example.org --public-url https://new.example.org"
)]
pub(super) struct Plan {
    /// OLD and NEW: files or directories as they are (not with a cluster) and as they will be; `-` is standard input
    #[arg(value_name = "PATH", num_args = 1..=2, required = true)]
    paths: Vec<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    /// The moment, where windows matter (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// The platform's public URL before, where that moves too [default: --public-url]
    #[arg(long, value_name = "URL")]
    old_public_url: Option<String>,
    /// Compare this namespace of the cluster; objects that name none are in it [default: those that NEW names]
    #[arg(short, long, help_heading = "Where to ask")]
    namespace: Option<String>,
    /// Compare all namespaces of the cluster
    #[arg(short = 'A', long, conflicts_with = "namespace", help_heading = "Where to ask")]
    all_namespaces: bool,
    #[command(flatten, next_help_heading = "Where to ask")]
    choice: ClusterChoice,
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
    /// There is nothing to compare with.
    #[error("give OLD and NEW, or NEW alone with --cluster (or --context)")]
    OneAlone,
    /// Too much of it.
    #[error("with a cluster, give NEW alone: what is there is OLD")]
    TwoAndCluster,
    /// What is in an unreadable file would be taken for removed.
    #[error(
        "cannot compare: {path} holds what cannot be read, and all of it would be taken for removed. `hearthgate check {path}` says more; first: {first}",
        path = .path.display()
    )]
    Unreadable { path: PathBuf, first: String },
    /// It would be taken for new.
    #[error(
        "cannot compare: {path} holds objects of {} too, which -n {namespace} leaves out",
        .others.join(", "),
        path = .path.display()
    )]
    Elsewhere { path: PathBuf, namespace: String, others: Vec<String> },
}

impl Plan {
    pub(super) fn run(self) -> Outcome {
        let (old, new, compared) = match self.paths.as_slice() {
            [old, new] if !self.choice.is_given() && !self.all_namespaces => {
                let (old, new) = self.of_files(old, new)?;
                (old, new, None)
            }
            [_, _] => return Err(PlanError::TwoAndCluster.into()),
            [new] if self.choice.is_cluster() || self.all_namespaces => block_on(self.of_cluster(new))??,
            _ => return Err(PlanError::OneAlone.into()),
        };
        let difference = difference(&old.compiled(), &new.compiled(), self.at.unwrap_or_else(Timestamp::now));
        let shows_urls = !difference.keys.is_empty() || !difference.urls.is_empty();
        let hint = self.platform.hint().filter(|_| shows_urls && self.paths.len() == 2);
        let notes: Vec<String> = new.assumption().into_iter().chain(compared).chain(hint).collect();
        match self.output {
            Output::Text => anstream::print!("{}", text::print(&difference, &notes)),
            Output::Markdown => print!("{}", markdown::print(&difference, &notes)),
            Output::Json => println!("{:#}", document(&difference, &new)),
        }
        Ok(if difference.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn of_files(
        &self,
        old_path: &PathBuf,
        new_path: &PathBuf,
    ) -> Result<(Offline, Offline), Box<dyn std::error::Error>> {
        let platform = self.platform.offline()?;
        let old_platform = match &self.old_public_url {
            Some(url) => self.platform.at(url).offline()?,
            None => platform.clone(),
        };
        let old = Offline::read(slice::from_ref(old_path), &old_platform)?;
        offline::readable(slice::from_ref(new_path))?;
        let new = Offline::after(offline::load(DEFAULT_NAMESPACE, slice::from_ref(new_path)), &platform, &old);
        readable(old_path, &old.loaded)?;
        readable(new_path, &new.loaded)?;
        Ok((old, new))
    }

    /// The two, and what a reader should know of how much was compared.
    async fn of_cluster(
        &self,
        path: &PathBuf,
    ) -> Result<(Offline, Offline, Option<String>), Box<dyn std::error::Error>> {
        offline::readable(slice::from_ref(path))?;
        let (_, own) = self.choice.contact.connect().await?;
        let home = self.namespace.as_deref().unwrap_or(&own);
        let mut loaded = offline::load(home, slice::from_ref(path));
        readable(path, &loaded)?;
        loaded.without_secrets();
        let named: BTreeSet<String> = loaded.objects.keys().map(|object| object.key.namespace.clone()).collect();
        let compared = (self.namespace.is_none() && !self.all_namespaces).then(|| compared(&named));
        let listed = match &self.namespace {
            Some(namespace) => {
                let others: Vec<String> = named.into_iter().filter(|name| name != namespace).collect();
                if !others.is_empty() {
                    let (path, namespace) = (path.clone(), namespace.clone());
                    return Err(PlanError::Elsewhere { path, namespace, others }.into());
                }
                self.choice.list(&Scope::One(namespace)).await?
            }
            None if self.all_namespaces => self.choice.list(&Scope::All).await?,
            None => {
                let mut listed = Vec::new();
                for namespace in &named {
                    listed.extend(self.choice.list(&Scope::One(namespace)).await?);
                }
                listed
            }
        };
        let known = Known::of_cluster(&listed);
        let platform = self.platform.beside(&known)?;
        let old_platform = match &self.old_public_url {
            Some(url) => self.platform.at(url).beside(&known)?,
            None => platform.clone(),
        };
        let old = Offline::of_cluster(&listed, known, &old_platform);
        let new = Offline::after(loaded, &platform, &old);
        Ok((old, new, compared))
    }
}

/// Of a cluster, a namespace that NEW has left altogether is not seen without being named.
fn compared(namespaces: &BTreeSet<String>) -> String {
    let names: Vec<&str> = namespaces.iter().map(String::as_str).collect();
    match names.as_slice() {
        [] => "NEW names no namespace, so nothing of the cluster was compared: -n names one, -A takes all".to_owned(),
        [one] => format!("compared was namespace {one}, which NEW names; -A sees what it names no more, too"),
        several => {
            format!(
                "compared were namespaces {}, which NEW names; -A sees what it names no more, too",
                several.join(", ")
            )
        }
    }
}

fn readable(path: &Path, loaded: &Loaded) -> Result<(), PlanError> {
    let unknown = loaded.rejections.iter().find(|rejection| rejection.object.is_none());
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
