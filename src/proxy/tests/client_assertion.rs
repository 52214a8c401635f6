//! `private_key_jwt` at the token endpoint.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::json;

use super::ehr::answer;
use super::*;
use crate::protocol::oauth::client_assertion::TYPE;
use crate::protocol::test_support::{AppKey, claims};
use crate::values::key::{Algorithm, pem};

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
    let in_the_form = format!("{body}&client_secret={SECRET}");
    let answer = setup.ask("POST", "/epic/oauth2/token", &[FORM], &in_the_form).await;
    assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_request")));
    assert_eq!(setup.ask("POST", "/epic/oauth2/token", &[FORM], &body).await.status, 200, "its jti was not spent");
}

/// A text authenticated with what everybody knows, in the hope that the public key is taken for a secret.
fn mac(algorithm: hmac::Algorithm, alg: &str, public_key: &[u8]) -> String {
    let header = json!({"alg": alg, "kid": "key-1", "typ": "JWT"});
    let signed = [header, claims(CLIENT_ID, "mac", Timestamp::now())];
    let signed = signed.map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let tag = hmac::sign(&hmac::Key::new(algorithm, public_key), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

#[tokio::test]
async fn a_mac_over_the_public_key_proves_nothing() {
    // As the app published it: with an RSA key too, which is where this attack was found.
    let public_pem = include_bytes!("../../../tests/compile/keys/rsa-1/public.pem");
    let public_der = pem::only_block(public_pem, pem::PUBLIC_KEY).unwrap();
    let key = AppKey::rsa(&[Algorithm::Rs384]);
    let setup = with_key(&key).await;
    let jwk = key.jwk("key-1");
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let (jwk, jwks) = (jwk.to_string(), key.jwks().to_string());
    for public_key in [&public_pem[..], public_pem.trim_ascii(), &public_der, &modulus, jwk.as_bytes(), jwks.as_bytes()]
    {
        for (algorithm, alg) in
            [(hmac::HMAC_SHA256, "HS256"), (hmac::HMAC_SHA384, "HS384"), (hmac::HMAC_SHA384, "RS384")]
        {
            let answer = ask_with(&setup, &mac(algorithm, alg, public_key)).await;
            assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_client")), "{alg}");
        }
    }
    assert_eq!(ask_with(&setup, &good(&key, "mac")).await.status, 200, "its jti was not spent");
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

/// Assertions that differ from a good one in one thing, most of them signed with the registered key.
fn mutants(key: &AppKey) -> Vec<String> {
    let now = Timestamp::now();
    let (header, good) = (key.header(), claims(CLIENT_ID, "mutant", now));
    let with = |mut object: Value, name: &str, value: &Value| {
        object[name] = value.clone();
        object
    };
    let anything =
        [json!(null), json!(""), json!("x"), json!(0), json!(-1), json!(true), json!([]), json!({}), json!([""])];
    let mut mutants = Vec::new();
    for name in ["iss", "sub", "aud", "exp", "jti"] {
        // Of a `jti` any text will do.
        let values = anything.iter().filter(|value| name != "jti" || **value != json!("x"));
        mutants.extend(values.map(|value| key.sign(&header, &with(good.clone(), name, value))));
        let mut without = good.clone();
        without.as_object_mut().unwrap().remove(name);
        mutants.push(key.sign(&header, &without));
    }
    let second = now.as_second();
    for exp in [second - 31, second - 3600, second + 340, second + 3600, i64::MAX] {
        mutants.push(key.sign(&header, &with(good.clone(), "exp", &json!(exp))));
        mutants.push(key.sign(&header, &with(good.clone(), "exp", &json!(exp.to_string()))));
    }
    for name in ["nbf", "iat"] {
        let times = [json!(second + 60), json!(second + 3600), json!("0"), json!(null), json!([second])];
        mutants.extend(times.iter().map(|time| key.sign(&header, &with(good.clone(), name, time))));
    }
    for aud in [
        "https://gate.example.org/default/plain/oauth2/token",
        "https://gate.example.org/default/epic/fhir",
        "https://gate.example.org/default/epic/oauth2/introspect",
        "https://gate.example.org/default/epic/oauth2/token/",
        "http://gate.example.org/default/epic/oauth2/token",
        "https://GATE.example.org/default/epic/oauth2/token",
        "https://evil.example/default/epic/oauth2/token",
    ] {
        mutants.push(key.sign(&header, &with(good.clone(), "aud", &json!(aud))));
        mutants.push(key.sign(&header, &with(good.clone(), "aud", &json!([good["aud"], aud]))));
    }
    for alg in ["none", "None", "HS256", "HS384", "RS256", "RS384", "RS512", "PS384", "ES256", "ES512", "EdDSA", ""] {
        mutants.push(key.sign(&with(header.clone(), "alg", &json!(alg)), &good));
    }
    for (name, value) in [
        ("typ", json!("at+jwt")),
        ("typ", json!("id_token")),
        ("typ", json!(1)),
        ("kid", json!("key-2")),
        ("kid", json!("")),
        ("kid", json!(["key-1"])),
        ("jku", json!("https://evil.example/jwks.json")),
        ("jku", json!(1)),
        ("jwk", key.jwk("key-1")),
        ("x5u", json!("https://evil.example/x5u")),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
    ] {
        mutants.push(key.sign(&with(header.clone(), name, &value), &good));
    }
    // Another's key, in every way to bring it along.
    let attacker = AppKey::generate();
    let elsewhere = json!("https://evil.example/keys");
    for brought in [
        json!({}),
        json!({"jwk": attacker.jwk("key-1")}),
        json!({"jku": elsewhere}),
        json!({"x5u": elsewhere}),
        json!({"x5c": ["MIIB"]}),
    ] {
        let mut header = header.clone();
        header.as_object_mut().unwrap().extend(brought.as_object().unwrap().clone());
        mutants.push(attacker.sign(&header, &good));
    }
    // Bytes changed, spread over the whole text, and whole parts exchanged.
    let text = key.sign(&header, &good);
    for position in (0..text.len()).step_by(text.len() / 100) {
        let mut changed = text.clone();
        let other = if text.as_bytes()[position] == b'A' { "B" } else { "A" };
        changed.replace_range(position..=position, other);
        mutants.push(changed);
    }
    let parts: Vec<&str> = text.split('.').collect();
    for order in [[0, 1, 1], [0, 0, 2], [1, 0, 2], [2, 1, 0]] {
        mutants.push(order.map(|part| parts[part]).join("."));
    }
    mutants.push(format!("{}.{}.", parts[0], parts[1]));
    mutants
}

#[tokio::test]
async fn none_of_two_hundred_mutants_is_accepted() {
    let key = AppKey::generate();
    let setup = with_key(&key).await;
    let mutants = mutants(&key);
    assert!(mutants.len() >= 200, "{}", mutants.len());
    for mutant in &mutants {
        let answer = ask_with(&setup, mutant).await;
        assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_client")), "{mutant}");
    }
    assert_eq!(ask_with(&setup, &good(&key, "mutant")).await.status, 200, "its jti was not spent");
}
