//! Inferno's groups "SMART Token Refresh Without Scopes" and "… With Scopes" (`smart_token_refresh_stu2`).

use reqwest::StatusCode;
use rstest::rstest;
use serde_json::json;

use crate::app::{Client, How, assert_token_body, assert_uncached};
use crate::support::clinic::Clinic;

#[rstest]
#[case::without_scopes(Client::Symmetric, How::Standalone, false)]
#[case::with_scopes(Client::Symmetric, How::Standalone, true)]
#[case::with_a_key(Client::Asymmetric, How::Standalone, true)]
#[case::after_an_ehr_launch(Client::Symmetric, How::Ehr, false)]
#[tokio::test]
async fn smart_token_refresh_stu2(#[case] client: Client, #[case] how: How, #[case] with_scopes: bool) {
    let launched = Clinic::shared().await.launch(client, how).await;
    let received = launched.text("scope");
    let answer = launched.refresh(with_scopes.then_some(received.as_str())).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
}

#[rstest]
#[case::without_scopes(false)]
#[case::with_scopes(true)]
#[tokio::test]
async fn smart_token_refresh_body(#[case] with_scopes: bool) {
    let launched = Clinic::shared().await.launch(Client::Symmetric, How::Standalone).await;
    let received = launched.text("scope");
    let body = launched.refresh(with_scopes.then_some(received.as_str())).await.json();
    assert_token_body(&body, &["access_token", "token_type", "expires_in", "scope"]);
    for scope in body["scope"].as_str().unwrap().split(' ') {
        assert!(received.split(' ').any(|original| original == scope), "{scope} is not in {received}");
    }
    assert_ne!(body["access_token"], json!(launched.text("access_token")));
}

#[tokio::test]
async fn smart_token_response_headers() {
    let launched = Clinic::shared().await.launch(Client::Symmetric, How::Standalone).await;
    assert_uncached(&launched.refresh(None).await);
}
