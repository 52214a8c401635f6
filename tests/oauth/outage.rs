//! The store is away: what needs it says so, what does not goes on.

use std::time::Duration;

use crate::installation::{Installation, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_store_secrets_and_bearer_tokens_go_on_and_what_is_used_once_waits() {
    let mut it = Installation::start().await;
    let (revoked, token) = (it.replicas[0].token().await, it.replicas[0].token().await);
    assert_eq!(it.replicas[0].revoke(&revoked).await.status, 200);
    let (access, refresh) = it.replicas[0].session().await;
    it.server.kill();
    let [first, second] = &it.replicas;

    let fresh = first.token().await;
    for good in [&fresh, &token] {
        assert_eq!(first.read(good).await, 200);
        assert_eq!(first.introspect(good).await.json()["active"], true);
    }
    assert_eq!(first.read(&revoked).await, 401, "the last set of revocations goes on");
    assert_eq!(first.introspect("nonsense").await.json()["active"], false);

    let away = (503, "temporarily_unavailable".to_owned());
    let answer = first.post("/oauth2/token", false, &it.assertion("jti-1")).await;
    assert_eq!((answer.refusal(), answer.headers["retry-after"].to_str().unwrap()), (away.clone(), "5"));
    assert_eq!(first.introspect(&access).await.refusal(), away, "its launch context is in the store");
    assert_eq!(first.introspect(&refresh).await.refusal(), away);
    assert_eq!(first.revoke(&refresh).await.refusal(), away);

    // Revoked here at once, and everywhere when the store is back: the client is told to ask again all the same.
    assert_eq!(first.revoke(&token).await.refusal(), away);
    assert_eq!((first.read(&token).await, second.read(&token).await), (401, 200));
    it.server.restart();
    let [first, second] = &it.replicas;
    eventually("told the store", Duration::from_secs(10), async || second.read(&token).await == 401).await;
    eventually("assertions are taken again", Duration::from_secs(10), async || {
        first.post("/oauth2/token", false, &it.assertion(&uuid::Uuid::new_v4().to_string())).await.status == 200
    })
    .await;
}
