//! How the operator finds replicas in a cluster, and how they know that it may ask.

use std::net::UdpSocket;

use reqwest::StatusCode;
use serde_json::json;

use super::installation::{Installation, PATIENCE, eventually};
use super::release::Component;
use crate::support::control_plane::ControlPlane;

/// An address of this machine that is no loopback one: EndpointSlices take no other.
fn own_address() -> String {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Sends nothing; it only chooses where from. The test needs an address beside loopback.
    socket.connect("198.51.100.1:9").unwrap();
    socket.local_addr().unwrap().ip().to_string()
}

#[tokio::test]
async fn replicas_are_found_through_endpoint_slices_and_ask_for_a_token() {
    let plane = ControlPlane::shared().await;
    let mut installation = Installation::prepare(plane, 0).await;
    let address = own_address();
    installation.add_proxy_at(&address).await;
    installation.add_proxy_at(&address).await;
    for (number, proxy) in installation.proxies.iter().enumerate() {
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": { "name": format!("proxy-{number}"), "labels": { "kubernetes.io/service-name": installation.release.proxies() } },
            "ports": [{ "name": "admin", "port": proxy.admin }, { "name": "http", "port": proxy.public }],
            // As before the first probe of the kubelet.
            "endpoints": [{ "addresses": [address], "conditions": { "ready": number == 0 } }],
        });
        installation.apply(&slice.to_string()).await;
    }
    let account = installation.release.user(Component::Operator);
    let (_, account) = account.rsplit_once(':').unwrap();
    let token = installation.kubectl(&["create", "token", account, "--audience=hearthgate.dev"]).await;
    let file = installation.file("token", token.trim());
    let file = format!("--proxies-token-file={}", file.display());
    installation.apply(&installation.quickstart()).await;
    let _operator = installation.operator_with(&installation.release, &[], &[file]).await;
    installation.climb().await;
    let served = || async { installation.activation().await["status"]["served"].as_str().unwrap().to_owned() };
    assert_eq!(served().await, "1/1");

    let ready = r#"[{"op":"replace","path":"/endpoints/0/conditions/ready","value":true}]"#;
    installation.kubectl(&["patch", "endpointslice", "proxy-1", "--type=json", "-p", ready]).await;
    eventually(PATIENCE, "both are counted", || async { served().await == "2/2" }).await;

    // Nobody else is told what is served.
    let url = format!("http://{address}:{}/programmed", installation.proxies[0].admin);
    for (token, status) in [
        ("", StatusCode::UNAUTHORIZED),
        ("made-up", StatusCode::UNAUTHORIZED),
        (token.trim(), StatusCode::OK),
        ("nobody-of-a-test", StatusCode::OK),
    ] {
        let answer = installation.client.get(&url).bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), status, "{token:?}");
    }
    let health = installation.client.get(url.replace("/programmed", "/livez")).send().await.unwrap();
    assert_eq!(health.status(), StatusCode::OK);
}
