//! What one replica decided holds at the other.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::join;

use crate::installation::{Installation, eventually};

const A_SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assertion_is_good_once_in_each_of_a_thousand_races_of_two_replicas() {
    let it = Installation::start().await;
    let [first, second] = &it.replicas;
    let race = async |number: usize| {
        let body = it.assertion(&format!("jti-{number}"));
        let (one, other) = join!(first.post("/oauth2/token", false, &body), second.post("/oauth2/token", false, &body));
        let (issued, refused) = if one.status == 200 { (one, other) } else { (other, one) };
        assert_eq!(issued.status, 200, "{issued:?}");
        assert_eq!(refused.refusal(), (400, "invalid_client".to_owned()));
    };
    for batch in 0..20 {
        join_all((0..50).map(|number| race(batch * 50 + number))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_one_replica_revoked_is_refused_by_the_other_within_a_second() {
    let it = Installation::start().await;
    let [first, second] = &it.replicas;
    for _ in 0..10 {
        let token = first.token().await;
        assert_eq!(second.read(&token).await, 200);
        assert_eq!(first.revoke(&token).await.status, 200);
        assert_eq!(first.read(&token).await, 401);
        eventually("refused by the other", A_SECOND, async || second.read(&token).await == 401).await;
        assert_eq!(second.introspect(&token).await.body.as_ref(), br#"{"active":false}"#);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_one_replica_ended_is_over_at_the_other_within_a_second() {
    let it = Installation::start().await;
    let [first, second] = &it.replicas;
    let (access, refresh) = first.session().await;
    let told = second.introspect(&access).await.json();
    assert_eq!((&told["active"], &told["patient"]), (&true.into(), &"p-1".into()));
    assert_eq!(second.introspect(&refresh).await.json()["active"], true);
    assert_eq!(first.revoke(&refresh).await.status, 200);
    assert_eq!(second.introspect(&refresh).await.json()["active"], false);
    eventually("inactive at the other", A_SECOND, async || {
        second.introspect(&access).await.json()["active"] == false && second.read(&access).await == 401
    })
    .await;
}
