//! The authorization code grant.

use super::*;
use crate::proxy::session;
use crate::store::Kind;

#[tokio::test]
async fn a_code_that_comes_twice_ends_what_was_issued_for_it() {
    let launches = Launches::new().await;
    let code = launches.code(&[]).await;
    let tokens = launches.redeem(&code).await.json();
    assert_eq!(launches.call(&tokens["access_token"]).await, Ok(200));
    assert_eq!(refused(&launches.redeem(&code).await), (400, "invalid_grant".into()));
    assert_eq!(launches.call(&tokens["access_token"]).await, Err(Code::TokenRevoked));
    let refreshed = launches.refresh(tokens["refresh_token"].as_str().unwrap()).await;
    assert_eq!(refused(&refreshed), (400, "invalid_grant".into()));
}

#[tokio::test]
async fn a_code_is_good_for_what_it_was_issued_for_alone() {
    let another = ["another-client", "https://mobile.example.org/callback"];
    let launches = Launches::with(|world| {
        let copy = json!({"kind": "App", "metadata": {"name": "other"}, "spec": {"clientType": "Public",
            "clientId": another[0], "scopes": ["patient/Patient.rs"], "redirectUris": [another[1]]}});
        world.and(copy)
    })
    .await;
    let good = [
        ("grant_type", Some("authorization_code")),
        ("redirect_uri", Some(REDIRECT_URI)),
        ("client_id", Some(CLIENT)),
        ("code_verifier", Some(VERIFIER)),
    ];
    let long = "a".repeat(129);
    for (name, value) in [
        ("client_id", Some(another[0])),
        ("redirect_uri", None),
        ("redirect_uri", Some("https://mobile.example.org/callback/")),
        ("code_verifier", None),
        ("code_verifier", Some(CHALLENGE)),
        ("code_verifier", Some("short")),
        ("code_verifier", Some(long.as_str())),
    ] {
        let code = launches.code(&[]).await;
        let mut form = good.to_vec();
        form.push(("code", Some(&code)));
        form.iter_mut().filter(|(own, _)| *own == name).for_each(|(_, own)| *own = value);
        assert_eq!(refused(&launches.ask_token(&form).await), (400, "invalid_grant".into()), "{name} {value:?}");
        // It is spent, whoever was wrong.
        assert_eq!(refused(&launches.redeem(&code).await), (400, "invalid_grant".into()), "{name} {value:?}");
    }
    assert_eq!(refused(&launches.redeem("unknown").await), (400, "invalid_grant".into()));
    assert_eq!(refused(&launches.ask_token(&good).await), (400, "invalid_request".into()));
}

#[tokio::test]
async fn a_code_lives_for_a_minute() {
    let launches = Launches::new().await;
    let before = Timestamp::now();
    let code = launches.code(&[]).await;
    let snapshot = launches.setup.snapshot.load_full().unwrap();
    let records = launches.setup.proxy.records(&snapshot.gateways[&ObjectKey::new("default", "epic")]).unwrap();
    let kept = records.get::<session::Code>(Kind::Code, &code, Timestamp::now()).await.unwrap().unwrap();
    assert!(
        (before..=Timestamp::now()).contains(&(kept.until - jiff::SignedDuration::from_secs(60))),
        "{}",
        kept.until
    );
}

#[tokio::test]
async fn a_code_does_not_outlive_its_activation() {
    let launches = Launches::new().await;
    let code = launches.code(&[]).await;
    launches.publish(|world| world.set("Activation", "mobile-epic", "suspend", true.into()));
    assert_eq!(refused(&launches.redeem(&code).await), (400, "unauthorized_client".into()));
    launches.publish(|world| world);
    assert_eq!(refused(&launches.redeem(&code).await), (400, "invalid_grant".into()));
}

#[tokio::test]
async fn of_fifty_racing_redemptions_one_succeeds_and_what_it_got_is_revoked() {
    let launches = Arc::new(Launches::new().await);
    let code = launches.code(&[]).await;
    let attempts = (0..50).map(|_| {
        let (launches, code) = (Arc::clone(&launches), code.clone());
        tokio::spawn(async move { launches.redeem(&code).await })
    });
    let mut issued = Vec::new();
    for attempt in attempts.collect::<Vec<_>>() {
        let answer = attempt.await.unwrap();
        match answer.status {
            200 => issued.push(answer.json()),
            _ => assert_eq!(refused(&answer), (400, "invalid_grant".into())),
        }
    }
    let [tokens] = &issued[..] else { panic!("{issued:?}") };
    assert_eq!(launches.call(&tokens["access_token"]).await, Err(Code::TokenRevoked));
}
