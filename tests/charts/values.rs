//! Values: the schema refuses what is mistyped, the templates what contradicts itself.

use super::render::{template, values_files};
use crate::support::chart::CHART;
use crate::support::control_plane::offline;

#[tokio::test]
async fn every_way_to_run_it_passes_the_linter() {
    for values in values_files() {
        let values = values.display().to_string();
        offline("helm", &["lint", "--strict", CHART, "--values", &values]).await.ok();
    }
}

#[tokio::test]
async fn bad_values_are_refused_with_a_sentence() {
    let table = [
        ("publicUrl", r#""fhir.example.org""#, "publicUrl"),
        ("publicUrl", r#""https://fhir.example.org/""#, "publicUrl"),
        ("publicUrl", r#""""#, "give the URL at which apps and EHRs reach the platform"),
        ("publicURL", r#""https://fhir.example.org""#, "publicURL"),
        ("namespaces", r#""a""#, "namespaces"),
        ("namespaces", r#"["A"]"#, "namespaces"),
        ("namespaces", r#"["a","a"]"#, "namespaces"),
        ("allowAddress", r#"["10.0.0.1"]"#, "allowAddress"),
        ("allowPublicHosts", r#"{"https://a":"b"}"#, "'https://a' does not match"),
        ("image.digest", r#""sha256:12""#, "digest"),
        ("image.pullPolicy", r#""always""#, "pullPolicy"),
        ("crds.keep", r#""true""#, "keep"),
        ("keys.make", "true", "make"),
        ("store.url", r#""http://valkey:6379""#, "store"),
        ("store.url", r#""redis://:password@valkey:6379""#, "store"),
        ("proxy.replicas", "0", "replicas"),
        ("proxy.replicas", "2", "more than one proxy needs a store that they share"),
        ("proxy.service.port", r#""80""#, "port"),
        ("proxy.resources", r#"{"limit":{}}"#, "limit"),
        ("operator.extraArgs", r#"["serve"]"#, "extraArgs"),
        ("operator.serviceAccount.create", "false", "give the name of the ServiceAccount"),
        ("log.format", r#""xml""#, "format"),
        ("serviceMonitor.interval", r#""often""#, "interval"),
        ("podDisruptionBudget.maxUnavailable", "0", "maxUnavailable"),
    ];
    let base = format!("{CHART}/ci/default-values.yaml");
    for (name, value, sentence) in table {
        let setting = format!("{name}={value}");
        let told = template(&["--values", &base, "--set-json", &setting]).await;
        assert!(!told.success, "{setting} is taken");
        assert!(told.stderr.contains(sentence), "{setting}: {}", told.stderr);
    }
    let both = "store.url=redis://a:6379,store.urlSecretRef.name=b,publicUrl=https://fhir.example.org";
    let refused = template(&["--set", both]).await.refused();
    assert!(refused.contains("give either url or urlSecretRef"), "{refused}");
}
