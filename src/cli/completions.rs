//! `hearthgate completions`: shells that know commands, options, and the names of objects.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use clap_complete::engine::{CompletionCandidate, complete};
use clap_complete::env::Shells;

use super::invocation::is_kubectl_completion;
use super::live::{LiveOptions, Place};
use super::{Outcome, block_on};
use crate::snapshot::Kind;
use crate::snapshot::live::LiveStatus;
use crate::source::loaded;
use crate::values::code::Code;

/// The variable by which a shell asks for candidates.
pub(super) const VARIABLE: &str = "HEARTHGATE_COMPLETE";
/// A person waits at the keyboard.
const PATIENCE: Duration = Duration::from_millis(300);
/// A cluster is farther away, and its plugins for logging in take their time.
const PATIENCE_WITH_CLUSTERS: Duration = Duration::from_secs(2);
/// The current directory may be a home directory.
const MOST_FILES: usize = 500;
const DEEPEST: usize = 3;

/// Print what makes a shell complete commands, options and the names of objects.
///
/// Names are those of the cluster where the line asks for one (--context, --cluster, -A, or as a plugin of kubectl); else
/// those of the standalone server (HEARTHGATE_SERVER, default http://127.0.0.1:9090) where one answers, else those of the
/// YAML in the current directory.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  source <(hearthgate completions bash)        # in ~/.bashrc\n  source <(hearthgate completions zsh)         # in ~/.zshrc\n  hearthgate completions fish > ~/.config/fish/completions/hearthgate.fish\n  ln -s \"$(command -v hearthgate)\" ~/.local/bin/kubectl_complete-hearthgate  # for kubectl's own completion"
)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: ShellName,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShellName {
    Bash,
    Elvish,
    Fish,
    #[value(name = "powershell")]
    PowerShell,
    Zsh,
}

/// A shell without a script: `Shells` knows all of ours.
#[derive(Debug, thiserror::Error)]
#[error("no completion is known for {0}")]
struct UnknownShell(String);

impl Completions {
    pub(super) fn run(self) -> Outcome {
        let name = self.shell.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let shells = Shells::builtins();
        let completer = shells.completer(&name).ok_or(UnknownShell(name))?;
        completer.write_registration(VARIABLE, "hearthgate", "hearthgate", "hearthgate", &mut std::io::stdout())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Answers kubectl's completion (Cobra): a candidate a line with what it means behind a tab, then what a shell should do
/// about files (`:4`: nothing).
pub(super) fn print_for_kubectl() -> std::io::Result<()> {
    let words: Vec<_> = std::iter::once("hearthgate".into()).chain(std::env::args_os().skip(1)).collect();
    let at = words.len().saturating_sub(1);
    for candidate in complete(&mut super::command(), words, at, None)? {
        let value = candidate.get_value().to_string_lossy();
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        println!("{value}\t{}", help.lines().next().unwrap_or_default());
    }
    println!(":4");
    Ok(())
}

/// Every code and reason.
pub(super) fn codes() -> Vec<CompletionCandidate> {
    let each = Code::ALL.iter().flat_map(|code| {
        let help = Some(code.meaning().into());
        [code.number(), code.reason()].map(|word| CompletionCandidate::new(word).help(help.clone()))
    });
    each.collect()
}

/// Apps.
pub(super) fn apps() -> Vec<CompletionCandidate> {
    names(&[Kind::App])
}

/// Gateways.
pub(super) fn gateways() -> Vec<CompletionCandidate> {
    names(&[Kind::Gateway])
}

/// Activations.
pub(super) fn activations() -> Vec<CompletionCandidate> {
    names(&[Kind::Activation])
}

/// What `status` takes.
pub(super) fn anything() -> Vec<CompletionCandidate> {
    names(&[Kind::Activation, Kind::App, Kind::Gateway, Kind::DataAdapter])
}

/// What `rotate` takes.
pub(super) fn rotatable() -> Vec<CompletionCandidate> {
    names(&[Kind::Activation, Kind::Gateway])
}

fn names(kinds: &[Kind]) -> Vec<CompletionCandidate> {
    let known: BTreeSet<(String, Kind)> = match block_on(running()).ok().flatten() {
        Some(status) => status.objects.into_iter().map(|live| (live.object.key.name, live.object.kind)).collect(),
        None => {
            let loaded = loaded::read(&nearby(Path::new("."), 0));
            loaded.objects.into_keys().map(|object| (object.key.name, object.kind)).collect()
        }
    };
    let wanted = known.into_iter().filter(|(_, kind)| kinds.contains(kind));
    wanted.map(|(name, kind)| CompletionCandidate::new(name).help(Some(kind.as_str().into()))).collect()
}

/// What runs where the line that is being typed asks; nothing where nobody answers.
async fn running() -> Option<LiveStatus> {
    // A shell puts the line behind two dashes, kubectl gives it alone.
    let typed = std::env::args().skip_while(|word| word != "--" && !is_kubectl_completion()).skip(1);
    let live = LiveOptions::of_words(typed);
    match live.place() {
        Place::Cluster => tokio::time::timeout(PATIENCE_WITH_CLUSTERS, live.status()).await.ok()?.ok(),
        Place::Server(server) => served(&server).await,
    }
}

/// What a server at hand tells; nothing where there is none.
async fn served(server: &str) -> Option<LiveStatus> {
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().ok()?;
    let answer = client.get(format!("{}/status", server.trim_end_matches('/'))).send().await.ok()?;
    answer.error_for_status().ok()?.json().await.ok()
}

/// YAML at hand: not deep, and not much of it.
fn nearby(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden || files.len() >= MOST_FILES {
            continue;
        }
        if path.is_dir() && depth < DEEPEST {
            files.extend(nearby(&path, depth + 1));
        } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(path);
        }
    }
    files.truncate(MOST_FILES);
    files
}
