//! `hearthgate proxy`: the data plane in a cluster. Any number of replicas; it writes no object.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::audit::{AuditLogError, AuditOptions};
use super::cluster::{ClusterError, ClusterOptions};
use super::connections::ConnectionOptions;
use super::listener::{ListenError, listen, serve_admin};
use super::logging::LogOptions;
use super::platform::{PlatformOptions, PublicUrlInvalid};
use super::store::{StoreOptions, StoreOptionsError};
use super::tls::TlsOptions;
use super::traces::{self, TraceOptions};
use super::{Outcome, shutdown};
use crate::outbound::{EhrClient, EhrOutcomes, EhrTokens, SystemClock, programmed};
use crate::proxy::admin::{Admin, ProbeAnswer};
use crate::proxy::server;
use crate::proxy::tls::TlsFilesError;
use crate::proxy::trace::TracesError;
use crate::proxy::{Limits, Metrics};
use crate::source::kubernetes::KubernetesSource;
use crate::source::publish::Publisher;

/// How long finishing may take in all: longer than the server's own drain.
const LAST_WORK: Duration = Duration::from_secs(30);

/// Serve what a cluster's resources say, as one of any number of replicas.
///
/// Reads the four kinds and the labelled Secrets and ConfigMaps, and writes nothing. Ready once everything was read;
/// goes on with what it knows while the API server is away.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hearthgate proxy --public-url https://fhir.example.org --listen 0.0.0.0:8080 --admin-listen 0.0.0.0:9090"
)]
pub(super) struct Proxy {
    /// Where apps and EHRs call
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", env = "HEARTHGATE_LISTEN")]
    listen: SocketAddr,
    /// Where health, metrics and status are; elsewhere than on loopback all but health and metrics ask for a token
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090", env = "HEARTHGATE_ADMIN_LISTEN")]
    admin_listen: SocketAddr,
    /// How long requests are still taken after the end was asked for, in seconds: until no Service leads here any more
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=300))]
    shutdown_delay: u64,
    #[command(flatten)]
    connections: ConnectionOptions,
    #[command(flatten)]
    tls: TlsOptions,
    #[command(flatten)]
    audit: AuditOptions,
    #[command(flatten)]
    traces: TraceOptions,
    #[command(flatten)]
    store: StoreOptions,
    #[command(flatten)]
    cluster: ClusterOptions,
    #[command(flatten)]
    platform: PlatformOptions,
    #[command(flatten)]
    log: LogOptions,
}

/// Why the proxy cannot run.
#[derive(Debug, thiserror::Error)]
enum ProxyError {
    /// An address is taken or not ours.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// `--public-url` is missing or no URL.
    #[error(transparent)]
    PublicUrl(#[from] PublicUrlInvalid),
    /// `--tls-cert` or `--tls-key` cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsFilesError),
    /// `--audit-log` cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditLogError),
    /// `--otlp-endpoint` cannot be used.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// There is no store.
    #[error(transparent)]
    Store(#[from] StoreOptionsError),
    /// There is no cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A signal cannot be waited for.
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
}

impl Proxy {
    pub(super) fn run(self) -> Outcome {
        self.log.start()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(run(self))?;
        // Whatever still blocks a thread (a slow name look-up) must not keep the process from ending.
        runtime.shutdown_background();
        Ok(ExitCode::SUCCESS)
    }
}

/// Serves until SIGINT or SIGTERM.
async fn run(arguments: Proxy) -> Result<(), ProxyError> {
    let signals = shutdown::signals().map_err(ProxyError::Signals)?;
    // Not ready any more; then no more requests.
    let (unready, stop) = (CancellationToken::new(), CancellationToken::new());
    let work = TaskTracker::new();
    let platform = arguments.platform.of_cluster()?;
    let tls = arguments.tls.open()?;
    let cluster = arguments.cluster.connect().await?;
    let store = arguments.store.open().await?;
    let public = listen("--listen", arguments.listen).await?;
    let admin_listener = listen("--admin-listen", arguments.admin_listen).await?;

    let resources = KubernetesSource::new(cluster.client.clone(), cluster.namespaces.clone()).start(stop.clone());
    let compiler = Publisher::new(platform.clone()).without_reports();
    let (published, served) = (compiler.subscribe(), compiler.served());
    let client = EhrClient::new(platform.addresses.clone());
    let outcomes = Arc::new(EhrOutcomes::default());
    let tokens = EhrTokens::new(client.clone(), Arc::new(SystemClock), Arc::clone(&outcomes));
    let metrics = Arc::new(Metrics::default());
    let traces = arguments.traces.start()?;
    let audit = arguments.audit.open(&metrics, &work, &stop)?;
    let proxy =
        crate::proxy::Proxy::new(served, tokens, client, Arc::clone(&store), Arc::clone(&metrics), Limits::default())
            .with_audit(audit)
            .with_traces(traces.clone());

    let (is_synced, ending) = (published.clone(), unready.clone());
    let (_statuses, status) = watch::channel(Arc::default());
    let admin = Admin {
        ready: Arc::new(move || is_synced.borrow().is_some() && store.revocations().synced() && !ending.is_cancelled()),
        metrics: Arc::clone(&metrics),
        status,
        programmed: programmed::follow(published, outcomes, stop.clone()),
        // The operator proves and probes.
        probe: Arc::new(|_| Box::pin(async { ProbeAnswer::Unknown })),
        // The operator has them: it knows what the world outside says.
        pages: axum::Router::new(),
        guard: (!arguments.admin_listen.ip().is_loopback()).then(|| cluster.guard()),
    };
    work.spawn(compiler.run(resources));
    if let Some(tls) = tls.clone() {
        metrics.follow_certificate(tls.clone());
        work.spawn(tls.follow(stop.clone()));
    }
    let ended = stop.clone().cancelled_owned();
    work.spawn(server::serve_with(public, tls, Arc::new(proxy), arguments.connections.settings(), ended));
    work.spawn(serve_admin(admin_listener, admin, stop.clone()));
    tracing::info!(listen = %arguments.listen, admin = %arguments.admin_listen, "the proxy runs");

    signals.wait().await;
    unready.cancel();
    tracing::info!(seconds = arguments.shutdown_delay, "ending: requests are still taken for a moment");
    tokio::time::sleep(Duration::from_secs(arguments.shutdown_delay)).await;
    shutdown::end(&stop, &work, LAST_WORK).await;
    traces::finish(traces).await;
    Ok(())
}
