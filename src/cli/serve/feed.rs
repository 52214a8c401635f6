//! The summary on standard output, once there is something to say.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::summary::{self, Places};
use crate::api::ConditionStatus;
use crate::api::common::condition;
use crate::control::ControlHandle;
use crate::snapshot::live::{LiveObject, LiveStatus};

/// Prints the summary once the first keys are made and the EHRs were asked, or after `patience`.
pub(super) async fn print_summary(
    places: Places,
    handle: ControlHandle,
    mut live: watch::Receiver<Arc<LiveStatus>>,
    patience: Duration,
    stop: CancellationToken,
) {
    let settled = async {
        let mut first_keys = handle.first_keys();
        if first_keys.wait_for(|settled| *settled).await.is_ok() {
            let _ = live.wait_for(|live| live.objects.iter().all(is_settled)).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => return,
        _ = tokio::time::timeout(patience, settled) => {}
    }
    let text = summary::text(&places, &live.borrow().objects);
    let mut output = std::io::stdout().lock();
    if let Err(error) = output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        tracing::debug!(%error, "nobody reads the summary");
    }
}

/// Whether everything about an object is known, good or bad, and nothing is on its way.
fn is_settled(live: &LiveObject) -> bool {
    let conditions = live.conditions();
    if live.condition(condition::RECONCILING).is_some_and(|own| own.status == ConditionStatus::True) {
        return false;
    }
    let outside = [condition::HEALTHY, condition::LAUNCH_URI_REACHABLE];
    conditions
        .iter()
        .filter(|condition| !outside.contains(&condition.type_.as_str()))
        .all(|condition| condition.status != ConditionStatus::Unknown)
}
