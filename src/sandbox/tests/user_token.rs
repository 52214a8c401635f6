//! Codes and refresh tokens: what they are good for, once.

use rstest::rstest;
use secrecy::SecretString;

use super::token::BARE;
use super::user_support::*;
use super::*;
use crate::sandbox::FIRST_PATIENT;
use crate::sandbox::people::Person;
use crate::sandbox::user_session::{CodeFound, CodeGrant, LaunchContext, UserSession, UserSessions};

const SCOPE: &str = "launch/patient patient/*.rs offline_access";
const REFUSED: &str = r#"{"error":"invalid_grant","error_description":null}"#;

fn ehr() -> Ehr {
    ehr_with(Credential::Public)
}

fn form(code: &str) -> Vec<(&str, &str)> {
    vec![("grant_type", "authorization_code"), ("code", code), ("redirect_uri", CALLBACK), ("code_verifier", VERIFIER)]
}

async fn fhir_status(ehr: &Ehr, answer: &Value) -> u16 {
    ehr.fhir(answer["access_token"].as_str().unwrap(), "/Patient").await.status.as_u16()
}

#[tokio::test]
async fn each_kind_of_client_proves_who_it_is_as_it_registered() {
    let secret = ehr_with(Credential::ClientSecret(SecretString::from("a secret")));
    let code = secret.code(SCOPE, "camila.lopez", "").await;
    let basic = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:a+secret")));
    let answered = secret.token_request_with(&form(&code), &[("authorization", &basic)]).await;
    assert_eq!(answered.status, StatusCode::OK);
    assert_eq!((answered.header("cache-control"), answered.header("pragma")), (Some("no-store"), Some("no-cache")));
    let code = secret.code(SCOPE, "camila.lopez", "").await;
    let post = [form(&code), vec![("client_id", CLIENT), ("client_secret", "a secret")]].concat();
    assert_eq!(secret.token_request(&post).await.status, StatusCode::OK);

    let key = ehr_with(Credential::Jwks(RSA.jwks()));
    let (code, assertion) = (key.code(SCOPE, "camila.lopez", "").await, Draft::new(&RSA).signed());
    let signed =
        [form(&code), vec![("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &assertion)]].concat();
    assert_eq!(key.token_request(&signed).await.status, StatusCode::OK);

    // By its name alone comes a public client, and nobody else; it must not bring a secret.
    for confidential in [&secret, &key] {
        let code = confidential.code(SCOPE, "camila.lopez", "").await;
        let answered = confidential.exchange(&code).await;
        assert_eq!((answered.status, answered.text()), (StatusCode::BAD_REQUEST, BARE));
    }
    let public = ehr();
    let code = public.code(SCOPE, "camila.lopez", "").await;
    let post = [form(&code), vec![("client_id", CLIENT), ("client_secret", "a secret")]].concat();
    assert_eq!(public.token_request(&post).await.text(), BARE);
    assert_eq!(public.exchange(&code).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_user_facing_client_gets_no_token_for_itself() {
    let ehr = ehr();
    let answered = ehr.token_request(&[("grant_type", "client_credentials"), ("client_id", CLIENT)]).await;
    assert_eq!((answered.status, &answered.json()["error"]), (StatusCode::BAD_REQUEST, &json!("unauthorized_client")));
}

#[tokio::test]
async fn a_code_is_good_once_and_its_reuse_revokes_what_it_brought() {
    let ehr = ehr();
    let code = ehr.code(SCOPE, "camila.lopez", "").await;
    let answer = ehr.exchange(&code).await.json();
    assert_eq!(fhir_status(&ehr, &answer).await, 200);
    let again = ehr.exchange(&code).await;
    assert_eq!((again.status, again.text()), (StatusCode::BAD_REQUEST, REFUSED));
    assert_eq!(fhir_status(&ehr, &answer).await, 401);
    assert_eq!(ehr.refresh(answer["refresh_token"].as_str().unwrap()).await.text(), REFUSED);
}

#[rstest]
#[case(
    "redirect_uri",
    Some("https://gateway.test/"),
    "redirect_uri is \"https://gateway.test/\", not the one that the code was issued for"
)]
#[case("code_verifier", None, "code_verifier is missing, and a challenge was sent")]
#[case(
    "code_verifier",
    Some("too-short"),
    "code_verifier is not 43 to 128 unreserved characters, or does not fit the challenge"
)]
#[case(
    "code_verifier",
    Some("aBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
    "code_verifier is not 43 to 128 unreserved characters, or does not fit the challenge"
)]
#[case("code", Some("invented"), "the code was never issued, or is long forgotten")]
#[tokio::test]
async fn what_does_not_belong_to_the_code_is_refused(
    #[case] name: &str,
    #[case] value: Option<&str>,
    #[case] reason: &str,
) {
    let ehr = ehr();
    let code = ehr.code(SCOPE, "camila.lopez", "").await;
    let mut parameters = [form(&code), vec![("client_id", CLIENT)]].concat();
    parameters.retain(|(present, _)| *present != name);
    parameters.extend(value.map(|value| (name, value)));
    let answered = ehr.token_request(&parameters).await;
    assert_eq!((answered.status, answered.text()), (StatusCode::BAD_REQUEST, REFUSED));
    assert_eq!(ehr.last().reason.as_deref(), Some(reason));
    let log = serde_json::to_string(&ehr.log()).unwrap();
    assert!(!log.contains(VERIFIER) && !log.contains(&code));
}

#[tokio::test]
async fn a_verifier_without_a_challenge_is_refused() {
    let ehr = ehr_with(Credential::ClientSecret(SecretString::from("secret")));
    let without = changed(changed(request(SCOPE), "code_challenge", None), "code_challenge_method", None);
    let back = ehr.log_in(&ehr.authorize(&without).await, "camila.lopez").await.sent_back();
    let post = [form(&back["code"]), vec![("client_id", CLIENT), ("client_secret", "secret")]].concat();
    assert_eq!(ehr.token_request(&post).await.text(), REFUSED);
    assert_eq!(ehr.last().reason.as_deref(), Some("code_verifier came without a challenge before it"));
}

#[tokio::test]
async fn a_code_is_nothing_to_another_client_and_stays_good_for_its_own() {
    let ehr = ehr();
    let other =
        Registration { redirect_uris: vec![CALLBACK.to_owned()], ..Registration::new("other", Credential::Public) };
    ehr.shared.registry.register(other).unwrap();
    let code = ehr.code(SCOPE, "camila.lopez", "").await;
    let stolen = [form(&code), vec![("client_id", "other")]].concat();
    assert_eq!(ehr.token_request(&stolen).await.text(), REFUSED);
    assert_eq!(ehr.exchange(&code).await.status, StatusCode::OK);
}

#[test]
fn a_code_dies_after_a_minute() {
    let sessions = UserSessions::default();
    let session = UserSession {
        family: sessions.new_family(),
        client_id: CLIENT.to_owned(),
        person: Person::find("anna.cadence").unwrap(),
        context: LaunchContext::default(),
        scope: String::new(),
        scopes: Vec::new(),
        nonce: None,
        authenticated: 0,
    };
    let grant = CodeGrant { session, redirect_uri: CALLBACK.to_owned(), challenge: None };
    let codes = [0, 1].map(|_| sessions.issue_code(grant.clone(), 1000).unwrap());
    assert!(matches!(sessions.use_code(&codes[0], CLIENT, 1059), CodeFound::Good(_)));
    assert!(matches!(sessions.use_code(&codes[1], CLIENT, 1060), CodeFound::Expired));
}

#[tokio::test]
async fn a_refresh_token_comes_with_offline_or_online_access_alone() {
    let ehr = ehr();
    for (scope, comes) in [("offline_access", true), ("online_access", true), ("openid", false)] {
        let answer = ehr.launched(&format!("launch/patient patient/*.rs {scope}"), "camila.lopez", "").await;
        assert_eq!(answer.get("refresh_token").is_some(), comes, "{scope}");
    }
}

#[tokio::test]
async fn refreshing_turns_the_token_over_and_keeps_the_context() {
    let ehr = ehr();
    let first = ehr.launched(SCOPE, "anna.cadence", "patient-9").await;
    let second = ehr.refresh(first["refresh_token"].as_str().unwrap()).await.json();
    assert_eq!((&second["patient"], &second["scope"]), (&json!("patient-9"), &json!(SCOPE)));
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let third = ehr
        .token_request(&[
            ("grant_type", "refresh_token"),
            ("client_id", CLIENT),
            ("refresh_token", second["refresh_token"].as_str().unwrap()),
            ("scope", "patient/*.rs offline_access"),
        ])
        .await
        .json();
    assert_eq!(third["scope"], "patient/*.rs offline_access");
    let wider = [
        ("grant_type", "refresh_token"),
        ("client_id", CLIENT),
        ("refresh_token", third["refresh_token"].as_str().unwrap()),
        ("scope", "patient/*.cruds"),
    ];
    assert_eq!(ehr.token_request(&wider).await.json()["error"], "invalid_scope");
    assert_eq!(fhir_status(&ehr, &third).await, 200);

    // The first one once more: somebody has stolen one of the two.
    assert_eq!(ehr.refresh(first["refresh_token"].as_str().unwrap()).await.text(), REFUSED);
    assert_eq!(fhir_status(&ehr, &third).await, 401);
    assert_eq!(ehr.refresh(third["refresh_token"].as_str().unwrap()).await.text(), REFUSED);
}

#[tokio::test]
async fn a_test_can_expire_tokens_refuse_refreshes_and_change_answers() {
    let ehr = ehr();
    let answer = ehr.launched(SCOPE, "camila.lopez", "").await;
    ehr.post_json("/sandbox/tokens/expiry", &json!({})).await;
    assert_eq!(fhir_status(&ehr, &answer).await, 401);
    assert_eq!(ehr.last().reason.as_deref(), Some("the access token has expired"));
    let renewed = ehr.refresh(answer["refresh_token"].as_str().unwrap()).await.json();
    assert_eq!(fhir_status(&ehr, &renewed).await, 200);
    ehr.send(Request::delete("/sandbox/sessions").body(Body::empty()).unwrap()).await;
    assert_eq!(ehr.refresh(renewed["refresh_token"].as_str().unwrap()).await.text(), REFUSED);
    assert_eq!(fhir_status(&ehr, &renewed).await, 200);

    let fault = json!({ "tokenMembers": { "patient": "patient-8", "scope": null } });
    ehr.post_json("/sandbox/faults", &fault).await;
    let changed = ehr.launched(SCOPE, "camila.lopez", "").await;
    assert_eq!((&changed["patient"], changed.get("scope")), (&json!("patient-8"), None));
    assert_eq!(ehr.launched(SCOPE, "camila.lopez", "").await["patient"], FIRST_PATIENT);
}
