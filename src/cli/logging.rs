//! Logs: pretty on a terminal, JSON lines otherwise, on standard error.

use std::io::{IsTerminal as _, stderr};

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// Options about logs.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Logging")]
pub(super) struct LogOptions {
    /// What to log: a level (error, warn, info, debug, trace) or a filter such as info,hearthgate::proxy=debug
    #[arg(long, default_value = "info", env = "HEARTHGATE_LOG")]
    log: String,
    /// How to write logs [default: pretty on a terminal, json otherwise]
    #[arg(long, value_enum, env = "HEARTHGATE_LOG_FORMAT")]
    log_format: Option<LogFormat>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Pretty,
    Json,
}

impl LogOptions {
    /// Starts logging for the whole process.
    pub(super) fn start(&self) -> Result<(), tracing_subscriber::filter::ParseError> {
        // kube's client logs whatever answer it cannot parse, whole: a Secret could be in it. What comes of its calls is
        // told by those who make them.
        let filter = EnvFilter::builder().parse(&self.log)?.add_directive("kube_client=off".parse()?);
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
        let format =
            self.log_format.unwrap_or(if stderr().is_terminal() { LogFormat::Pretty } else { LogFormat::Json });
        match format {
            LogFormat::Pretty => builder.with_target(false).init(),
            LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).init(),
        }
        Ok(())
    }
}
