//! What must never happen to a key.

use std::time::Duration;

use super::installation::{Installation, PATIENCE, Process, eventually};
use super::release::Release;
use crate::support::backup::Backup;
use crate::support::control_plane::{ADMIN, ControlPlane};

#[tokio::test]
async fn a_deleted_key_is_lost_and_not_replaced_and_its_restored_secret_is_taken_up_again() {
    let plane = ControlPlane::shared().await;
    let (installation, mut operator) = Installation::start(plane, 1).await;
    installation.climb().await;
    let before = installation.keys().await;
    let name = "schedule-sync-at-epic-key-1";
    let backup = installation.get("secret", name).await.unwrap();

    installation.kubectl(&["delete", "secret", name]).await;
    installation.wait_for("KeyReady", "False", "KeyLost").await;
    installation.wait_for("Stalled", "True", "KeyLost").await;
    // A restart believes what status recorded.
    operator.kill();
    operator.restart();
    tokio::time::sleep(Duration::from_secs(5)).await;
    installation.wait_for("KeyReady", "False", "KeyLost").await;
    assert_eq!(installation.key_secrets().await, Vec::<String>::new(), "a new key was made in its place");

    let mut restored = backup;
    let metadata = restored["metadata"].as_object_mut().unwrap();
    metadata.retain(|field, _| ["name", "namespace", "labels", "annotations"].contains(&field.as_str()));
    installation.apply(&restored.to_string()).await;
    installation.wait_ready().await;
    assert_eq!(installation.keys().await[0].1, before[0].1);
}

#[tokio::test]
async fn an_activation_that_is_deleted_and_made_anew_adopts_its_key() {
    let plane = ControlPlane::shared().await;
    let (installation, _operator) = Installation::start(plane, 1).await;
    installation.climb().await;
    let before = installation.keys().await;
    installation.kubectl(&["delete", "activation", "schedule-sync-at-epic"]).await;
    assert_eq!(installation.key_secrets().await, ["secret/schedule-sync-at-epic-key-1"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    installation.apply(&installation.quickstart()).await;
    installation.wait_ready().await;
    assert_eq!(installation.keys().await, before);
    assert_eq!(installation.key_secrets().await, ["secret/schedule-sync-at-epic-key-1"]);
}

#[tokio::test]
async fn two_operators_without_a_common_lease_make_one_key() {
    let plane = ControlPlane::shared().await;
    let installation = Installation::prepare(plane, 1).await;
    // Two releases that watch one namespace: each has a Lease of its own.
    let elsewhere = plane.namespace("second").await;
    let watched = installation.namespace.as_str();
    let second = Release::install(plane, "second", elsewhere, installation.public_url(), &[watched], &[]).await;
    let operators = [installation.operator().await, installation.operator_of(&second).await];
    // Both are there and lead before there is anything to do.
    eventually(PATIENCE, "both lead", || async { operators.iter().all(Process::leads) }).await;
    installation.apply(&installation.quickstart()).await;
    installation.climb().await;
    assert_eq!(installation.key_secrets().await, ["secret/schedule-sync-at-epic-key-1"]);
    assert_eq!(installation.keys().await.len(), 1);
}

#[tokio::test]
async fn raising_the_revision_moves_signing_by_proof_and_keeps_the_old_key() {
    let plane = ControlPlane::shared().await;
    let (installation, _operator) = Installation::start(plane, 1).await;
    installation.climb().await;
    let first = installation.keys().await[0].1.clone();
    let patch = r#"{"spec":{"ehrAuthentication":{"system":{"backendAuth":{"keyPair":{"revision":2}}}}}}"#;
    installation.kubectl(&["patch", "activation/schedule-sync-at-epic", "--type=merge", "-p", patch]).await;
    // The EHR fetches the JWKS, which holds both keys, so the proof succeeds.
    eventually(PATIENCE, "signing moves", || async {
        let keys = installation.keys().await;
        let states: Vec<(u64, &str)> = keys.iter().map(|(revision, _, state)| (*revision, state.as_str())).collect();
        states == [(1, "Retiring"), (2, "Signing")]
    })
    .await;
    assert_eq!(installation.keys().await[0].1, first);
    assert_eq!(installation.key_secrets().await.len(), 2);
    installation.wait_ready().await;
}

#[tokio::test]
async fn a_foreign_secret_in_a_keys_place_stays_untouched() {
    let plane = ControlPlane::shared().await;
    let installation = Installation::prepare(plane, 1).await;
    installation
        .kubectl(&["create", "secret", "generic", "schedule-sync-at-epic-key-1", "--from-literal=private.pem=mine"])
        .await;
    installation.apply(&installation.quickstart()).await;
    let _operator = installation.operator().await;
    eventually(PATIENCE, "it is told", || async {
        let next_step = installation.activation().await["status"]["nextStep"].clone();
        next_step.as_str().is_some_and(|text| text.contains("Secret schedule-sync-at-epic-key-1"))
    })
    .await;
    let secret = installation.get("secret", "schedule-sync-at-epic-key-1").await.unwrap();
    assert_eq!(secret["data"]["private.pem"], "bWluZQ==");
}

#[tokio::test]
async fn with_no_new_keys_nothing_is_made() {
    let plane = ControlPlane::shared().await;
    let installation = Installation::prepare_with(plane, 1, &["keys.create=false"]).await;
    installation.apply(&installation.quickstart()).await;
    let _operator = installation.operator().await;
    installation.wait_for("KeyReady", "False", "NewKeysForbidden").await;
    assert_eq!(installation.key_secrets().await, Vec::<String>::new());
}

#[tokio::test]
async fn keys_of_a_backup_are_adopted_in_an_empty_cluster() {
    let plane = ControlPlane::shared().await;
    let (installation, mut operator) = Installation::start(plane, 1).await;
    installation.climb().await;
    let (before, secrets) = (installation.keys().await, installation.key_secrets().await);
    let client_id = installation.get("smartapp", "schedule-sync").await.unwrap()["status"]["clientId"].clone();
    let kubeconfig = plane.kubeconfig(ADMIN).await;
    let options = ["--kubeconfig", kubeconfig.to_str().unwrap(), "-n", &installation.namespace];
    let backup = Backup::new();
    backup.export(&options);

    // Nothing is left of it: neither what it is told to be, nor its keys.
    operator.kill();
    installation.kubectl(&["delete", "activations,smartapps,fhirgateways,dataadapters", "--all"]).await;
    installation.kubectl(&["delete", "secrets", "-l", "hearthgate.dev/use in (key-pair,gateway-signing)"]).await;
    assert_eq!(installation.key_secrets().await, Vec::<String>::new());

    let told = backup.import(&options);
    assert!(told.contains("schedule-sync-at-epic-key-1: restored"), "{told}");
    installation.apply(&installation.quickstart()).await;
    operator.restart();
    // The EHR still knows the key: nobody registers anything again.
    installation.wait_ready().await;
    assert_eq!(installation.keys().await[0].1, before[0].1);
    assert_eq!(installation.key_secrets().await, secrets);
    let app = installation.get("smartapp", "schedule-sync").await.unwrap();
    assert_eq!(app["status"]["clientId"], client_id);
    let again = backup.import(&options);
    assert!(again.contains("schedule-sync-at-epic-key-1: is there already"), "{again}");
}
