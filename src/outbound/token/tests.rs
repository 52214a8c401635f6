use std::sync::Arc;
use std::time::Duration;

use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use http::header::{DATE, LOCATION};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::outbound::clock::testing::ManualClock;
use crate::outbound::testing::{Arrived, Ehr, World, backend_auth, invalid_client, token};
use crate::values::key::Algorithm;

const NOW: &str = "2026-06-10T12:00:00Z";

struct Bench {
    ehr: Ehr,
    clock: Arc<ManualClock>,
    tokens: EhrTokens,
    activation: Arc<Activation>,
}

fn tokens_of(world: &World, clock: &Arc<ManualClock>) -> EhrTokens {
    let client = EhrClient::new(world.platform.addresses.clone());
    EhrTokens::new(client, Arc::clone(clock) as Arc<dyn Clock>, Arc::default())
}

fn bench(ehr: Ehr, world: &World) -> Bench {
    let clock = Arc::new(ManualClock::starting_at(NOW.parse().unwrap()));
    Bench { tokens: tokens_of(world, &clock), activation: world.activation(), clock, ehr }
}

/// An activation by backendAuth as client `client-1`.
fn backend(ehr: Ehr, kind: &str) -> Bench {
    let world = World::with_ehr(&ehr.url("/fhir"), kind).backend(Some(&ehr.url("/token")), Some("client-1"));
    bench(ehr, &world)
}

impl Bench {
    async fn header(&self) -> Result<String, EhrTokenError> {
        let authorization = self.tokens.authorization(&self.activation).await?;
        Ok(authorization.header.unwrap().to_str().unwrap().to_owned())
    }

    fn asked(&self) -> usize {
        self.ehr.count("/token")
    }

    /// Waits until the EHR was asked that often.
    async fn asked_times(&self, times: usize) {
        for _ in 0..500 {
            if self.asked() == times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("asked {} times instead of {times}", self.asked());
    }

    async fn header_becomes(&self, expected: &str) {
        for _ in 0..500 {
            if self.header().await.as_deref() == Ok(expected) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("still {:?}", self.header().await);
    }
}

fn part(jwt: &str, index: usize) -> Value {
    let part = jwt.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn verify(arrived: &Arrived, activation: &Activation) -> (Value, Value) {
    let jwt = arrived.form().remove("client_assertion").unwrap();
    let (_, signing) = activation.ehr_authentication.key_pair().unwrap();
    let (message, signature) = jwt.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let key = signing.unwrap().signing.public().verifying_key(Algorithm::Es384).unwrap();
    key.verify(message.as_bytes(), &signature).unwrap();
    (part(&jwt, 0), part(&jwt, 1))
}

#[tokio::test]
async fn the_assertion_is_exactly_what_smart_and_epic_ask_for() {
    let bench = backend(Ehr::giving_tokens().await, "EpicR4External");
    assert_eq!(bench.header().await.unwrap(), "Bearer token-1");
    let [arrived] = &bench.ehr.arrived()[..] else { panic!("not exactly one request") };
    assert_eq!(arrived.method, "POST");
    assert_eq!(arrived.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(arrived.header("accept"), Some("application/json"));
    assert_eq!(arrived.header("epic-client-id"), Some("client-1"));
    assert_eq!(arrived.header("authorization"), None);
    let mut form = arrived.form();
    form.remove("client_assertion").unwrap();
    let expected = [
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("grant_type", "client_credentials"),
    ];
    assert_eq!(form, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());

    let (header, mut claims) = verify(arrived, &bench.activation);
    let (_, signing) = bench.activation.ehr_authentication.key_pair().unwrap();
    let kid = signing.unwrap().thumbprint.to_string();
    assert_eq!(header, json!({"alg": "ES384", "typ": "JWT", "kid": kid}));
    let jti = claims.as_object_mut().unwrap().remove("jti").unwrap();
    assert_eq!(jti.as_str().unwrap().parse::<Uuid>().unwrap().get_version_num(), 4);
    let now = NOW.parse::<Timestamp>().unwrap().as_second();
    assert_eq!(
        claims,
        json!({"iss": "client-1", "sub": "client-1", "aud": bench.ehr.url("/token"), "iat": now - 30, "exp": now + 240})
    );
}

#[tokio::test]
async fn the_audience_can_differ_from_the_url_and_scopes_are_sent_where_given() {
    let ehr = Ehr::giving_tokens().await;
    let mut system = backend_auth(Some(&ehr.url("/token")), Some("client-1"), 1);
    system["backendAuth"]["audience"] = json!("https://outside.example.org/token");
    system["backendAuth"]["scopes"] = json!(["system/Patient.rs", "system/Slot.rs"]);
    let world = World::with_ehr(&ehr.url("/fhir"), "FhirR4").activated(&system).key(1);
    let bench = bench(ehr, &world);
    bench.header().await.unwrap();
    let [arrived] = &bench.ehr.arrived()[..] else { panic!("not exactly one request") };
    assert_eq!(verify(arrived, &bench.activation).1["aud"], "https://outside.example.org/token");
    assert_eq!(arrived.form()["scope"], "system/Patient.rs system/Slot.rs");
    assert_eq!(arrived.header("epic-client-id"), None, "the header is Epic's habit alone");
}

#[tokio::test]
async fn a_thousand_cold_callers_ask_once() {
    let bench = Arc::new(backend(Ehr::giving_tokens().await, "FhirR4"));
    let callers = (0..1000).map(|_| {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move { bench.header().await })
    });
    for caller in futures::future::join_all(callers).await {
        assert_eq!(caller.unwrap().as_deref(), Ok("Bearer token-1"));
    }
    assert_eq!(bench.asked(), 1);
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_end_the_question() {
    let bench = backend(Ehr::giving_tokens().await, "FhirR4");
    let mut caller = Box::pin(bench.tokens.authorization(&bench.activation));
    assert!(futures::poll!(&mut caller).is_pending());
    drop(caller);
    bench.asked_times(1).await;
    assert_eq!(bench.header().await.unwrap(), "Bearer token-1");
    assert_eq!(bench.asked(), 1);
}

#[tokio::test]
async fn a_refusal_is_remembered_for_five_seconds_and_no_longer() {
    let bench = backend(Ehr::start(|_| invalid_client()).await, "FhirR4");
    let refused = bench.header().await.unwrap_err();
    assert_eq!(refused.to_string(), "the EHR refuses to give a token: it answered 400 (invalid_client)");
    assert_eq!(refused.request_code(), crate::values::code::Code::EhrRefusedToken);
    bench.ehr.now_answers(|_| token("fresh", 300));
    bench.clock.advance(Duration::from_millis(4999));
    assert_eq!(bench.header().await.unwrap_err(), refused);
    assert_eq!(bench.asked(), 1);
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(bench.header().await.unwrap(), "Bearer fresh");
    assert_eq!(bench.asked(), 2);
}

#[tokio::test]
async fn a_probe_asks_whatever_is_remembered_and_its_token_is_used() {
    let bench = backend(Ehr::start(|_| invalid_client()).await, "FhirR4");
    bench.header().await.unwrap_err();
    bench.ehr.now_answers(|_| token("fresh", 300));
    bench.tokens.ask(&bench.activation).await.unwrap();
    assert_eq!(bench.header().await.unwrap(), "Bearer fresh");
    assert_eq!(bench.asked(), 2);
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end_while_the_old_one_is_served() {
    let bench = backend(Ehr::giving_tokens().await, "FhirR4");
    assert_eq!(bench.header().await.unwrap(), "Bearer token-1");
    bench.clock.advance(Duration::from_secs(210)); // 70 %: too early, whatever the jitter
    assert_eq!(bench.header().await.unwrap(), "Bearer token-1");
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(bench.asked(), 1);
    bench.clock.advance(Duration::from_secs(31)); // beyond 80 %
    assert_eq!(bench.header().await.unwrap(), "Bearer token-1");
    bench.asked_times(2).await;
    bench.header_becomes("Bearer token-2").await;
}

#[tokio::test]
async fn a_renewal_that_fails_leaves_the_old_token_until_its_end() {
    let bench = backend(Ehr::giving_tokens().await, "FhirR4");
    bench.header().await.unwrap();
    bench.ehr.now_answers(|_| StatusCode::SERVICE_UNAVAILABLE.into_response());
    bench.clock.advance(Duration::from_secs(250));
    assert_eq!(bench.header().await.unwrap(), "Bearer token-1");
    bench.asked_times(2).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(bench.header().await.unwrap(), "Bearer token-1");
    assert_eq!(bench.asked(), 2, "the failure is remembered: not every request tries again");
    bench.clock.advance(Duration::from_secs(50));
    assert_eq!(bench.header().await.unwrap_err(), EhrTokenError::Unavailable { status: 503, retry_after: None });
}

#[tokio::test]
async fn a_pause_that_the_ehr_asks_for_is_kept() {
    let ehr = Ehr::start(|_| (StatusCode::TOO_MANY_REQUESTS, [(http::header::RETRY_AFTER, "60")]).into_response());
    let bench = backend(ehr.await, "FhirR4");
    let refused = EhrTokenError::Unavailable { status: 429, retry_after: Some(Duration::from_secs(60)) };
    assert_eq!(bench.header().await.unwrap_err(), refused);
    bench.clock.advance(Duration::from_secs(59));
    assert_eq!(bench.header().await.unwrap_err(), refused);
    assert_eq!(bench.asked(), 1);
    bench.clock.advance(Duration::from_secs(2));
    assert_eq!(bench.header().await.unwrap_err(), refused);
    assert_eq!(bench.asked(), 2);
}

#[tokio::test]
async fn forgetting_drops_exactly_the_token_that_was_used() {
    let bench = backend(Ehr::giving_tokens().await, "FhirR4");
    let first = bench.tokens.authorization(&bench.activation).await.unwrap();
    bench.tokens.forget(&bench.activation, &first);
    let second = bench.tokens.authorization(&bench.activation).await.unwrap();
    assert_eq!(second.header.clone().unwrap(), "Bearer token-2");
    bench.tokens.forget(&bench.activation, &first);
    assert_eq!(bench.tokens.authorization(&bench.activation).await.unwrap().header, second.header);
    assert_eq!(bench.asked(), 2);
}

#[tokio::test]
async fn a_changed_credential_never_meets_an_old_token() {
    let bench = backend(Ehr::giving_tokens().await, "FhirR4");
    assert_eq!(bench.header().await.unwrap(), "Bearer token-1");
    let changed = World::with_ehr(&bench.ehr.url("/fhir"), "FhirR4")
        .backend(Some(&bench.ehr.url("/token")), Some("client-2"))
        .activation();
    assert_eq!(changed.uid, bench.activation.uid);
    let authorization = bench.tokens.authorization(&changed).await.unwrap();
    assert_eq!(authorization.header.unwrap(), "Bearer token-2");
    assert_eq!(bench.header().await.unwrap(), "Bearer token-1", "requests that began before go on");
}

#[tokio::test]
async fn neither_a_redirect_nor_a_long_answer_is_followed() {
    let bench = backend(
        Ehr::start(|_| (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, "/elsewhere")]).into_response()).await,
        "FhirR4",
    );
    assert_eq!(
        bench.header().await.unwrap_err(),
        EhrTokenError::UnusableAnswer { reason: "it answered 307 (a redirect, which is not followed)".to_owned() }
    );
    assert_eq!(bench.ehr.count("/elsewhere"), 0);
    bench.ehr.now_answers(|_| "x".repeat(64 * 1024 + 1).into_response());
    bench.clock.advance(REFUSAL_REMEMBERED);
    assert_eq!(
        bench.header().await.unwrap_err(),
        EhrTokenError::UnusableAnswer { reason: "the answer is longer than 65536 bytes".to_owned() }
    );
}

#[tokio::test]
async fn the_token_url_is_discovered_once_where_nobody_wrote_it_down() {
    let ehr = Ehr::giving_tokens().await;
    let token_url = ehr.url("/token");
    let mut count = 0;
    ehr.now_answers(move |arrived| match arrived.path.as_str() {
        "/fhir/.well-known/smart-configuration" => axum::Json(json!({"token_endpoint": token_url})).into_response(),
        _ => {
            count += 1;
            token(&format!("token-{count}"), 300)
        }
    });
    let world = World::with_ehr(&ehr.url("/fhir"), "EpicR4External").backend(None, Some("client-1"));
    let bench = bench(ehr, &world);
    assert_eq!(bench.header().await.unwrap(), "Bearer token-1");
    bench.tokens.ask(&bench.activation).await.unwrap();
    let arrived = bench.ehr.arrived();
    let seen: Vec<_> =
        arrived.iter().map(|arrived| (arrived.path.as_str(), arrived.header("epic-client-id"))).collect();
    let client = Some("client-1");
    assert_eq!(seen, [("/fhir/.well-known/smart-configuration", client), ("/token", client), ("/token", client)]);
}

#[tokio::test]
async fn a_discovered_url_is_judged_like_a_written_one() {
    for (configuration, expected) in [
        (
            json!({"token_endpoint": "https://169.254.169.254/latest"}),
            "token_endpoint is not called: 169.254.169.254 is a loopback, link-local, private or otherwise special address; open it with --allow-address if it is meant",
        ),
        (json!({"token_endpoint": "file:///etc/passwd"}), "token_endpoint must be an http or https URL"),
        (json!({}), "it has no token_endpoint"),
    ] {
        let ehr = Ehr::start(move |_| axum::Json(configuration.clone()).into_response()).await;
        let world = World::with_ehr(&ehr.url("/fhir"), "FhirR4").backend(None, Some("client-1"));
        let bench = bench(ehr, &world);
        let reason = format!("its SMART configuration gives no token URL: {expected}; write tokenUrl");
        assert_eq!(bench.header().await.unwrap_err(), EhrTokenError::UnusableAnswer { reason });
    }
}

#[tokio::test]
async fn a_client_secret_goes_by_basic_or_by_post_and_is_encoded_first() {
    for (method, authorization, secret_in_form) in [
        ("client_secret_basic", Some("Basic Y2xpZW50JTJGMTpzKyUyQislMkYlMjUrJTNEJTNEKysrKysr"), None),
        ("client_secret_post", None, Some("s + /% ==      ")),
    ] {
        let ehr = Ehr::giving_tokens().await;
        let system = json!({"clientCredentials": {
            "clientId": "client/1", "clientSecretRef": {"name": "at-ehr", "key": "secret"},
            "tokenUrl": ehr.url("/token"), "tokenEndpointAuthMethod": method, "scopes": ["system/Patient.read"]}});
        let world = World::with_ehr(&ehr.url("/fhir"), "OracleHealthR4").activated(&system).secret(
            "at-ehr",
            "secret",
            "s + /% ==      ",
        );
        let bench = bench(ehr, &world);
        assert_eq!(bench.header().await.unwrap(), "Bearer token-1");
        let [arrived] = &bench.ehr.arrived()[..] else { panic!("not exactly one request") };
        assert_eq!(arrived.header("authorization"), authorization, "{method}");
        let form = arrived.form();
        assert_eq!(form["grant_type"], "client_credentials");
        assert_eq!(form["scope"], "system/Patient.read");
        assert_eq!(form.get("client_secret").map(String::as_str), secret_in_form, "{method}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_said_without_asking() {
    let ehr = Ehr::giving_tokens().await;
    let base = World::with_ehr(&ehr.url("/fhir"), "FhirR4");
    let url = ehr.url("/token");
    let without_id = bench(ehr.clone(), &base.clone().backend(Some(&url), None));
    assert_eq!(without_id.header().await.unwrap_err(), EhrTokenError::ClientIdMissing);
    let without_key = bench(ehr.clone(), &base.clone().activated(&backend_auth(Some(&url), Some("client-1"), 1)));
    assert_eq!(without_key.header().await.unwrap_err(), EhrTokenError::KeyUnready);
    let open = bench(ehr.clone(), &base.activated(&json!({"none": {}})));
    assert_eq!(open.tokens.authorization(&open.activation).await.unwrap().header, None);
    assert!(ehr.arrived().is_empty());
    assert!(open.tokens.outcomes().all().is_empty(), "the EHR has said nothing");
}

#[tokio::test]
async fn outcomes_are_told_when_they_are_news() {
    let bench = backend(Ehr::giving_tokens().await, "FhirR4");
    bench.ehr.now_answers(|_| {
        let mut answer = token("token", 300);
        answer.headers_mut().insert(DATE, HeaderValue::from_static("Wed, 10 Jun 2026 12:01:13 GMT"));
        answer
    });
    let outcomes = Arc::clone(bench.tokens.outcomes());
    let mut news = outcomes.watch();
    bench.header().await.unwrap();
    assert!(news.has_changed().unwrap());
    news.mark_unchanged();
    let outcome = outcomes.of(&bench.activation.uid).unwrap();
    let (_, signing) = bench.activation.ehr_authentication.key_pair().unwrap();
    let expected = EhrOutcome {
        credential_digest: bench.activation.credential_digest,
        key: Some(signing.unwrap().thumbprint),
        at: NOW.parse().unwrap(),
        answer: EhrAnswer::Accepted,
        clock_skew_seconds: Some(73),
    };
    assert_eq!(outcome, expected);
    bench.tokens.ask(&bench.activation).await.unwrap();
    assert!(!news.has_changed().unwrap(), "a renewed token is no news");
    bench.ehr.now_answers(|_| invalid_client());
    bench.tokens.ask(&bench.activation).await.unwrap_err();
    assert!(news.has_changed().unwrap());
}

#[tokio::test]
async fn proving_another_key_changes_nothing_for_requests() {
    let ehr = Ehr::giving_tokens().await;
    let world = World::with_ehr(&ehr.url("/fhir"), "FhirR4")
        .activated(&backend_auth(Some(&ehr.url("/token")), Some("client-1"), 2))
        .key(1)
        .key(2);
    let bench = bench(ehr, &world);
    let EhrAuthentication::BackendAuth(auth) = &bench.activation.ehr_authentication else { panic!() };
    let older = &auth.pair.revisions[0];
    bench.tokens.prove(&bench.activation, older).await.unwrap();
    let jwt = bench.ehr.arrived()[0].form().remove("client_assertion").unwrap();
    assert_eq!(part(&jwt, 0)["kid"], older.thumbprint.to_string());
    assert!(bench.tokens.outcomes().all().is_empty());
    assert_eq!(bench.header().await.unwrap(), "Bearer token-2", "the proof's token is thrown away");
}

#[tokio::test]
async fn no_token_shows_in_debug() {
    let bench = backend(Ehr::giving_tokens().await, "FhirR4");
    let authorization = bench.tokens.authorization(&bench.activation).await.unwrap();
    let shown = format!("{authorization:?} {:?}", bench.tokens);
    assert!(!shown.contains("token-1"), "{shown}");
}

#[tokio::test]
async fn a_connection_that_the_ehr_closed_costs_one_more_question_with_another_assertion() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let questions = tokio::spawn(async move {
        let mut questions = Vec::new();
        for attempt in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut question = vec![0; 16 * 1024];
            let length = stream.read(&mut question).await.unwrap();
            questions.push(String::from_utf8(question[..length].to_vec()).unwrap());
            if attempt == 1 {
                let body = r#"{"access_token":"token","expires_in":300}"#;
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
        questions
    });
    let world =
        World::with_ehr(&format!("{base}/fhir"), "FhirR4").backend(Some(&format!("{base}/token")), Some("client-1"));
    let clock = Arc::new(ManualClock::starting_at(NOW.parse().unwrap()));
    let authorization = tokens_of(&world, &clock).authorization(&world.activation()).await.unwrap();
    assert_eq!(authorization.header.unwrap(), "Bearer token");
    let questions = questions.await.unwrap();
    assert_ne!(questions[0], questions[1], "the same assertion twice would be refused as replayed");
}
