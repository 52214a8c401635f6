//! The EHR's tokens of sessions: renewed once, whoever asks, and never beyond the EHR's session.

use super::*;

#[tokio::test]
async fn a_token_that_the_ehr_refuses_is_renewed_once() {
    let launches = Launches::new().await;
    let tokens = launches.tokens(&[]).await;
    assert_eq!(launches.call(&tokens["access_token"]).await, Ok(200));
    launches.ehr.change(|habits| habits.refused_token = Some("ehr-access-2".into()));
    assert_eq!(launches.call(&tokens["access_token"]).await, Ok(200));
    assert_eq!(launches.ehr.given(), 2);
    assert_eq!(launches.call(&tokens["access_token"]).await, Ok(200));
    assert_eq!(launches.ehr.given(), 2);
}

#[tokio::test]
async fn a_token_that_is_over_is_renewed_by_one_of_all_who_ask() {
    let launches = Arc::new(Launches::new().await);
    launches.ehr.change(|habits| habits.expires_in = 1);
    let tokens = launches.tokens(&[]).await;
    launches.ehr.change(|habits| habits.expires_in = 3600);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let calls = (0..50).map(|_| {
        let (launches, token) = (Arc::clone(&launches), tokens["access_token"].clone());
        tokio::spawn(async move { launches.call(&token).await })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), Ok(200));
    }
    assert_eq!(launches.ehr.given(), 2);
}

#[tokio::test]
async fn the_session_ends_where_the_ehr_says_so() {
    let launches = Launches::new().await;
    launches.ehr.change(|habits| habits.expires_in = 1);
    let tokens = launches.tokens(&[]).await;
    launches.ehr.change(|habits| habits.session_is_over = true);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(launches.call(&tokens["access_token"]).await, Err(Code::SessionOver));
    assert_eq!(launches.call(&tokens["access_token"]).await, Err(Code::TokenRevoked));
    let refreshed = launches.refresh(tokens["refresh_token"].as_str().unwrap()).await;
    assert_eq!(refused(&refreshed), (400, "invalid_grant".into()));
}

#[tokio::test]
async fn without_a_refresh_token_of_the_ehr_the_session_ends_with_its_token() {
    let launches = Launches::new().await;
    launches.ehr.change(|habits| {
        habits.gives_refresh_tokens = false;
        habits.expires_in = 1;
    });
    let tokens = launches.tokens(&[]).await;
    assert_eq!(tokens.get("refresh_token"), None);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(launches.call(&tokens["access_token"]).await, Err(Code::SessionOver));
}

#[tokio::test]
async fn an_ehr_that_is_away_ends_no_session() {
    let launches = Launches::new().await;
    launches.ehr.change(|habits| habits.expires_in = 1);
    let tokens = launches.tokens(&[]).await;
    launches.ehr.change(|habits| habits.is_away = true);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(launches.call(&tokens["access_token"]).await, Err(Code::EhrUnreachableNow));
    launches.ehr.change(|habits| habits.is_away = false);
    assert_eq!(launches.call(&tokens["access_token"]).await, Ok(200));
}
