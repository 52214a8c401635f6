//! The four kinds, as somebody with kubectl meets them.

use serde_json::{Value, json};

use crate::support::chart::objects;
use crate::support::control_plane::ControlPlane;
use crate::support::rules::{self, ACTIVATION, ADAPTER, APP, GATEWAY};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

async fn json_of(plane: &ControlPlane, arguments: &[&str]) -> Value {
    let mut arguments = arguments.to_vec();
    arguments.extend(["-o", "json"]);
    serde_json::from_str(&plane.kubectl(&arguments).await.ok()).expect("JSON")
}

/// One good object of each kind, in a namespace of its own.
async fn one_of_each(plane: &ControlPlane) -> String {
    let namespace = plane.namespace("kinds").await;
    let all = [ADAPTER, GATEWAY, APP, ACTIVATION].join("---\n");
    plane.kubectl_with_input(&["apply", "-n", &namespace, "-f", "-"], &all).await.ok();
    namespace
}

#[tokio::test]
async fn the_definitions_install_without_a_warning() {
    let plane = ControlPlane::shared().await;
    for (name, _) in hearthgate::api::crd::files().expect("the definitions") {
        let path = format!("{}/crds/{name}", env!("CARGO_MANIFEST_DIR"));
        let told = plane.kubectl(&["apply", "--server-side", "-f", &path]).await;
        assert_eq!((told.success, told.stderr.as_str()), (true, ""), "{name}");
    }
    for definition in hearthgate::api::crd::definitions() {
        let name = definition.metadata.name.expect("a name");
        let found = json_of(plane, &["get", "crd", &name]).await;
        let mut conditions: Vec<_> = found["status"]["conditions"]
            .as_array()
            .expect("conditions")
            .iter()
            .map(|condition| format!("{}={}", condition["type"], condition["status"]).replace('"', ""))
            .collect();
        conditions.sort();
        // `NonStructuralSchema` would stand here too.
        assert_eq!(conditions, ["Established=True", "NamesAccepted=True"], "{name}");
    }
}

#[tokio::test]
async fn every_example_applies() {
    let plane = ControlPlane::shared().await;
    let mut seen = 0;
    for entry in std::fs::read_dir(EXAMPLES).expect("examples/") {
        let path = entry.expect("an entry").path();
        // Kustomizations are built first; `ci` holds what other programs read.
        if !path.is_dir() || path.ends_with("fleet") || path.ends_with("ci") {
            continue;
        }
        let path = path.display().to_string();
        let namespace = plane.namespace("example").await;
        for way in [&["apply", "--validate=strict"][..], &["apply", "--server-side", "--force-conflicts"]] {
            let told = plane.kubectl(&[way, &["-n", &namespace, "-f", &path]].concat()).await;
            assert_eq!((told.success, told.stderr.as_str()), (true, ""), "kubectl {} {path}", way.join(" "));
        }
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} examples");
}

#[tokio::test]
async fn the_hook_for_argo_cd_is_what_an_api_server_takes_and_mounts_what_is_synced() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("hook").await;
    let path = format!("{EXAMPLES}/ci/argocd-presync");
    let told = plane.kubectl(&["apply", "--dry-run=server", "--validate=strict", "-n", &namespace, "-k", &path]).await;
    assert_eq!((told.success, told.stderr.as_str()), (true, ""));
    let mut applied: Vec<&str> = told.stdout.lines().filter_map(|line| line.split(['/', ' ']).next()).collect();
    applied.sort_unstable();
    assert_eq!(applied, ["configmap", "dataadapter.hearthgate.dev", "gateway.hearthgate.dev", "job.batch"]);

    let built = objects(&plane.kubectl(&["kustomize", &path]).await.ok());
    let one = |kind: &str| built.iter().find(|object| object["kind"] == kind).expect(kind);
    let (files, job) = (one("ConfigMap"), one("Job"));
    assert_eq!(job["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"], files["metadata"]["name"]);
    let synced = std::fs::read_to_string(format!("{path}/environment.yaml")).expect("the environment");
    assert_eq!(files["data"]["environment.yaml"], synced.as_str());
    for object in [files, job] {
        assert_eq!(object["metadata"]["annotations"]["argocd.argoproj.io/hook"], "PreSync");
    }
}

#[tokio::test]
async fn kubectl_explain_reads_well() {
    let plane = ControlPlane::shared().await;
    let told = plane.kubectl(&["explain", "activation.spec.ehrAuthentication"]).await.ok();
    insta::assert_snapshot!("explain", told);
}

#[tokio::test]
async fn one_word_lists_all_four_kinds() {
    let plane = ControlPlane::shared().await;
    let namespace = one_of_each(plane).await;
    let mut listed: Vec<_> = plane
        .kubectl(&["get", "hearthgate", "-n", &namespace, "-o", "name"])
        .await
        .ok()
        .lines()
        .map(str::to_owned)
        .collect();
    listed.sort();
    let expected = [
        "activation.hearthgate.dev/x",
        "app.hearthgate.dev/x",
        "dataadapter.hearthgate.dev/x",
        "gateway.hearthgate.dev/x",
    ];
    assert_eq!(listed, expected);
    // kubectl names them by kind, and finds them by that name again.
    for name in listed {
        assert_eq!(plane.kubectl(&["get", &name, "-n", &namespace, "-o", "name"]).await.ok().trim(), name);
    }
}

#[tokio::test]
async fn the_columns_tell_what_matters() {
    let plane = ControlPlane::shared().await;
    let namespace = one_of_each(plane).await;
    for (names, columns) in [
        (["smartapps", "smartapp", "sapp"], "NAME CLIENT-ID TYPE READY REASON AGE"),
        (["fhirgateways", "fhirgateway", "fgw"], "NAME URL ADAPTER READY REASON AGE"),
        (["dataadapters", "dataadapter", "dadp"], "NAME FHIR BASE REACHABLE READY AGE"),
        (["activations", "activation", "actv"], "NAME APP GATEWAY KEY EHR SERVED READY REASON AGE"),
    ] {
        for name in names {
            let told = plane.kubectl(&["get", name, "-n", &namespace]).await.ok();
            let header: Vec<_> = told.lines().next().unwrap_or_default().split_whitespace().collect();
            assert_eq!(header.join(" "), columns, "kubectl get {name}");
        }
    }
}

#[tokio::test]
async fn the_words_of_others_stay_theirs() {
    let plane = ControlPlane::shared().await;
    // Argo CD's Applications, the Gateway API's Gateways.
    for name in ["apps", "app", "gateways", "gateway", "gw", "applications"] {
        let refused = plane.kubectl(&["get", name]).await.refused();
        assert_eq!(refused.trim(), format!("error: the server doesn't have a resource type \"{name}\""));
    }
}

#[tokio::test]
async fn an_object_that_nobody_has_looked_at_says_so() {
    let plane = ControlPlane::shared().await;
    let namespace = one_of_each(plane).await;
    for name in ["smartapp", "fhirgateway", "dataadapter", "activation"] {
        let found = json_of(plane, &["get", name, "x", "-n", &namespace]).await;
        assert_eq!(found["status"], json!({"observedGeneration": -1}), "{name}");
    }
    // What a file says about status is nobody's word.
    let with_status = rules::with(APP, &[("/status", json!({"observedGeneration": 7, "clientId": "c"}))]).to_string();
    plane.kubectl_with_input(&["create", "-n", &plane.namespace("status").await, "-f", "-"], &with_status).await.ok();
}

#[tokio::test]
async fn status_belongs_to_whoever_writes_it_and_waits_work() {
    let plane = ControlPlane::shared().await;
    let namespace = one_of_each(plane).await;
    let ready = |observed: i64| {
        json!({"status": {"observedGeneration": observed, "conditions": [{
            "type": "Ready", "status": "True", "reason": "Ready", "message": "", "observedGeneration": observed,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]}})
        .to_string()
    };
    for name in ["smartapp/x", "fhirgateway/x", "dataadapter/x", "activation/x"] {
        let wait = ["wait", "--for=condition=Ready", name, "-n", &namespace, "--timeout=1s"];
        assert!(!plane.kubectl(&wait).await.success, "{name} is not ready yet");
        let status = ready(1);
        let patch = ["patch", name, "-n", &namespace, "--subresource=status", "--type=merge", "-p", &status];
        plane.kubectl(&patch).await.ok();
        plane.kubectl(&wait).await.ok();

        // A changed spec is a new generation: what status says is about the old one, and the wait knows it.
        let suspend = ["patch", name, "-n", &namespace, "--type=merge", "-p", r#"{"spec":{"suspend":true}}"#];
        plane.kubectl(&suspend).await.ok();
        assert!(!plane.kubectl(&wait).await.success, "{name} was judged before the change only");
        let found = json_of(plane, &["get", name, "-n", &namespace]).await;
        assert_eq!((&found["metadata"]["generation"], &found["status"]["observedGeneration"]), (&json!(2), &json!(1)));
    }
}

#[tokio::test]
async fn activations_are_found_by_app_and_gateway() {
    let plane = ControlPlane::shared().await;
    let namespace = one_of_each(plane).await;
    for (selector, found) in [
        ("spec.appRef.name=app", "activation.hearthgate.dev/x\n"),
        ("spec.gatewayRef.name=gateway", "activation.hearthgate.dev/x\n"),
        ("spec.appRef.name=other", ""),
    ] {
        let get = ["get", "activations", "-n", &namespace, "-o", "name", "--field-selector", selector];
        assert_eq!(plane.kubectl(&get).await.ok(), found, "{selector}");
    }
}
