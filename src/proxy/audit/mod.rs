//! The audit log: one JSON line a request, chained by hashes, so that a line that is changed, taken out or put in is
//! seen.
//!
//! A line says who did what kind of thing, where, and what was decided; it holds no PHI: no path, no query, no id of a
//! resource, no body. `previous` is the SHA-256 of the line before (of its bytes without the line feed), across files
//! too. What no chain in a file can show is that its end was cut off: `hearthgate audit verify` prints the last hash, to
//! be kept elsewhere.

mod verify;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

pub(super) use self::verify::hash;
pub use self::verify::{Broken, Verified, verify};
use super::Metrics;
use super::record::Record;
use super::request_id::RequestId;
use crate::protocol::route::EndpointClass;

/// Lines that wait to be written. Some seconds of a busy proxy.
const QUEUE: usize = 8192;

/// How long a request waits for a full queue. The log is behind then, because its disk is slow or full; requests must
/// not be behind with it.
const PATIENCE: Duration = Duration::from_millis(100);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    StandardOutput,
    /// A file. Appended to; renamed and begun anew when it has grown to this many bytes.
    File {
        /// Where.
        path: PathBuf,
        /// Longest file, in bytes.
        longest: u64,
    },
}

/// Writes lines. A clone writes to the same place.
#[derive(Clone, Debug)]
pub struct AuditLog {
    queue: mpsc::Sender<Order>,
    /// Lines that found no place in the queue, and that no line has told of yet.
    dropped: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
}

/// Becomes ready when every line is written and nobody can write another.
pub type Finished = oneshot::Receiver<()>;

enum Order {
    Write(Box<Entry>),
    Reopen,
}

/// What is known of one request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    time: Timestamp,
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activation_generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    git_revision: Option<String>,
    endpoint: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    interaction: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_type: Option<String>,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    status: u16,
}

impl AuditLog {
    /// Opens the log. Lines are written by a thread of its own until the last clone is dropped.
    pub fn open(destination: Destination, metrics: Arc<Metrics>) -> io::Result<(Self, Finished)> {
        let (queue, orders) = mpsc::channel(QUEUE);
        let (finished, finish) = oneshot::channel();
        let dropped = Arc::<AtomicU64>::default();
        let writer = writer::Writer::open(destination, Arc::clone(&dropped), Arc::clone(&metrics))?;
        std::thread::Builder::new().name("audit".into()).spawn(move || {
            writer.run(orders);
            // Nobody may wait.
            let _ = finished.send(());
        })?;
        Ok((Self { queue, dropped, metrics }, finish))
    }

    /// Opens the file anew: whoever rotates it has renamed it. What was written before is in the old one.
    pub async fn reopen(&self) {
        let _ = self.queue.send(Order::Reopen).await;
    }

    /// Notes a request and how it ended.
    pub(super) async fn note(&self, record: &Record, request_id: &RequestId, status: StatusCode) {
        if is_open_to_all(record.endpoint) {
            return;
        }
        let activation = record.activation.as_ref();
        let entry = Entry {
            time: Timestamp::now(),
            request_id: request_id.as_str().to_owned(),
            app: record.app.as_ref().map(ToString::to_string),
            client_id: record.client_id.clone(),
            user: record.user.clone(),
            gateway: record.gateway.as_ref().map(ToString::to_string),
            activation: activation.map(|activation| activation.key.to_string()),
            activation_generation: activation.map(|activation| activation.generation),
            git_revision: activation.and_then(|activation| activation.git_revision.clone()),
            endpoint: record.endpoint.as_str(),
            interaction: record.interaction,
            resource_type: record.resource_type.clone(),
            decision: if record.code.is_some() { "deny" } else { "permit" },
            code: record.code.map(crate::values::code::Code::number),
            status: status.as_u16(),
        };
        if self.queue.send_timeout(Order::Write(Box::new(entry)), PATIENCE).await.is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.metrics.audit_lost.inc();
            tracing::error!(request_id = request_id.as_str(), "the audit log is behind: a line is lost");
        }
    }
}

/// Documents that everybody may read say nothing about anybody.
const fn is_open_to_all(endpoint: EndpointClass) -> bool {
    matches!(
        endpoint,
        EndpointClass::Jwks
            | EndpointClass::SmartConfiguration
            | EndpointClass::Metadata
            | EndpointClass::AuthorizationServerMetadata
            | EndpointClass::OpenIdConfiguration
            | EndpointClass::KeySet
            | EndpointClass::Unknown
    )
}

#[cfg(test)]
mod tests;
