//! The one pooled HTTP client for EHRs. It adds nothing to a request, follows no redirect and rebuilds no path.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{Request, Response};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::dial::{Connector, DialError, Dialer, Resolve, SystemResolver};
use super::tls::{TlsSettingsError, client_config};
use crate::snapshot::DataAdapter;
use crate::snapshot::data_adapter::{Timeouts, Tls};
use crate::values::url::{AddressPolicy, AddressRefusal};

/// Idle connections are closed before the other side does it: a request on a connection that dies under it is the
/// classic stray 502. Common servers wait 60 s and more, the most hasty 5 s; hyper repeats what was never sent.
const IDLE_CONNECTION: Duration = Duration::from_secs(20);

/// How much of an answer is read at once, in bytes: what a client that reads slowly keeps in memory is a few times that
/// (hyper's own is 400 KiB). A head may be as long.
const LONGEST_PIECE: usize = 64 * 1024;

/// What gzip begins with (RFC 1952 §2.3.1), deflate inside.
pub const GZIP: [u8; 3] = [0x1f, 0x8b, 8];

/// A pool that nobody has used for that long goes: its adapter may be gone too.
const IDLE_POOL: Duration = Duration::from_secs(600);

/// How often HTTP/2 connections in use are checked to be alive.
const HTTP2_PING: Duration = Duration::from_secs(20);

type BoxError = Box<dyn StdError + Send + Sync>;
type PooledClient = Client<Connector, UnsyncBoxBody<Bytes, BoxError>>;

/// Calls EHRs: every address judged, connections pooled per adapter. A clone shares the pools.
#[derive(Clone)]
pub struct EhrClient {
    shared: Arc<Shared>,
}

struct Shared {
    dialer: Dialer,
    /// By the adapter's UID; calls that belong to no adapter use the empty one.
    pools: Mutex<HashMap<String, Pool>>,
}

struct Pool {
    tls: Tls,
    connect: Duration,
    client: PooledClient,
    used: Instant,
}

/// Why a call has no answer. Messages name hosts, never what was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The host resolves to nothing but addresses that may not be called. Nothing was sent.
    #[error("{host} is not called: {refusal}")]
    AddressNotAllowed {
        /// The host.
        host: String,
        /// Why.
        refusal: AddressRefusal,
    },
    /// There is no connection: the name does not resolve, or nobody takes the connection.
    #[error("{0}")]
    Connect(DialError),
    /// The TLS handshake failed.
    #[error("{0}")]
    Tls(DialError),
    /// The adapter's TLS settings cannot be used.
    #[error("{0}")]
    TlsSettings(#[from] TlsSettingsError),
    /// No connection, or no headers of the answer, in time.
    #[error("no answer within {} s", waited.as_secs_f32())]
    Timeout {
        /// How long was waited.
        waited: Duration,
    },
    /// The connection broke, or what came is no HTTP. The request may have been carried out.
    #[error("the connection broke off: {0}")]
    Broken(String),
    /// The body that was to be sent failed; the fault is the sender's.
    #[error("the request's body could not be read to its end")]
    RequestBody,
}

impl CallError {
    /// Whether it is certain that the other side has seen nothing of the request.
    pub const fn nothing_was_sent(&self) -> bool {
        match self {
            Self::AddressNotAllowed { .. } | Self::Connect(_) | Self::Tls(_) | Self::TlsSettings(_) => true,
            Self::Timeout { .. } | Self::Broken(_) | Self::RequestBody => false,
        }
    }
}

impl EhrClient {
    /// A client that calls only what the policy allows, with the system's resolver.
    pub fn new(addresses: AddressPolicy) -> Self {
        Self::with_resolver(addresses, Arc::new(SystemResolver))
    }

    /// The same with another resolver.
    pub fn with_resolver(addresses: AddressPolicy, resolver: Arc<dyn Resolve>) -> Self {
        let dialer = Dialer::new(resolver, addresses);
        Self { shared: Arc::new(Shared { dialer, pools: Mutex::default() }) }
    }

    /// What may be called.
    pub fn addresses(&self) -> &AddressPolicy {
        self.shared.dialer.addresses()
    }

    /// Sends a request (with an absolute URI) with this adapter's trust, identity and patience. Returns when the headers
    /// of the answer are there. What it is, a redirect too, is the caller's to judge.
    pub async fn send<B>(&self, adapter: &DataAdapter, request: Request<B>) -> Result<Response<Incoming>, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let client = self.pool(&adapter.uid, &adapter.tls, adapter.timeouts.connect)?;
        call(&client, request, adapter.timeouts.request).await
    }

    /// Sends a request that belongs to no adapter (an app's links): the system's trust, no identity.
    pub async fn send_elsewhere<B>(
        &self,
        timeouts: Timeouts,
        request: Request<B>,
    ) -> Result<Response<Incoming>, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let client = self.pool("", &Tls::default(), timeouts.connect)?;
        call(&client, request, timeouts.request).await
    }

    fn pool(&self, owner: &str, tls: &Tls, connect: Duration) -> Result<PooledClient, CallError> {
        let mut pools = self.shared.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(pool) = pools.get_mut(owner)
            && pool.connect == connect
            && pool.tls == *tls
        {
            pool.used = now;
            return Ok(pool.client.clone());
        }
        let connector = Connector::new(self.shared.dialer.clone(), client_config(tls)?, connect);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_CONNECTION)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(HTTP2_PING)
            .http1_max_buf_size(LONGEST_PIECE)
            .build(connector);
        pools.retain(|_, pool| now.duration_since(pool.used) < IDLE_POOL);
        pools.insert(owner.to_owned(), Pool { tls: tls.clone(), connect, client: client.clone(), used: now });
        Ok(client)
    }
}

impl fmt::Debug for EhrClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EhrClient").field("addresses", self.addresses()).finish_non_exhaustive()
    }
}

async fn call<B>(
    client: &PooledClient,
    request: Request<B>,
    patience: Duration,
) -> Result<Response<Incoming>, CallError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
    match tokio::time::timeout(patience, client.request(request)).await {
        Ok(answer) => answer.map_err(|error| sort(&error)),
        Err(_) => Err(CallError::Timeout { waited: patience }),
    }
}

/// Finds in the chain of causes what the caller must tell apart.
fn sort(error: &legacy::Error) -> CallError {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    let mut last = error.to_string();
    while let Some(error) = cause {
        if let Some(dial) = error.downcast_ref::<DialError>() {
            return match dial.clone() {
                DialError::AddressNotAllowed { host, refusal } => CallError::AddressNotAllowed { host, refusal },
                DialError::Timeout { waited, .. } => CallError::Timeout { waited },
                dial @ DialError::Tls { .. } => CallError::Tls(dial),
                dial @ (DialError::NotHttp | DialError::NotResolved { .. } | DialError::NotConnected { .. }) => {
                    CallError::Connect(dial)
                }
            };
        }
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_user) {
            return CallError::RequestBody;
        }
        last = error.to_string();
        cause = error.source();
    }
    CallError::Broken(last)
}

/// Why a body was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Longer than anything sensible.
    #[error("the answer is longer than {limit} bytes")]
    TooLong {
        /// What was allowed.
        limit: usize,
    },
    /// It did not end in time.
    #[error("the answer did not end within {} s", waited.as_secs_f32())]
    Timeout {
        /// How long was waited.
        waited: Duration,
    },
    /// The connection broke.
    #[error("the answer broke off")]
    Broken,
}

/// Reads a whole body that must be short, before and after it is unpacked where it came in gzip: some servers send that
/// whatever they are asked for, and nothing that is read here begins as gzip does.
pub async fn read_short(body: Incoming, limit: usize, patience: Duration) -> Result<Bytes, ReadError> {
    match tokio::time::timeout(patience, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => unpacked(collected.to_bytes(), limit),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ReadError::TooLong { limit }),
        Ok(Err(_)) => Err(ReadError::Broken),
        Err(_) => Err(ReadError::Timeout { waited: patience }),
    }
}

fn unpacked(body: Bytes, limit: usize) -> Result<Bytes, ReadError> {
    if !body.starts_with(&GZIP) {
        return Ok(body);
    }
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut whole = Vec::new();
    MultiGzDecoder::new(&*body).take(most).read_to_end(&mut whole).map_err(|_| ReadError::Broken)?;
    if whole.len() > limit { Err(ReadError::TooLong { limit }) } else { Ok(whole.into()) }
}

#[cfg(test)]
mod tests;
