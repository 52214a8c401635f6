//! The way of a person: apply, register, wait, call.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::StatusCode;

use super::installation::{Installation, PATIENCE, PROMPTLY, eventually};
use crate::support::control_plane::ControlPlane;

#[tokio::test]
async fn with_kubectl_alone_an_activation_climbs_its_ladder_and_serves() {
    let plane = ControlPlane::shared().await;
    let (installation, _operator) = Installation::start(plane, 2).await;

    installation.wait_for("EHRAuthenticated", "False", "AwaitingRegistration").await;
    let activation = installation.activation().await;
    let status = &activation["status"];
    let next_step = status["nextStep"].as_str().unwrap();
    assert!(next_step.contains(status["jwksUrl"].as_str().unwrap()), "{next_step}");
    assert!(next_step.contains("7b0f6e0e-9d4d-4c55-8a4b-5f4f3b0c9a11"), "{next_step}");
    assert_eq!(status["observedGeneration"], 1);

    installation.register().await;
    installation.probe().await;
    installation.wait_ready().await;
    for kind in ["smartapp/schedule-sync", "fhirgateway/epic", "dataadapter/epic-sandbox"] {
        installation.kubectl(&["wait", "--for=condition=Ready", "--timeout=30s", kind]).await;
    }
    let told = installation.kubectl(&["get", "hearthgate"]).await;
    let line = told.lines().find(|line| line.contains("schedule-sync-at-epic")).unwrap();
    let words: Vec<&str> = line.split_whitespace().take(8).collect();
    let wanted = [
        "activation.hearthgate.dev/schedule-sync-at-epic",
        "schedule-sync",
        "epic",
        "True",
        "True",
        "2/2",
        "True",
        "Ready",
    ];
    assert_eq!(words, wanted, "{told}");

    for proxy in &installation.proxies {
        let (status, text) = installation.call(proxy).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        assert!(text.contains("\"Bundle\""), "{text}");
    }

    let pem = installation.activation().await["status"]["certificatePem"].as_str().unwrap().to_owned();
    let mut openssl = Command::new("openssl")
        .args(["x509", "-noout", "-subject"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl.stdin.take().unwrap().write_all(pem.as_bytes()).unwrap();
    let said = openssl.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).contains("Schedule Sync"), "{said:?}");
}

#[tokio::test]
async fn any_order_of_applying_converges_and_a_transition_is_an_event() {
    let plane = ControlPlane::shared().await;
    let installation = Installation::prepare(plane, 1).await;
    let _operator = installation.operator().await;
    let quickstart = installation.quickstart();
    let mut documents: Vec<&str> = quickstart.split("\n---\n").collect();
    // The activation first, what it needs after it.
    documents.sort_by_key(|document| !document.contains("kind: Activation"));
    for document in &documents {
        installation.apply(document).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    installation.climb().await;
    eventually(PATIENCE, "the Event", || async {
        let events = installation.kubectl(&["get", "events.events.k8s.io", "-o", "json"]).await;
        let events: serde_json::Value = serde_json::from_str(&events).unwrap();
        events["items"].as_array().unwrap().iter().any(|event| {
            event["action"] == "EHRAuthenticated"
                && event["reason"] == "EHRAuthenticated"
                && event["regarding"]["name"] == "schedule-sync-at-epic"
                && event["reportingController"] == "hearthgate.dev/operator"
        })
    })
    .await;
}

#[tokio::test]
async fn an_edit_is_served_within_a_second_and_told_when_every_replica_has_it() {
    let plane = ControlPlane::shared().await;
    let (installation, _operator) = Installation::start(plane, 1).await;
    installation.climb().await;
    let proxy = &installation.proxies[0];
    assert_eq!(installation.call(proxy).await.0, StatusCode::OK);

    let suspend = r#"{"spec":{"suspend":true}}"#;
    installation.kubectl(&["patch", "fhirgateway/epic", "--type=merge", "-p", suspend]).await;
    eventually(PROMPTLY, "the gateway is closed", || async { installation.call(proxy).await.0 != StatusCode::OK })
        .await;
    installation.wait_for("Programmed", "False", "Suspended").await;
    let resume = r#"{"spec":{"suspend":false}}"#;
    installation.kubectl(&["patch", "fhirgateway/epic", "--type=merge", "-p", resume]).await;
    eventually(PROMPTLY, "the gateway is open", || async { installation.call(proxy).await.0 == StatusCode::OK }).await;
    installation.wait_ready().await;
}

#[tokio::test]
async fn a_late_or_rotated_secret_takes_effect_without_a_restart() {
    let plane = ControlPlane::shared().await;
    let (installation, _operator) = Installation::start(plane, 1).await;
    installation.climb().await;
    let proxy = &installation.proxies[0];

    installation.kubectl(&["delete", "secret", "schedule-sync-client"]).await;
    eventually(PATIENCE, "the missing Secret is told", || async {
        let app = installation.get("smartapp", "schedule-sync").await.unwrap();
        let conditions = app["status"]["conditions"].as_array().unwrap().clone();
        let resolved = conditions.into_iter().find(|condition| condition["type"] == "ResolvedRefs").unwrap();
        resolved["status"] == "False" && resolved["message"].as_str().unwrap().contains("schedule-sync-client")
    })
    .await;
    assert_ne!(installation.call(proxy).await.0, StatusCode::OK);

    // Without the label it is not there for us; with it, it is.
    let literal = format!("--from-literal=secret={}", super::installation::APP_SECRET);
    installation.kubectl(&["create", "secret", "generic", "schedule-sync-client", &literal]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_ne!(installation.call(proxy).await.0, StatusCode::OK);
    installation.kubectl(&["label", "secret", "schedule-sync-client", "hearthgate.dev/use=credential"]).await;
    eventually(PROMPTLY, "the Secret takes effect", || async { installation.call(proxy).await.0 == StatusCode::OK })
        .await;

    let rotated = r#"{"stringData":{"secret":"another-secret-for-tests-only"}}"#;
    installation.kubectl(&["patch", "secret/schedule-sync-client", "--type=merge", "-p", rotated]).await;
    eventually(PROMPTLY, "the old secret is refused", || async {
        installation.call(proxy).await.0 == StatusCode::UNAUTHORIZED
    })
    .await;
}

#[tokio::test]
async fn nothing_secret_is_kept_outside_secrets() {
    let plane = ControlPlane::shared().await;
    let (installation, operator) = Installation::start(plane, 1).await;
    installation.climb().await;
    assert_eq!(installation.call(&installation.proxies[0]).await.0, StatusCode::OK);
    let secret = installation.get("secret", "schedule-sync-at-epic-key-1").await.unwrap();
    let private = secret["data"]["private.pem"].as_str().unwrap();
    let needles = [&private[60..100], "BEGIN PRIVATE KEY", super::installation::APP_SECRET];
    for needle in &needles {
        // The person who applied the Secret has its text in kubectl's own annotation, on the Secret.
        assert_eq!(plane.etcd_grep(needle).await, Vec::<String>::new(), "{needle}");
    }
    for log in [operator.log(), installation.proxies[0].log()] {
        assert!(needles.iter().all(|needle| !log.contains(needle)), "a secret is in a log");
    }
}
