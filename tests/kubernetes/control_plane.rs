//! The control plane of the tests does what the other tests rely on.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::support::control_plane::{ADMIN, ControlPlane, NOBODY};

fn config_map(name: &str, content: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"content": content}})).expect("a ConfigMap")
}

#[tokio::test]
async fn a_stopped_api_server_comes_back_with_its_data() {
    let plane = ControlPlane::start().await;
    plane.kubectl(&["create", "configmap", "kept", "--from-literal=a=b"]).await.ok();

    plane.stop_apiserver();
    let refused = plane.kubectl(&["get", "configmap", "kept"]).await.refused();
    assert!(refused.contains("refused"), "{refused}");

    plane.start_apiserver().await;
    assert_eq!(plane.kubectl(&["get", "configmap", "kept", "-o", "jsonpath={.data.a}"]).await.ok(), "b");
}

#[tokio::test]
async fn every_change_is_in_the_audit_log_with_who_asked_for_it() {
    let plane = ControlPlane::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(plane.client(ADMIN).await, "default");
    maps.create(&PostParams::default(), &config_map("counted", "x")).await.expect("it is created");
    maps.get("counted").await.expect("it is there");
    let nobody: Api<ConfigMap> = Api::namespaced(plane.client(NOBODY).await, "default");
    nobody.create(&PostParams::default(), &config_map("refused", "x")).await.expect_err("nobody may not");

    let told: Vec<_> = plane
        .audit_writes()
        .into_iter()
        .filter(|request| request.resource == "configmaps" && request.namespace == "default")
        .map(|request| (request.user, request.verb, request.name, request.code))
        .collect();
    // Before it is allowed, nobody looks into the body for the name.
    let expected = [(ADMIN, "counted", 201), (NOBODY, "", 403)]
        .map(|(user, name, code)| (user.to_owned(), "create".to_owned(), name.to_owned(), code));
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_service_account_is_itself() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("account").await;
    plane.kubectl(&["create", "serviceaccount", "reader", "-n", &namespace]).await.ok();
    let user = format!("system:serviceaccount:{namespace}:reader");

    let reviews: Api<SelfSubjectReview> = Api::all(plane.client(&user).await);
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.expect("an answer");
    let name = review.status.and_then(|status| status.user_info).and_then(|info| info.username);
    assert_eq!(name.as_deref(), Some(user.as_str()));

    let refused = plane.kubectl_as(&user, &["get", "secrets", "-n", &namespace]).await.refused();
    assert!(refused.contains("Forbidden"), "{refused}");
}

#[tokio::test]
async fn etcd_is_searched_everywhere_but_in_secrets() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("grep").await;
    plane.kubectl(&["create", "configmap", "leak", "-n", &namespace, "--from-literal=a=needle-in-etcd"]).await.ok();
    plane
        .kubectl(&["create", "secret", "generic", "kept", "-n", &namespace, "--from-literal=a=needle-in-etcd"])
        .await
        .ok();
    assert_eq!(plane.etcd_grep("needle-in-etcd").await, [format!("/registry/configmaps/{namespace}/leak")]);
}

/// Not a test: holds a control plane until it is killed, for the next one.
#[tokio::test]
#[ignore = "started by the test below"]
async fn hold_a_control_plane() {
    let Some(path) = std::env::var_os("HOLD_A_CONTROL_PLANE") else { return };
    let plane = ControlPlane::start().await;
    std::fs::write(path, plane.kubeconfig(ADMIN).await.display().to_string()).expect("a file");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn nothing_is_left_behind_when_a_test_is_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    let told = directory.path().join("kubeconfig");
    let mut holder = Command::new(std::env::current_exe().expect("this test"))
        .args(["--ignored", "--exact", "kubernetes::control_plane::hold_a_control_plane"])
        .env("HOLD_A_CONTROL_PLANE", &told)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("this test starts");
    let kubeconfig = loop {
        match std::fs::read_to_string(&told) {
            Ok(path) if !path.is_empty() => break path,
            _ if holder.try_wait().expect("its state").is_some() => panic!("it ended early"),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let directory = Path::new(&kubeconfig).parent().expect("the control plane's directory");
    assert!(programs_of(directory) >= 2, "etcd and the API server run");

    // SIGKILL: no destructor runs.
    holder.kill().expect("it is killed");
    holder.wait().expect("it is gone");
    for _ in 0..200 {
        if programs_of(directory) == 0 && !directory.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} programs run on, the directory is there: {}", programs_of(directory), directory.exists());
}

/// How many etcds and API servers run with that directory on their command line.
fn programs_of(directory: &Path) -> usize {
    let listed = Command::new("ps").args(["-eo", "args"]).output().expect("ps");
    String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter(|line| line.contains(&directory.display().to_string()) && !line.starts_with("sh "))
        .count()
}
