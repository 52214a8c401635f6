//! What a running server tells: the document behind `/status`, and the same for whoever shows it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::control::Statuses;
use crate::snapshot::live::{LiveLocation, LiveObject, LiveRejection, LiveStatus};
use crate::snapshot::resources::Rejection;
use crate::snapshot::{ObjectReference, Published};

/// The two forms of what is told.
pub(super) struct Told {
    /// The body of `/status`.
    pub(super) document: watch::Receiver<Bytes>,
    /// The same as values.
    pub(super) live: watch::Receiver<Arc<LiveStatus>>,
}

/// Keeps both forms up to date.
pub(super) struct Teller {
    document: watch::Sender<Bytes>,
    live: watch::Sender<Arc<LiveStatus>>,
}

/// Nothing is told yet.
pub(super) fn channel() -> (Teller, Told) {
    let (document, told_document) = watch::channel(Bytes::from_static(b"{\"objects\":[]}"));
    let (live, told_live) = watch::channel(Arc::default());
    (Teller { document, live }, Told { document: told_document, live: told_live })
}

impl Teller {
    /// Runs until `stop`, or until nothing can change any more. `directory`: the one that is served, where it is one.
    pub(super) async fn run(
        self,
        directory: Option<PathBuf>,
        mut published: watch::Receiver<Option<Arc<Published>>>,
        mut statuses: watch::Receiver<Arc<Statuses>>,
        stop: CancellationToken,
    ) {
        loop {
            let (newest, statuses_now) = (published.borrow_and_update().clone(), statuses.borrow_and_update().clone());
            let live = live(directory.clone(), newest.as_deref(), &statuses_now);
            // Plain data: writing it as JSON cannot fail.
            self.document.send_replace(Bytes::from(serde_json::to_vec(&live).unwrap_or_default()));
            self.live.send_replace(Arc::new(live));
            tokio::select! {
                () = stop.cancelled() => return,
                changed = published.changed() => if changed.is_err() { return },
                changed = statuses.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// Puts statuses and the latest compilation together.
pub(super) fn live(directory: Option<PathBuf>, published: Option<&Published>, statuses: &Statuses) -> LiveStatus {
    let references: HashMap<&ObjectReference, &Vec<ObjectReference>> = published
        .iter()
        .flat_map(|published| &published.reports)
        .map(|report| (&report.object, &report.references))
        .collect();
    let objects = statuses
        .iter()
        .map(|told| {
            let references = references.get(&told.object).map(|references| (*references).clone()).unwrap_or_default();
            let live = LiveObject::new(told.object.clone(), references, told.status.clone());
            live.of(told.uid.clone(), told.generation)
        })
        .collect();
    let rejections = published.iter().flat_map(|published| &published.rejections).map(rejection).collect();
    LiveStatus { objects, rejections, directory }
}

fn rejection(rejection: &Rejection) -> LiveRejection {
    let location = LiveLocation {
        file: rejection.location.file.clone(),
        line: rejection.location.line,
        column: rejection.location.column,
    };
    LiveRejection {
        object: rejection.object.clone(),
        code: rejection.code.number().to_owned(),
        message: rejection.message.clone(),
        location,
    }
}
