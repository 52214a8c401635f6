//! `doctor` in a cluster: what it sees around the objects, and what it says to somebody who may see little.

use std::process::Command;

use serde_json::{Value, json};

use super::installation::{BINARY, Installation, PATIENCE, eventually};
use super::release::Component;
use super::replicas::own_address;
use crate::support::control_plane::{ADMIN, ControlPlane, NOBODY};

/// State and finding of each check of the group about the cluster.
async fn cluster_checks(installation: &Installation<'_>, user: &str) -> Vec<(String, String)> {
    let output = Command::new(BINARY)
        .args(["doctor", "-o", "json", "-n", &installation.namespace, "--kubeconfig"])
        .arg(installation.plane.kubeconfig(user).await)
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |check: &Value, member: &str| check[member].as_str().unwrap().to_owned();
    let checks = told["checks"].as_array().unwrap().iter().filter(|check| check["group"] == "cluster");
    checks.map(|check| (text(check, "state"), text(check, "finding"))).collect()
}

/// The Deployment of a component, as if a kubelet ran one replica of it.
async fn deploy(installation: &Installation<'_>, component: Component, admin: u16) -> Value {
    let mut deployment = installation.release.deployment_of(component).clone();
    deployment["spec"]["replicas"] = json!(1);
    let ports = deployment["spec"]["template"]["spec"]["containers"][0]["ports"].as_array_mut().unwrap();
    ports.iter_mut().find(|port| port["name"] == "admin").unwrap()["containerPort"] = json!(admin);
    installation.apply(&deployment.to_string()).await;
    let name = deployment["metadata"]["name"].as_str().unwrap();
    let ready = r#"{"status":{"replicas":1,"readyReplicas":1}}"#;
    installation.kubectl(&["patch", "deployment", name, "--subresource=status", "--type=merge", "-p", ready]).await;
    deployment
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_replicas_permissions_and_the_store_are_looked_at() {
    let plane = ControlPlane::shared().await;
    let mut installation = Installation::prepare(plane, 1).await;
    let address = own_address();
    installation.add_proxy_at(&address).await;
    let proxies = format!("--proxies=127.0.0.1:{}", installation.proxies[0].admin);
    let operator = installation.operator_with(&installation.release, &[proxies], &[]).await;
    let (seen, namespace) = (installation.proxies[1].admin, installation.namespace.clone());
    deploy(&installation, Component::Operator, operator.admin).await;
    let proxy = deploy(&installation, Component::Proxy, seen).await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "proxy-0", "labels": proxy["spec"]["selector"]["matchLabels"]},
        "spec": {"containers": [{"name": "proxy", "image": "registry.example.org/hearthgate"}]},
    });
    installation.apply(&pod.to_string()).await;
    let running = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}).to_string();
    installation.kubectl(&["patch", "pod", "proxy-0", "--subresource=status", "--type=merge", "-p", &running]).await;

    let fine = |finding: String| ("fine".to_owned(), finding);
    let version = env!("CARGO_PKG_VERSION");
    let operator_name = format!("operator {namespace}/hearthgate-operator");
    let proxy_name = format!("proxy {namespace}/hearthgate-proxy");
    let permissions = |name: &str, count: u32| {
        format!("{name} has the {count} permissions that it needs, and none to change or delete a Secret")
    };
    let expected = vec![
        fine(format!("the four kinds are defined as by hearthgate {version}")),
        fine(format!("{operator_name}: 1 of 1 replicas ready")),
        fine(format!("{proxy_name}: 1 of 1 replicas ready")),
        fine(permissions(&operator_name, 33)),
        fine(permissions(&proxy_name, 19)),
        fine("proxy-0 reaches the store of sessions".to_owned()),
    ];
    // An answer may take three seconds: on a busy machine one may be late.
    let mut found = Vec::new();
    for _ in 0..5 {
        found = cluster_checks(&installation, ADMIN).await;
        if found == expected {
            break;
        }
    }
    assert_eq!(found, expected);

    // Somebody who may see nothing of it is told so, and nothing is said to be wrong.
    let account = format!("--serviceaccount={namespace}:person");
    installation.kubectl(&["create", "serviceaccount", "person"]).await;
    installation.kubectl(&["create", "rolebinding", "person", "--clusterrole=view", &account]).await;
    let kinds = "--resource=smartapps.hearthgate.dev,fhirgateways.hearthgate.dev,dataadapters.hearthgate.dev,activations.hearthgate.dev";
    installation.kubectl(&["create", "role", "reader", "--verb=get,list", kinds]).await;
    installation.kubectl(&["create", "rolebinding", "reader", "--role=reader", &account]).await;
    let person = format!("system:serviceaccount:{namespace}:person");
    let little = cluster_checks(&installation, &person).await;
    let states: Vec<&str> = little.iter().map(|(state, _)| state.as_str()).collect();
    assert_eq!(states, ["doubtful", "doubtful"], "{little:?}");
    assert_eq!(cluster_checks(&installation, NOBODY).await, [], "who may not read the objects is told that alone");

    installation.kubectl(&["delete", "rolebinding", "hearthgate-proxy"]).await;
    let lacks = |(state, finding): &(String, String)| {
        state == "failed"
            && finding.starts_with(&format!("{proxy_name} may not: get activations in {namespace}, "))
            && finding.ends_with(&format!("watch secrets in {namespace}"))
    };
    eventually(PATIENCE, "the missing Role is told", || async {
        cluster_checks(&installation, ADMIN).await.iter().any(lacks)
    })
    .await;
    let more = ["create", "role", "more", "--verb=delete", "--resource=secrets"];
    installation.kubectl(&more).await;
    let account = format!("--serviceaccount={namespace}:hearthgate-operator");
    installation.kubectl(&["create", "rolebinding", "more", "--role=more", &account]).await;
    let excess = format!("{operator_name} may more than it should: delete secrets in {namespace}");
    eventually(PATIENCE, "a permission too many is told", || async {
        cluster_checks(&installation, ADMIN).await.contains(&("doubtful".to_owned(), excess.clone()))
    })
    .await;
}
