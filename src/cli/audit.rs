//! The audit log: options of those who write it, and `hearthgate audit verify`.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Outcome;
use crate::proxy::Metrics;
use crate::proxy::audit::{AuditLog, Broken, Destination, verify};

/// Options about the audit log.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Audit")]
pub(super) struct AuditOptions {
    /// Write one JSON line a request, chained by hashes, to this file (- for standard output); SIGHUP opens it anew
    #[arg(long, value_name = "FILE", env = "HEARTHGATE_AUDIT_LOG")]
    audit_log: Option<PathBuf>,
    /// Put the file aside, as FILE.TIME, when it has grown to so many MiB
    #[arg(long, value_name = "MIB", default_value_t = 100, env = "HEARTHGATE_AUDIT_LOG_MAX_MIB",
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    audit_log_max_mib: u64,
}

/// The audit log cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the audit log {path}: {error}")]
pub(super) struct AuditLogError {
    path: PathBuf,
    error: io::Error,
}

impl AuditOptions {
    /// Opens the log, if there is to be one; SIGHUP opens it anew until `stop`.
    pub(super) fn open(
        &self,
        metrics: &Arc<Metrics>,
        work: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Option<AuditLog>, AuditLogError> {
        let Some(path) = &self.audit_log else { return Ok(None) };
        let failed = |error| AuditLogError { path: path.clone(), error };
        let destination = if path.as_os_str() == "-" {
            Destination::StandardOutput
        } else {
            Destination::File { path: path.clone(), longest: self.audit_log_max_mib.saturating_mul(1 << 20) }
        };
        let (log, finished) = AuditLog::open(destination, Arc::clone(metrics)).map_err(failed)?;
        let mut hangups = signal(SignalKind::hangup()).map_err(failed)?;
        let (reopened, stop) = (log.clone(), stop.clone());
        work.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = hangups.recv() => reopened.reopen().await,
                }
            }
        });
        work.spawn(async move {
            // The last lines are written when nobody serves any more.
            let _ = finished.await;
        });
        Ok(Some(log))
    }
}

/// Look at audit logs.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hearthgate audit verify audit.log.* audit.log")]
pub(super) struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check that no line was changed, taken out or put in.
    ///
    /// Files are given oldest first; each must go on where the one before it ended. Prints the hash of the last line: kept
    /// elsewhere, it shows whether the log's end was cut off.
    #[command(after_help = "Example:\n  hearthgate audit verify audit.log.* audit.log")]
    Verify {
        /// The files, oldest first
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

impl Audit {
    pub(super) fn run(self) -> Outcome {
        let Command::Verify { files } = self.command;
        let mut after: Option<String> = None;
        for path in files {
            let file = File::open(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            match verify(BufReader::new(file), after.as_deref()) {
                Ok(found) => {
                    let lost =
                        if found.lost > 0 { format!(", {} could not be written", found.lost) } else { String::new() };
                    anstream::println!(
                        "{}: {} lines, unbroken{lost}; last {}",
                        path.display(),
                        found.lines,
                        found.last
                    );
                    after = Some(found.last);
                }
                Err(Broken::Unreadable(error)) => return Err(format!("cannot read {}: {error}", path.display()).into()),
                Err(broken @ (Broken::NoLine(_) | Broken::NotChained(_))) => {
                    anstream::println!("{}: BROKEN: {broken}", path.display());
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
