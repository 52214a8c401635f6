//! An API server that is busy, fails, forgets where a watch stood, and holds what cannot be read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::front::{Front, Mischief};
use super::installation::{Installation, PATIENCE, eventually};
use super::release::Component;
use crate::support::control_plane::ControlPlane;

#[tokio::test]
async fn with_three_of_ten_calls_failing_and_watches_forgotten_all_converges() {
    let plane = ControlPlane::start().await;
    plane.install_crds().await;
    let mut installation = Installation::prepare(&plane, 0).await;
    let (operator, proxy) =
        (installation.release.user(Component::Operator), installation.release.user(Component::Proxy));
    let faulty = Front::start(&plane.kubeconfig(&operator).await, Mischief::Failures).await;
    let faulty_for_proxy = Front::start(&plane.kubeconfig(&proxy).await, Mischief::Failures).await;
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
