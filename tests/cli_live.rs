//! What the commands print that ask a running server, as people meet it: where all is in order, where a person has to do
//! something, and where something is broken.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says no by panicking, and its helpers are part of it"
)]

mod support;

use serde_json::Value;
use support::standalone::Standalone;

const ACTIVATION: &str = "schedule-sync-at-epic";

/// Runs the commands of `tests/cli/live/<name>.trycmd` against the server, and holds what they print against what is
/// written there. `TRYCMD=overwrite` writes it anew: put `[..]` again where a time or a token stands, and read the rest.
async fn compare(server: &Standalone, activation: &str, name: &str) {
    let status = server.object("Activation", activation).await.unwrap()["status"].clone();
    let key = &status["keys"][0];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let host = |url: String| url.trim_start_matches("http://").to_owned();
    let commands = trycmd::TestCases::new();
    commands.env("HEARTHGATE_SERVER", server.admin(""));
    let variables = [
        ("[ADMIN]", host(server.admin(""))),
        ("[GATE]", host(server.public(""))),
        ("[EHR]", host(server.sandbox(""))),
        ("[DIR]", server.directory.path().canonicalize().unwrap().display().to_string()),
        ("[THUMBPRINT]", text(&key["thumbprint"])),
        ("[FINGERPRINT]", text(&key["certificateFingerprint"])),
        ("[CERTIFICATE]", text(&status["certificatePem"]).trim_end().to_owned()),
        ("[CERTIFICATEINJSON]", serde_json::to_string(&status["certificatePem"]).unwrap()),
    ];
    commands.extend_vars(variables).unwrap();
    commands.case(format!("tests/cli/live/{name}.trycmd")).run();
}

async fn serve(arguments: &[&str]) -> Standalone {
    let server = Standalone::start_with("quickstart", arguments).await;
    server.wait_condition("DataAdapter", "epic-sandbox", "Reachable", "True", "Reachable").await;
    server
}

#[tokio::test]
async fn where_all_is_in_order() {
    let server = serve(&[]).await;
    server.wait_condition("Activation", ACTIVATION, "Ready", "True", "Ready").await;
    compare(&server, ACTIVATION, "in-order").await;
}

#[tokio::test]
async fn where_the_key_waits_to_be_registered() {
    let server = serve(&["--sandbox-register", "manual"]).await;
    server
        .eventually("why it refuses was looked into", || async {
            let activation = server.object("Activation", ACTIVATION).await;
            activation.is_some_and(|activation| {
                let causes = activation["status"]["likelyCauses"].as_array().cloned().unwrap_or_default();
                // What the EHR says of itself rules this one out.
                !causes.is_empty() && !causes.iter().any(|cause| cause["cause"] == "Clock")
            })
        })
        .await;
    compare(&server, ACTIVATION, "awaiting-registration").await;
}

#[tokio::test]
async fn where_an_edit_is_refused_and_another_costs_an_app() {
    let server = serve(&[]).await;
    server.wait_condition("Activation", ACTIVATION, "Ready", "True", "Ready").await;
    server.edit("gateway.yaml", "kind: Gateway", "kind: Gateways");
    server.edit("app.yaml", "system/Patient.rs", "system/Patient.sr");
    server.wait_condition("App", "schedule-sync", "Accepted", "False", "InvalidScope").await;
    server
        .eventually("the edit that is refused is told", || async {
            let status = server.send(server.client.get(server.admin("/status"))).await.json();
            status["rejections"].as_array().is_some_and(|rejections| !rejections.is_empty())
        })
        .await;
    compare(&server, ACTIVATION, "broken").await;
}

#[tokio::test]
async fn where_an_app_has_a_key_of_its_own() {
    const ACTIVATION: &str = "immunization-registry-at-open-ehr";
    let server = Standalone::start("private-key-jwt").await;
    server.wait_condition("Activation", ACTIVATION, "Ready", "True", "Ready").await;
    compare(&server, ACTIVATION, "own-key").await;
}
