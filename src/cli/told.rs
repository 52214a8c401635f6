//! What a running server tells: the document behind `/status`, and the same for whoever shows it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::control::Statuses;
use crate::snapshot::live::{LiveLocation, LiveObject, LiveRejection, LiveStatus};
use crate::snapshot::resources::Rejection;
use crate::snapshot::{ObjectReference, Published};

/// Keeps what is told up to date.
pub(super) struct Teller(watch::Sender<Arc<LiveStatus>>);

/// Nothing is told yet.
pub(super) fn channel() -> (Teller, watch::Receiver<Arc<LiveStatus>>) {
    let (live, told) = watch::channel(Arc::default());
    (Teller(live), told)
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
            let live = live(directory.clone(), newest.as_deref(), &statuses_now, &self.0.borrow());
            self.0.send_replace(Arc::new(live));
            tokio::select! {
                () = stop.cancelled() => return,
                changed = published.changed() => if changed.is_err() { return },
                changed = statuses.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// Puts statuses and the latest compilation together. What says what it said before is not read again: among thousands,
/// one has changed.
pub(super) fn live(
    directory: Option<PathBuf>,
    published: Option<&Published>,
    statuses: &Statuses,
    before: &LiveStatus,
) -> LiveStatus {
    let references: HashMap<&ObjectReference, &Vec<ObjectReference>> = published
        .iter()
        .flat_map(|published| &published.reports)
        .map(|report| (&report.object, &report.references))
        .collect();
    let objects = statuses
        .iter()
        .map(|told| {
            let references = references.get(&told.object).map(|references| (*references).clone()).unwrap_or_default();
            match before.get(&told.object).filter(|before| Arc::ptr_eq(&before.status, &told.status)) {
                Some(before) => before.clone().referring_to(references),
                None => LiveObject::new(told.object.clone(), references, Arc::clone(&told.status)),
            }
            .of(told.uid.clone(), told.generation)
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
