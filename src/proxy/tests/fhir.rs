//! The FHIR API: what reaches the EHR, what does not, and what comes back.

use rstest::rstest;
use serde_json::json;

use super::ehr::{answer, json as fhir_json};
use super::*;

const EHR_BASIC: &str = "Basic ZWhyLXVzZXI6ZWhyLXBhc3N3b3JkLTAxMjM0NTY3ODk=";

#[tokio::test]
async fn a_read_reaches_the_ehr_with_the_ehrs_credentials() {
    let setup = Setup::new().await;
    let token = setup.token_at("epic").await;
    let answer = setup.get("/epic/fhir/Patient/1?_elements=name&_summary=", &token).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"resourceType": "Patient", "id": "1"})));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let reached = setup.ehr.only();
    assert_eq!((reached.method.as_str(), reached.target.as_str()), ("GET", "/fhir/Patient/1?_elements=name&_summary="));
    assert_eq!(reached.header("authorization"), Some(EHR_BASIC));
    assert_eq!(reached.header("accept"), Some("application/fhir+json"));
    assert_eq!(reached.header("accept-encoding"), Some("identity"));
    assert_eq!(reached.header("x-site"), Some("north"));
    assert_eq!(reached.header("x-request-id"), answer.header("x-request-id"));
}

#[tokio::test]
async fn path_and_query_are_sent_on_letter_by_letter() {
    let setup = Setup::new().await;
    let token = setup.token_at("epic").await;
    let query = "name:exact=M%C3%BCller%2C&_count=5&date=ge2020&empty=&x=a%20b+c'%7C";
    setup.get(&format!("/epic/fhir/Patient?{query}"), &token).await;
    assert_eq!(setup.ehr.only().target, format!("/fhir/Patient?{query}"));
}

#[tokio::test]
async fn an_ehr_that_asks_for_nothing_gets_nothing() {
    let setup = Setup::new().await;
    let token = setup.token_at("plain").await;
    assert_eq!(setup.get("/plain/fhir/Patient/1", &token).await.status, 200);
    assert_eq!(setup.ehr.only().header("authorization"), None);
}

#[tokio::test]
async fn without_a_good_token_nothing_reaches_the_ehr() {
    let setup = Setup::new().await;
    let token = setup.token_at("epic").await;
    let answer = setup.ask("GET", "/epic/fhir/Patient/1", &[], "").await;
    assert_eq!(answer.refusal(), (401, "HG7001".into()));
    let bare = "Bearer realm=\"https://gate.example.org/default/epic/fhir\"";
    assert_eq!(answer.header("www-authenticate"), Some(bare));

    let answer = setup.get("/epic/fhir/Patient/1", "nonsense").await;
    assert_eq!(answer.refusal(), (401, "HG7002".into()));
    assert_eq!(answer.header("www-authenticate"), Some(format!("{bare}, error=\"invalid_token\"").as_str()));

    let answer = setup.get("/plain/fhir/Patient/1", &token).await;
    assert_eq!(answer.refusal(), (401, "HG7004".into()));
    let answer = setup.get(&format!("/epic/fhir/Patient/1?access_token={token}"), &token).await;
    assert_eq!(answer.refusal(), (400, "HG7012".into()));
    let answer = setup.ask("GET", "/epic/fhir/Patient/1", &[basic("a", "b").as_header()], "").await;
    assert_eq!(answer.refusal(), (400, "HG7017".into()));

    setup.publish(|world| world.set("Activation", "sync-epic", "suspend", true.into()));
    assert_eq!(setup.get("/epic/fhir/Patient/1", &token).await.refusal(), (401, "HG7006".into()));
    setup.publish(|world| world.set("Activation", "sync-epic", "expiresAt", json!("2020-01-01T00:00:00Z")));
    assert_eq!(setup.get("/epic/fhir/Patient/1", &token).await.refusal(), (401, "HG7007".into()));
    setup.publish(|world| world.without("Activation", "sync-epic"));
    assert_eq!(setup.get("/epic/fhir/Patient/1", &token).await.refusal(), (401, "HG7005".into()));
    assert!(setup.ehr.reached().is_empty());

    setup.publish(|world| world);
    assert_eq!(setup.get("/epic/fhir/Patient/1", &token).await.status, 200);
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let setup = Setup::new().await;
    let snapshot = setup.snapshot.load_full().unwrap();
    let activation = snapshot.activation_by_uid("uid-of-sync-epic").unwrap();
    let long_ago = "2026-01-01T00:00:00Z".parse().unwrap();
    let issued = crate::protocol::jwt::issue(
        activation,
        crate::protocol::jwt::Subject::Client,
        &activation.ceiling,
        long_ago,
        "id",
    )
    .unwrap();
    let token = secrecy::ExposeSecret::expose_secret(&issued.token);
    assert_eq!(setup.get("/epic/fhir/Patient/1", token).await.refusal(), (401, "HG7003".into()));
    assert!(setup.ehr.reached().is_empty());
}

#[rstest]
#[case("GET", "/Encounter/1", "", 403, "HG7008")]
#[case("DELETE", "/Patient/1", "", 403, "HG7008")]
#[case("PUT", "/Patient/1", "application/fhir+json", 403, "HG7008")]
#[case("GET", "/Patient/_unknown", "", 403, "HG7009")]
#[case("GET", "/Patient/$match", "", 403, "HG7010")]
#[case("GET", "/Patient?_revinclude=Provenance:target", "", 403, "HG7018")]
#[case("GET", "/Patient?_format=xml", "", 406, "HG7014")]
#[case("POST", "/Appointment", "application/fhir+xml", 415, "HG7016")]
#[case("POST", "", "application/fhir+json", 400, "HG7068")]
#[case("GET", "/Patient/../Encounter/1", "", 400, "HG7011")]
#[case("GET", "/Patient/%2e%2e/Encounter/1", "", 400, "HG7011")]
#[case("GET", "/Patient/1%2fx", "", 400, "HG7011")]
#[case("GET", "//Patient/1", "", 400, "HG7011")]
#[case("GET", "/Patient;a=b/1", "", 400, "HG7011")]
#[case("OPTIONS", "/Patient/1", "", 405, "HG7013")]
#[tokio::test]
async fn what_may_not_pass_does_not_reach_the_ehr(
    #[case] method: &str,
    #[case] path: &str,
    #[case] content_type: &str,
    #[case] status: u16,
    #[case] code: &str,
) {
    let setup = Setup::new().await;
    let token = format!("Bearer {}", setup.token_at("epic").await);
    let mut headers = vec![("authorization", token.as_str())];
    if !content_type.is_empty() {
        headers.push(("content-type", content_type));
    }
    let answer = setup.ask(method, &format!("/epic/fhir{path}"), &headers, "{}").await;
    assert_eq!(answer.refusal(), (status, code.to_owned()));
    assert_eq!(answer.side(), "app");
    assert!(setup.ehr.reached().is_empty());
}

#[tokio::test]
async fn a_missing_scope_is_named() {
    let setup = Setup::new().await;
    let token = setup.token_at("epic").await;
    let answer = setup.get("/epic/fhir/Encounter/1", &token).await;
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.ends_with("error=\"insufficient_scope\", scope=\"system/Encounter.r\""), "{challenge}");
    let text = &answer.json()["issue"][0]["details"]["text"];
    assert_eq!(text, "the token would need the scope system/Encounter.r");
}

#[tokio::test]
async fn a_search_by_post_is_read_before_it_passes() {
    let setup = Setup::new().await;
    let token = format!("Bearer {}", setup.token_at("epic").await);
    let form = ("content-type", "application/x-www-form-urlencoded; charset=utf-16");
    let headers = [("authorization", token.as_str()), form];
    let path = "/epic/fhir/Patient/_search";
    let refused = setup.ask("POST", path, &headers, "_has:Encounter:patient:date=1").await;
    assert_eq!(refused.refusal(), (403, "HG7018".into()));
    assert!(setup.ehr.reached().is_empty());
    assert_eq!(setup.ask("POST", path, &headers, "name=a&birthdate=2000").await.status, 200);
    let reached = setup.ehr.only();
    assert_eq!((reached.target.as_str(), &reached.body[..]), ("/fhir/Patient/_search", &b"name=a&birthdate=2000"[..]));
    assert_eq!(reached.header("content-type"), Some("application/x-www-form-urlencoded"));
}

#[tokio::test]
async fn a_create_is_carried_there_and_its_place_back() {
    let ehr = Ehr::answering(|reached| {
        let host = reached.header("host").unwrap();
        answer(
            201,
            &[
                ("location", &format!("http://{host}/fhir/Appointment/7/_history/1")),
                ("etag", "W/\"1\""),
                ("set-cookie", "a=b"),
                ("content-type", "application/fhir+json"),
            ],
            "{}",
        )
    })
    .await;
    let setup = Setup::in_front_of(ehr, |world| world).await;
    let token = format!("Bearer {}", setup.token_at("epic").await);
    let headers = [
        ("authorization", token.as_str()),
        ("content-type", "application/fhir+json"),
        ("if-none-exist", "identifier=7"),
        ("prefer", "return=representation"),
    ];
    let body = r#"{"resourceType":"Appointment"}"#;
    let answer = setup.ask("POST", "/epic/fhir/Appointment", &headers, body).await;
    assert_eq!(answer.status, 201);
    let place = "https://gate.example.org/default/epic/fhir/Appointment/7/_history/1";
    assert_eq!(answer.header("location"), Some(place));
    assert_eq!((answer.header("etag"), answer.header("set-cookie")), (Some("W/\"1\""), None));
    let reached = setup.ehr.only();
    assert_eq!(reached.body, body);
    assert_eq!(reached.header("if-none-exist"), Some("identifier=7"));
    assert_eq!(reached.header("prefer"), Some("return=representation"));
}

#[tokio::test]
async fn a_bundles_links_lead_to_the_gateway() {
    let ehr = Ehr::answering(|reached| {
        let host = reached.header("host").unwrap();
        fhir_json(
            200,
            &format!(
                r#"{{"resourceType":"Bundle","link":[{{"relation":"self","url":"http://{host}/fhir/Patient?name=a"}}],"entry":[{{"fullUrl":"http://{host}/fhir/Patient/1"}}]}}"#
            ),
        )
    })
    .await;
    let setup = Setup::in_front_of(ehr, |world| world).await;
    let token = setup.token_at("epic").await;
    let base = "https://gate.example.org/default/epic/fhir";
    assert_eq!(
        setup.get("/epic/fhir/Patient?name=a", &token).await.json(),
        json!({
            "resourceType": "Bundle", "link": [{"relation": "self", "url": format!("{base}/Patient?name=a")}],
            "entry": [{"fullUrl": format!("{base}/Patient/1")}],
        })
    );
}

#[tokio::test]
async fn an_ehr_that_does_not_know_its_own_scheme_is_understood() {
    let ehr = Ehr::answering(|reached| {
        let twin = format!("HTTPS://{}/fhir", reached.header("host").unwrap());
        let body = json!({"resourceType": "Appointment", "subject": {"reference": format!("{twin}/Patient/1")},
            "extension": [{"url": format!("{twin}/StructureDefinition/a")}]});
        let headers = [("location", format!("{twin}/Appointment/7")), ("content-location", format!("{twin}/a"))];
        let mut answer = fhir_json(201, &body.to_string());
        for (name, value) in headers {
            answer.headers_mut().insert(name, value.parse().unwrap());
        }
        answer
    });
    let setup = Setup::in_front_of(ehr.await, |world| world).await;
    let token = format!("Bearer {}", setup.token_at("epic").await);
    let headers = [("authorization", token.as_str()), ("content-type", "application/fhir+json")];
    let answer = setup.ask("POST", "/epic/fhir/Appointment", &headers, r#"{"resourceType":"Appointment"}"#).await;
    let base = "https://gate.example.org/default/epic/fhir";
    assert_eq!(answer.header("location"), Some(format!("{base}/Appointment/7").as_str()));
    assert_eq!(answer.header("content-location"), Some(format!("{base}/a").as_str()));
    assert_eq!(answer.json()["subject"]["reference"], format!("{base}/Patient/1"));
    let canonical = answer.json()["extension"][0]["url"].as_str().unwrap().to_owned();
    assert!(canonical.starts_with("HTTPS://127.0.0.1"), "{canonical}");
}

/// A resource as a client read it at the gateway, or as the EHR has it.
fn appointment(base: &str, length: usize) -> Value {
    json!({"resourceType": "Appointment", "id": "1", "comment": "x".repeat(length),
        "participant": [{"actor": {"reference": format!("{base}/Patient/1"), "display": base}}],
        "extension": [{"url": format!("{base}/StructureDefinition/a"), "valueReference": {"reference": "Patient/2"}}]})
}

#[rstest]
#[case::short(10)]
#[case::held(300_000)]
#[case::in_chunks(1_100_000)]
#[tokio::test]
async fn what_was_read_here_is_written_back_there(#[case] length: usize) {
    let setup = Setup::new().await;
    let token = format!("Bearer {}", setup.token_at("epic").await);
    let headers = [("authorization", token.as_str()), ("content-type", "application/fhir+json")];
    let ours = "https://gate.example.org/default/epic/fhir";
    let answer = setup.ask("PUT", "/epic/fhir/Appointment/1", &headers, &appointment(ours, length).to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let reached = setup.ehr.only();
    let mut expected = appointment(ours, length);
    expected["participant"][0]["actor"]["reference"] = format!("{}/fhir/Patient/1", setup.ehr.url).into();
    assert_eq!(serde_json::from_slice::<Value>(&reached.body).unwrap(), expected);
    let told = reached.header("content-length").map(|length| length.parse().unwrap());
    assert_eq!(told, (length < 1_000_000).then_some(reached.body.len()));
}

#[tokio::test]
async fn what_was_read_here_is_asked_for_there() {
    let setup = Setup::new().await;
    let token = setup.token_at("epic").await;
    let (here, there) = ("https://gate.example.org/default/epic/fhir", format!("{}/fhir", setup.ehr.url));
    let encoded = here.replace(':', "%3A").replace('/', "%2F");
    let query = |base: &str| format!("code=http://loinc.org%7C8867-4&subject={base}/Patient/1,{base}/Patient/2&x=b+c'");
    for asked in [query(here), query(&encoded)] {
        setup.get(&format!("/epic/fhir/Observation?{asked}"), &token).await;
        assert_eq!(setup.ehr.reached().pop().unwrap().target, format!("/fhir/Observation?{}", query(&there)));

        let bearer = format!("Bearer {token}");
        let form = ("content-type", "application/x-www-form-urlencoded");
        setup.ask("POST", "/epic/fhir/Observation/_search", &[("authorization", &bearer), form], &asked).await;
        let reached = setup.ehr.reached().pop().unwrap();
        assert_eq!((reached.target.as_str(), &reached.body), ("/fhir/Observation/_search", &query(&there).into()));
    }
}

#[tokio::test]
async fn what_was_read_here_is_patched_in_there() {
    let setup = Setup::new().await;
    let token = setup.token_at("epic").await;
    let patch = |base: &str| {
        format!(
            r#"[ {{"op": "replace", "path": "/participant/0/actor/reference", "value": "{base}/Patient/1"}},
            {{"op": "add", "path": "/participant/-", "value": {{"actor": {{"reference": "{base}/Patient/2"}}}}}},
            {{"op": "add", "path": "/extension/0/valueDecimal", "value": 1.00}} ]"#
        )
    };
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json-patch+json")];
    let here = patch("https://gate.example.org/default/epic/fhir");
    let answer = setup.ask("PATCH", "/epic/fhir/Appointment/1", &headers, &here).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert_eq!(setup.ehr.only().body, patch(&format!("{}/fhir", setup.ehr.url)));
}

#[tokio::test]
async fn the_entries_of_a_batch_are_written_back_there_too() {
    let setup = Setup::new().await;
    let token = format!("Bearer {}", setup.token_at("epic").await);
    let headers = [("authorization", token.as_str()), ("content-type", "application/fhir+json")];
    let batch = |base: &str| {
        json!({"resourceType": "Bundle", "type": "transaction", "entry": [{"fullUrl": format!("{base}/Appointment/1"),
            "request": {"method": "PUT", "url": "Appointment/1"}, "resource": {"resourceType": "Appointment", "id": "1",
            "slot": [{"reference": format!("{base}/Slot/1")}]}}]})
    };
    let ours = batch("https://gate.example.org/default/epic/fhir").to_string();
    assert_eq!(setup.ask("POST", "/epic/fhir", &headers, &ours).await.status, 200);
    let reached: Value = serde_json::from_slice(&setup.ehr.only().body).unwrap();
    assert_eq!(reached, batch(&format!("{}/fhir", setup.ehr.url)));
}

#[tokio::test]
async fn endless_nesting_in_a_body_is_refused() {
    let setup = Setup::new().await;
    let token = format!("Bearer {}", setup.token_at("epic").await);
    let headers = [("authorization", token.as_str()), ("content-type", "application/fhir+json")];
    let answer = setup.ask("POST", "/epic/fhir/Appointment", &headers, &"[".repeat(1000)).await;
    assert_eq!(answer.refusal(), (400, "HG7068".into()));
    assert!(setup.ehr.reached().is_empty());
}

fn with_client_credentials(world: World, ehr: &str) -> World {
    let method = json!({"clientId": "epic-client", "clientSecretRef": {"name": "ehr", "key": "basic"},
        "tokenUrl": format!("{ehr}/token")});
    world.set(
        "Activation",
        "sync-epic",
        "ehrAuthentication",
        json!({"type": "System", "system": {"clientCredentials": method}}),
    )
}

async fn with_tokens(handler: impl Fn(&str) -> (u16, &'static str) + Send + Sync + 'static) -> Setup {
    let count = std::sync::atomic::AtomicU32::new(0);
    let ehr = Ehr::answering(move |reached| {
        if reached.target == "/token" {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            let token = format!(r#"{{"access_token":"token-{number}","token_type":"bearer","expires_in":300}}"#);
            return answer(200, &[("content-type", "application/json")], &token);
        }
        let (status, body) = handler(reached.header("authorization").unwrap());
        fhir_json(status, body)
    })
    .await;
    let url = ehr.url.clone();
    Setup::in_front_of(ehr, |world| with_client_credentials(world, &url)).await
}

#[tokio::test]
async fn after_the_ehrs_401_a_fresh_token_is_tried_once() {
    let setup =
        with_tokens(|authorization| if authorization == "Bearer token-1" { (401, "{}") } else { (200, "{}") }).await;
    let token = format!("Bearer {}", setup.token_at("epic").await);
    let headers = [("authorization", token.as_str()), ("content-type", "application/fhir+json")];
    assert_eq!(setup.ask("POST", "/epic/fhir/Appointment", &headers, "{\"a\":1}").await.status, 200);
    let reached: Vec<_> = setup.ehr.reached().into_iter().filter(|reached| reached.target != "/token").collect();
    assert_eq!(reached.len(), 2);
    assert!(reached.iter().all(|reached| reached.body == "{\"a\":1}"));
    assert_eq!(reached[1].header("authorization"), Some("Bearer token-2"));
    assert_eq!(reached[1].header("epic-client-id"), Some("epic-client"));
}

#[tokio::test]
async fn the_ehrs_second_401_is_a_bad_gateway() {
    let setup = with_tokens(|_| (401, r#"{"secret":"of the EHR"}"#)).await;
    let token = setup.token_at("epic").await;
    let answer = setup.get("/epic/fhir/Patient/1", &token).await;
    assert_eq!((answer.refusal(), answer.side()), ((502, "HG7043".into()), "ehr".into()));
    assert_eq!(answer.header("www-authenticate"), None);
    assert_eq!(setup.ehr.reached().len(), 4);
}

#[tokio::test]
async fn a_token_that_the_ehr_refuses_is_told_with_the_activations_name() {
    let ehr =
        Ehr::answering(|_| answer(400, &[("content-type", "application/json")], r#"{"error":"invalid_client"}"#)).await;
    let url = ehr.url.clone();
    let setup = Setup::in_front_of(ehr, |world| with_client_credentials(world, &url)).await;
    let token = setup.token_at("epic").await;
    let answer = setup.get("/epic/fhir/Patient/1", &token).await;
    assert_eq!((answer.refusal(), answer.side()), ((502, "HG7040".into()), "ehr".into()));
    let text = answer.json()["issue"][0]["details"]["text"].as_str().unwrap().to_owned();
    assert!(
        text.contains("default/sync-epic") && text.contains("invalid_client") && text.contains("nextStep"),
        "{text}"
    );
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let ehr = Ehr::answering(|reached| {
        let host = reached.header("host").unwrap();
        answer(302, &[("location", &format!("http://{host}/elsewhere"))], "")
    })
    .await;
    let setup = Setup::in_front_of(ehr, |world| world).await;
    let token = setup.token_at("epic").await;
    let answer = setup.get("/epic/fhir/Patient/1", &token).await;
    assert_eq!((answer.refusal(), answer.side()), ((502, "HG7044".into()), "ehr".into()));
    assert_eq!(answer.header("location"), None);
    assert_eq!(setup.ehr.only().target, "/fhir/Patient/1");
}

#[rstest]
#[case(200, &[("content-type", "text/html")], "<h1>Log in</h1>", (502, "HG7045"))]
#[case(200, &[("content-type", "application/fhir+json"), ("content-encoding", "gzip")], "x", (502, "HG7045"))]
#[case(200, &[("content-type", "application/fhir+json"), ("content-encoding", "br")], "{}", (502, "HG7045"))]
#[case(200, &[("content-type", "application/fhir+json"), ("content-encoding", "gzip, gzip")], "{}", (502, "HG7045"))]
#[case(500, &[("content-type", "text/html")], "stack trace", (502, "HG7045"))]
#[case(404, &[("content-type", "text/html")], "not here", (404, "HG7045"))]
#[tokio::test]
async fn what_is_no_fhir_is_replaced(
    #[case] status: u16,
    #[case] headers: &'static [(&'static str, &'static str)],
    #[case] body: &'static str,
    #[case] expected: (u16, &str),
) {
    let setup = Setup::in_front_of(Ehr::answering(move |_| answer(status, headers, body)).await, |world| world).await;
    let token = setup.token_at("epic").await;
    let answer = setup.get("/epic/fhir/Patient/1", &token).await;
    assert_eq!((answer.refusal(), answer.side()), ((expected.0, expected.1.to_owned()), "ehr".into()));
}

#[tokio::test]
async fn metadata_that_is_no_capability_statement_is_refused() {
    let setup = Setup::new().await;
    let answer = setup.ask("GET", "/epic/fhir/metadata", &[], "").await;
    assert_eq!((answer.refusal(), answer.side()), ((502, "HG7045".into()), "ehr".into()));
}

#[tokio::test]
async fn an_ehr_that_asks_for_patience_is_heard() {
    let ehr =
        Ehr::answering(|_| answer(429, &[("content-type", "text/plain"), ("retry-after", "7")], "slow down")).await;
    let setup = Setup::in_front_of(ehr, |world| world).await;
    let token = setup.token_at("epic").await;
    let answer = setup.get("/epic/fhir/Patient/1", &token).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")));
}

#[tokio::test]
async fn the_ehrs_own_outcome_and_empty_answers_pass() {
    let outcome = r#"{"resourceType":"OperationOutcome","issue":[]}"#;
    let setup = Setup::in_front_of(Ehr::answering(move |_| fhir_json(422, outcome)).await, |world| world).await;
    let token = setup.token_at("epic").await;
    let answer = setup.get("/epic/fhir/Patient/1", &token).await;
    assert_eq!((answer.status, &answer.body[..]), (422, outcome.as_bytes()));
    let setup =
        Setup::in_front_of(Ehr::answering(|_| ehr::answer(304, &[("etag", "W/\"1\"")], "")).await, |world| world).await;
    let answer = setup.get("/epic/fhir/Patient/1", &setup.token_at("epic").await).await;
    assert_eq!((answer.status, answer.header("etag")), (304, Some("W/\"1\"")));
}

#[tokio::test]
async fn an_ehr_that_is_away_is_told_without_its_address() {
    let setup =
        Setup::with(|world| world.set("DataAdapter", "epic-ehr", "fhirBaseUrl", "http://127.0.0.1:1/fhir".into()))
            .await;
    let token = setup.token_at("epic").await;
    let answer = setup.get("/epic/fhir/Patient/1", &token).await;
    assert_eq!((answer.refusal(), answer.side()), ((502, "HG7041".into()), "ehr".into()));
    assert!(!String::from_utf8_lossy(&answer.body).contains("127.0.0.1"));
}

#[tokio::test]
async fn metadata_is_open_tells_our_token_endpoint_and_keeps_its_query_here() {
    let ehr = Ehr::answering(|reached| {
        let host = reached.header("host").unwrap();
        let statement = json!({
            "resourceType": "CapabilityStatement", "implementation": {"url": format!("http://{host}/fhir")},
            "rest": [{"security": {"description": format!("http://{host}/token")}}],
        });
        fhir_json(200, &statement.to_string())
    });
    let setup = Setup::in_front_of(ehr.await, |world| world).await;
    let answer = setup.ask("GET", "/epic/fhir/metadata?_format=json", &[], "").await;
    assert_eq!(answer.status, 200);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(
        text.contains("https://gate.example.org/default/epic/oauth2/token") && !text.contains("127.0.0.1"),
        "{text}"
    );
    let reached = setup.ehr.only();
    assert_eq!((reached.target.as_str(), reached.header("authorization")), ("/fhir/metadata", None));
    assert_eq!(reached.header("accept"), Some("application/fhir+json"));
    let xml = [("accept", "application/fhir+xml")];
    assert_eq!(setup.ask("GET", "/epic/fhir/metadata", &xml, "").await.refusal(), (406, "HG7014".into()));
    setup.publish(|world| world.set("DataAdapter", "epic-ehr", "suspend", true.into()));
    assert_eq!(setup.ask("GET", "/epic/fhir/metadata", &[], "").await.refusal(), (503, "HG7006".into()));
}
