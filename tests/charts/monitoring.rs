//! Dashboard, alerts and TLS: rendered, and every metric that they name is one that the program exports.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use hearthgate::proxy::Metrics;
use serde_json::{Value, json};

use super::render::rendered;
use crate::support::chart::{CHART, of};

const VALUES: &str = "ci/tls-values.yaml";

/// The series that the program has: of a histogram its three.
fn exported() -> BTreeSet<String> {
    let metrics = Metrics::default();
    let names = metrics.described().iter().flat_map(|described| match described.kind {
        "histogram" => ["_bucket", "_sum", "_count"].map(|suffix| format!("{}{suffix}", described.name)).to_vec(),
        _ => vec![described.name.clone()],
    });
    names.collect()
}

/// The names of ours in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    words.filter(|word| word.starts_with("hearthgate_")).map(str::to_owned).collect()
}

#[test]
fn dashboard_and_alerts_name_only_metrics_that_there_are() {
    let exported = exported();
    for file in ["files/dashboard.json", "files/alerts.yaml"] {
        let text = fs::read_to_string(format!("{CHART}/{file}")).expect("it is there");
        let named = named(&text);
        assert!(named.len() > 5, "{file}: {named:?}");
        let unknown: Vec<_> = named.difference(&exported).collect();
        assert!(unknown.is_empty(), "{file} names what nobody exports: {unknown:?}");
    }
    let dashboard = fs::read_to_string(format!("{CHART}/files/dashboard.json")).expect("it is there");
    let shown = named(&dashboard);
    let hidden: Vec<_> = exported
        .iter()
        .filter(|name| !name.ends_with("_sum") && !name.ends_with("_count"))
        .filter(|name| !shown.contains(*name))
        .collect();
    assert!(hidden.is_empty(), "the dashboard shows all there is, but not {hidden:?}");
}

#[test]
fn prometheus_itself_takes_the_alerts() {
    let told = Command::new("promtool").args(["check", "rules", &format!("{CHART}/files/alerts.yaml")]).output();
    let told = told.expect("promtool, of Debian's package prometheus: scripts/test installs it");
    let said = String::from_utf8_lossy(&[told.stdout.as_slice(), &told.stderr].concat()).into_owned();
    assert!(told.status.success() && said.contains("9 rules found"), "{said}");
}

#[tokio::test]
async fn the_chart_renders_alerts_and_dashboard_as_they_are() {
    let objects = rendered(&["--values", &format!("{CHART}/{VALUES}")]).await;
    let rule = of(&objects, "PrometheusRule", "hearthgate");
    assert_eq!(rule["metadata"]["labels"]["release"], "prometheus");
    let file = fs::read_to_string(format!("{CHART}/files/alerts.yaml")).expect("it is there");
    let written: Value = serde_saphyr::from_str(&file).expect("YAML");
    assert_eq!(rule["spec"], written, "nothing in it is taken for a template of Helm's");
    let map = of(&objects, "ConfigMap", "hearthgate-dashboard");
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let shown: Value = serde_json::from_str(map["data"]["hearthgate.json"].as_str().expect("text")).expect("JSON");
    let panels = shown["panels"].as_array().expect("panels");
    assert!(panels.len() >= 12);
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len());
}

#[tokio::test]
async fn a_tls_secret_is_mounted_and_spoken_with() {
    let objects = rendered(&["--values", &format!("{CHART}/{VALUES}")]).await;
    let pod = &of(&objects, "Deployment", "hearthgate-proxy")["spec"]["template"]["spec"];
    let arguments = pod["containers"][0]["args"].as_array().expect("arguments");
    for argument in [
        "--tls-cert=/etc/hearthgate/tls/tls.crt",
        "--tls-key=/etc/hearthgate/tls/tls.key",
        "--audit-log=-",
        "--otlp-endpoint=http://collector.monitoring:4318",
    ] {
        assert!(arguments.contains(&json!(argument)), "{argument} in {arguments:?}");
    }
    let mounted = json!({"name": "tls", "mountPath": "/etc/hearthgate/tls", "readOnly": true});
    assert!(pod["containers"][0]["volumeMounts"].as_array().expect("mounts").contains(&mounted));
    let volume = json!({"name": "tls", "secret": {"secretName": "fhir-example-org-tls", "defaultMode": 0o440}});
    assert!(pod["volumes"].as_array().expect("volumes").contains(&volume));
    let ports = &of(&objects, "Service", "hearthgate-proxy")["spec"]["ports"];
    assert_eq!(*ports, json!([{"name": "https", "port": 443, "targetPort": "http"}]));
}
