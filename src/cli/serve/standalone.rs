//! The standalone process: source, compiler, control plane and proxy in one, put together here and nowhere else.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::summary::Places;
use super::{Register, Serve, feed, quickstart, registrar};
use crate::cli::audit::AuditLogError;
use crate::cli::console::judge;
use crate::cli::listener::{ListenError, listen, serve_admin};
use crate::cli::platform::PublicUrlInvalid;
use crate::cli::store::{StoreOptionsError, open_embedded};
use crate::cli::{shutdown, told, traces};
use crate::console::{self, Inputs, NoRandomness, Terminal};
use crate::control::sink::directory::{DirectorySink, Opened, StateError};
use crate::control::{Control, ControlHandle, Serving, Tools};

use crate::outbound::programmed::ProgrammedDocument;
use crate::outbound::{EhrClient, EhrOutcomes, EhrTokens, SystemClock, programmed};
use crate::proxy::admin::{Admin, ProbeAnswer};
use crate::proxy::server;
use crate::proxy::tls::TlsFilesError;
use crate::proxy::trace::TracesError;
use crate::proxy::{Limits, Metrics, Proxy};
use crate::sandbox::{self, FIRST_PATIENT, Sandbox};
use crate::snapshot::Published;
use crate::snapshot::live::LiveStatus;
use crate::source::DirectorySource;
use crate::source::directory::Delivered;
use crate::source::identity::IdentityError;
use crate::source::publish::Publisher;

/// How long the first proofs may take before the summary is printed without them.
const FIRST_PROOFS: Duration = Duration::from_secs(5);
/// How long finishing may take in all: longer than the proxy's own drain.
const LAST_WORK: Duration = Duration::from_secs(30);

/// Why standalone cannot start.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    /// The directory is no directory.
    #[error("cannot serve {path}: {error}")]
    Directory { path: PathBuf, error: io::Error },
    /// An address is taken or not ours.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The quickstart cannot be unpacked.
    #[error("cannot unpack the quickstart: {0}")]
    Quickstart(io::Error),
    /// `--public-url` is no URL.
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
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The state directory's memory of objects cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The simulated EHR cannot start.
    #[error("cannot start the simulated EHR: {0}")]
    Sandbox(#[from] sandbox::BindError),
    /// The store of sessions and revocations cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreOptionsError),
    /// A signal cannot be waited for.
    #[error("cannot wait for signals: {0}")]
    Signals(io::Error),
    /// The console's sessions cannot be sealed.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

/// Serves until SIGINT or SIGTERM.
pub(super) async fn run(arguments: Serve) -> Result<(), ServeError> {
    let signals = shutdown::signals().map_err(ServeError::Signals)?;
    let stop = CancellationToken::new();
    let work = TaskTracker::new();

    let simulated = if arguments.sandbox {
        Some(Sandbox::bind(sandbox::Settings { listen: arguments.sandbox_listen, ..Default::default() }).await?)
    } else {
        None
    };
    let simulated_handle = simulated.as_ref().map(Sandbox::handle);
    let directory = directory(&arguments)?;
    let state = arguments.state.clone().unwrap_or_else(|| directory.join(".hearthgate"));

    // Bound before the first proof: the EHR fetches the keys here while it is asked to trust them.
    let public = listen("--listen", arguments.listen).await?;
    let admin_listener = listen("--admin-listen", arguments.admin_listen).await?;
    let addresses = (local(&public, arguments.listen), local(&admin_listener, arguments.admin_listen));
    let tls = arguments.tls.open()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut platform = arguments.platform.platform(&format!("{scheme}://{}", addresses.0), true)?;
    platform.makes_keys = !arguments.no_new_keys;

    let Opened { sink, recorded, kept, warnings } = DirectorySink::open(&state).await?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let (directory_source, resources) = DirectorySource::open(&directory, &state, kept, Uuid::new_v4)?;
    let compiler = Publisher::new(platform.clone());
    let published = compiler.subscribe();

    let client = EhrClient::new(platform.addresses.clone());
    let outcomes = Arc::new(EhrOutcomes::default());
    let tokens = EhrTokens::new(client.clone(), Arc::new(SystemClock), Arc::clone(&outcomes));
    let metrics = Arc::new(Metrics::default());
    let served = compiler.served();
    let store = open_embedded(&state).await?;
    let traces = arguments.traces.start()?;
    let audit = arguments.audit.open(&metrics, &work, &stop)?;
    let proxy = Proxy::new(served, tokens.clone(), client.clone(), store, Arc::clone(&metrics), Limits::default())
        .with_audit(audit)
        .with_traces(traces.clone());

    let (_keep_open, replicas) = watch::channel(Serving::Here);
    let tools = Tools { sink: Arc::new(sink), client, tokens, clock: Arc::new(SystemClock), serving: replicas };
    // At a real EHR a registration takes hours; here the control plane sees a key only once it is registered.
    let inputs = match &simulated_handle {
        Some(simulated) if arguments.sandbox_register == Register::Auto => {
            registrar::register(simulated.clone(), published.clone(), &work, &stop)
        }
        _ => published.clone(),
    };
    let (control, handle) = Control::new(tools, inputs, recorded);
    let (teller, told) = told::channel();
    work.spawn(teller.run(Some(directory.clone()), published.clone(), handle.statuses(), stop.clone()));

    work.spawn(directory_source.run(stop.clone()));
    let pages = console(resources.clone(), published.clone(), told.clone(), addresses.1, &stop)?;
    work.spawn(compiler.run(resources));
    if let Some(tls) = tls.clone() {
        metrics.follow_certificate(tls.clone());
        work.spawn(tls.follow(stop.clone()));
    }
    let ended = stop.clone().cancelled_owned();
    work.spawn(server::serve_with(public, tls, Arc::new(proxy), arguments.connections.settings(), ended));
    let programmed = programmed::follow(published.clone(), outcomes, stop.clone());
    let admin = Admin { pages, ..admin_of(&handle, metrics, told.clone(), programmed, &stop) };
    work.spawn(serve_admin(admin_listener, admin, stop.clone()));
    if let Some(simulated) = simulated {
        work.spawn(simulated.serve(stop.clone()));
    }
    work.spawn(control.run(stop.clone()));

    let places = Places {
        directory: directory.display().to_string(),
        public: platform.base().to_owned(),
        admin: format!("http://{}", addresses.1),
        sandbox: simulated_handle.as_ref().map(|simulated| simulated.base_url().to_owned()),
        program: program(),
        sample: simulated_handle.is_some().then_some(FIRST_PATIENT),
    };
    work.spawn(feed::print_summary(places, handle, told, published, FIRST_PROOFS, stop.clone()));

    signals.wait().await;
    tracing::info!("ending: no new requests, running ones are finished");
    shutdown::end(&stop, &work, LAST_WORK).await;
    traces::finish(traces).await;
    Ok(())
}

fn directory(arguments: &Serve) -> Result<PathBuf, ServeError> {
    let Some(path) = &arguments.directory else {
        return quickstart::unpack(&arguments.sandbox_listen.to_string()).map_err(ServeError::Quickstart);
    };
    let failed = |error| ServeError::Directory { path: path.clone(), error };
    let path = std::fs::canonicalize(path).map_err(failed)?;
    std::fs::read_dir(&path).map_err(failed)?;
    Ok(path)
}

/// The address that was bound: port 0 asks for any.
fn local(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}

fn admin_of(
    handle: &ControlHandle,
    metrics: Arc<Metrics>,
    status: watch::Receiver<Arc<LiveStatus>>,
    programmed: watch::Receiver<ProgrammedDocument>,
    stop: &CancellationToken,
) -> Admin {
    let (first_keys, stopping) = (handle.first_keys(), stop.clone());
    let prober = handle.clone();
    Admin {
        ready: Arc::new(move || *first_keys.borrow() && !stopping.is_cancelled()),
        metrics,
        status,
        programmed,
        guard: None,
        pages: axum::Router::new(),
        probe: Arc::new(move |activation| {
            let prober = prober.clone();
            Box::pin(async move {
                let answer = prober.probe_now(activation).await.map(|status| status.status);
                answer.map_or(ProbeAnswer::Unknown, ProbeAnswer::Asked)
            })
        }),
    }
}

/// The console, for whoever reaches the loopback listener.
fn console(
    resources: Delivered,
    published: watch::Receiver<Option<Arc<Published>>>,
    live: watch::Receiver<Arc<LiveStatus>>,
    admin: SocketAddr,
    stop: &CancellationToken,
) -> Result<axum::Router, NoRandomness> {
    if !admin.ip().is_loopback() {
        tracing::warn!(%admin, "no console: it shows everything to whoever reaches it, so it is on loopback only");
        return Ok(axum::Router::new());
    }
    let is_default = admin.to_string() == "127.0.0.1:9090";
    let options = if is_default { String::new() } else { format!("--server http://{admin}") };
    let terminal = Terminal { options, in_cluster: false };
    let inputs = Inputs { resources, published, live, judge: judge(), access: None, terminal };
    console::router(inputs, stop.clone())
}

/// How a person calls this binary again from where they stand.
fn program() -> String {
    let Ok(own) = std::env::current_exe() else { return "hearthgate".into() };
    let here = std::env::current_dir().ok();
    let shown = here.and_then(|here| own.strip_prefix(here).ok().map(Path::to_path_buf)).unwrap_or(own);
    shown.display().to_string()
}
