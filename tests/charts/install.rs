//! The life of a release in a real API server: install, upgrade, uninstall.

use crate::support::chart::CHART;
use crate::support::control_plane::ControlPlane;
use crate::support::rules::APP;

const NAMESPACE: &str = "hearthgate";

async fn helm(plane: &ControlPlane, arguments: &[&str]) -> String {
    plane.helm(&[arguments, &["--namespace", NAMESPACE]].concat()).await.ok()
}

/// Whether a ServiceAccount of the release may do something, in the API server's own words.
async fn may(plane: &ControlPlane, account: &str, verb: &str, resource: &str) -> bool {
    let user = format!("system:serviceaccount:{NAMESPACE}:{account}");
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let subresource = format!("--subresource={subresource}");
    let ask = ["auth", "can-i", verb, resource, &subresource, "--as", &user, "--all-namespaces"];
    let told = plane.kubectl(&ask).await;
    told.stdout.trim() == "yes"
}

#[tokio::test]
async fn a_release_is_installed_upgraded_and_removed_without_taking_resources_along() {
    // Of its own: the shared one has the CRDs already, and Helm would not take them over.
    let plane = ControlPlane::start().await;
    let values = format!("{CHART}/ci/default-values.yaml");
    let install = ["install", "hearthgate", CHART, "--values", &values, "--create-namespace"];
    let told = helm(&plane, &install).await;
    assert!(told.contains("https://fhir.example.org"), "{told}");
    assert!(told.contains("hearthgate.dev/*:") && told.contains("health.lua"), "the notes have the snippet: {told}");

    for (account, verb, resource, expected) in [
        ("hearthgate-operator", "create", "secrets", true),
        ("hearthgate-operator", "watch", "secrets", true),
        ("hearthgate-operator", "update", "secrets", false),
        ("hearthgate-operator", "patch", "secrets", false),
        ("hearthgate-operator", "delete", "secrets", false),
        ("hearthgate-operator", "deletecollection", "secrets", false),
        ("hearthgate-operator", "patch", "activations.hearthgate.dev/status", true),
        ("hearthgate-operator", "patch", "activations.hearthgate.dev", false),
        ("hearthgate-operator", "list", "pods", false),
        ("hearthgate-proxy", "list", "smartapps.hearthgate.dev", true),
        ("hearthgate-proxy", "create", "secrets", false),
        ("hearthgate-proxy", "patch", "activations.hearthgate.dev/status", false),
        ("hearthgate-proxy", "create", "events.events.k8s.io", false),
    ] {
        assert_eq!(may(&plane, account, verb, resource).await, expected, "{account} {verb} {resource}");
    }

    plane.kubectl_with_input(&["apply", "-n", NAMESPACE, "-f", "-"], APP).await.ok();
    let upgrade = ["upgrade", "hearthgate", CHART, "--values", &values, "--set", "operator.replicas=3"];
    helm(&plane, &upgrade).await;
    let replicas = ["get", "deployment", "hearthgate-operator", "-n", NAMESPACE, "-o", "jsonpath={.spec.replicas}"];
    assert_eq!(plane.kubectl(&replicas).await.ok(), "3");

    helm(&plane, &["uninstall", "hearthgate"]).await;
    assert_eq!(
        plane.kubectl(&["get", "smartapp", "x", "-n", NAMESPACE, "-o", "name"]).await.ok(),
        "app.hearthgate.dev/x\n"
    );
    assert_eq!(plane.kubectl(&["get", "deployments", "-n", NAMESPACE, "-o", "name"]).await.ok(), "");

    // The CRDs that stayed belong to the release of that name: it comes back.
    helm(&plane, &install).await;
}
