//! One watch of one kind: lists in pages, follows, and comes back whatever breaks it.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::object::{self, Object, Watched};
use crate::snapshot::resources::{Kind, ObjectKey, ObjectReference};
use crate::values::api_failure::ApiFailure;

/// The first wait after a failure, doubled with each one after.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait: with the time that a connection takes, a watch is back within 5 seconds of the API server's return.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How often a failure that lasts is told.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// How long the API server leaves a watch open, in seconds.
const WATCH_SECONDS: u32 = 240;

/// What a watch has to tell.
#[derive(Debug)]
pub(super) enum Event {
    /// An object as it is now.
    Kept(Box<Object>),
    /// An object is gone, or is not for us any more.
    Gone(ObjectReference),
    /// An object cannot be read, and why.
    Unreadable(ObjectReference, String),
    /// Everything was told that there is.
    Listed {
        /// Which watch.
        number: usize,
        /// Of which kind.
        kind: Kind,
        /// In which namespace; `None`: in all.
        namespace: Option<String>,
        /// What is there.
        present: BTreeSet<ObjectKey>,
    },
}

/// One watch.
#[derive(Debug)]
pub(super) struct Watch<Resource> {
    objects: Api<DeserializeGuard<Resource>>,
    namespace: Option<String>,
    number: usize,
    trouble: Trouble,
}

impl<Resource: Watched> Watch<Resource> {
    pub(super) fn new(client: Client, namespace: Option<String>, number: usize) -> Self {
        let objects = match &namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        Self { objects, namespace, number, trouble: Trouble::default() }
    }

    /// Watches until nobody listens.
    pub(super) async fn run(mut self, events: mpsc::Sender<Event>) {
        let config = watcher::Config {
            label_selector: Resource::LABELS.map(str::to_owned),
            page_size: Some(Resource::PAGE),
            timeout: Some(WATCH_SECONDS),
            ..watcher::Config::default()
        };
        let mut stream = Box::pin(watcher(self.objects.clone(), config));
        let mut present = BTreeSet::new();
        while let Some(next) = stream.next().await {
            let event = match next {
                Err(error) => {
                    sleep(self.trouble.after(Resource::KIND, &failure(&error))).await;
                    continue;
                }
                // Says nothing about the API server: the list is asked for after it.
                Ok(watcher::Event::Init) => {
                    present.clear();
                    continue;
                }
                Ok(watcher::Event::InitApply(object)) => {
                    present.extend(object::key(object.meta()));
                    read(object)
                }
                Ok(watcher::Event::Apply(object)) => read(object),
                Ok(watcher::Event::Delete(object)) => object::key(object.meta()).map(gone::<Resource>),
                Ok(watcher::Event::InitDone) => Some(Event::Listed {
                    number: self.number,
                    kind: Resource::KIND,
                    namespace: self.namespace.clone(),
                    present: std::mem::take(&mut present),
                }),
            };
            self.trouble.is_over(Resource::KIND);
            if let Some(event) = event
                && events.send(event).await.is_err()
            {
                return;
            }
        }
    }
}

fn read<Resource: Watched>(object: DeserializeGuard<Resource>) -> Option<Event> {
    let key = object::key(object.meta())?;
    let event = match object.0 {
        Ok(object) => match object.keep(&key) {
            Some(content) => Event::Kept(Box::new(Object { key, content })),
            None => gone::<Resource>(key),
        },
        Err(invalid) => {
            Event::Unreadable(ObjectReference::new(Resource::KIND, key), unreadable(Resource::KIND, &invalid.error))
        }
    };
    Some(event)
}

fn gone<Resource: Watched>(key: ObjectKey) -> Event {
    Event::Gone(ObjectReference::new(Resource::KIND, key))
}

/// What a parser says of a Secret may quote it.
fn unreadable(kind: Kind, error: &str) -> String {
    let remedy = "correct it, or apply the CRDs of this version";
    match kind {
        Kind::Secret | Kind::ConfigMap => "cannot be read".to_owned(),
        Kind::DataAdapter | Kind::Gateway | Kind::App | Kind::Activation => {
            format!("cannot be read ({error}): {remedy}")
        }
    }
}

fn failure(error: &watcher::Error) -> ApiFailure {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error.into(),
        watcher::Error::WatchError(status) => ApiFailure::from(&kube::Error::Api(status.clone())),
        watcher::Error::NoResourceVersion => ApiFailure::Unreadable,
    }
}

/// Failures in a row: how long to wait, and what was told of them.
#[derive(Debug, Default)]
struct Trouble {
    failures: u32,
    told: Option<(String, Instant)>,
}

impl Trouble {
    /// How long to wait after one more failure.
    fn after(&mut self, kind: Kind, failure: &ApiFailure) -> Duration {
        let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(self.failures.min(10))).min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        // The first one is most often a watch that ended and is resumed at once.
        if self.failures > 1 {
            self.tell(kind, failure);
        }
        wait
    }

    fn tell(&mut self, kind: Kind, failure: &ApiFailure) {
        let hint = if failure.is_not_found() { " (are the CRDs installed? `hearthgate crds` prints them)" } else { "" };
        let text = format!("{failure}{hint}");
        let is_new = self.told.as_ref().is_none_or(|(told, at)| *told != text || at.elapsed() >= TELL_AGAIN);
        if is_new {
            tracing::warn!(%kind, "cannot watch, serving what is known: {text}");
            self.told = Some((text, Instant::now()));
        }
    }

    fn is_over(&mut self, kind: Kind) {
        self.failures = 0;
        if self.told.take().is_some() {
            tracing::info!(%kind, "watching again");
        }
    }
}
