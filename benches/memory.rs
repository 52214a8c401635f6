//! What a proxy keeps in memory: so many activations, each with an app and an RSA key pair of its own, compiled and
//! published as a proxy does it, then edits one after another, each of them a new snapshot of everything.
//!
//! ```sh
//! cargo bench --bench memory
//! ```
//!
//! Goals for the whole process of a proxy: 40 MiB at 1,000, 150 MiB at 10,000. Here is no API server whose lists are
//! read; `docs/sizing.md` has the whole.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench says no by panicking")]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearthgate::keys::make::{make_gateway_keys, make_pair};
use hearthgate::keys::secret::{KeySecret, gateway_secret, pair_secret};
use hearthgate::outbound::{EhrOutcomes, programmed};
use hearthgate::snapshot::resources::{ObservedActivation, Secret, SecretUse};
use hearthgate::snapshot::{ObjectKey, Platform, Resources};
use hearthgate::source::publish::Publisher;
use hearthgate::values::key::{GatewayIdentity, KeyPairMaterial, PairIdentity, PairKind};
use hearthgate::values::secret::SecretBytes;
use hearthgate::values::url::{AddressPolicy, EndpointUrl};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EDITS: usize = 40;
const BETWEEN_EDITS: Duration = Duration::from_millis(100);
const ARGUMENT: &str = "--hold";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == ARGUMENT) {
        return tokio::runtime::Runtime::new().unwrap().block_on(hold(arguments[place + 1].parse().unwrap()));
    }
    println!(
        "\n  activations   before, MiB   compiled, MiB   after {EDITS} edits, MiB   KiB an activation   an edit takes"
    );
    for count in [1_000, 10_000] {
        // A process of its own each: what one has left is not the other's.
        let status = Command::new(std::env::current_exe().unwrap()).args([ARGUMENT, &count.to_string()]).status();
        assert!(status.unwrap().success());
    }
}

async fn hold(count: usize) {
    let before = resident();
    let mut resources = resources(count);
    let platform = Platform {
        public_url: EndpointUrl::parse("https://gate.example.org").unwrap(),
        addresses: AddressPolicy::default(),
        public_hosts: BTreeMap::new(),
        makes_keys: true,
    };
    let publisher = Publisher::new(platform).without_reports();
    let mut news = publisher.subscribe();
    let stop = CancellationToken::new();
    let _told = programmed::follow(publisher.subscribe(), Arc::new(EhrOutcomes::default()), stop.clone());
    let (deliver, delivered) = watch::channel(Arc::new(resources.clone()));
    let run = tokio::spawn(publisher.run(delivered));
    news.changed().await.unwrap();
    assert_eq!(news.borrow_and_update().as_ref().unwrap().snapshot.activations.len(), count);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let compiled = resident();
    let mut took = Duration::ZERO;
    for number in 0..EDITS {
        let key = ObjectKey::new("fleet", name(number % count));
        let edited = activation(&key.name, Some("system/Patient.r")).1;
        resources.activations.insert(key, edited);
        let began = Instant::now();
        deliver.send_replace(Arc::new(resources.clone()));
        news.changed().await.unwrap();
        took += began.elapsed();
        news.mark_unchanged();
        tokio::time::sleep(BETWEEN_EDITS).await;
    }
    let edited = resident();
    let each = (edited - before) * 1024.0 / f64::from(u32::try_from(count).unwrap());
    println!(
        "  {count:>11}   {before:>11.1}   {compiled:>13.1}   {edited:>19.1}   {each:>17.1}   {:>10.1} ms",
        took.as_secs_f64() * 1000.0 / f64::from(u32::try_from(EDITS).unwrap())
    );
    stop.cancel();
    drop(deliver);
    run.await.unwrap();
}

/// In MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

fn name(number: usize) -> String {
    format!("app-{number:05}")
}

fn object<Kind: DeserializeOwned>(kind: &str, name: &str, spec: &Value) -> (ObjectKey, Arc<Kind>) {
    let metadata = json!({
        "name": name, "namespace": "fleet", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z",
        "uid": format!("0b7e4a52-0000-4000-8000-{:012x}", name.bytes().fold(7, |sum, byte| sum * 31_u64 + u64::from(byte)) >> 16),
    });
    let object = json!({ "apiVersion": "hearthgate.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec });
    (ObjectKey::new("fleet", name), Arc::new(serde_json::from_value(object).unwrap()))
}

fn activation(name: &str, scope: Option<&str>) -> (ObjectKey, Arc<hearthgate::api::Activation>) {
    let scopes = scope.map(|scope| json!([scope]));
    let spec = json!({ "appRef": { "name": name }, "gatewayRef": { "name": "epic" }, "scopes": scopes,
    "ehrAuthentication": { "type": "System", "system": { "backendAuth": {
        "clientId": name, "tokenUrl": "https://ehr.example.org/oauth2/token", "keyPair": {},
    }}}});
    object("Activation", name, &spec)
}

fn secret(made: KeySecret, usage: SecretUse) -> (ObjectKey, Arc<Secret>) {
    let key = ObjectKey::new("fleet", made.name);
    // Each has bytes of its own, as they come from an API server.
    let data = made.data.into_iter().map(|(name, bytes)| (name, SecretBytes::new(bytes.expose().to_vec())));
    // As a cluster's source keeps it.
    let ours = made.annotations.into_iter().filter(|(name, _)| name.starts_with("hearthgate.dev/"));
    let secret = Secret::new(key.clone(), usage, ours.collect(), data.collect());
    (key, Arc::new(if usage == SecretUse::KeyPair { secret.without_public_files() } else { secret }))
}

fn resources(count: usize) -> Resources {
    let mut resources = Resources::default();
    let adapter = json!({ "dataSourceType": "EpicR4External", "fhirBaseUrl": "https://ehr.example.org/api/FHIR/R4" });
    resources.data_adapters.extend([object("DataAdapter", "ehr", &adapter)]);
    resources.gateways.extend([object("Gateway", "epic", &json!({ "dataAdapterRef": { "name": "ehr" } }))]);
    let identity = GatewayIdentity { gateway: "epic".into(), revision: 1 };
    let signing = gateway_secret("fleet", &identity, make_gateway_keys().unwrap());
    resources.secrets.extend([secret(signing, SecretUse::GatewaySigning)]);
    // One key for all: making thousands takes minutes, and they take the same room.
    let material: KeyPairMaterial = make_pair(PairKind::Rsa2048, "fleet", jiff::Timestamp::now()).unwrap();
    for name in (0..count).map(name) {
        let app = json!({ "displayName": name, "clientType": "BackendService", "scopes": ["system/Patient.rs"],
            "jwksUri": "https://app.example.org/jwks.json" });
        resources.apps.extend([object("App", &name, &app)]);
        resources.activations.extend([activation(&name, None)]);
        let identity = PairIdentity { app: name.clone(), pair: name.clone(), revision: 1, kind: PairKind::Rsa2048 };
        let pair = pair_secret("fleet", &identity, material.clone());
        let status = json!({ "keys": [{
            "revision": 1, "kid": material.jwk["kid"], "thumbprint": material.jwk["kid"], "state": "Signing",
            "secretName": pair.name, "notAfter": "2036-01-01T00:00:00Z", "signingSince": "2026-01-01T00:00:00Z",
        }]});
        let observed = ObservedActivation::of(&serde_json::from_value(status).unwrap());
        resources.observed.activations.insert(format!("fleet/{name}"), Arc::new(observed));
        resources.secrets.extend([secret(pair, SecretUse::KeyPair)]);
    }
    resources
}
