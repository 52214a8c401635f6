//! What one core does: tokens issued, and FHIR reads authorised and forwarded, each a second.
//!
//! The proxy runs on one thread, in process; the EHR behind it is a bare hyper server on a thread of its own. So the
//! figures are the proxy's own work, without the kernel's for the client's connection.
//!
//! ```sh
//! cargo bench --bench proxy
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says no by panicking, and its helpers are part of it"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hearthgate::api::{Activation, App, DataAdapter, Gateway};
use hearthgate::keys::make::make_gateway_keys;
use hearthgate::keys::secret::gateway_secret;
use hearthgate::outbound::{EhrClient, EhrOutcomes, EhrTokens, SystemClock};
use hearthgate::proxy::{Limits, Metrics, Proxy};
use hearthgate::snapshot::resources::{Secret, SecretUse};
use hearthgate::snapshot::{ObjectKey, Platform, Resources, compile};
use hearthgate::store::EmbeddedStore;
use hearthgate::values::key::GatewayIdentity;
use hearthgate::values::secret::SecretBytes;
use hearthgate::values::url::{AddressPolicy, EndpointUrl};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::de::DeserializeOwned;
use serde_json::json;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SECRET: &str = "a-secret-of-the-bench-0123456789";

/// A Patient of about 3 KB, which is what a read usually brings.
fn patient() -> Bytes {
    let filler = "x".repeat(2900);
    Bytes::from(json!({ "resourceType": "Patient", "id": "1", "text": { "div": filler } }).to_string())
}

/// Starts the EHR on a thread of its own.
fn start_ehr() -> SocketAddr {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            let body = patient();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let body = body.clone();
                let service = service_fn(move |_| {
                    let response = http::Response::builder().header("content-type", "application/fhir+json");
                    let response = response.body(Full::new(body.clone())).unwrap();
                    async { Ok::<_, Infallible>(response) }
                });
                tokio::spawn(async move {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
    });
    receiver.recv().unwrap()
}

fn object<Kind: DeserializeOwned>(value: serde_json::Value) -> Arc<Kind> {
    Arc::new(serde_json::from_value(value).unwrap())
}

/// One adapter, gateway, app and activation.
fn resources(ehr: SocketAddr) -> Resources {
    let metadata = |name: &str| json!({ "name": name, "namespace": "default", "uid": name, "generation": 1 });
    let key = |name: &str| ObjectKey::new("default", name);
    let mut resources = Resources::default();
    let adapter = json!({ "apiVersion": "hearthgate.dev/v1alpha1", "kind": "DataAdapter", "metadata": metadata("ehr"),
        "spec": { "dataSourceType": "FhirR4", "fhirBaseUrl": format!("http://{ehr}/fhir") } });
    resources.data_adapters.insert(key("ehr"), object::<DataAdapter>(adapter));
    let gateway = json!({ "apiVersion": "hearthgate.dev/v1alpha1", "kind": "Gateway", "metadata": metadata("gate"),
        "spec": { "dataAdapterRef": { "name": "ehr" } } });
    resources.gateways.insert(key("gate"), object::<Gateway>(gateway));
    let app = json!({ "apiVersion": "hearthgate.dev/v1alpha1", "kind": "App", "metadata": metadata("app"),
        "spec": { "clientType": "BackendService", "clientId": "bench", "scopes": ["system/*.rs"],
                  "clientSecrets": [{ "secretRef": { "name": "app", "key": "secret" } }] } });
    resources.apps.insert(key("app"), object::<App>(app));
    let activation = json!({ "apiVersion": "hearthgate.dev/v1alpha1", "kind": "Activation", "metadata": metadata("active"),
        "spec": { "appRef": { "name": "app" }, "gatewayRef": { "name": "gate" },
                  "ehrAuthentication": { "type": "System", "system": { "none": {} } } } });
    resources.activations.insert(key("active"), object::<Activation>(activation));

    let data = BTreeMap::from([("secret".to_owned(), SecretBytes::from(SECRET.to_owned()))]);
    let secret = Secret::new(key("app"), SecretUse::Credential, BTreeMap::new(), data);
    resources.secrets.insert(key("app"), Arc::new(secret));
    let identity = GatewayIdentity { gateway: "gate".into(), revision: 1 };
    let made = gateway_secret("default", &identity, make_gateway_keys().unwrap());
    let signing = Secret::new(key(&made.name), SecretUse::GatewaySigning, made.annotations, made.data);
    resources.secrets.insert(key(&made.name), Arc::new(signing));
    resources
}

async fn proxy(state: &Path) -> Proxy {
    let platform = Platform {
        public_url: EndpointUrl::parse("http://127.0.0.1:8080").unwrap(),
        addresses: AddressPolicy::new(AddressPolicy::loopback_ranges()),
        public_hosts: BTreeMap::new(),
        makes_keys: true,
    };
    let (snapshot, reports) = compile(&resources(start_ehr()), &platform);
    assert!(reports.iter().all(|report| report.errors().next().is_none()), "{reports:#?}");
    let client = EhrClient::new(platform.addresses);
    let tokens = EhrTokens::new(client.clone(), Arc::new(SystemClock), Arc::new(EhrOutcomes::default()));
    let served = Arc::new(ArcSwapOption::from_pointee(snapshot));
    let store = Arc::new(EmbeddedStore::open(&state.join("store.redb")).await.unwrap());
    Proxy::new(served, tokens, client, store, Arc::new(Metrics::default()), Limits::default())
}

fn token_request() -> Request<Full<Bytes>> {
    let credential = STANDARD.encode(format!("bench:{SECRET}"));
    Request::post("/default/gate/oauth2/token")
        .header("host", "127.0.0.1:8080")
        .header("authorization", format!("Basic {credential}"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from_static(b"grant_type=client_credentials")))
        .unwrap()
}

fn read_request(token: &str) -> Request<Full<Bytes>> {
    Request::get("/default/gate/fhir/Patient/1")
        .header("host", "127.0.0.1:8080")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::default())
        .unwrap()
}

async fn answer(proxy: &Proxy, request: Request<Full<Bytes>>) -> Bytes {
    let response = proxy.handle(request, PEER).await;
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body().collect().await.unwrap().to_bytes()
}

fn one_core(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let state = tempfile::tempdir().unwrap();
    let proxy = runtime.block_on(proxy(state.path()));
    let token = runtime.block_on(answer(&proxy, token_request()));
    let token: serde_json::Value = serde_json::from_slice(&token).unwrap();
    let token = token["access_token"].as_str().unwrap().to_owned();

    let mut group = criterion.benchmark_group("one core");
    group.throughput(Throughput::Elements(1));
    group.bench_function("token by client_credentials, Basic, ES256", |bencher| {
        bencher.to_async(&runtime).iter(|| answer(&proxy, token_request()));
    });
    group.bench_function("authorised read of 3 KB, one at a time", |bencher| {
        bencher.to_async(&runtime).iter(|| answer(&proxy, read_request(&token)));
    });
    group.throughput(Throughput::Elements(32));
    group.bench_function("authorised read of 3 KB, 32 at once", |bencher| {
        bencher.to_async(&runtime).iter(|| {
            let requests = (0..32).map(|_| answer(&proxy, read_request(&token)));
            futures_util::future::join_all(requests)
        });
    });
    group.finish();
}

criterion_group!(benches, one_core);
criterion_main!(benches);
