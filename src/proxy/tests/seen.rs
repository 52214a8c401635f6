//! What operators see: series that go with their objects, and the audit log.

use std::fs;

use super::*;
use crate::proxy::audit::verify;

#[tokio::test]
async fn series_go_with_their_objects() {
    let setup = Setup::new().await;
    for gateway in ["epic", "plain"] {
        let token = setup.token_at(gateway).await;
        setup.get(&format!("/{gateway}/fhir/Patient/1"), &token).await;
    }
    let counted = |text: &str, word: &str| text.lines().filter(|line| line.contains(word)).count();
    let text = setup.proxy.metrics.text();
    assert!(counted(&text, "default/plain") > 3 && counted(&text, "default/sync-plain") > 0, "{text}");
    setup.publish(|world| {
        world.without("Activation", "sync-plain").without("Gateway", "plain").without("DataAdapter", "plain-ehr")
    });
    let text = setup.proxy.metrics.text();
    assert_eq!([counted(&text, "default/plain"), counted(&text, "default/sync-plain")], [0, 0], "{text}");
    assert!(counted(&text, "default/epic") > 3);
}

#[tokio::test]
async fn every_metric_is_described_as_it_is() {
    let setup = Setup::new().await;
    let token = setup.token_at("epic").await;
    setup.get("/epic/fhir/Patient/1", &token).await;
    setup.get("/epic/fhir/Encounter/1", &token).await;
    let text = setup.proxy.metrics.text();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let (name, kind) = line.trim_start_matches("# TYPE ").split_once(' ').unwrap();
        let suffix = if kind == "counter" { "_total" } else { "" };
        let described = setup.proxy.metrics.described();
        let described = described.iter().find(|described| described.name == format!("{name}{suffix}"));
        assert_eq!(described.map(|described| described.kind), Some(kind), "{line}");
    }
}

#[tokio::test]
async fn the_audit_log_tells_of_requests_and_of_no_patient() {
    let (setup, path, finished) = Setup::new().await.audited();
    let token = setup.token_at("epic").await;
    setup.get("/epic/fhir/Patient/eve-secret-id?_summary=secret-word", &token).await;
    setup.get("/epic/fhir/Encounter/eve-secret-id", &token).await;
    setup.get("/epic/fhir/Patient/eve-secret-id", "nothing").await;
    setup.ask("GET", "/epic/oauth2/jwks", &[], "").await;
    drop(setup);
    finished.await.unwrap();

    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains("secret"), "{text}");
    assert_eq!(verify(text.as_bytes(), None).unwrap().lines, 4);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> = lines
        .iter()
        .map(|line| {
            ["endpoint", "app", "activation", "interaction", "resourceType", "decision", "code", "status"]
                .map(|field| line.get(field).map_or_else(String::new, |value| value.to_string().replace('"', "")))
                .join(" ")
        })
        .collect();
    assert_eq!(
        seen,
        [
            "token default/schedule-sync    permit  200",
            "fhir default/schedule-sync default/sync-epic read Patient permit  200",
            "fhir default/schedule-sync default/sync-epic read Encounter deny HG7008 403",
            "fhir     deny HG7002 401",
        ]
    );
    assert_eq!(lines[1]["activationGeneration"], 1);
}
