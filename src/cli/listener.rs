//! The listeners of a server: bound before anything else starts, so that a taken address is told at once.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::proxy::admin::{self, Admin};

/// An address is taken or not ours.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({option}): {error}")]
pub(super) struct ListenError {
    option: &'static str,
    address: SocketAddr,
    error: io::Error,
}

/// Binds the address that `option` gave.
pub(super) async fn listen(option: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|error| ListenError { option, address, error })
}

/// Serves the admin listener until `stop`.
pub(super) async fn serve_admin(listener: TcpListener, admin: Admin, stop: CancellationToken) {
    if let Err(error) = admin::serve(listener, admin, stop.cancelled_owned()).await {
        tracing::error!(%error, "the admin listener ended");
    }
}
