//! Many activations at once: how long they take, how fast an edit among them is served, what apps notice of edits, how
//! much memory they cost.

use std::time::{Duration, Instant};

use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use futures_util::StreamExt as _;
use futures_util::stream;
use hearthgate::sandbox::{Credential, Registration};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::edits::{self, READER, reader};
use super::installation::{Installation, PROMPTLY, eventually};
use crate::support::control_plane::{ADMIN, ControlPlane};

/// How many; `HEARTHGATE_TEST_CROWD` asks for another number.
fn crowd() -> usize {
    std::env::var("HEARTHGATE_TEST_CROWD").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

/// Of their keys; `HEARTHGATE_TEST_CROWD_ALGORITHM` asks for ES384, where making keys is not what is measured.
fn algorithm() -> String {
    std::env::var("HEARTHGATE_TEST_CROWD_ALGORITHM").unwrap_or_else(|_| "RS384".into())
}

pub(super) fn objects(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let (group, plural) = match kind {
        "App" => ("hearthgate.dev", "smartapps"),
        "Gateway" => ("hearthgate.dev", "fhirgateways"),
        "DataAdapter" => ("hearthgate.dev", "dataadapters"),
        "Activation" => ("hearthgate.dev", "activations"),
        "Secret" => ("", "secrets"),
        other => panic!("{other}"),
    };
    let version = if group.is_empty() { "v1" } else { "v1alpha1" };
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    Api::namespaced_with(client.clone(), namespace, &resource)
}

async fn create(client: &Client, namespace: &str, documents: Vec<Value>) {
    let creations = documents.into_iter().map(|document| {
        let objects = objects(client, namespace, document["kind"].as_str().unwrap());
        async move {
            let object: DynamicObject = serde_json::from_value(document).unwrap();
            objects.create(&PostParams::default(), &object).await.unwrap();
        }
    });
    stream::iter(creations).buffer_unordered(16).collect::<Vec<_>>().await;
}

pub(super) fn activation(name: &str, token_url: &str) -> [Value; 2] {
    let version = "hearthgate.dev/v1alpha1";
    [
        json!({ "apiVersion": version, "kind": "App", "metadata": { "name": name }, "spec": {
            "displayName": name, "clientType": "BackendService", "scopes": ["system/Patient.rs"],
            "jwksUri": "https://app.example.org/jwks.json",
        }}),
        json!({ "apiVersion": version, "kind": "Activation", "metadata": { "name": name }, "spec": {
            "appRef": { "name": name }, "gatewayRef": { "name": "epic" },
            "ehrAuthentication": { "type": "System", "system": { "backendAuth": {
                "clientId": name, "tokenUrl": token_url, "keyPair": { "algorithm": algorithm() },
            }}},
        }}),
    ]
}

/// How long so many RSA keys take on one thread, by as many of them as tell it: some take twice as long as others.
async fn bare_generation(count: usize) -> Duration {
    let sample = u32::try_from(count.min(300)).unwrap();
    let generate = move || {
        let start = Instant::now();
        for _ in 0..sample {
            RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        }
        start.elapsed()
    };
    let took = tokio::task::spawn_blocking(generate).await.unwrap();
    took / sample * u32::try_from(count).unwrap()
}

/// How soon an edit of the gateway is served, twenty times.
async fn edit_the_gateway(installation: &Installation<'_>, gateways: &Api<DynamicObject>) {
    // What apps see of an edit: the key set of an activation's pair is at the proxy, and its suspension closes nothing of
    // it; so the gateway's discovery document, which is there exactly while the gateway is.
    let discovery =
        format!("{}/{}/epic/fhir/.well-known/smart-configuration", installation.public_url(), installation.namespace);
    let mut took = Vec::new();
    for round in 0..20 {
        // Discovery announces what some activation may be granted: all of them ask for system/Patient.rs.
        let scope = if round % 2 == 0 { "system/Patient.r" } else { "system/Patient.rs" };
        let scopes = json!({ "spec": { "allowedScopes": [scope] } });
        let wanted = &format!("\"{scope}\"");
        gateways.patch("epic", &PatchParams::default(), &Patch::Merge(&scopes)).await.unwrap();
        let edited = Instant::now();
        while !installation.client.get(&discovery).send().await.unwrap().text().await.unwrap().contains(wanted) {
            assert!(edited.elapsed() < Duration::from_secs(5), "the edit is not served");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        took.push(edited.elapsed());
    }
    took.sort();
    eprintln!(
        "edits were served within {:?} (median) and {:?} (slowest of {})",
        took[took.len() / 2],
        took.last(),
        took.len()
    );
    assert!(took[took.len() / 2] < Duration::from_secs(1), "{took:?}");
    assert!(took.iter().all(|took| *took < PROMPTLY), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_converges_and_an_edit_among_it_is_served_within_a_second() {
    let plane = ControlPlane::start().await;
    plane.install_crds().await;
    let installation = Installation::prepare(&plane, 2).await;
    let operator = installation.operator().await;
    let proxy = &installation.proxies[0];
    let (namespace, count) = (installation.namespace.clone(), crowd());
    let client = plane.client(ADMIN).await;
    eventually(Duration::from_secs(30), "both are ready", || async {
        proxy.is_ready(&installation.client).await && operator.is_ready(&installation.client).await
    })
    .await;
    let empty = (operator.memory(), proxy.memory());

    let others = (1..count).map(|number| format!("app-{number:05}"));
    let names: Vec<String> = others.chain([READER.to_owned()]).collect();
    for client_id in names.clone() {
        let url = format!("{}/{namespace}/keys/{client_id}/jwks.json", installation.public_url());
        let credential = Credential::JwksUrl(url);
        installation.ehr.register(Registration::new(client_id, credential)).unwrap();
    }
    let quickstart = installation.quickstart();
    let shared = quickstart
        .split("\n---\n")
        .filter(|document| document.contains("kind: Gateway") || document.contains("kind: DataAdapter"));
    installation.apply(&shared.collect::<Vec<_>>().join("\n---\n")).await;
    let start = Instant::now();
    let token_url = installation.ehr.token_url();
    let documents = names.iter().flat_map(|name| match name.as_str() {
        READER => reader(&token_url).to_vec(),
        other => activation(other, &token_url).to_vec(),
    });
    create(&client, &namespace, documents.collect()).await;
    eprintln!("{count} activations were applied in {:?}", start.elapsed());
    let activations = objects(&client, &namespace, "Activation");
    // Making a key takes a tenth of a second on an idle core, and test machines are not idle.
    let limit = Duration::from_secs(60) + Duration::from_millis(500) * u32::try_from(count).unwrap();
    eventually(limit, "all are ready", || async {
        let listed = activations.list(&kube::api::ListParams::default()).await.unwrap();
        let ready = listed.items.iter().filter(|activation| {
            let conditions = activation.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        });
        let ready = ready.count();
        if ready < count {
            // Listing them all is work for the same API server.
            tokio::time::sleep(
                Duration::from_millis(500).max(Duration::from_millis(3) * u32::try_from(count).unwrap()),
            )
            .await;
        }
        ready == count
    })
    .await;
    let ready = start.elapsed();
    eprintln!("{count} activations were ready {ready:?} after the first was applied");
    eprintln!("processor time: operator {:?}, proxy {:?}", operator.cpu_time(), proxy.cpu_time());
    eprintln!(
        "memory in KiB, empty and full: operator {} and {}, proxy {} and {}",
        empty.0,
        operator.memory(),
        empty.1,
        proxy.memory()
    );
    let writes = installation.writes();
    eprintln!("{} writes: {} for each activation", writes.len(), writes.len() / count);
    if algorithm() == "RS384" {
        let bare = bare_generation(count).await;
        let ratio = ready.as_secs_f64() / bare.as_secs_f64();
        eprintln!("{count} bare RSA keys on one thread take {bare:?}: {ratio:.2} x of it until all were ready");
    }

    let gateways = objects(&client, &namespace, "Gateway");
    edit_the_gateway(&installation, &gateways).await;

    // Nothing is in the way of what the reader's own edits show.
    gateways
        .patch("epic", &PatchParams::default(), &Patch::Merge(&json!({ "spec": { "allowedScopes": null } })))
        .await
        .unwrap();
    edits::among_requests(&installation, &objects(&client, &namespace, "Activation")).await;
    eprintln!(
        "memory in KiB after all edits: operator {}, proxies {} and {}",
        operator.memory(),
        proxy.memory(),
        installation.proxies[1].memory()
    );
}

#[tokio::test]
async fn unrelated_secrets_cost_nothing() {
    let plane = ControlPlane::shared().await;
    let (installation, operator) = Installation::start(plane, 1).await;
    installation.climb().await;
    let before = (operator.memory(), installation.proxies[0].memory());
    let content = "x".repeat(32 << 10);
    let secrets = (0..500).map(|number| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": format!("unrelated-{number}") },
            "stringData": { "content": content },
        })
    });
    create(&plane.client(ADMIN).await, &installation.namespace, secrets.collect()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = (operator.memory(), installation.proxies[0].memory());
    eprintln!("memory in KiB before and after 500 unrelated Secrets of 32 KiB: {before:?}, {after:?}");
    assert!(after.0 < before.0 + 4096 && after.1 < before.1 + 4096, "{before:?} {after:?}");
}
