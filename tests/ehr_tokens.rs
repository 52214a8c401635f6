//! EHR tokens against the simulated EHR, which is as strict as Epic and shares no code with us.

#![expect(clippy::unwrap_used, reason = "a test says no by panicking, and its helpers are part of it")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hearthgate::control::sink::directory::DirectorySink;
use hearthgate::control::{Control, Serving, Tools};
use hearthgate::keys::make::make_pair;
use hearthgate::keys::secret::pair_secret;
use hearthgate::outbound::{Clock, EhrClient, EhrTokenError, EhrTokens, SystemClock};
use hearthgate::sandbox::{Credential, Handle, Registration, Sandbox, Settings, Verdict};
use hearthgate::snapshot::resources::{Secret, SecretUse};
use hearthgate::snapshot::{Activation, ObjectKey, Platform, Published, Resources, compile};
use hearthgate::values::key::{PairIdentity, PairKind};
use hearthgate::values::secret::SecretBytes;
use hearthgate::values::url::{AddressPolicy, EndpointUrl};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

// As Epic gives them.
const CLIENT_ID: &str = "0f2a7c7e-5f0e-4b7e-9a51-3c1d8e6b2f40";

async fn sandbox() -> Handle {
    let settings = Settings { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Settings::default() };
    let sandbox = Sandbox::bind(settings).await.unwrap();
    let handle = sandbox.handle();
    tokio::spawn(sandbox.serve(CancellationToken::new()));
    handle
}

/// Publishes a key set as the proxy would.
async fn published(jwks: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let answer = move || async move { ([("content-type", "application/json")], jwks) };
    let router = axum::Router::new().route("/jwks.json", axum::routing::get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

fn object<T: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: &Value) -> (ObjectKey, Arc<T>) {
    let object = json!({"apiVersion": "hearthgate.dev/v1alpha1", "kind": kind, "spec": spec,
        "metadata": {"namespace": "default", "name": name, "uid": name, "generation": 1}});
    (ObjectKey::new("default", name), Arc::new(serde_json::from_value(object).unwrap()))
}

fn secret(
    name: &str,
    usage: SecretUse,
    annotations: BTreeMap<String, String>,
    data: BTreeMap<String, SecretBytes>,
) -> (ObjectKey, Arc<Secret>) {
    let key = ObjectKey::new("default", name);
    (key.clone(), Arc::new(Secret::new(key, usage, annotations, data)))
}

fn platform() -> Platform {
    Platform {
        public_url: EndpointUrl::parse("https://gate.example.org").unwrap(),
        addresses: AddressPolicy::new(AddressPolicy::loopback_ranges()),
        public_hosts: BTreeMap::new(),
        makes_keys: true,
    }
}

/// An activation with this method, and the key pair of that kind if one is wanted.
fn activation(ehr: &Handle, system: &Value, kind: Option<PairKind>) -> Arc<Activation> {
    Arc::clone(installation(ehr, system, kind).snapshot.activations.get(&ObjectKey::new("default", "act")).unwrap())
}

/// The same, with all that belongs to it.
fn installation(ehr: &Handle, system: &Value, kind: Option<PairKind>) -> Published {
    let mut resources = Resources::default();
    let adapter = json!({"dataSourceType": "EpicR4External", "fhirBaseUrl": ehr.fhir_base_url()});
    resources.data_adapters.extend([object("DataAdapter", "ehr", &adapter)]);
    resources.gateways.extend([object("Gateway", "gate", &json!({"dataAdapterRef": {"name": "ehr"}}))]);
    let app = json!({"clientType": "BackendService", "scopes": ["system/Patient.rs"],
        "jwksUri": "https://app.example.org/jwks.json"});
    resources.apps.extend([object("App", "app", &app)]);
    let spec = json!({"appRef": {"name": "app"}, "gatewayRef": {"name": "gate"},
        "ehrAuthentication": {"type": "System", "system": system}});
    resources.activations.extend([object("Activation", "act", &spec)]);
    let client_secret = BTreeMap::from([("secret".to_owned(), SecretBytes::from("a+b/c%2F== and more".to_owned()))]);
    resources.secrets.extend([secret("at-ehr", SecretUse::Credential, BTreeMap::new(), client_secret)]);
    if let Some(kind) = kind {
        let identity = PairIdentity { app: "app".into(), pair: "act".into(), revision: 1, kind };
        let material = make_pair(kind, "app", jiff::Timestamp::now()).unwrap();
        let pair = pair_secret("default", &identity, material);
        resources.secrets.extend([secret(&pair.name, SecretUse::KeyPair, pair.annotations, pair.data)]);
    }
    let (snapshot, reports) = compile(&resources, &platform());
    assert!(snapshot.activations.contains_key(&ObjectKey::new("default", "act")), "{reports:#?}");
    Published::new(snapshot, reports, Vec::new())
}

fn tokens() -> EhrTokens {
    EhrTokens::new(EhrClient::new(platform().addresses), Arc::new(SystemClock), Arc::default())
}

fn register(ehr: &Handle, credential: Credential) {
    let registration = Registration::new(CLIENT_ID, credential);
    ehr.register(registration).unwrap();
}

fn backend_auth(algorithm: &str) -> Value {
    // The token URL is read from the EHR's SMART configuration.
    json!({"backendAuth": {"clientId": CLIENT_ID, "keyPair": {"algorithm": algorithm}}})
}

fn token_requests(ehr: &Handle) -> Vec<Verdict> {
    ehr.log().into_iter().filter(|entry| entry.path.ends_with("/token")).map(|entry| entry.verdict).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_ehr_takes_assertions_of_both_algorithms_from_the_published_keys() {
    for (algorithm, kind) in [("RS384", PairKind::Rsa2048), ("ES384", PairKind::P384)] {
        let ehr = sandbox().await;
        let activation = activation(&ehr, &backend_auth(algorithm), Some(kind));
        let (pair, _) = activation.ehr_authentication.key_pair().unwrap();
        register(&ehr, Credential::JwksUrl(published(pair.jwks.to_string()).await));
        let tokens = tokens();
        let authorization = tokens.authorization(&activation).await.unwrap();

        let answer = read_a_patient(&activation, &authorization).await;
        assert_eq!(answer, http::StatusCode::OK, "{algorithm}: the token works at the FHIR base");
        assert_eq!(token_requests(&ehr).len(), 1, "{algorithm}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_ehr_takes_the_certificate_as_a_file() {
    let ehr = sandbox().await;
    let activation = activation(&ehr, &backend_auth("RS384"), Some(PairKind::Rsa2048));
    let (pair, _) = activation.ehr_authentication.key_pair().unwrap();
    register(&ehr, Credential::Pem(pair.revisions[0].certificate_pem.as_deref().unwrap().to_owned()));
    tokens().authorization(&activation).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_with_epics_bare_invalid_client() {
    let ehr = sandbox().await;
    let activation = activation(&ehr, &backend_auth("RS384"), Some(PairKind::Rsa2048));
    let refused = tokens().authorization(&activation).await.unwrap_err();
    let EhrTokenError::Refused { error, description, .. } = refused else { panic!("{refused:?}") };
    assert_eq!((error.as_deref(), description), (Some("invalid_client"), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_full_of_signs_goes_both_ways() {
    for method in ["client_secret_basic", "client_secret_post"] {
        let ehr = sandbox().await;
        register(&ehr, Credential::ClientSecret(SecretString::from("a+b/c%2F== and more")));
        let system = json!({"clientCredentials": {"clientId": CLIENT_ID, "tokenUrl": ehr.token_url(),
            "clientSecretRef": {"name": "at-ehr", "key": "secret"}, "tokenEndpointAuthMethod": method,
            "scopes": ["system/Patient.read"]}});
        let activation = activation(&ehr, &system, None);
        tokens().authorization(&activation).await.unwrap_or_else(|error| panic!("{method}: {error}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_cold_callers_are_one_token_call_and_one_more_after_the_ehr_forgets() {
    let ehr = sandbox().await;
    let activation = activation(&ehr, &backend_auth("ES384"), Some(PairKind::P384));
    let (pair, _) = activation.ehr_authentication.key_pair().unwrap();
    register(&ehr, Credential::JwksUrl(published(pair.jwks.to_string()).await));
    let tokens = tokens();
    let round = || {
        let callers = (0..1000).map(|_| {
            let (tokens, activation) = (tokens.clone(), Arc::clone(&activation));
            tokio::spawn(async move { tokens.authorization(&activation).await.unwrap() })
        });
        futures::future::join_all(callers)
    };
    let first = round().await;
    assert_eq!(token_requests(&ehr).len(), 1);

    ehr.revoke_tokens();
    let used = first[0].as_ref().unwrap();
    assert_eq!(read_a_patient(&activation, used).await, http::StatusCode::UNAUTHORIZED);
    // Everybody who was answered 401 says so; one new token comes of it.
    for caller in &first {
        tokens.forget(&activation, caller.as_ref().unwrap());
    }
    let second = round().await;
    assert_eq!(token_requests(&ehr).len(), 2);
    assert_eq!(read_a_patient(&activation, second[0].as_ref().unwrap()).await, http::StatusCode::OK);
}

/// Reads a Patient at the EHR with this authorization.
async fn read_a_patient(
    activation: &Activation,
    authorization: &hearthgate::outbound::EhrAuthorization,
) -> http::StatusCode {
    let adapter = &activation.gateway.data_adapter;
    let url = format!("{}/Patient/{}", adapter.fhir_base.without_slash(), hearthgate::sandbox::FIRST_PATIENT);
    let request = http::Request::get(url)
        .header("accept", "application/fhir+json")
        .header("authorization", authorization.header.clone().unwrap())
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .unwrap();
    EhrClient::new(platform().addresses).send(adapter, request).await.unwrap().status()
}

/// A machine whose clock somebody has set ten minutes ahead.
#[derive(Debug)]
struct Ahead;

impl Clock for Ahead {
    fn now(&self) -> jiff::Timestamp {
        SystemClock.now() + Duration::from_secs(600)
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_is_told_as_the_reason_of_the_refusal() {
    let ehr = sandbox().await;
    let published_now = installation(&ehr, &backend_auth("RS384"), Some(PairKind::Rsa2048));
    let activation = &published_now.snapshot.activations[&ObjectKey::new("default", "act")];
    let (pair, _) = activation.ehr_authentication.key_pair().unwrap();
    register(&ehr, Credential::JwksUrl(published(pair.jwks.to_string()).await));
    let state = tempfile::tempdir().unwrap();
    let opened = DirectorySink::open(state.path()).await.unwrap();
    let client = EhrClient::new(platform().addresses);
    let tools = Tools {
        sink: Arc::new(opened.sink),
        tokens: EhrTokens::new(client.clone(), Arc::new(Ahead), Arc::default()),
        client,
        clock: Arc::new(Ahead),
        serving: watch::channel(Serving::Here).1,
    };
    let (_publish, inputs) = watch::channel(Some(Arc::new(published_now)));
    let (control, handle) = Control::new(tools, inputs, opened.recorded);
    let stop = CancellationToken::new();
    let running = tokio::spawn(control.run(stop.clone()));
    let told = handle.probe_now(ObjectKey::new("default", "act")).await.unwrap().status;
    stop.cancel();
    running.await.unwrap();

    let first = &told["likelyCauses"][0];
    assert_eq!((first["cause"].as_str(), first["likelihood"].as_str()), (Some("Clock"), Some("Evident")), "{told:#}");
    let next_step = told["nextStep"].as_str().unwrap();
    assert!(next_step.contains("clock is more than half a minute behind ours"), "{next_step}");
}
