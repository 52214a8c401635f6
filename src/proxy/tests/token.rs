//! The token endpoint.

use serde_json::json;

use super::*;

async fn ask_token(setup: &Setup, header: Option<Basic>, body: &str) -> Answer {
    let mut headers = vec![FORM];
    headers.extend(header.as_ref().map(Basic::as_header));
    setup.ask("POST", "/epic/oauth2/token", &headers, body).await
}

#[tokio::test]
async fn a_client_gets_a_token_by_basic_and_by_post() {
    let setup = Setup::new().await;
    let answer = ask_token(&setup, Some(basic(CLIENT_ID, SECRET)), &format!("{GRANT}&scope=system/Patient.read")).await;
    assert_eq!(answer.status, 200);
    let mut json = answer.json();
    assert!(json["access_token"].take().as_str().unwrap().split('.').count() == 3);
    assert_eq!(
        json,
        json!({"access_token": null, "token_type": "Bearer", "expires_in": 300, "scope": "system/Patient.read"})
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("pragma"), Some("no-cache"));

    let secret = percent_encoding::utf8_percent_encode(SECRET, percent_encoding::NON_ALPHANUMERIC);
    let answer = ask_token(&setup, None, &format!("{GRANT}&client_id={CLIENT_ID}&client_secret={secret}")).await;
    assert_eq!(
        answer.json()["scope"],
        "system/Appointment.cruds system/Observation.read system/Patient.rs private-api"
    );
}

#[tokio::test]
async fn unknown_client_and_wrong_secret_get_the_same_bytes() {
    let setup = Setup::new().await;
    let mut answers = Vec::new();
    for header in
        [basic(CLIENT_ID, "wrong"), basic("nobody", SECRET), basic("mobile-client", "x"), basic("stranger", "")]
    {
        let mut answer = ask_token(&setup, Some(header), GRANT).await;
        assert!(answer.headers.remove("x-request-id").is_some());
        answers.push((answer.status, answer.headers, answer.body));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    let (status, headers, body) = &answers[0];
    assert_eq!(*status, 401);
    assert!(headers.contains_key("www-authenticate"));
    let body: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(body["error"], "invalid_client");
}

#[tokio::test]
async fn refusals_follow_rfc_6749() {
    let setup = Setup::new().await;
    let good = || Some(basic(CLIENT_ID, SECRET));
    for (header, body, status, error) in [
        (good(), "grant_type=password", 400, "unsupported_grant_type"),
        (good(), "scope=a", 400, "invalid_request"),
        (good(), "grant_type=client_credentials&grant_type=client_credentials", 400, "invalid_request"),
        (good(), "grant_type=client_credentials&scope=system/Encounter.r", 400, "invalid_scope"),
        (good(), "grant_type=client_credentials&client_id=a&client_secret=b", 400, "invalid_request"),
        (None, GRANT, 401, "invalid_client"),
        (None, "grant_type=client_credentials&client_id=mobile-client", 400, "unauthorized_client"),
        (None, "grant_type=client_credentials&client_assertion_type=a&client_assertion=b", 400, "invalid_client"),
        (None, "grant_type=client_credentials&client_assertion=b", 400, "invalid_request"),
        (Some(basic("stranger-client", SECRET)), GRANT, 400, "unauthorized_client"),
    ] {
        let answer = ask_token(&setup, header, body).await;
        assert_eq!((answer.status, answer.json()["error"].as_str()), (status, Some(error)), "{body}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    let answer = setup.ask("POST", "/epic/oauth2/token", &[("content-type", "application/json")], "{}").await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some("invalid_request")));
    let answer = setup.ask("GET", "/epic/oauth2/token", &[], "").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    let answer = ask_token(&setup, good(), &"x".repeat(70_000)).await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn a_suspended_app_gets_none_and_one_that_cannot_be_signed_is_told_to_wait() {
    let setup = Setup::with(|world| world.set("App", "schedule-sync", "suspend", true.into())).await;
    let answer = ask_token(&setup, Some(basic(CLIENT_ID, SECRET)), GRANT).await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some("unauthorized_client")));

    setup.publish(World::without_signing_keys);
    let answer = ask_token(&setup, Some(basic(CLIENT_ID, SECRET)), GRANT).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
}

#[tokio::test]
async fn guessing_is_throttled_and_the_right_secret_still_passes() {
    let setup = Setup::new().await;
    for _ in 0..100 {
        assert_eq!(ask_token(&setup, Some(basic(CLIENT_ID, "wrong")), GRANT).await.status, 401);
    }
    let answer = ask_token(&setup, Some(basic(CLIENT_ID, "wrong")), GRANT).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("60")));
    assert_eq!(ask_token(&setup, Some(basic(CLIENT_ID, SECRET)), GRANT).await.status, 200);
}

#[tokio::test]
async fn discovery_and_keys_are_open_to_all() {
    let setup = Setup::new().await;
    for (path, member) in [
        ("/epic/fhir/.well-known/smart-configuration", "token_endpoint"),
        ("/epic/.well-known/openid-configuration", "jwks_uri"),
        ("/epic/oauth2/jwks", "keys"),
    ] {
        let answer = setup.ask("GET", path, &[], "").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{path}");
        assert!(answer.json().get(member).is_some(), "{path}");
    }
    let request =
        Request::get("/.well-known/oauth-authorization-server/default/epic").header("host", "gate.example.org");
    let answer = setup.send(request.body(Full::default()).unwrap()).await;
    assert_eq!(answer.json()["issuer"], "https://gate.example.org/default/epic");
    assert_eq!(setup.ask("POST", "/epic/oauth2/jwks", &[], "").await.status, 405);
    assert!(setup.ehr.reached().is_empty());
}
