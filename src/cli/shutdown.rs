//! Waiting for SIGINT and SIGTERM, and ending in order.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The signals that end a server in order.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

/// Listens from now on.
pub(super) fn signals() -> io::Result<Signals> {
    Ok(Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
}

impl Signals {
    /// Waits for the first.
    pub(super) async fn wait(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Tells everything to stop, and waits until it has; not longer than `at_most`.
pub(super) async fn end(stop: &CancellationToken, work: &TaskTracker, at_most: Duration) {
    stop.cancel();
    work.close();
    if tokio::time::timeout(at_most, work.wait()).await.is_err() {
        tracing::warn!("ending with work unfinished");
    }
}
