//! How the operator finds replicas in a cluster, and how they know that it may ask.

use std::net::UdpSocket;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::installation::{Installation, PATIENCE, Process, eventually};
use super::release::Component;
use crate::support::control_plane::ControlPlane;

/// An address of this machine that is no loopback one: EndpointSlices take no other.
pub fn own_address() -> String {
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

/// The `kid` of a fresh token of a proxy; the token is good at every proxy.
async fn signs_with(installation: &Installation<'_>, proxy: &Process, client_id: &str, takers: &[&Process]) -> String {
    let token = installation.token(proxy, client_id).await.unwrap();
    for taker in takers {
        let (status, text) = installation.read(taker, &token).await;
        assert_eq!(status, StatusCode::OK, "{text}");
    }
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_gateway_signs_with_a_new_key_once_every_ready_replica_has_it() {
    let plane = ControlPlane::shared().await;
    let (installation, _operator) = Installation::start(plane, 2).await;
    installation.climb().await;
    let [one, other] = &installation.proxies[..] else { panic!("two proxies") };
    let app = installation.get("smartapp", "schedule-sync").await.unwrap();
    let client_id = app["status"]["clientId"].as_str().unwrap();
    let signing_revision =
        || async { installation.get("fhirgateway", "epic").await.unwrap()["status"]["signingRevision"].as_u64() };
    eventually(PATIENCE, "the first is recorded", || async { signing_revision().await == Some(1) }).await;
    let first = signs_with(&installation, one, client_id, &[one, other]).await;

    // A replica that hears nothing for a while.
    other.signal("STOP");
    let raise = r#"{"spec":{"signingKeys":{"revision":2}}}"#;
    installation.kubectl(&["patch", "fhirgateway/epic", "--type=merge", "-p", raise]).await;
    let published = format!("{}/{}/epic/oauth2/jwks", installation.public_url(), installation.namespace);
    eventually(PATIENCE, "the second is published", || async {
        let keys: Value = installation.client.get(&published).send().await.unwrap().json().await.unwrap();
        // Two of each revision.
        keys["keys"].as_array().unwrap().len() == 4
    })
    .await;
    assert_eq!(signs_with(&installation, one, client_id, &[one]).await, first);
    assert_eq!(signing_revision().await, Some(1));

    other.signal("CONT");
    eventually(PATIENCE, "the second is recorded", || async { signing_revision().await == Some(2) }).await;
    eventually(PATIENCE, "the second signs", || async {
        signs_with(&installation, one, client_id, &[one, other]).await != first
            && signs_with(&installation, other, client_id, &[one, other]).await != first
    })
    .await;
}
