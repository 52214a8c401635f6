//! The one address-checking dialer.
//!
//! A resource may name any host, so a name is judged where it is dialled: every address that it resolves to is held
//! against the [`AddressPolicy`], and exactly an address that passed is connected to. Nothing is resolved a second time
//! between the check and the call, so a name that changes its mind (DNS rebinding) gains nothing.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use futures_util::{FutureExt as _, TryFutureExt as _};
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::Service;

use crate::values::url::{AddressPolicy, AddressRefusal};

/// How long one address may keep us waiting before the next one is tried beside it (RFC 8305 §5 recommends this).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Turns names into addresses.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// All addresses of a name, best first.
    fn resolve<'call>(&'call self, host: &'call str) -> BoxFuture<'call, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'call>(&'call self, host: &'call str) -> BoxFuture<'call, io::Result<Vec<IpAddr>>> {
        tokio::net::lookup_host((host, 0)).map_ok(|addresses| addresses.map(|address| address.ip()).collect()).boxed()
    }
}

/// Why there is no connection. Messages name hosts and addresses, never what was to be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The URL is neither `http` nor `https`, or names no host.
    #[error("is not an http or https URL with a host")]
    NotHttp,
    /// The name has no address.
    #[error("the name {host} cannot be resolved: {reason}")]
    NotResolved {
        /// The name.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// No address of it may be called. Nothing was sent.
    #[error("{host} is not called: {refusal}")]
    AddressNotAllowed {
        /// The name, or the literal address.
        host: String,
        /// Why the first of its addresses is refused.
        refusal: AddressRefusal,
    },
    /// No address of it took the connection.
    #[error("no connection to {host}: {reason}")]
    NotConnected {
        /// The name, or the literal address.
        host: String,
        /// What the system said of the last attempt.
        reason: String,
    },
    /// The TLS handshake failed.
    #[error("the TLS connection to {host} failed: {reason}")]
    Tls {
        /// The name, or the literal address.
        host: String,
        /// What rustls said.
        reason: String,
    },
    /// It took too long.
    #[error("no connection to {host} within {} s", waited.as_secs_f32())]
    Timeout {
        /// The name, or the literal address.
        host: String,
        /// How long was waited.
        waited: Duration,
    },
}

/// Resolves, judges, connects. A clone shares everything.
#[derive(Clone, Debug)]
pub struct Dialer {
    resolver: Arc<dyn Resolve>,
    addresses: Arc<AddressPolicy>,
}

impl Dialer {
    /// A dialer that calls only what the policy allows.
    pub fn new(resolver: Arc<dyn Resolve>, addresses: AddressPolicy) -> Self {
        Self { resolver, addresses: Arc::new(addresses) }
    }

    /// What may be called.
    pub fn addresses(&self) -> &AddressPolicy {
        &self.addresses
    }

    /// Connects to a host. `host` is a name, or a literal address without brackets.
    pub async fn dial(&self, host: &str, port: u16, https: bool) -> Result<TcpStream, DialError> {
        let candidates = match host.parse::<IpAddr>() {
            Ok(literal) => vec![literal],
            Err(_) => self
                .resolver
                .resolve(host)
                .await
                .map_err(|error| DialError::NotResolved { host: host.to_owned(), reason: error.to_string() })?,
        };
        let mut refused = None;
        let mut allowed = Vec::with_capacity(candidates.len());
        for address in candidates {
            match self.addresses.judge(address, https) {
                Ok(()) => allowed.push(SocketAddr::new(address, port)),
                Err(refusal) => refused = refused.or(Some(refusal)),
            }
        }
        match (allowed.is_empty(), refused) {
            (true, Some(refusal)) => Err(DialError::AddressNotAllowed { host: host.to_owned(), refusal }),
            (true, None) => {
                Err(DialError::NotResolved { host: host.to_owned(), reason: "it has no addresses".to_owned() })
            }
            (false, _) => {
                let stream = connect(interleave(allowed)).await;
                let stream = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
                stream.map_err(|error| DialError::NotConnected { host: host.to_owned(), reason: error.to_string() })
            }
        }
    }
}

/// IPv6 and IPv4 in turn, so that one broken family costs one short wait (RFC 8305 §4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::with_capacity(first.len() + second.len());
    loop {
        let pair = (first.next(), second.next());
        if pair == (None, None) {
            return ordered;
        }
        ordered.extend(pair.0);
        ordered.extend(pair.1);
    }
}

/// The first connection that stands; each address gets a head start before the next.
async fn connect(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut running = FuturesUnordered::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = waiting.next() {
            running.push(TcpStream::connect(address));
        } else if running.is_empty() {
            return Err(failure);
        }
        tokio::select! {
            Some(result) = running.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            },
            () = tokio::time::sleep(NEXT_ADDRESS_AFTER), if waiting.len() > 0 => {}
        }
    }
}

/// The dialer and TLS as a connector of hyper-util's client.
#[derive(Clone, Debug)]
pub struct Connector {
    dialer: Dialer,
    tls: Arc<ClientConfig>,
    patience: Duration,
}

impl Connector {
    /// Connections of this dialer, with this TLS configuration, that must stand (TLS included) within `patience`.
    pub fn new(dialer: Dialer, tls: Arc<ClientConfig>, patience: Duration) -> Self {
        Self { dialer, tls, patience }
    }

    async fn connect(self, uri: Uri) -> Result<Stream, DialError> {
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => return Err(DialError::NotHttp),
        };
        let host = uri.host().ok_or(DialError::NotHttp)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let connecting = async {
            let stream = self.dialer.dial(host, port, https).await?;
            if https { self.secure(host, stream).await } else { Ok(Stream::Plain(TokioIo::new(stream))) }
        };
        tokio::time::timeout(self.patience, connecting)
            .await
            .unwrap_or_else(|_| Err(DialError::Timeout { host: host.to_owned(), waited: self.patience }))
    }

    async fn secure(&self, host: &str, stream: TcpStream) -> Result<Stream, DialError> {
        let failed = |reason: String| DialError::Tls { host: host.to_owned(), reason };
        // A name may end with a dot (the DNS root); no certificate is made out to that form.
        let name = ServerName::try_from(host.trim_end_matches('.').to_owned())
            .map_err(|_| failed("the name cannot be in a certificate".to_owned()))?;
        let stream = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await
            .map_err(|error| failed(error.to_string()))?;
        Ok(Stream::Tls(Box::new(TokioIo::new(stream))))
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<Stream, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        self.clone().connect(uri).boxed()
    }
}

/// A connection, with TLS or without.
#[derive(Debug)]
pub enum Stream {
    /// Plain `http`: only to addresses that the installation opened.
    Plain(TokioIo<TcpStream>),
    /// TLS.
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Tls(stream) if stream.inner().get_ref().1.alpn_protocol() == Some(b"h2") => {
                Connected::new().negotiated_h2()
            }
            Self::Tls(_) | Self::Plain(_) => Connected::new(),
        }
    }
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<Result<(), io::Error>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        }
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, io::Error>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests;
