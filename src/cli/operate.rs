//! `hearthgate operate`: the control plane in a cluster. One of several acts; the others stand by, warm.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Args;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::cluster::{Cluster, ClusterError, ClusterOptions};
use super::console::judge;
use super::listener::{ListenError, listen, serve_admin};
use super::logging::LogOptions;
use super::platform::{PlatformOptions, PublicUrlInvalid};
use super::told::{self, Teller};
use super::{Outcome, shutdown};
use crate::console::{self, Inputs, NoRandomness, Terminal};
use crate::control::lease::{Candidate, LeaseLost, LeaseSettings};
use crate::control::replicas::{Proxies, Replicas, Token};
use crate::control::sink::kubernetes::{KubernetesSink, Opened};
use crate::control::{Control, ControlHandle, Tools};
use crate::outbound::programmed::ProgrammedDocument;
use crate::outbound::{EhrClient, EhrOutcomes, EhrTokens, SystemClock};
use crate::proxy::Metrics;
use crate::proxy::admin::{Admin, ProbeAnswer};
use crate::snapshot::live::LiveStatus;
use crate::snapshot::{Platform, Published};
use crate::source::kubernetes::KubernetesSource;
use crate::source::publish::Publisher;

/// Where the chart mounts a token that is good for nothing but asking the proxies.
const PROXIES_TOKEN: &str = "/var/run/secrets/hearthgate.dev/token";
/// How long finishing may take.
const LAST_WORK: Duration = Duration::from_secs(10);
/// Between two attempts to read the statuses at the beginning.
const PAUSE: Duration = Duration::from_secs(1);

/// Run the control plane in a cluster: make and prove keys, probe, and write statuses.
///
/// Leads by a Lease, which only saves work: two leaders do no harm. Never updates or deletes a Secret.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hearthgate operate --public-url https://fhir.example.org --proxies hearthgate/hearthgate-proxy"
)]
pub(super) struct Operate {
    /// The proxies: their Service (with a port named admin) as NAMESPACE/SERVICE, or admin listeners as HOST:PORT,…
    #[arg(long, value_name = "PROXIES", env = "HEARTHGATE_PROXIES")]
    proxies: Proxies,
    /// The token that the proxies are asked with [default: the one that the chart mounts, where there is one]
    #[arg(long, value_name = "PATH")]
    proxies_token_file: Option<PathBuf>,
    /// Where the console, health, metrics and status are; elsewhere than on loopback all but health and metrics ask for a token
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090", env = "HEARTHGATE_ADMIN_LISTEN")]
    admin_listen: SocketAddr,
    /// Name of the Lease, in the pod's namespace: operators with the same one take turns
    #[arg(long, value_name = "NAME", default_value = "hearthgate-operator")]
    lease: String,
    /// Make no keys at all: restore their Secrets first
    #[arg(long, env = "HEARTHGATE_NO_NEW_KEYS")]
    no_new_keys: bool,
    #[command(flatten)]
    cluster: ClusterOptions,
    #[command(flatten)]
    platform: PlatformOptions,
    #[command(flatten)]
    log: LogOptions,
}

/// Why the operator cannot run, or runs no longer.
#[derive(Debug, thiserror::Error)]
enum OperateError {
    /// The address is taken or not ours.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// `--public-url` is missing or no URL.
    #[error(transparent)]
    PublicUrl(#[from] PublicUrlInvalid),
    /// There is no cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Another leads. Whoever started this process starts it again, and it stands by.
    #[error("leads no longer: {0}")]
    Lost(#[from] LeaseLost),
    /// The console's sessions cannot be sealed.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// A signal cannot be waited for.
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
}

impl Operate {
    pub(super) fn run(self) -> Outcome {
        self.log.start()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let ended = runtime.block_on(run(self));
        runtime.shutdown_background();
        ended?;
        Ok(ExitCode::SUCCESS)
    }

    fn token(&self) -> Token {
        match &self.proxies_token_file {
            Some(path) => Token::File(path.clone()),
            None if std::path::Path::new(PROXIES_TOKEN).exists() => Token::File(PROXIES_TOKEN.into()),
            None => Token::None,
        }
    }
}

/// Runs until SIGINT, SIGTERM or the loss of the Lease.
async fn run(arguments: Operate) -> Result<(), OperateError> {
    let signals = shutdown::signals().map_err(OperateError::Signals)?;
    let stop = CancellationToken::new();
    let work = TaskTracker::new();
    let mut platform = arguments.platform.of_cluster()?;
    platform.makes_keys = !arguments.no_new_keys;
    let cluster = arguments.cluster.connect().await?;
    let address = arguments.admin_listen;
    let listener = listen("--admin-listen", address).await?;

    let resources = KubernetesSource::new(cluster.client.clone(), cluster.namespaces.clone()).start(stop.clone());
    let compiler = Publisher::new(platform.clone()).unhurried();
    let published = compiler.subscribe();
    let read = resources.clone();
    work.spawn(compiler.run(resources));
    let leading: Arc<OnceLock<ControlHandle>> = Arc::default();
    let (teller, told) = told::channel();
    let is_open = !address.ip().is_loopback();
    let guard = is_open.then(|| cluster.guard());
    let access = is_open.then(|| cluster.access());
    let terminal = Terminal { options: String::new(), in_cluster: true };
    let inputs =
        Inputs { resources: read, published: published.clone(), live: told.clone(), judge: judge(), access, terminal };
    let pages = console::router(inputs, stop.clone())?;
    let admin = Admin { guard, pages, ..admin_of(&published, told, Arc::clone(&leading)) };
    work.spawn(serve_admin(listener, admin, stop.clone()));

    let identity = identity();
    let settings =
        LeaseSettings { name: arguments.lease.clone(), ..LeaseSettings::new(&cluster.own_namespace, &identity) };
    let mut candidate = Candidate::new(cluster.client.clone(), settings);
    let token = arguments.token();
    let lead = async {
        candidate.acquire().await;
        let act = Leading { cluster: &cluster, platform, published, proxies: arguments.proxies, token, identity };
        tokio::select! {
            lost = candidate.hold() => lost,
            never = act.run(&leading, teller, &work, &stop) => match never {},
        }
    };
    let ended = tokio::select! {
        lost = lead => Err(OperateError::Lost(lost)),
        () = signals.wait() => Ok(()),
    };
    tracing::info!("ending");
    shutdown::end(&stop, &work, LAST_WORK).await;
    // Only now, when nothing is written any more.
    candidate.release().await;
    ended
}

/// What the leader does.
struct Leading<'run> {
    cluster: &'run Cluster,
    platform: Platform,
    published: watch::Receiver<Option<Arc<Published>>>,
    proxies: Proxies,
    token: Token,
    identity: String,
}

impl Leading<'_> {
    async fn run(
        self,
        leading: &OnceLock<ControlHandle>,
        teller: Teller,
        work: &TaskTracker,
        stop: &CancellationToken,
    ) -> std::convert::Infallible {
        let client = self.cluster.client.clone();
        let Opened { sink, recorded } = loop {
            match KubernetesSink::open(client.clone(), &self.cluster.namespaces, &self.identity).await {
                Ok(opened) => break opened,
                Err(failure) => {
                    tracing::warn!("cannot read the statuses: {failure}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        let outcomes = Arc::new(EhrOutcomes::default());
        let replicas = Replicas::new(self.proxies, client, self.token, Arc::clone(&outcomes));
        let serving = replicas.start(self.published.clone(), stop.clone()).await;
        let client = EhrClient::new(self.platform.addresses.clone());
        let clock = Arc::new(SystemClock);
        let tokens = EhrTokens::new(client.clone(), clock.clone(), outcomes);
        let tools = Tools { sink: Arc::new(sink), client, tokens, clock, serving };
        let (control, handle) = Control::new(tools, self.published.clone(), recorded);
        work.spawn(teller.run(None, self.published, handle.statuses(), stop.clone()));
        // Set once: this runs once in a process.
        let _ = leading.set(handle);
        work.spawn(control.run(stop.clone()));
        std::future::pending().await
    }
}

fn admin_of(
    published: &watch::Receiver<Option<Arc<Published>>>,
    status: watch::Receiver<Arc<LiveStatus>>,
    leading: Arc<OnceLock<ControlHandle>>,
) -> Admin {
    let is_synced = published.clone();
    let (_, programmed) = watch::channel(ProgrammedDocument::default());
    Admin {
        // A standby is ready: a rollout must not wait for it to lead.
        ready: Arc::new(move || is_synced.borrow().is_some()),
        metrics: Arc::new(Metrics::default()),
        status,
        programmed,
        probe: Arc::new(move |activation| {
            let handle = leading.get().cloned();
            Box::pin(async move {
                let Some(handle) = handle else { return ProbeAnswer::Unknown };
                let answer = handle.probe_now(activation).await.map(|status| status.status);
                answer.map_or(ProbeAnswer::Unknown, ProbeAnswer::Asked)
            })
        }),
        guard: None,
        pages: axum::Router::new(),
    }
}

/// The pod's name, which people know, and something that no other process has.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "operator".into());
    format!("{host}_{}", Uuid::new_v4().simple())
}
