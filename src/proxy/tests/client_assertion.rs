//! `private_key_jwt` at the token endpoint.

use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::json;

use super::ehr::answer;
use super::*;
use crate::protocol::oauth::client_assertion::TYPE;
use crate::protocol::test_support::{AppKey, claims};

/// `schedule-sync` with this key, inline.
async fn with_key(key: &AppKey) -> Setup {
    Setup::with(|world| world.set("App", "schedule-sync", "jwks", key.jwks())).await
}

async fn ask_with(setup: &Setup, assertion: &str) -> Answer {
    let body = format!("{GRANT}&client_assertion_type={TYPE}&client_assertion={assertion}&scope=system/Patient.rs");
    setup.ask("POST", "/epic/oauth2/token", &[FORM], &body).await
}

fn good(key: &AppKey, jti: &str) -> String {
    key.sign(&key.header(), &claims(CLIENT_ID, jti, Timestamp::now()))
}

fn told(answer: &Answer) -> (u16, String) {
    let json = answer.json();
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    (answer.status, format!("{} {}", json["error"].as_str().unwrap(), json["error_description"].as_str().unwrap()))
}

#[tokio::test]
async fn a_signed_assertion_gets_a_token_that_works() {
    let key = AppKey::generate();
    let setup = with_key(&key).await;
    let answer = ask_with(&setup, &good(&key, "jti-1")).await;
    assert_eq!((answer.status, &answer.json()["scope"]), (200, &json!("system/Patient.rs")));
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(setup.get("/epic/fhir/Patient/1", &token).await.status, 200);
    // The app has a secret besides, which goes on working: so it can move from one to the other.
    assert!(!setup.token_at("epic").await.is_empty());
}

#[tokio::test]
async fn an_assertion_is_good_once() {
    let key = AppKey::generate();
    let setup = with_key(&key).await;
    let assertion = good(&key, "jti-1");
    let answers = join_all((0..20).map(|_| ask_with(&setup, &assertion))).await;
    let (issued, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((issued.len(), refused.len()), (1, 19));
    let replayed = "invalid_client HG7028: the client assertion was used before (jti)".to_owned();
    assert!(refused.into_iter().all(|answer| told(answer) == (400, replayed.clone())));
    // Its claims may come again under another jti; and a forged one does not spend the jti of a good one.
    let forged = AppKey::generate().sign(&key.header(), &claims(CLIENT_ID, "jti-2", Timestamp::now()));
    assert_eq!(ask_with(&setup, &forged).await.status, 400);
    assert_eq!(ask_with(&setup, &good(&key, "jti-2")).await.status, 200);
}

#[tokio::test]
async fn whatever_is_wrong_with_the_registration_is_told_in_the_same_bytes() {
    let key = AppKey::generate();
    let setup = with_key(&key).await;
    let now = Timestamp::now();
    let renamed = json!({"alg": "ES384", "kid": "unknown"});
    let elsewhere = json!({"alg": "ES384", "kid": "key-1", "jku": "https://evil.example/jwks.json"});
    let mut answers = Vec::new();
    for assertion in [
        key.sign(&key.header(), &claims("nobody", "a", now)),
        key.sign(&key.header(), &claims("stranger-client", "a", now)),
        key.sign(&key.header(), &claims("mobile-client", "a", now)),
        key.sign(&renamed, &claims(CLIENT_ID, "a", now)),
        key.sign(&elsewhere, &claims(CLIENT_ID, "a", now)),
        AppKey::generate().sign(&key.header(), &claims(CLIENT_ID, "a", now)),
    ] {
        let mut answer = ask_with(&setup, &assertion).await;
        answer.headers.remove("x-request-id");
        answers.push((answer.status, answer.headers, answer.body));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    assert_eq!(answers[0].0, 400);
    assert!(!answers[0].1.contains_key("www-authenticate"));
    let body: Value = serde_json::from_slice(&answers[0].2).unwrap();
    assert_eq!(body["error"], "invalid_client");
}

#[tokio::test]
async fn what_the_assertion_says_itself_is_told() {
    let key = AppKey::generate();
    let setup = with_key(&key).await;
    let mut late = claims(CLIENT_ID, "a", Timestamp::now());
    late["exp"] = json!(Timestamp::now().as_second() + 3600);
    let answer = ask_with(&setup, &key.sign(&key.header(), &late)).await;
    let sentence = "invalid_client HG7028: the client assertion's exp is more than 5 minutes ahead";
    assert_eq!(told(&answer), (400, sentence.to_owned()));
}

#[tokio::test]
async fn an_assertion_beside_a_secret_is_two_ways() {
    let key = AppKey::generate();
    let setup = with_key(&key).await;
    let body = format!("{GRANT}&client_assertion_type={TYPE}&client_assertion={}", good(&key, "jti-1"));
    let answer = setup.ask("POST", "/epic/oauth2/token", &[FORM, basic(CLIENT_ID, SECRET).as_header()], &body).await;
    assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_request")));
}

#[tokio::test]
async fn a_flood_of_forged_assertions_is_answered_without_checking_them() {
    let key = AppKey::generate();
    let setup = with_key(&key).await;
    let forged = AppKey::generate().sign(&key.header(), &claims(CLIENT_ID, "a", Timestamp::now()));
    for _ in 0..100 {
        assert_eq!(ask_with(&setup, &forged).await.status, 400);
    }
    let answer = ask_with(&setup, &forged).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("60")));
    // The right one still gets through, if not at every moment: a few signatures a second are checked.
    let passed = async {
        let mut tries = 0;
        while ask_with(&setup, &good(&key, "jti-1")).await.status == 429 {
            tries += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tries
    };
    assert!(tokio::time::timeout(Duration::from_secs(5), passed).await.is_ok());
    // Secrets are throttled by themselves.
    assert!(!setup.token_at("epic").await.is_empty());
}

#[tokio::test]
async fn keys_at_a_url_are_fetched_once_and_again_when_they_change() {
    let (old, new) = (AppKey::generate(), AppKey::generate());
    let published = Arc::new(std::sync::Mutex::new(old.jwks()));
    let shown = Arc::clone(&published);
    let app = Ehr::answering(move |_| {
        let keys = shown.lock().unwrap().to_string();
        answer(200, &[("content-type", "application/json"), ("cache-control", "max-age=1")], &keys)
    })
    .await;
    let url = json!(format!("{}/jwks.json", app.url));
    let setup = Setup::with(|world| world.set("App", "schedule-sync", "jwksUri", url)).await;
    for jti in ["a", "b", "c"] {
        assert_eq!(ask_with(&setup, &good(&old, jti)).await.status, 200, "{jti}");
    }
    assert!(app.reached().len() <= 2, "the set is kept for a second");
    *published.lock().unwrap() = json!({"keys": [new.jwk("key-2")]});
    let header = json!({"alg": "ES384", "kid": "key-2"});
    let moved = async {
        let mut count = 0;
        loop {
            let assertion = new.sign(&header, &claims(CLIENT_ID, &format!("new-{count}"), Timestamp::now()));
            if ask_with(&setup, &assertion).await.status == 200 {
                break;
            }
            count += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), moved).await.unwrap();
    assert_eq!(ask_with(&setup, &good(&old, "d")).await.status, 400, "the old key is gone");
    assert!(app.reached().iter().all(|reached| reached.target == "/jwks.json" && reached.method == "GET"));
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_prove_nothing() {
    let key = AppKey::generate();
    let setup =
        Setup::with(|world| world.set("App", "schedule-sync", "jwksUri", json!("http://127.0.0.1:9/jwks"))).await;
    assert_eq!(told(&ask_with(&setup, &good(&key, "a")).await).0, 400);
    // With its secret the app gets on.
    assert!(!setup.token_at("epic").await.is_empty());
}
