use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use http::StatusCode;
use serde_json::{Value, json};

use super::sink::SinkError;
use super::sink::directory::DirectorySink;
use super::*;
use crate::keys::{KeySecret, KeyStore};
use crate::outbound::SystemClock;
use crate::outbound::testing::{Arrived, Ehr, World, backend_auth, invalid_client, token};
use crate::snapshot::ObjectReference;

/// The directory sink, with its writes counted.
struct Counting {
    inner: DirectorySink,
    writes: AtomicUsize,
}

impl Sink for Counting {
    fn key_store(&self) -> &dyn KeyStore {
        self.inner.key_store()
    }

    fn deliver(&self, key: &KeySecret) {
        self.inner.deliver(key);
    }

    fn write<'call>(&'call self, recorded: &'call Recorded) -> BoxFuture<'call, Result<(), SinkError>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.inner.write(recorded)
    }
}

/// A standalone installation: directory sink, compile loop, control plane.
struct Standalone {
    handle: ControlHandle,
    sink: Arc<Counting>,
    world: watch::Sender<World>,
    published: watch::Receiver<Option<Arc<Published>>>,
    shutdown: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Standalone {
    async fn start(state: &std::path::Path, world: World) -> Self {
        let opened = DirectorySink::open(state).await.unwrap();
        let sink = Arc::new(Counting { inner: opened.sink, writes: AtomicUsize::new(0) });
        let client = EhrClient::new(world.platform.addresses.clone());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let tools = Tools {
            sink: Arc::clone(&sink) as Arc<dyn Sink>,
            tokens: EhrTokens::new(client.clone(), Arc::clone(&clock), Arc::default()),
            client,
            clock,
            serving: watch::channel(Serving::Here).1,
        };
        let (publish, published) = watch::channel(None);
        let (control, handle) = Control::new(tools, published.clone(), opened.recorded);
        let (world, mut worlds) = watch::channel(world);
        let mut kept = opened.kept;
        let shutdown = CancellationToken::new();
        let source = async move {
            loop {
                let mut world = worlds.borrow_and_update().clone();
                let from_sink = kept.borrow_and_update().clone();
                world.resources.secrets.extend(from_sink.secrets.clone());
                publish.send_replace(Some(Arc::new(world.observed(&from_sink.observed).published())));
                tokio::select! {
                    changed = worlds.changed() => if changed.is_err() { return },
                    _ = kept.changed() => {}
                }
            }
        };
        let tasks = vec![tokio::spawn(source), tokio::spawn(control.run(shutdown.clone()))];
        Self { handle, sink, world, published, shutdown, tasks }
    }

    /// Ends everything, so that the state can be opened again.
    async fn stop(self) {
        self.shutdown.cancel();
        drop((self.world, self.sink, self.handle));
        for task in self.tasks {
            task.await.unwrap();
        }
    }

    fn status(&self, kind: Kind, name: &str) -> Arc<ObjectStatus> {
        let object = ObjectReference::new(kind, ObjectKey::new("default", name));
        let statuses = self.handle.statuses();
        let statuses = statuses.borrow();
        statuses.iter().find(|status| status.object == object).cloned().unwrap_or_else(|| panic!("no {object}"))
    }

    fn condition(&self, kind: Kind, name: &str, condition: &str) -> String {
        let conditions = self.status(kind, name).conditions();
        let found = conditions.iter().find(|found| found.type_ == condition);
        found.map(|found| format!("{}/{}", found.status.as_str(), found.reason)).unwrap_or_default()
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        for _ in 0..1000 {
            if !self.handle.statuses().borrow().is_empty() && holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never: {what}; {:#?}", self.handle.statuses().borrow());
    }

    async fn until_ready(&self, expected: &str) {
        self.until(expected, |it| it.condition(Kind::Activation, "act", "Ready") == expected).await;
    }

    fn keys(&self) -> Vec<(u64, String)> {
        let status = self.status(Kind::Activation, "act");
        let key = |key: &Value| (key["revision"].as_u64().unwrap(), key["state"].as_str().unwrap().to_owned());
        status.status["keys"].as_array().map(|keys| keys.iter().map(key).collect()).unwrap_or_default()
    }
}

fn kid(arrived: &Arrived) -> String {
    let jwt = arrived.form().remove("client_assertion").unwrap();
    let header = URL_SAFE_NO_PAD.decode(jwt.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

/// An EHR of FHIR R4 that gives tokens to the keys that are registered.
async fn ehr(registered: Arc<Mutex<Vec<String>>>) -> Ehr {
    Ehr::start(move |arrived| match arrived.path.as_str() {
        "/fhir/metadata" => axum::Json(json!({
            "resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "software": {"name": "Mercy", "version": "7"}
        }))
        .into_response(),
        "/token" if registered.lock().unwrap().contains(&kid(arrived)) => token("token", 300),
        "/token" => invalid_client(),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await
}

fn world(ehr: &Ehr, revision: u32) -> World {
    World::with_ehr(&ehr.url("/fhir"), "FhirR4").activated(&backend_auth(
        Some(&ehr.url("/token")),
        Some("client-1"),
        revision,
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_from_nothing_climbs_the_ladder_and_stays_there() {
    let directory = tempfile::tempdir().unwrap();
    let registered = Arc::new(Mutex::new(Vec::new()));
    let ehr = ehr(Arc::clone(&registered)).await;
    let it = Standalone::start(directory.path(), world(&ehr, 1)).await;

    it.handle.first_keys().wait_for(|made| *made).await.unwrap();
    it.until_ready("False/AwaitingRegistration").await;
    let status = it.status(Kind::Activation, "act");
    assert_eq!(
        status.text("nextStep").unwrap(),
        "Register the JWKS URL https://gate.example.org/default/keys/act/jwks.json (where it takes a file instead: \
         the PEM that hearthgate pem act -n default prints) at Mercy for client ID client-1; EHRs take from minutes to \
         a day to sync, and hearthgate probe act -n default asks it again now."
    );
    it.until("adapter probed", |it| it.condition(Kind::DataAdapter, "ehr", "Reachable") == "True/Reachable").await;
    let adapter = it.status(Kind::DataAdapter, "ehr");
    assert_eq!((adapter.text("fhirVersion"), adapter.text("software")), (Some("4.0.1"), Some("Mercy 7")));
    assert_eq!(it.condition(Kind::Gateway, "gate", "Ready"), "True/Ready");

    let thumbprint = status.status["keys"][0]["thumbprint"].as_str().unwrap().to_owned();
    registered.lock().unwrap().push(thumbprint.clone());
    let probed = it.handle.probe_now(ObjectKey::new("default", "act")).await.unwrap();
    let ready = probed.conditions().into_iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!(ready.reason, "Ready", "{:?}", probed.status);
    it.until("the key signs", |it| it.keys() == [(1, "Signing".to_owned())]).await;
    let status = it.status(Kind::Activation, "act");
    assert!(status.text("nextStep").unwrap().ends_with(&format!("commit to keyPair: thumbprints: [{thumbprint}].")));
    it.stop().await;

    // The EHR is away at the next start: what was known stays known, and nothing is made anew.
    ehr.now_answers(|_| StatusCode::SERVICE_UNAVAILABLE.into_response());
    let asked = ehr.count("/token");
    let again = Standalone::start(directory.path(), world(&ehr, 1)).await;
    again.handle.first_keys().wait_for(|made| *made).await.unwrap();
    again.until("asked again", |_| ehr.count("/token") > asked).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(again.status(Kind::Activation, "act"), status);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_moves_only_when_the_ehr_accepts_the_new_key() {
    let directory = tempfile::tempdir().unwrap();
    let registered = Arc::new(Mutex::new(Vec::new()));
    let ehr = ehr(Arc::clone(&registered)).await;
    let it = Standalone::start(directory.path(), world(&ehr, 1)).await;
    it.until_ready("False/AwaitingRegistration").await;
    let act = ObjectKey::new("default", "act");
    let thumbprint = |it: &Standalone, index: usize| {
        it.status(Kind::Activation, "act").status["keys"][index]["thumbprint"].as_str().unwrap().to_owned()
    };
    registered.lock().unwrap().push(thumbprint(&it, 0));
    it.handle.probe_now(act.clone()).await.unwrap();
    it.until_ready("True/Ready").await;

    it.world.send_replace(world(&ehr, 2));
    let (signing, pending) = ((1, "Signing".to_owned()), (2, "Pending".to_owned()));
    it.until("the second key waits", |it| it.keys() == [signing.clone(), pending.clone()]).await;
    let second = thumbprint(&it, 1);
    it.until("the second key was tried", |_| {
        ehr.arrived().iter().filter(|arrived| arrived.path == "/token").any(|arrived| kid(arrived) == second)
    })
    .await;
    assert_eq!(it.condition(Kind::Activation, "act", "Ready"), "True/Ready");
    let next_step = it.status(Kind::Activation, "act").text("nextStep").unwrap().to_owned();
    assert!(next_step.starts_with("Have Mercy accept key revision 2 as well: the JWKS URL "), "{next_step}");
    let jwks = |it: &Standalone| {
        let published = it.published.borrow().clone().unwrap();
        published.snapshot.key_pairs[&act].jwks.clone()
    };
    assert!(jwks(&it).contains(&second));

    registered.lock().unwrap().push(second.clone());
    it.handle.probe_now(act.clone()).await.unwrap();
    let (retiring, signing) = ((1, "Retiring".to_owned()), (2, "Signing".to_owned()));
    it.until("signing moved", |it| it.keys() == [retiring.clone(), signing.clone()]).await;
    it.until("the proxy signs with it", |it| {
        let published = it.published.borrow().clone().unwrap();
        let activation = &published.snapshot.activations[&act];
        activation.ehr_authentication.key_pair().unwrap().1.unwrap().thumbprint.to_string() == second
    })
    .await;
    assert!(jwks(&it).contains(&thumbprint(&it, 0)), "the old key stays published");
    it.until_ready("True/Ready").await;
    it.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_converged_installation_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let ehr = ehr(Arc::default()).await;
    let it = Standalone::start(directory.path(), world(&ehr, 1)).await;
    it.until_ready("False/AwaitingRegistration").await;
    it.until("adapter probed", |it| it.condition(Kind::DataAdapter, "ehr", "Reachable") == "True/Reachable").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let writes = it.sink.writes.load(Ordering::Relaxed);
    // A probe that hears the same as before is a pass, and no news.
    it.handle.probe_now(ObjectKey::new("default", "act")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(it.sink.writes.load(Ordering::Relaxed), writes);
    it.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_key_is_told_never_replaced_and_welcome_when_it_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let ehr = ehr(Arc::default()).await;
    let it = Standalone::start(directory.path(), world(&ehr, 1)).await;
    it.until_ready("False/AwaitingRegistration").await;
    let thumbprint = it.status(Kind::Activation, "act").status["keys"][0]["thumbprint"].clone();
    it.stop().await;
    let (key, backup) = (directory.path().join("keys/default/act-key-1"), directory.path().join("backup"));
    std::fs::rename(&key, &backup).unwrap();

    let it = Standalone::start(directory.path(), world(&ehr, 1)).await;
    it.until_ready("False/KeyLost").await;
    assert_eq!(it.condition(Kind::Activation, "act", "Stalled"), "True/KeyLost");
    it.handle.first_keys().wait_for(|settled| *settled).await.expect("nothing is to be made");
    assert!(!key.exists());
    std::fs::rename(&backup, &key).unwrap();
    it.until_ready("False/AwaitingRegistration").await;
    assert_eq!(it.status(Kind::Activation, "act").status["keys"][0]["thumbprint"], thumbprint);
    it.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_cannot_be_made_is_told_and_holds_nobody_up() {
    let directory = tempfile::tempdir().unwrap();
    let ehr = ehr(Arc::default()).await;
    // Something that is no key is in the key's place.
    std::fs::create_dir_all(directory.path().join("keys/default/act-key-1")).unwrap();
    std::fs::write(directory.path().join("keys/default/act-key-1/private.pem"), "half a k").unwrap();
    let it = Standalone::start(directory.path(), world(&ehr, 1)).await;
    it.handle.first_keys().wait_for(|settled| *settled).await.unwrap();
    it.until_ready("False/Creating").await;
    let next_step = it.status(Kind::Activation, "act").text("nextStep").unwrap().to_owned();
    assert!(next_step.starts_with("Key act-key-1 cannot be made: "), "{next_step}");
    it.until("the gateway is served", |it| it.condition(Kind::Gateway, "gate", "Ready") == "True/Ready").await;
    it.stop().await;
}
