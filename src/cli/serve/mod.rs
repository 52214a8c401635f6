//! `hearthgate serve`: standalone, a directory instead of a cluster.

mod feed;
mod quickstart;
mod registrar;
mod standalone;
mod summary;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::Outcome;
use super::audit::AuditOptions;
use super::connections::ConnectionOptions;
use super::logging::LogOptions;
use super::platform::PlatformOptions;
use super::tls::TlsOptions;
use super::traces::TraceOptions;

/// Serve a directory of YAML: watch it, keep keys and state beside it, and proxy.
///
/// The same files that kubectl applies, Secrets included; no namespace means `default`. A saved edit is served within a
/// second; a broken one changes nothing and is told with file, line and column.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate serve --sandbox\n  hearthgate serve examples/quickstart --sandbox\n  hearthgate serve /etc/hearthgate --listen 0.0.0.0:8080 --public-url https://fhir.example.org"
)]
pub(super) struct Serve {
    /// The directory [default with --sandbox: the quickstart that is inside the binary]
    #[arg(required_unless_present = "sandbox")]
    directory: Option<PathBuf>,
    /// Where apps and EHRs call
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", env = "HEARTHGATE_LISTEN")]
    listen: SocketAddr,
    /// Where the console, health, metrics and status are
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090", env = "HEARTHGATE_ADMIN_LISTEN")]
    admin_listen: SocketAddr,
    /// Where keys and state are kept [default: DIRECTORY/.hearthgate]
    #[arg(long, value_name = "PATH", env = "HEARTHGATE_STATE")]
    state: Option<PathBuf>,
    /// Make no keys at all: restore them first
    #[arg(long)]
    no_new_keys: bool,
    /// Also start the simulated EHR, as strict as a real one
    #[arg(long)]
    sandbox: bool,
    /// Where the simulated EHR listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090", requires = "sandbox")]
    sandbox_listen: SocketAddr,
    /// Who registers the activations' keys at the simulated EHR
    #[arg(long, value_enum, default_value = "auto", requires = "sandbox")]
    sandbox_register: Register,
    #[command(flatten)]
    connections: ConnectionOptions,
    #[command(flatten)]
    tls: TlsOptions,
    #[command(flatten)]
    audit: AuditOptions,
    #[command(flatten)]
    traces: TraceOptions,
    #[command(flatten)]
    platform: PlatformOptions,
    #[command(flatten)]
    log: LogOptions,
}

/// Who registers keys at the simulated EHR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Register {
    /// Hearthgate, at once.
    Auto,
    /// A person, as at a real EHR.
    Manual,
}

impl Serve {
    pub(super) fn run(self) -> Outcome {
        self.log.start()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(standalone::run(self))?;
        // Whatever still blocks a thread (a slow name look-up) must not keep the process from ending.
        runtime.shutdown_background();
        Ok(ExitCode::SUCCESS)
    }
}
