//! What a replica tells at `/programmed`: what it serves, and what the EHRs last said to it.
//!
//! The operator compiles the same resources, so it knows what a replica must tell: equal digests are the same object,
//! compiled alike.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{EhrOutcome, EhrOutcomes};
use crate::snapshot::digest::Digest;
use crate::snapshot::{Kind, ObjectReference, Published};
use crate::values::pace::Pace;

/// Between two documents at least: what happens together is told together.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// A document tells of all objects, and nobody asks for it more often than twice a second while it changes all the time.
const PACE: Pace = Pace::new(1, 100, Duration::from_millis(500));

/// What a replica tells, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgrammedDocument {
    /// See [`Programmed::entity_tag`].
    pub entity_tag: String,
    /// JSON.
    pub body: Bytes,
}

impl Default for ProgrammedDocument {
    fn default() -> Self {
        Self::from(&Programmed::default())
    }
}

impl From<&Programmed> for ProgrammedDocument {
    fn from(programmed: &Programmed) -> Self {
        // Plain data: writing it as JSON cannot fail.
        let body = serde_json::to_vec(programmed).unwrap_or_default();
        Self { entity_tag: programmed.entity_tag(), body: body.into() }
    }
}

/// Keeps the document up to date until `stop`; then the receiver is closed, so that nobody waits for news any more.
pub fn follow(
    mut published: watch::Receiver<Option<Arc<Published>>>,
    outcomes: Arc<EhrOutcomes>,
    stop: CancellationToken,
) -> watch::Receiver<ProgrammedDocument> {
    let (sender, receiver) = watch::channel(ProgrammedDocument::default());
    tokio::spawn(async move {
        let mut heard = outcomes.watch();
        let (mut pace, mut waited) = (PACE, Duration::ZERO);
        loop {
            let began = Instant::now();
            heard.mark_unchanged();
            let newest = published.borrow_and_update().clone();
            if let Some(newest) = newest {
                let outcomes = Arc::clone(&outcomes);
                let made = tokio::task::spawn_blocking(move || {
                    ProgrammedDocument::from(&Programmed { objects: objects(&newest), outcomes: outcomes.all() })
                });
                if let Ok(document) = made.await {
                    sender.send_if_modified(|sent| {
                        let is_news = sent.entity_tag != document.entity_tag;
                        *sent = document;
                        is_news
                    });
                }
            }
            let pause = pace.pause(waited, began.elapsed());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause.max(SHORTEST_PAUSE)) => {}
            }
            let waiting_since = Instant::now();
            tokio::select! {
                () = stop.cancelled() => return,
                changed = published.changed() => if changed.is_err() { return },
                _ = heard.changed() => {}
            }
            waited = waiting_since.elapsed();
        }
    });
    receiver
}

/// What a replica tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Programmed {
    /// What it serves.
    pub objects: Vec<ProgrammedObject>,
    /// What each EHR last said to each activation's token request, by the activation's UID.
    #[serde(default)]
    pub outcomes: HashMap<String, EhrOutcome>,
}

/// One object that a replica serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgrammedObject {
    /// The object.
    #[serde(flatten)]
    pub object: ObjectReference,
    /// As it was compiled.
    pub digest: Digest,
    /// Of a gateway: the revisions of its own keys, which this replica verifies tokens with.
    #[serde(default, rename = "signingRevisions", skip_serializing_if = "Vec::is_empty")]
    pub signing_revisions: Vec<u32>,
}

fn objects(published: &Published) -> Vec<ProgrammedObject> {
    let of = |(object, digest): (&ObjectReference, &Digest)| {
        let gateway = published.snapshot.gateways.get(&object.key).filter(|_| object.kind == Kind::Gateway);
        let signing_revisions =
            gateway.map(|gateway| gateway.signing.revisions.iter().map(|own| own.revision).collect());
        ProgrammedObject {
            object: object.clone(),
            digest: *digest,
            signing_revisions: signing_revisions.unwrap_or_default(),
        }
    };
    published.digests().iter().map(of).collect()
}

impl Programmed {
    /// Names this very answer (RFC 9110 §8.8.3), so that a long poll can wait for another one.
    pub fn entity_tag(&self) -> String {
        let mut context = Context::new(&SHA256);
        // The published keys of a gateway are in its digest.
        for ProgrammedObject { object, digest, signing_revisions: _ } in &self.objects {
            add(&mut context, &object.to_string());
            add(&mut context, &digest.to_string());
        }
        let mut outcomes: Vec<_> = self.outcomes.iter().collect();
        outcomes.sort_by_key(|(uid, _)| *uid);
        for (uid, outcome) in outcomes {
            add(&mut context, uid);
            // Not its time: a token that is renewed every few minutes is no news.
            add_json(&mut context, &(&outcome.credential_digest, &outcome.key, &outcome.answer));
        }
        let tag = context.finish();
        let half = tag.as_ref().iter().take(16);
        half.fold(String::from("\""), |tag, byte| format!("{tag}{byte:02x}")) + "\""
    }
}

fn add(context: &mut Context, text: &str) {
    context.update(text.as_bytes());
    // No text of ours holds it, so no two lists of texts run together to the same bytes.
    context.update(&[0]);
}

fn add_json(context: &mut Context, value: &impl Serialize) {
    // Plain data: writing it as JSON cannot fail.
    context.update(&serde_json::to_vec(value).unwrap_or_default());
    context.update(&[0]);
}
