//! The operator killed without a word, its last write done and unanswered: the worst moment there is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rstest::rstest;
use serde_json::Value;

use super::front::{Front, Mischief};
use super::installation::{Installation, PATIENCE, Process, eventually};
use super::release::Component;
use crate::support::control_plane::ControlPlane;

/// What all four objects of the quickstart say at its end.
const READY: [&str; 19] = [
    "Activation Accepted=True/Accepted",
    "Activation EHRAuthenticated=True/EHRAuthenticated",
    "Activation KeyReady=True/KeyReady",
    "Activation Programmed=True/Programmed",
    "Activation Ready=True/Ready",
    "Activation ResolvedRefs=True/ResolvedRefs",
    "App Accepted=True/Accepted",
    "App Programmed=True/Programmed",
    "App Ready=True/Ready",
    "App ResolvedRefs=True/ResolvedRefs",
    "DataAdapter Accepted=True/Accepted",
    "DataAdapter Programmed=True/Programmed",
    "DataAdapter Reachable=True/Reachable",
    "DataAdapter Ready=True/Ready",
    "DataAdapter ResolvedRefs=True/ResolvedRefs",
    "Gateway Accepted=True/Accepted",
    "Gateway Programmed=True/Programmed",
    "Gateway Ready=True/Ready",
    "Gateway ResolvedRefs=True/ResolvedRefs",
];

/// Starts the operator anew whenever an answer to it was lost, until something is so. Tells how often that was.
async fn restarted_until(
    reached: impl Future,
    front: &Front,
    installation: &Installation<'_>,
    operator: &mut Process,
) -> u32 {
    let mut reached = std::pin::pin!(reached);
    let mut kills = 0;
    loop {
        tokio::select! {
            _ = &mut reached => return kills,
            () = front.answer_lost() => {
                operator.kill();
                // What died gave nothing back: its Lease would be another one's only after 15 s.
                installation.kubectl(&["delete", "lease", "--ignore-not-found", "hearthgate-operator"]).await;
                operator.restart();
                kills += 1;
            }
        }
    }
}

/// What the objects say, a line a condition.
async fn conditions(installation: &Installation<'_>) -> Vec<String> {
    let told: Value = serde_json::from_str(&installation.kubectl(&["get", "hearthgate", "-o", "json"]).await).unwrap();
    let mut lines = Vec::new();
    for object in told["items"].as_array().unwrap() {
        for condition in object["status"]["conditions"].as_array().into_iter().flatten() {
            let text = |member: &str| condition[member].as_str().unwrap();
            let kind = object["kind"].as_str().unwrap();
            lines.push(format!("{kind} {}={}/{}", text("type"), text("status"), text("reason")));
        }
    }
    lines.sort();
    lines
}

#[rstest]
#[case::every_write(1)]
#[case::every_second_write(2)]
#[case::every_third_write(3)]
#[case::every_fifth_write(5)]
#[tokio::test]
async fn killed_after_each_of_its_writes_the_operator_ends_in_the_same_state_with_one_key(#[case] every: u64) {
    let plane = ControlPlane::shared().await;
    let mut installation = Installation::prepare(plane, 1).await;
    let account = installation.release.user(Component::Operator);
    let front = Front::start(&plane.kubeconfig(&account).await, Mischief::LostAnswers { every }).await;
    installation.keeps_kubeconfigs();
    installation.apply(&installation.quickstart()).await;
    let mut operator = installation.operator().await;

    let awaits = installation.wait_for("EHRAuthenticated", "False", "AwaitingRegistration");
    let mut kills = restarted_until(awaits, &front, &installation, &mut operator).await;
    installation.register().await;
    installation.probe().await;
    let ready = eventually(PATIENCE, "all is ready", || async { conditions(&installation).await == READY });
    kills += restarted_until(ready, &front, &installation, &mut operator).await;
    assert!(kills > 0, "it was never killed");

    let secret = installation.get("secret", "schedule-sync-at-epic-key-1").await.unwrap();
    let jwk = STANDARD.decode(secret["data"]["jwk.json"].as_str().unwrap()).unwrap();
    let jwk: Value = serde_json::from_slice(&jwk).unwrap();
    let thumbprint = jwk["kid"].as_str().unwrap().to_owned();
    assert_eq!(installation.keys().await, [(1, thumbprint, "Signing".into())]);
    let made = installation.writes().into_iter().filter(|write| write.resource == "secrets" && write.code == 201);
    let mut made: Vec<String> = made.map(|write| write.name).collect();
    made.sort();
    assert_eq!(made, ["epic-signing-1", "schedule-sync-at-epic-key-1"]);
}
