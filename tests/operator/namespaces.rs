//! Which namespaces a release watches: all of them by ClusterRoles, or a list by a Role in each.

use reqwest::StatusCode;

use super::installation::{Installation, PATIENCE, eventually};
use crate::support::control_plane::{ControlPlane, Request};

/// What the release's processes asked for and were not permitted.
fn forbidden(installation: &Installation<'_>) -> Vec<Request> {
    installation.requests().into_iter().filter(|request| request.code == 403).collect()
}

#[tokio::test]
async fn without_a_list_every_namespace_is_watched_and_later_ones_too() {
    // Of its own: the release sees whatever is there.
    let plane = ControlPlane::start().await;
    plane.install_crds().await;
    let mut installation = Installation::prepare_everywhere(&plane, 1).await;
    let _operator = installation.operator().await;
    let first = installation.namespace.clone();
    for namespace in [first, plane.namespace("later").await] {
        installation.namespace = namespace;
        installation.apply(&installation.quickstart()).await;
        installation.climb().await;
        let (status, text) = installation.call(&installation.proxies[0]).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        eventually(PATIENCE, "the Event", || async {
            let events = installation.kubectl(&["get", "events.events.k8s.io", "-o", "name"]).await;
            events.contains("schedule-sync-at-epic")
        })
        .await;
    }
    assert_eq!(forbidden(&installation), []);
}

#[tokio::test]
async fn with_a_list_other_namespaces_are_not_even_asked_for() {
    let plane = ControlPlane::shared().await;
    let (installation, _operator) = Installation::start(plane, 1).await;
    let other = plane.namespace("other").await;
    plane.kubectl_with_input(&["apply", "-n", &other, "-f", "-"], &installation.quickstart()).await.ok();
    installation.climb().await;
    let url = format!("{}/{other}/epic/fhir/metadata", installation.public_url());
    assert_eq!(installation.client.get(url).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    let key_secrets = plane.kubectl(&["get", "secrets", "-n", &other, "-l", "hearthgate.dev/use=key-pair"]).await.ok();
    assert_eq!(key_secrets, "");
    let requests = installation.requests();
    assert!(requests.iter().all(|request| [installation.namespace.as_str(), ""].contains(&request.namespace.as_str())));
    assert!(requests.iter().all(|request| request.resource != "secrets" || !request.namespace.is_empty()));
    assert_eq!(forbidden(&installation), []);
}
