//! Accepting connections: HTTP/1.1 and HTTP/2 on one port (by ALPN where TLS is spoken, else by prior knowledge), slow
//! clients cut, and an end that lets requests finish.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::CONNECTION;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Proxy;
use super::awaited::Awaited;
use super::http1::{Judged, Verdict};
use super::paced::Paced;
use super::prefixed::Prefixed;
use super::tls::ServerTls;

/// How connections are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// From a connection's start (the TLS handshake included), or the end of the request before, to the end of a
    /// request's headers. hyper's own limit covers neither the time before the first byte nor anything at all without a
    /// timer.
    pub header_timeout: Duration,
    /// Longest time in which a client takes nothing of an answer that waits for it: its connection ends, or, where only
    /// one of its HTTP/2 streams is not read, that answer.
    pub answer_idle: Duration,
    /// How long requests may take to finish after the end was asked for.
    pub drain_timeout: Duration,
    /// Requests at once on one HTTP/2 connection.
    pub http2_streams: u32,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            answer_idle: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(25),
            http2_streams: 200,
        }
    }
}

/// The first bytes of HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves plain HTTP until `shutdown` is there; then takes no more connections, and returns when requests have finished
/// or the drain's time is over.
pub async fn serve(
    listener: TcpListener,
    proxy: Arc<Proxy>,
    settings: ServerSettings,
    shutdown: impl Future<Output = ()>,
) {
    serve_with(listener, None, proxy, settings, shutdown).await;
}

/// The same, with TLS if there is a certificate to show.
pub async fn serve_with(
    listener: TcpListener,
    tls: Option<ServerTls>,
    proxy: Arc<Proxy>,
    settings: ServerSettings,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = std::pin::pin!(shutdown);
    let graceful = GracefulShutdown::new();
    let ending = CancellationToken::new();
    let protocols = Arc::new(Protocols::new(settings, tls, ending.clone()));
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (proxy, protocols, watcher) = (Arc::clone(&proxy), Arc::clone(&protocols), graceful.watcher());
                tokio::spawn(async move {
                    if let Err(error) = protocols.serve(stream, peer, proxy, watcher).await {
                        tracing::debug!(%peer, %error, "a connection ended");
                    }
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Out of descriptors: a pause lets connections end.
                tracing::error!(%error, "no connection can be accepted");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
    drop(listener);
    ending.cancel();
    if timeout(settings.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests that did not finish in time are cut off");
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("no request began in time")]
    Silent,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    tls: Option<ServerTls>,
    header_timeout: Duration,
    answer_idle: Duration,
    /// Connections on which no request began are not waited for.
    ending: CancellationToken,
}

/// Which protocol a connection speaks, and what was read of it to find out.
enum Began {
    Http1(Vec<u8>),
    Http2(Vec<u8>),
}

impl Protocols {
    fn new(settings: ServerSettings, tls: Option<ServerTls>, ending: CancellationToken) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_timeout)
            .max_headers(100)
            .max_buf_size(64 * 1024);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(settings.http2_streams)
            .max_header_list_size(64 * 1024)
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(100)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10));
        let ServerSettings { header_timeout, answer_idle, .. } = settings;
        Self { http1, http2, tls, header_timeout, answer_idle, ending }
    }

    async fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        proxy: Arc<Proxy>,
        watcher: Watcher,
    ) -> Result<(), ConnectionError> {
        stream.set_nodelay(true)?;
        let mut stream = Paced::new(stream, self.answer_idle);
        let Some(tls) = &self.tls else {
            let began = self.in_time(read_beginning(&mut stream)).await?;
            return self.speak(stream, began, peer, proxy, watcher).await;
        };
        let secured = self
            .in_time(async {
                let mut stream = tls.accept(stream).await?;
                // What was agreed on is spoken; who agreed on nothing may still begin HTTP/2 by prior knowledge.
                let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
                let began = match agreed.as_deref() {
                    Some(b"h2") => Some(Began::Http2(Vec::new())),
                    Some(_) => Some(Began::Http1(Vec::new())),
                    None => read_beginning(&mut stream).await?,
                };
                Ok(began.map(|began| (stream, began)))
            })
            .await?;
        match secured {
            Some((stream, began)) => self.speak(stream, Some(began), peer, proxy, watcher).await,
            None => Ok(()),
        }
    }

    /// What a connection begins with; `None` also at the end of everything.
    async fn in_time<Beginning>(
        &self,
        beginning: impl Future<Output = io::Result<Option<Beginning>>>,
    ) -> Result<Option<Beginning>, ConnectionError> {
        tokio::select! {
            began = timeout(self.header_timeout, beginning) => Ok(began.map_err(|_| ConnectionError::Silent)??),
            () = self.ending.cancelled() => Ok(None),
        }
    }

    async fn speak<Stream>(
        &self,
        mut stream: Stream,
        began: Option<Began>,
        peer: SocketAddr,
        proxy: Arc<Proxy>,
        watcher: Watcher,
    ) -> Result<(), ConnectionError>
    where
        Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match began {
            None => stream.shutdown().await?,
            Some(Began::Http2(beginning)) => {
                let awaited = Awaited::default();
                let answers = awaited.clone();
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let (proxy, answers) = (Arc::clone(&proxy), answers.clone());
                    Box::pin(async move {
                        let answer = proxy.handle(request, peer.ip()).await;
                        Ok::<_, Infallible>(answer.map(|body| answers.watch(body)))
                    })
                });
                let io = TokioIo::new(Prefixed::new(stream, &beginning));
                tokio::select! {
                    served = watcher.watch(self.http2.serve_connection(io, service)) => served?,
                    () = awaited.drop_untaken(self.answer_idle) => {}
                }
            }
            Some(Began::Http1(beginning)) => {
                let (judged, verdicts) = Judged::new(stream, &beginning);
                let service = service_fn(move |mut request: http::Request<Incoming>| {
                    let proxy = Arc::clone(&proxy);
                    let verdict = verdicts.next();
                    // Boxed: hyper keeps room for it as long as the connection lives, and moves it about.
                    Box::pin(async move {
                        if let Verdict::Refused(fault) = verdict {
                            request.extensions_mut().insert(fault);
                        }
                        let mut response = proxy.handle(request, peer.ip()).await;
                        if verdict != Verdict::Good {
                            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                        }
                        Ok::<_, Infallible>(response)
                    })
                });
                watcher.watch(self.http1.serve_connection(TokioIo::new(judged), service)).await?;
            }
        }
        Ok(())
    }
}

/// Reads until it is clear which protocol is spoken. `None`: the connection ended before anything came.
async fn read_beginning(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Began>> {
    let mut first = [0; PREFACE.len()];
    let mut read = 0;
    loop {
        let space = first.get_mut(read..).unwrap_or_default();
        let more = stream.read(space).await?;
        read += more;
        let seen = first.get(..read).unwrap_or_default();
        if read == 0 {
            return Ok(None);
        }
        if more == 0 || !PREFACE.starts_with(seen) {
            return Ok(Some(Began::Http1(seen.to_vec())));
        }
        if seen.len() == PREFACE.len() {
            return Ok(Some(Began::Http2(seen.to_vec())));
        }
    }
}
