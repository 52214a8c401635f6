//! What a replica tells at `/programmed`: what it serves, and what the EHRs last said to it.
//!
//! The operator compiles the same resources, so it knows what a replica must tell: equal digests are the same object,
//! compiled alike. Only what requests depend on goes into a digest; what status records of the world does not, or a
//! status write would make every replica look behind.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{EhrOutcome, EhrOutcomes};
use crate::snapshot::report::Detail;
use crate::snapshot::{ObjectReference, Published, Report};

/// Between two documents.
const PAUSE: Duration = Duration::from_millis(50);

/// The digests of all objects that a snapshot was compiled from.
pub type Digests = BTreeMap<ObjectReference, Digest>;

/// Identifies an object as it was compiled: 128 bits in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

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
        let mut compiled: Option<(Arc<Published>, Vec<ProgrammedObject>)> = None;
        loop {
            heard.mark_unchanged();
            let newest = published.borrow_and_update().clone();
            if let Some(newest) = newest {
                let before = compiled.take().filter(|(known, _)| Arc::ptr_eq(known, &newest));
                let outcomes = Arc::clone(&outcomes);
                let made = tokio::task::spawn_blocking(move || {
                    let objects = before.map_or_else(|| objects(&newest), |(_, objects)| objects);
                    let programmed = Programmed { objects, outcomes: outcomes.all() };
                    (ProgrammedDocument::from(&programmed), newest, programmed.objects)
                });
                if let Ok((document, newest, objects)) = made.await {
                    compiled = Some((newest, objects));
                    sender.send_if_modified(|sent| {
                        let is_news = sent.entity_tag != document.entity_tag;
                        *sent = document;
                        is_news
                    });
                }
            }
            // What happens together is told together.
            tokio::time::sleep(PAUSE).await;
            tokio::select! {
                () = stop.cancelled() => return,
                changed = published.changed() => if changed.is_err() { return },
                _ = heard.changed() => {}
            }
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
}

fn objects(published: &Published) -> Vec<ProgrammedObject> {
    digests(published).into_iter().map(|(object, digest)| ProgrammedObject { object, digest }).collect()
}

impl Programmed {
    /// Names this very answer (RFC 9110 §8.8.3), so that a long poll can wait for another one.
    pub fn entity_tag(&self) -> String {
        let mut context = Context::new(&SHA256);
        for ProgrammedObject { object, digest } in &self.objects {
            add(&mut context, &object.to_string());
            add(&mut context, &digest.0);
        }
        let mut outcomes: Vec<_> = self.outcomes.iter().collect();
        outcomes.sort_by_key(|(uid, _)| *uid);
        for (uid, outcome) in outcomes {
            add(&mut context, uid);
            // Not its time: a token that is renewed every few minutes is no news.
            add_json(&mut context, &(&outcome.credential_digest, &outcome.key, &outcome.answer));
        }
        format!("\"{}\"", finished(context).0)
    }
}

/// The digest of each object of our kinds as it was compiled.
pub fn digests(published: &Published) -> Digests {
    let own: BTreeMap<&ObjectReference, Digest> =
        published.reports.iter().map(|report| (&report.object, own_digest(report, published))).collect();
    let of = |report: &Report| {
        let mut context = Context::new(&SHA256);
        add_with_references(&mut context, &report.object, &own, published, 0);
        (report.object.clone(), finished(context))
    };
    published.reports.iter().filter(|report| !matches!(report.detail, Detail::Other)).map(of).collect()
}

/// An object is compiled anew with whatever it refers to: an Activation with its Gateway, and that with its adapter.
fn add_with_references(
    context: &mut Context,
    object: &ObjectReference,
    own: &BTreeMap<&ObjectReference, Digest>,
    published: &Published,
    depth: u8,
) {
    let Some(digest) = own.get(object) else { return };
    add(context, &digest.0);
    // Activation → Gateway → DataAdapter is the longest chain there is.
    if depth >= 2 {
        return;
    }
    if let Ok(index) = published.reports.binary_search_by(|report| report.object.cmp(object)) {
        for reference in published.reports.get(index).into_iter().flat_map(|report| &report.references) {
            add_with_references(context, reference, own, published, depth + 1);
        }
    }
}

fn own_digest(report: &Report, published: &Published) -> Digest {
    let mut context = Context::new(&SHA256);
    add(&mut context, &report.object.to_string());
    add(&mut context, &report.uid);
    add(&mut context, &report.generation.to_string());
    let faults: Vec<_> = report.errors().collect();
    add_json(&mut context, &faults);
    match &report.detail {
        Detail::Activation(detail) => {
            let parts = (&detail.suspended_by, &detail.not_before, &detail.expires_at, &detail.connection);
            add_json(&mut context, &parts);
            if let Some(activation) = published.snapshot.activations.get(&report.object.key) {
                context.update(&activation.credential_digest);
            }
        }
        Detail::Gateway { .. } => {
            add_json(&mut context, &report.detail);
            if let Some(gateway) = published.snapshot.gateways.get(&report.object.key) {
                add(&mut context, &gateway.signing.jwks);
            }
        }
        Detail::App { .. } | Detail::DataAdapter { .. } | Detail::Other => add_json(&mut context, &report.detail),
    }
    finished(context)
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

fn finished(context: Context) -> Digest {
    let mut text = String::with_capacity(32);
    for byte in context.finish().as_ref().iter().take(16) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Digest(text)
}
