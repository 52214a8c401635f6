//! `hearthgate sandbox`: the simulated EHR alone, in the foreground.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use super::logging::LogOptions;
use super::{Outcome, shutdown};
use crate::sandbox::{self, BindError, FHIR_PATH, FIRST_PATIENT, LAUNCHER_PATH, OPEN_FHIR_PATH, Settings, TOKEN_PATH};

/// Run the simulated EHR: SMART App Launch with a login page, a strict token endpoint, FHIR R4 with a scheduling data set,
/// a private API, and a log of what arrived.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  \
    hearthgate sandbox\n  \
    curl --json '{\"clientId\":\"demo\",\"clientSecret\":\"…\"}' http://127.0.0.1:8090/sandbox/clients\n  \
    curl http://127.0.0.1:8090/sandbox/log")]
pub(super) struct Sandbox {
    /// Address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// URL under which the simulated EHR is reached, where that is not the address that it listens on.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// How long an access token lives, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    token_lifetime_seconds: u32,
    #[command(flatten)]
    log: LogOptions,
}

impl Sandbox {
    pub(super) fn run(self) -> Outcome {
        self.log.start()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let signals = shutdown::signals()?;
            let stop = CancellationToken::new();
            let ended = stop.clone();
            tokio::spawn(async move {
                signals.wait().await;
                ended.cancel();
            });
            serve(self, stop).await
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Why the command ends with an error.
#[derive(Debug, thiserror::Error)]
enum SandboxError {
    /// The sandbox could not start.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Nothing could be written to the terminal.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Serves until `shutdown`, having said where.
async fn serve(args: Sandbox, shutdown: CancellationToken) -> Result<(), SandboxError> {
    let sandbox = sandbox::Sandbox::bind(Settings {
        listen: args.listen,
        public_url: args.public_url,
        token_lifetime_seconds: args.token_lifetime_seconds,
        ..Settings::default()
    })
    .await?;
    let base = sandbox.base_url();
    let mut output = io::stdout().lock();
    writeln!(output, "The simulated EHR is at {base}/ (Ctrl-C stops it, and it forgets everything)")?;
    writeln!(output, "  token URL   {base}{TOKEN_PATH}")?;
    writeln!(output, "  FHIR base   {base}{FHIR_PATH}")?;
    writeln!(output, "  apps        {base}{LAUNCHER_PATH} (starts one for a patient)")?;
    writeln!(output, "  try         curl {base}{OPEN_FHIR_PATH}/Patient/{FIRST_PATIENT}")?;
    writeln!(output, "  log         curl {base}/sandbox/log")?;
    output.flush()?;
    drop(output);
    sandbox.serve(shutdown).await;
    Ok(())
}
