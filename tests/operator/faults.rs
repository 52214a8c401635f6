//! An API server that is busy, fails, forgets where a watch stood, and holds what cannot be read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::installation::{Installation, PATIENCE, eventually};
use super::release::Component;
use crate::support::control_plane::ControlPlane;

/// Stands before an API server: answers three of ten requests itself, and ends each watch after two seconds with
/// `410 Gone`.
struct Faulty {
    url: String,
    client: reqwest::Client,
    asked: AtomicU64,
    faults: AtomicU64,
    forgotten: AtomicU64,
}

impl Faulty {
    /// Begins to stand before the API server of a kubeconfig, and writes one that leads here.
    async fn start(kubeconfig: &std::path::Path) -> Arc<Self> {
        let mut config: Value = serde_json::from_slice(&std::fs::read(kubeconfig).unwrap()).unwrap();
        let cluster = &mut config["clusters"][0]["cluster"];
        let pem = STANDARD.decode(cluster["certificate-authority-data"].as_str().unwrap()).unwrap();
        let roots = reqwest::Certificate::from_pem_bundle(&pem).unwrap();
        let faulty = Arc::new(Self {
            url: cluster["server"].as_str().unwrap().to_owned(),
            client: reqwest::Client::builder().no_proxy().tls_certs_only(roots).build().unwrap(),
            asked: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        *cluster = json!({ "server": url });
        std::fs::write(kubeconfig, config.to_string()).unwrap();
        let router = axum::Router::new().fallback(answer).with_state(Arc::clone(&faulty));
        tokio::spawn(async move { axum::serve(listener, router).await });
        faulty
    }
}

async fn answer(State(faulty): State<Arc<Faulty>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let is_watch = query.contains("watch=true");
    let is_lease = request.uri().path().contains("/leases/");
    let number = faulty.asked.fetch_add(1, Ordering::Relaxed);
    // Spread out, and the same in each run.
    let fault = number.wrapping_mul(7) % 10;
    if fault < 3 && !is_lease {
        faulty.faults.fetch_add(1, Ordering::Relaxed);
        let is_write = request.method() != "GET";
        let (code, reason) = match fault {
            0 => (429, "TooManyRequests"),
            1 if is_write => (409, "Conflict"),
            _ => (500, "InternalError"),
        };
        return status(code, reason);
    }
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let url = format!("{}{}", faulty.url, head.uri.path_and_query().unwrap());
    let mut headers = head.headers;
    headers.remove("host");
    let answer = faulty.client.request(head.method, url).headers(headers).body(body).send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    if let Some(media_type) = answer.headers().get("content-type") {
        response = response.header("content-type", media_type);
    }
    let chunks = answer.bytes_stream();
    if !is_watch {
        return response.body(Body::from_stream(chunks)).unwrap();
    }
    let until = tokio::time::sleep(Duration::from_secs(2));
    let gone = json!({ "type": "ERROR", "object": status_object(410, "Expired") }).to_string() + "\n";
    let last = stream::once(async move {
        faulty.forgotten.fetch_add(1, Ordering::Relaxed);
        Ok(Bytes::from(gone))
    });
    response.body(Body::from_stream(chunks.take_until(until).chain(last))).unwrap()
}

fn status_object(code: u16, reason: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "made up by the test", "reason": reason, "code": code,
    })
}

fn status(code: u16, reason: &str) -> Response {
    let body = status_object(code, reason).to_string();
    let response = Response::builder().status(code).header("content-type", "application/json");
    response.header("retry-after", "1").body(body.into()).unwrap()
}

#[tokio::test]
async fn with_three_of_ten_calls_failing_and_watches_forgotten_all_converges() {
    let plane = ControlPlane::start().await;
    plane.install_crds().await;
    let mut installation = Installation::prepare(&plane, 0).await;
    let (operator, proxy) =
        (installation.release.user(Component::Operator), installation.release.user(Component::Proxy));
    let faulty = Faulty::start(&plane.kubeconfig(&operator).await).await;
    let faulty_for_proxy = Faulty::start(&plane.kubeconfig(&proxy).await).await;
    installation.keeps_kubeconfigs();
    installation.add_proxy().await;
    installation.apply(&installation.quickstart()).await;
    let _operator = installation.operator().await;
    installation.climb().await;
    let proxy = &installation.proxies[0];
    eventually(PATIENCE, "the proxy serves", || async { installation.call(proxy).await.0 == StatusCode::OK }).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let suspend = r#"{"spec":{"suspend":true}}"#;
    installation.kubectl(&["patch", "fhirgateway/epic", "--type=merge", "-p", suspend]).await;
    eventually(Duration::from_secs(10), "the edit is served", || async {
        installation.call(proxy).await.0 != StatusCode::OK
    })
    .await;
    installation.wait_for("Programmed", "False", "Suspended").await;
    assert_eq!(installation.key_secrets().await, ["secret/schedule-sync-at-epic-key-1"]);
    for one in [faulty, faulty_for_proxy] {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        eprintln!(
            "{} calls, {} faults, {} forgotten watches",
            count(&one.asked),
            count(&one.faults),
            count(&one.forgotten)
        );
        assert!(count(&one.faults) >= 5 && count(&one.forgotten) >= 5);
    }
}

#[tokio::test]
async fn an_object_that_cannot_be_read_costs_nobody_else_anything() {
    let plane = ControlPlane::start().await;
    plane.install_crds().await;
    let (installation, operator) = Installation::start(&plane, 1).await;
    installation.climb().await;
    let proxy = &installation.proxies[0];
    // As with a CRD of another version: what its schema permits is nothing that this version can read.
    let crd: Value =
        serde_json::from_str(&plane.kubectl(&["get", "crd", "smartapps.hearthgate.dev", "-o", "json"]).await.ok())
            .unwrap();
    let mut schema = crd["spec"]["versions"][0]["schema"].clone();
    // Some of its fields are selectable, so they must be there.
    let clients = schema["openAPIV3Schema"]["properties"]["spec"]["properties"]["clientType"].clone();
    schema["openAPIV3Schema"]["properties"]["spec"] = json!({
        "type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": { "clientType": clients },
    });
    let patch = json!([{ "op": "replace", "path": "/spec/versions/0/schema", "value": schema }]).to_string();
    plane.kubectl(&["patch", "crd", "smartapps.hearthgate.dev", "--type=json", "-p", &patch]).await.ok();
    let broken = json!({
        "apiVersion": "hearthgate.dev/v1alpha1", "kind": "App", "metadata": { "name": "broken" },
        "spec": { "displayName": 5, "scopes": "all of them" },
    });
    let told = eventually_applied(&installation, &broken.to_string()).await;
    assert!(told, "the API server takes it");
    // An edit of one that was good: it stays as it was, and that is told.
    let edit = r#"{"spec":{"scopes":"all of them"}}"#;
    installation.kubectl(&["patch", "smartapp/schedule-sync", "--type=merge", "-p", edit]).await;
    eventually(PATIENCE, "it is told", || async {
        let app = installation.get("smartapp", "schedule-sync").await.unwrap();
        let conditions = app["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| {
            condition["type"] == "Stalled" && condition["message"].as_str().unwrap().contains("cannot be read")
        })
    })
    .await;
    assert_eq!(installation.call(proxy).await.0, StatusCode::OK);
    drop(operator);
}

/// The API server takes a moment to see a changed schema.
async fn eventually_applied(installation: &Installation<'_>, yaml: &str) -> bool {
    for _ in 0..50 {
        let told = installation
            .plane
            .kubectl_with_input(&["apply", "--validate=false", "-n", &installation.namespace, "-f", "-"], yaml)
            .await;
        if told.success {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    false
}
