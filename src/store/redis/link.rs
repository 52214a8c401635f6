//! The connection: one, shared by all requests, made anew when it fails, and never waited for long.
//!
//! The redis crate's own connection manager is not used: it keeps a refused login for ever, and it does not let go of a
//! connection that merely stays silent.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo as _, RedisError,
    RedisResult, ScriptInvocation, ServerErrorKind, TlsCertificates,
};
use tokio::sync::Mutex;
use url::Url;

use crate::store::{Kind, OpenError, StoreError};

/// How long a step may take, connecting included: a request is answered 503 rather than kept waiting.
const ANSWER_WITHIN: Duration = Duration::from_millis(900);
/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_millis(500);
/// After a failed attempt to connect, requests are refused for this long without another.
const PAUSE: Duration = Duration::from_millis(100);
/// How many steps may wait to be sent.
const PIPELINE: usize = 1_024;

/// The connection that requests share.
#[derive(Debug)]
pub(super) struct Link {
    client: Client,
    server: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// How many connections were made; says whether the one that failed is still the one that is held.
    made: u64,
    failed: Option<(Instant, StoreError)>,
}

impl Link {
    pub(super) fn new(url: &str, ca_bundle: Option<&[u8]>) -> Result<Self, OpenError> {
        let parsed = Url::parse(url).map_err(|_| OpenError::Url)?;
        // The crate also knows Unix sockets, and a fragment that turns certificate checks off: neither is offered.
        let tls = match parsed.scheme() {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(OpenError::Url),
        };
        if parsed.fragment().is_some() || parsed.host_str().is_none_or(str::is_empty) {
            return Err(OpenError::Url);
        }
        let info = parsed.into_connection_info().map_err(|_| OpenError::Url)?;
        let server = match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}"),
            _ => return Err(OpenError::Url),
        };
        let client = match ca_bundle {
            None => Client::open(info).map_err(|_| OpenError::Url)?,
            Some(bundle) if tls && holds_certificate(bundle) => {
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(bundle.to_vec()) };
                Client::build_with_tls(info, certificates).map_err(|_| OpenError::CaBundle)?
            }
            Some(_) => return Err(OpenError::CaBundle),
        };
        Ok(Self { client, server, state: Mutex::default() })
    }

    /// Host and port, for logs.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Sends one command.
    pub(super) async fn command<T: FromRedisValue>(&self, kind: Kind, command: &Cmd) -> Result<T, StoreError> {
        self.within(kind, async |mut connection| command.query_async(&mut connection).await).await
    }

    /// Runs one script.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        kind: Kind,
        invocation: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        self.within(kind, async |mut connection| invocation.invoke_async(&mut connection).await).await
    }

    /// A connection of one's own, whose answers may take as long as given.
    pub(super) async fn connect(&self, answer_within: Duration) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(answer_within))
            .set_pipeline_buffer_size(PIPELINE);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Lets go of a connection that was lost without any request noticing.
    pub(super) async fn drop_connection(&self) {
        self.state.lock().await.connection = None;
    }

    async fn within<T>(
        &self,
        kind: Kind,
        send: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, StoreError> {
        let mut used = None;
        let step = async {
            let (connection, number) = self.connection().await?;
            used = Some(number);
            send(connection).await.map_err(|error| {
                let lasting = is_lasting(&error);
                (explain(kind, &error), lasting)
            })
        };
        let (error, connection_is_good) = match tokio::time::timeout(ANSWER_WITHIN, step).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(failed)) => failed,
            Err(_) => (away(format!("no answer within {} ms", ANSWER_WITHIN.as_millis())), false),
        };
        if !connection_is_good && let Some(number) = used {
            self.forget(number).await;
        }
        Err(error)
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), (StoreError, bool)> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((connection.clone(), state.made));
        }
        if let Some((at, error)) = &state.failed
            && at.elapsed() < PAUSE
        {
            return Err((error.clone(), true));
        }
        match self.connect(ANSWER_WITHIN).await {
            Ok(connection) => {
                state.made += 1;
                state.failed = None;
                state.connection = Some(connection.clone());
                Ok((connection, state.made))
            }
            Err(error) => {
                let error = away(reason(&error));
                state.failed = Some((Instant::now(), error.clone()));
                Err((error, true))
            }
        }
    }

    async fn forget(&self, number: u64) {
        let mut state = self.state.lock().await;
        if state.made == number {
            state.connection = None;
        }
    }
}

/// Whether the connection is good in spite of the error. A server that lost its role is left, so that the name is
/// looked up again.
fn is_lasting(error: &RedisError) -> bool {
    !error.is_io_error()
        && !matches!(
            error.kind(),
            ErrorKind::Parse | ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
        )
}

fn explain(kind: Kind, error: &RedisError) -> StoreError {
    // What Redis says at its `maxmemory`, within scripts too. It took nothing.
    if error.code() == Some("OOM") { StoreError::Full { kind } } else { away(reason(error)) }
}

/// What happened, without anything that was sent.
pub(super) fn reason(error: &RedisError) -> String {
    match error.code() {
        Some(code) => format!("it answered {code}"),
        None if error.is_io_error() => error.to_string(),
        None => error.category().to_owned(),
    }
}

/// The server answered with something that no step of ours gives.
pub(super) fn unexpected() -> StoreError {
    away("it answered with something else than expected".to_owned())
}

fn away(reason: String) -> StoreError {
    StoreError::Away { reason }
}

fn holds_certificate(bundle: &[u8]) -> bool {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;

    let mut certificates = CertificateDer::pem_slice_iter(bundle).peekable();
    certificates.peek().is_some() && certificates.all(|certificate| certificate.is_ok())
}

#[cfg(test)]
mod tests {
    use super::Link;
    use crate::store::OpenError;

    #[test]
    fn only_urls_of_a_server_are_taken() {
        for url in ["redis://h", "rediss://h", "valkey://u:p@h:1/2", "redis://:p@[::1]:7000"] {
            assert!(Link::new(url, None).is_ok(), "{url}");
        }
        for url in
            ["", "h:6379", "http://h", "unix:///run/redis.sock", "rediss://h#insecure", "redis:///0", "redis://h/x"]
        {
            assert!(matches!(Link::new(url, None), Err(OpenError::Url)), "{url}");
        }
    }

    #[test]
    fn a_ca_bundle_goes_with_tls_only_and_holds_certificates() {
        assert!(matches!(Link::new("redis://h", Some(b"")), Err(OpenError::CaBundle)));
        assert!(matches!(Link::new("rediss://h", Some(b"no PEM")), Err(OpenError::CaBundle)));
    }

    #[test]
    fn the_password_is_shown_nowhere() {
        let link = Link::new("redis://user:canary@h:1", None).unwrap();
        assert_eq!(link.server(), "h:1");
        assert!(!format!("{link:?}").contains("canary"));
        assert!(!Link::new("redis://user:canary@h:1/x", None).unwrap_err().to_string().contains("canary"));
    }
}
