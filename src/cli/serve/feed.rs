//! What is told while serving: the document behind `/status`, and the summary on standard output.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::status_document::document;
use super::summary::{self, Places};
use crate::api::ConditionStatus;
use crate::api::common::condition;
use crate::cli::live::{LiveObject, LiveStatus};
use crate::control::{ControlHandle, ObjectStatus};
use crate::snapshot::Published;

/// The two forms of what is told.
pub(super) struct Status {
    /// The body of `/status`.
    pub(super) document: watch::Receiver<Bytes>,
    /// The same, read back: what the command line sees.
    pub(super) objects: watch::Receiver<Arc<Vec<LiveObject>>>,
}

/// Keeps the document up to date.
pub(super) fn status(
    directory: PathBuf,
    mut published: watch::Receiver<Option<Arc<Published>>>,
    mut statuses: watch::Receiver<Arc<Vec<ObjectStatus>>>,
    work: &TaskTracker,
    stop: &CancellationToken,
) -> Status {
    let (document_sender, document_receiver) = watch::channel(Bytes::from_static(b"{\"objects\":[]}"));
    let (objects_sender, objects) = watch::channel(Arc::default());
    let stop = stop.clone();
    work.spawn(async move {
        loop {
            let (newest, told) = (published.borrow_and_update().clone(), statuses.borrow_and_update().clone());
            let document = document(&directory, newest.as_ref(), &told);
            document_sender.send_replace(Bytes::from(document.to_string()));
            if let Ok(live) = serde_json::from_value::<LiveStatus>(document) {
                objects_sender.send_replace(Arc::new(live.objects));
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = published.changed() => if changed.is_err() { return },
                changed = statuses.changed() => if changed.is_err() { return },
            }
        }
    });
    Status { document: document_receiver, objects }
}

/// Prints the summary once the first keys are made and the EHRs were asked, or after `patience`.
pub(super) async fn print_summary(
    places: Places,
    handle: ControlHandle,
    mut objects: watch::Receiver<Arc<Vec<LiveObject>>>,
    patience: Duration,
    stop: CancellationToken,
) {
    let settled = async {
        let mut first_keys = handle.first_keys();
        if first_keys.wait_for(|settled| *settled).await.is_ok() {
            let _ = objects.wait_for(|objects| objects.iter().all(is_settled)).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => return,
        _ = tokio::time::timeout(patience, settled) => {}
    }
    let text = summary::text(&places, &objects.borrow());
    let mut output = std::io::stdout().lock();
    if let Err(error) = output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        tracing::debug!(%error, "nobody reads the summary");
    }
}

/// Whether everything about an object is known, good or bad.
fn is_settled(live: &LiveObject) -> bool {
    let conditions = live.conditions();
    let outside = [condition::HEALTHY, condition::LAUNCH_URI_REACHABLE];
    conditions
        .iter()
        .filter(|condition| !outside.contains(&condition.type_.as_str()))
        .all(|condition| condition.status != ConditionStatus::Unknown)
}
