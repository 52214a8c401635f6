//! The refresh token grant.

use super::*;

fn token(tokens: &Value) -> &str {
    tokens["refresh_token"].as_str().unwrap()
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_its_reuse_ends_the_session() {
    let launches = Launches::new().await;
    let first = launches.tokens(&[]).await;
    let second = launches.refresh(token(&first)).await.json();
    assert_ne!(token(&first), token(&second));
    assert_eq!(second["scope"], first["scope"]);
    assert_eq!(second.get("id_token"), None);
    let third = launches.refresh(token(&second)).await.json();
    assert_eq!(launches.call(&third["access_token"]).await, Ok(200));
    // No grace: the one that was spent last is spent.
    assert_eq!(refused(&launches.refresh(token(&second)).await), (400, "invalid_grant".into()));
    assert_eq!(refused(&launches.refresh(token(&third)).await), (400, "invalid_grant".into()));
    for tokens in [&first, &second, &third] {
        assert_eq!(launches.call(&tokens["access_token"]).await, Err(Code::TokenRevoked));
    }
}

#[tokio::test]
async fn a_refresh_may_ask_for_less_and_never_for_more() {
    let launches = Launches::new().await;
    let mut tokens = launches.tokens(&[]).await;
    let with_scope = async |token: &str, scope: &str| {
        let (token, scope) = (("refresh_token", Some(token)), ("scope", Some(scope)));
        launches.ask_token(&[("grant_type", Some("refresh_token")), token, ("client_id", Some(CLIENT)), scope]).await
    };
    for more in ["patient/Observation.rs", "patient/Patient.cruds", "openid launch", "nonsense"] {
        assert_eq!(refused(&with_scope(token(&tokens), more).await), (400, "invalid_scope".into()), "{more}");
    }
    tokens = with_scope(token(&tokens), "patient/Patient.r").await.json();
    assert_eq!(tokens["scope"], "patient/Patient.r");
    // What was left out this time may be asked for the next.
    tokens = launches.refresh(token(&tokens)).await.json();
    assert_eq!(tokens["scope"], "patient/Patient.rs openid fhirUser launch/patient offline_access");
    // A ceiling that came down takes part of it, without an error.
    launches.publish(|world| world.set("Activation", "mobile-epic", "scopes", json!(["patient/Patient.r"])));
    assert_eq!(launches.refresh(token(&tokens)).await.json()["scope"], "patient/Patient.r");
}

#[tokio::test]
async fn a_refresh_token_is_its_clients_alone() {
    let launches = Launches::with(|world| {
        let activation = json!({"kind": "Activation", "metadata": {"name": "other-epic"}, "spec": {
            "appRef": {"name": "other"}, "gatewayRef": {"name": "epic"},
            "ehrAuthentication": {"type": "User", "user": {"clientId": EHR_CLIENT}}}});
        world
            .and(json!({"kind": "App", "metadata": {"name": "other"}, "spec": {"clientType": "Public",
            "clientId": "another-client", "scopes": ["patient/Patient.rs"], "redirectUris": [REDIRECT_URI]}}))
            .and(activation)
    })
    .await;
    let tokens = launches.tokens(&[]).await;
    let form = [
        ("grant_type", Some("refresh_token")),
        ("refresh_token", Some(token(&tokens))),
        ("client_id", Some("another-client")),
    ];
    assert_eq!(refused(&launches.ask_token(&form).await), (400, "invalid_grant".into()));
    let forged = format!("{}x", &token(&tokens)[..token(&tokens).len() - 1]);
    for unknown in ["", "hgr_", "hgr_unknown", &forged] {
        let error = if unknown.is_empty() { "invalid_request" } else { "invalid_grant" };
        assert_eq!(refused(&launches.refresh(unknown).await), (400, error.into()), "{unknown}");
    }
    // Nothing of that has spent it.
    assert_eq!(launches.refresh(token(&tokens)).await.status, 200);
}

#[tokio::test]
async fn a_refresh_token_dies_with_its_activation() {
    let launches = Launches::new().await;
    let mut tokens = launches.tokens(&[]).await;
    for (kind, name) in
        [("Activation", "mobile-epic"), ("App", "mobile"), ("Gateway", "epic"), ("DataAdapter", "epic-ehr")]
    {
        launches.publish(|world| world.set(kind, name, "suspend", true.into()));
        assert_eq!(refused(&launches.refresh(token(&tokens)).await), (400, "unauthorized_client".into()), "{kind}");
        launches.publish(|world| world);
        tokens = launches.refresh(token(&tokens)).await.json();
    }
    launches.publish(|world| world.without("Activation", "mobile-epic"));
    assert_eq!(refused(&launches.refresh(token(&tokens)).await), (400, "unauthorized_client".into()));
    launches.publish(|world| world.renamed("Activation", "mobile-epic", "mobile-epic-again"));
    assert_eq!(refused(&launches.refresh(token(&tokens)).await), (400, "invalid_grant".into()));
}

#[tokio::test]
async fn online_access_ends_with_the_session_at_the_ehr() {
    for scope in ["online_access patient/Patient.rs", "offline_access patient/Patient.rs"] {
        let launches = Launches::new().await;
        launches.ehr.change(|habits| habits.expires_in = 1);
        let tokens = launches.tokens(&[("scope", Some(scope))]).await;
        launches.ehr.change(|habits| habits.session_is_over = true);
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(refused(&launches.refresh(token(&tokens)).await), (400, "invalid_grant".into()), "{scope}");
        assert_eq!(launches.call(&tokens["access_token"]).await, Err(Code::TokenRevoked));
    }
}

#[tokio::test]
async fn without_a_scope_for_it_there_is_no_refresh_token() {
    let launches = Launches::new().await;
    let tokens = launches.tokens(&[("scope", Some("patient/Patient.rs launch/patient"))]).await;
    assert_eq!(tokens.get("refresh_token"), None);
    assert_eq!(launches.call(&tokens["access_token"]).await, Ok(200));
}
