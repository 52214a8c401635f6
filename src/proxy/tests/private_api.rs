//! The private APIs behind External auth.

use super::*;

fn problem(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    (answer.status, answer.json()["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_listed_route_is_called_with_the_external_credentials() {
    let setup = Setup::new().await;
    let token = setup.token_at("epic").await;
    assert_eq!(setup.get("/epic/api/schedule/slots?day=1", &token).await.status, 200);
    let reached = setup.ehr.only();
    assert_eq!(reached.target, "/private/schedule/slots?day=1");
    assert_eq!(reached.header("authorization"), Some("Basic cHJpdmF0ZS11c2VyOnByaXZhdGUtcGFzc3dvcmQtMDE="));
    assert_eq!(reached.header("epic-client-id"), Some("private-client"));
}

#[tokio::test]
async fn nothing_else_is_called() {
    let setup = Setup::new().await;
    let token = setup.token_at("epic").await;
    assert_eq!(problem(&setup.get("/epic/api/billing", &token).await), (403, "HG7015".into()));
    assert_eq!(problem(&setup.get("/epic/api/schedule/../billing", &token).await), (400, "HG7011".into()));
    assert_eq!(problem(&setup.ask("GET", "/epic/api/schedule", &[], "").await), (401, "HG7001".into()));
    setup.publish(|world| world.set("Activation", "sync-epic", "scopes", serde_json::json!(["system/*.cruds"])));
    let answer = setup.get("/epic/api/schedule", &token).await;
    assert_eq!(problem(&answer), (403, "HG7008".into()));
    assert!(answer.header("www-authenticate").unwrap().contains("scope=\"private-api\""));
    let token = setup.token_at("plain").await;
    setup.publish(|world| world);
    // A token that holds the scope, at a gateway whose adapter has no private APIs.
    assert_eq!(problem(&setup.get("/plain/api/schedule", &token).await), (403, "HG7015".into()));
    assert!(setup.ehr.reached().is_empty());
}

#[tokio::test]
async fn a_redirect_takes_no_credentials_along_and_a_401_is_not_the_clients() {
    for (status, code) in [(302, "HG7044"), (401, "HG7043")] {
        let ehr = Ehr::answering(move |_| ehr::answer(status, &[("location", "http://127.0.0.1:1/")], "")).await;
        let setup = Setup::in_front_of(ehr, |world| world).await;
        let token = setup.token_at("epic").await;
        assert_eq!(problem(&setup.get("/epic/api/schedule", &token).await), (502, code.into()));
        assert_eq!(setup.ehr.reached().len(), 1);
    }
}

#[tokio::test]
async fn a_body_that_could_be_read_in_two_ways_is_not_sent_on() {
    let setup = Setup::with(|world| {
        let routes = serde_json::json!([{"methods": ["POST"], "pathPrefix": "/schedule"}]);
        let external = serde_json::json!({"clientId": "private-client", "routes": routes,
            "clientSecretRef": {"name": "private", "key": "basic"}, "apiEndpoint": "http://127.0.0.1:1/private"});
        world.set("DataAdapter", "epic-ehr", "externalAuth", external)
    })
    .await;
    let token = format!("Bearer {}", setup.token_at("epic").await);
    let with = |headers: &[(&'static str, &'static str)]| {
        let headers = [&[("authorization", token.as_str())], headers].concat();
        let setup = &setup;
        async move { problem(&setup.ask("POST", "/epic/api/schedule", &headers, "{}").await) }
    };
    let json = ("content-type", "application/json");
    assert_eq!(with(&[json, ("content-encoding", "gzip")]).await, (415, "HG7016".into()));
    assert_eq!(
        with(&[json, ("content-encoding", "identity"), ("content-encoding", "gzip")]).await,
        (400, "HG7069".into())
    );
    assert_eq!(with(&[json, ("content-type", "text/plain")]).await, (400, "HG7069".into()));
    assert_eq!(with(&[json, ("content-encoding", "identity")]).await, (502, "HG7041".into()), "and this one is called");
    assert!(setup.ehr.reached().is_empty());
}
