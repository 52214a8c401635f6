//! Edits while apps are served: how soon every replica serves one, against a bare watch of the same object, and what the
//! apps notice of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::runtime::watcher::{Config, Event, watcher};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use super::crowd::activation;
use super::installation::{APP_SECRET, Installation, PROMPTLY, Process, eventually};

/// The app that reads, its activation, its secret, and its client ID.
pub const READER: &str = "reader";

/// Between two requests, to the replicas by turns: 500 a second; of an unoptimised build 50, which it can answer beside
/// everything else that the same cores do.
const BETWEEN_REQUESTS: Duration = Duration::from_millis(if cfg!(debug_assertions) { 20 } else { 2 });
const BETWEEN_EDITS: Duration = Duration::from_millis(100);
/// Between two looks at what a replica serves: how exactly a moment is known.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
const EDITS: u32 = if cfg!(debug_assertions) { 30 } else { 150 };

/// An app with a secret, which may get tokens, and its activation.
pub fn reader(token_url: &str) -> [Value; 3] {
    let [mut app, activation] = activation(READER, token_url);
    app["spec"] = json!({
        "displayName": READER, "clientType": "BackendService", "clientId": READER,
        "scopes": ["system/Patient.rs", "system/Slot.rs"],
        "clientSecrets": [{ "secretRef": { "name": READER, "key": "secret" } }],
    });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": READER, "labels": { "hearthgate.dev/use": "credential" } },
        "stringData": { "secret": APP_SECRET },
    });
    [secret, app, activation]
}

/// The number of the edit that a text shows.
fn number_in(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("system/Slot.rs?_id=")?;
    rest.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

/// When each edit was first seen, by its number. Who sees an edit has seen those before it.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<u32, Instant>>>);

impl Seen {
    fn note(&self, number: u32) {
        let now = Instant::now();
        let mut seen = self.0.lock().unwrap();
        for number in 1..=number {
            seen.entry(number).or_insert(now);
        }
    }

    fn of(&self, number: u32) -> Option<Instant> {
        self.0.lock().unwrap().get(&number).copied()
    }
}

fn ends(mut took: Vec<Duration>) -> (Duration, Duration) {
    took.sort();
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
    (at(50), at(99))
}

/// Sees what any client of the API server sees.
fn watch(activations: Api<DynamicObject>) -> (Seen, AbortOnDropHandle<()>) {
    let seen = Seen::default();
    let noted = seen.clone();
    let watching = tokio::spawn(async move {
        let mut events = Box::pin(watcher(activations, Config::default().fields(&format!("metadata.name={READER}"))));
        while let Some(event) = events.next().await {
            if let Ok(Event::Apply(object) | Event::InitApply(object)) = event
                && let Some(number) = number_in(&object.data["spec"]["scopes"].to_string())
            {
                noted.note(number);
            }
        }
    });
    (seen, AbortOnDropHandle::new(watching))
}

/// Sees what apps see of a replica: the gateway's discovery document tells the scopes that somebody may be granted.
fn look(client: &Client, (url, host): (String, String)) -> (Seen, AbortOnDropHandle<()>) {
    let (seen, client) = (Seen::default(), client.clone());
    let noted = seen.clone();
    let looking = tokio::spawn(async move {
        loop {
            let answer = client.get(&url).header("Host", &host).send().await.unwrap();
            if let Some(number) = number_in(&answer.text().await.unwrap()) {
                noted.note(number);
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    });
    (seen, AbortOnDropHandle::new(looking))
}

/// Reads at 500 a second for as long as `while_running` takes: how long each took, from when it was due.
async fn reads<Output>(
    client: &Client,
    targets: &[(String, String)],
    token: &str,
    while_running: impl Future<Output = Output>,
) -> (Vec<Duration>, Output) {
    let mut requests = JoinSet::new();
    let mut ticks = interval(BETWEEN_REQUESTS);
    let mut turn = targets.iter().cycle();
    let output = {
        let mut running = std::pin::pin!(while_running);
        loop {
            tokio::select! {
                output = &mut running => break output,
                due = ticks.tick() => {
                    let (url, host) = turn.next().unwrap().clone();
                    let asked = client.get(url).header("Host", host).bearer_auth(token).send();
                    requests.spawn(async move {
                        let answer = asked.await.unwrap();
                        assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap());
                        answer.bytes().await.unwrap();
                        due.elapsed()
                    });
                }
            }
        }
    };
    (requests.join_all().await, output)
}

async fn edit(activations: &Api<DynamicObject>, number: u32) {
    let scopes = json!({ "spec": { "scopes": ["system/Patient.rs", format!("system/Slot.rs?_id={number}")] } });
    activations.patch(READER, &PatchParams::default(), &Patch::Merge(&scopes)).await.unwrap();
}

/// Measures, and tells; asserts only what a loaded machine can keep too.
pub async fn among_requests(installation: &Installation<'_>, activations: &Api<DynamicObject>) {
    let host = installation.public_url().trim_start_matches("http://");
    let below = |proxy: &Process, path: &str| {
        let url = format!("http://127.0.0.1:{}/{}/epic/fhir/{path}", proxy.public, installation.namespace);
        (url, host.to_owned())
    };
    let targets: Vec<_> = installation.proxies.iter().map(|proxy| below(proxy, "Patient?_count=1")).collect();
    let token = installation.token(&installation.proxies[0], READER).await.unwrap();
    let (bare, _watching) = watch(activations.clone());
    let (served, _looking): (Vec<Seen>, Vec<_>) = installation
        .proxies
        .iter()
        .map(|proxy| look(&installation.client, below(proxy, ".well-known/smart-configuration")))
        .unzip();
    let seen_by_all = |number| served.iter().chain([&bare]).all(|seen| seen.of(number).is_some());
    edit(activations, 1).await;
    eventually(PROMPTLY, "the first edit is served", || async { seen_by_all(1) }).await;

    let calm_for = BETWEEN_EDITS * EDITS / 2;
    let (before, ()) = reads(&installation.client, &targets, &token, tokio::time::sleep(calm_for)).await;
    let (meanwhile, ()) = reads(&installation.client, &targets, &token, async {
        let mut ticks = interval(BETWEEN_EDITS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 2..=EDITS {
            ticks.tick().await;
            edit(activations, number).await;
        }
    })
    .await;
    eventually(PROMPTLY, "the last edit is served", || async { seen_by_all(EDITS) }).await;
    let (after, ()) = reads(&installation.client, &targets, &token, tokio::time::sleep(calm_for)).await;

    let behind = (2..=EDITS).map(|number| {
        let last = served.iter().filter_map(|seen| seen.of(number)).max().unwrap();
        last.saturating_duration_since(bare.of(number).unwrap())
    });
    let (median, p99) = ends(behind.collect());
    eprintln!(
        "{EDITS} edits under reads all the while: served by both replicas {median:?} (median) and {p99:?} (p99) after a bare watch saw them"
    );
    let calm = ends(before.into_iter().chain(after).collect());
    let edited = ends(meanwhile);
    let ratio = edited.1.as_secs_f64() / calm.1.as_secs_f64();
    eprintln!(
        "reads without edits {:?} (median) and {:?} (p99), with one each {BETWEEN_EDITS:?} {:?} and {:?}: {ratio:.2} x",
        calm.0, calm.1, edited.0, edited.1
    );
    assert!(p99 < PROMPTLY, "{p99:?}");
}
