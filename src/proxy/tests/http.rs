//! HTTP itself: headers, limits, protocols, slow clients, the end.

use std::time::Duration;

use proptest::prelude::*;
use tokio::net::TcpStream;

use super::listening::{listening, raw};
use super::*;

#[tokio::test]
async fn headers_that_are_not_listed_never_reach_the_ehr() {
    let setup = Setup::new().await;
    let token = format!("Bearer {}", setup.token_at("epic").await);
    let headers = [
        ("authorization", token.as_str()),
        ("connection", "Authorization, X-Site, Epic-Client-ID"),
        ("x-forwarded-user", "root"),
        ("x_forwarded_user", "root"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "for=1.2.3.4"),
        ("cookie", "a=b"),
        ("epic-client-id", "stolen"),
        ("x-site", "south"),
        ("te", "trailers"),
        ("proxy-authorization", "Basic eDp5"),
        ("x-http-method-override", "DELETE"),
        ("accept-encoding", "gzip"),
        ("traceparent", "x"),
    ];
    assert_eq!(setup.ask("GET", "/epic/fhir/Patient/1", &headers, "").await.status, 200);
    let reached = setup.ehr.only();
    let mut names: Vec<_> = reached.headers.keys().map(|name| name.as_str().to_owned()).collect();
    names.sort();
    let expected = ["accept", "accept-encoding", "authorization", "host", "user-agent", "x-request-id", "x-site"];
    assert_eq!(names, expected);
    assert!(reached.header("authorization").unwrap().starts_with("Basic "));
    assert_eq!(reached.header("x-site"), Some("north"));
}

#[tokio::test]
async fn a_request_id_goes_everywhere() {
    let setup = Setup::new().await;
    let answer = setup.ask("GET", "/nowhere", &[("x-request-id", "from-the-caller-1")], "").await;
    assert_eq!(answer.header("x-request-id"), Some("from-the-caller-1"));
    assert_eq!(answer.json()["requestId"], "from-the-caller-1");
    let answer = setup.ask("GET", "/epic/fhir/Patient/1", &[("x-request-id", "bad id")], "").await;
    let id = answer.header("x-request-id").unwrap();
    assert!(uuid::Uuid::parse_str(id).is_ok(), "{id}");
    assert!(answer.json()["issue"][0]["diagnostics"].as_str().unwrap().ends_with(id));
}

#[tokio::test]
async fn without_a_snapshot_everything_is_503() {
    let setup = Setup::new().await;
    setup.snapshot.store(None);
    for path in ["/epic/fhir/Patient/1", "/epic/oauth2/token", "/nowhere"] {
        let answer = setup.ask("GET", path, &[], "").await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")), "{path}");
    }
}

#[tokio::test]
async fn limits_are_told_with_their_own_status() {
    let setup = Setup::new().await;
    let long = format!("/epic/fhir/Patient?a={}", "x".repeat(20_000));
    assert_eq!(setup.ask("GET", &long, &[], "").await.refusal(), (414, "HG7064".into()));
    let large = "x".repeat(40_000);
    let answer = setup.ask("GET", "/epic/fhir/Patient", &[("x-large", &large)], "").await;
    assert_eq!(answer.refusal(), (431, "HG7065".into()));
    let token = format!("Bearer {}", setup.token_at("epic").await);
    let headers =
        [("authorization", token.as_str()), ("content-type", "application/json"), ("content-encoding", "gzip")];
    assert_eq!(setup.ask("POST", "/epic/fhir/Appointment", &headers, "{}").await.refusal(), (415, "HG7016".into()));
    let twice = [("authorization", token.as_str()), ("content-type", "application/json"), ("content-type", "a/b")];
    assert_eq!(setup.ask("POST", "/epic/fhir/Appointment", &twice, "{}").await.refusal(), (400, "HG7069".into()));
    for method in ["TRACE", "CONNECT"] {
        assert_eq!(setup.ask(method, "/epic/fhir/Patient", &[], "").await.refusal(), (405, "HG7013".into()));
    }
    assert!(setup.ehr.reached().is_empty());
}

#[test]
fn whatever_path_is_forwarded_is_forwarded_as_it_was_written() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let setup = runtime.block_on(Setup::new());
    let token = runtime.block_on(setup.token_at("epic"));
    let path = "(/|//|\\.|%2e|%2F|%5c|;|Patient|Observation|Encounter|1|_history|\\$everything|%00|%25|~|a-b){0,8}";
    proptest!(ProptestConfig::with_cases(300), |(path in path)| {
        let before = setup.ehr.reached().len();
        let answer = runtime.block_on(setup.get(&format!("/epic/fhir/{path}"), &token));
        let reached = setup.ehr.reached();
        if answer.status == 200 {
            prop_assert_eq!(&reached.last().unwrap().target, &format!("/fhir/{path}"));
            let below = format!("/{path}");
            prop_assert!(crate::protocol::path::check(&below).is_ok());
            prop_assert!(!path.starts_with("Encounter"));
        } else {
            prop_assert_eq!(reached.len(), before);
        }
    });
}

#[tokio::test]
async fn http_1_and_http_2_are_spoken_on_one_port() {
    let setup = Setup::new().await;
    let listening = listening(&setup, Duration::from_secs(5)).await;
    let token = setup.token_at("epic").await;
    for http2 in [false, true] {
        let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
            .http2_only(http2)
            .build_http::<Full<Bytes>>();
        let request = Request::get(format!("http://{}/default/epic/fhir/Patient/1", listening.address))
            .header("authorization", format!("Bearer {token}"))
            .body(Full::default())
            .unwrap();
        let answer = client.request(request).await.unwrap();
        assert_eq!(answer.status(), 200, "HTTP/2: {http2}");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, r#"{"resourceType":"Patient","id":"1"}"#);
    }
}

#[tokio::test]
async fn a_slow_client_is_cut_wherever_it_stops() {
    let setup = Setup::new().await;
    let listening = listening(&setup, Duration::from_millis(300)).await;
    for beginning in
        ["", "P", "PRI * HT", "GET / HTTP/1.1\r\nHost: a", "GET /default/epic/oauth2/jwks HTTP/1.1\r\nhost: a\r\n\r\n"]
    {
        let answer = raw(listening.address, beginning).await;
        let expected = if beginning.ends_with("\r\n\r\n") { "HTTP/1.1 200 OK" } else { "" };
        assert!(answer.starts_with(expected), "{beginning:?}: {answer}");
    }
}

#[tokio::test]
async fn malformed_http_is_refused_and_the_connection_closed() {
    let setup = Setup::new().await;
    let listening = listening(&setup, Duration::from_secs(2)).await;
    for request in [
        "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        "GET / HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n",
        "nonsense\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity, foo\r\n\r\n",
    ] {
        let answer = raw(listening.address, request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{request:?}: {answer}");
    }
    let answer = raw(
        listening.address,
        "GET /default/epic/oauth2/jwks HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(setup.ehr.reached().is_empty());
}

#[tokio::test]
async fn the_end_waits_for_requests_and_takes_no_new_ones() {
    let ehr = Ehr::answering(|_| {
        std::thread::sleep(Duration::from_millis(300));
        ehr::json(200, "{}")
    });
    let setup = Setup::in_front_of(ehr.await, |world| world).await;
    let mut listening = listening(&setup, Duration::from_secs(5)).await;
    let token = setup.token_at("epic").await;
    let request = format!(
        "GET /default/epic/fhir/Patient/1 HTTP/1.1\r\nhost: gate.example.org\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    let address = listening.address;
    let pending = tokio::spawn(async move { raw(address, &request).await });
    let _silent = TcpStream::connect(address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    listening.stop.take().unwrap().send(()).unwrap();
    let answer = pending.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    tokio::time::timeout(Duration::from_secs(2), listening.served).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn metrics_count_by_objects_and_codes() {
    let setup = Setup::new().await;
    let token = setup.token_at("epic").await;
    setup.get("/epic/fhir/Patient/1", &token).await;
    setup.get("/epic/fhir/Encounter/1", &token).await;
    let text = setup.proxy.metrics.text();
    for line in [
        r#"hearthgate_requests_total{gateway="default/epic",app="default/schedule-sync",endpoint="fhir",status="200"} 1"#,
        r#"hearthgate_denials_total{gateway="default/epic",app="default/schedule-sync",code="HG7008"} 1"#,
        r#"hearthgate_ehr_calls_total{adapter="default/epic-ehr",outcome="2xx"} 1"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
