//! The proxy on a real socket, and clients that write what they like.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::proxy::server::{ServerSettings, serve_with};
use crate::proxy::tls::ServerTls;

pub(super) struct Listening {
    pub(super) address: SocketAddr,
    pub(super) stop: Option<oneshot::Sender<()>>,
    pub(super) served: JoinHandle<()>,
}

pub(super) async fn listening(setup: &Setup, header_timeout: Duration) -> Listening {
    listening_with(setup, header_timeout, None).await
}

pub(super) async fn listening_with(setup: &Setup, header_timeout: Duration, tls: Option<ServerTls>) -> Listening {
    listening_as(setup, ServerSettings { header_timeout, ..ServerSettings::default() }, tls).await
}

pub(super) async fn listening_as(setup: &Setup, settings: ServerSettings, tls: Option<ServerTls>) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(serve_with(listener, tls, Arc::clone(&setup.proxy), settings, async {
        let _ = stopped.await;
    }));
    Listening { address, stop: Some(stop), served }
}

/// Writes, and reads until the proxy closes the connection.
pub(super) async fn raw(address: SocketAddr, request: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A proxy that has closed already takes no more: what it said is still to be read.
    let _ = stream.write_all(request.as_ref()).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
