//! Faults of the EHR, and more requests than it takes: contained, told, and never made worse.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::ehr::{answer, json as answer_json};
use super::*;

const PATIENT: &str = r#"{"resourceType":"Patient","id":"1"}"#;
const OUTCOME: &str = r#"{"resourceType":"OperationOutcome"}"#;

/// An EHR whose answer to the n-th request (from 0) is `status(n)`.
async fn ehr(status: impl Fn(usize) -> (u16, Option<&'static str>) + Send + Sync + 'static) -> Ehr {
    let count = AtomicUsize::new(0);
    Ehr::answering(move |_| {
        let (status, retry_after) = status(count.fetch_add(1, Ordering::SeqCst));
        let mut headers = vec![("content-type", "application/fhir+json")];
        headers.extend(retry_after.map(|pause| ("retry-after", pause)));
        answer(status, &headers, if status < 300 { PATIENT } else { OUTCOME })
    })
    .await
}

#[tokio::test]
async fn an_ehr_that_fails_too_often_is_left_alone_and_tried_again_by_one() {
    let setup = Setup::in_front_of(ehr(|number| (if number < 20 { 500 } else { 200 }, None)).await, |world| {
        world.set("DataAdapter", "epic-ehr", "circuitBreaker", json!({"openSeconds": 1}))
    })
    .await;
    let token = setup.token_at("epic").await;
    for _ in 0..20 {
        assert_eq!(setup.get("/epic/fhir/Patient/1", &token).await.status, 500);
    }
    let refused = setup.get("/epic/fhir/Patient/1", &token).await;
    assert_eq!((refused.refusal(), refused.side()), ((503, "HG7048".into()), "ehr".into()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(setup.ehr.reached().len(), 20, "it is left alone");
    assert!(setup.proxy.metrics.text().contains(r#"hearthgate_circuit_breaker_open{adapter="default/epic-ehr"} 1"#));
    let other = setup.token_at("plain").await;
    assert_eq!(setup.get("/plain/fhir/Patient/1", &other).await.status, 200, "another adapter has its own breaker");
    let began = Instant::now();
    while setup.get("/epic/fhir/Patient/1", &token).await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(setup.proxy.metrics.text().contains(r#"hearthgate_circuit_breaker_open{adapter="default/epic-ehr"} 0"#));
}

#[tokio::test]
async fn what_changes_nothing_is_asked_again_and_what_may_have_changed_something_is_not() {
    for (method, path, reached) in [
        ("GET", "/epic/fhir/Patient/1", 2),
        ("POST", "/epic/fhir/Patient/_search", 2),
        ("POST", "/epic/fhir/Appointment", 1),
    ] {
        let setup =
            Setup::in_front_of(ehr(|number| (if number == 0 { 502 } else { 200 }, None)).await, |world| world).await;
        let token = format!("Bearer {}", setup.token_at("epic").await);
        let is_form = path.ends_with("_search");
        let media_type = if is_form { "application/x-www-form-urlencoded" } else { "application/fhir+json" };
        let body = if method == "GET" {
            ""
        } else if is_form {
            "name=a"
        } else {
            "{}"
        };
        let headers = [("authorization", token.as_str()), ("content-type", media_type)];
        let answer = setup.ask(method, path, &headers, body).await;
        assert_eq!(setup.ehr.reached().len(), reached, "{method} {path}: {answer:?}");
        assert_eq!(answer.status, if reached == 2 { 200 } else { 502 }, "{method} {path}");
    }
}

#[tokio::test]
async fn attempts_are_counted_and_one_is_enough_where_the_adapter_says_so() {
    for attempts in [1, 3] {
        let setup = Setup::in_front_of(ehr(|_| (503, None)).await, |world| {
            world.set("DataAdapter", "epic-ehr", "retry", json!({"maxAttempts": attempts}))
        })
        .await;
        let token = setup.token_at("epic").await;
        assert_eq!(setup.get("/epic/fhir/Patient/1", &token).await.status, 503);
        assert_eq!(setup.ehr.reached().len(), attempts);
    }
}

#[tokio::test]
async fn a_connection_that_died_in_the_pool_costs_no_read_and_doubles_no_write() {
    // Answers one request a connection, reads the next one, and closes without a word.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let writes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&writes);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let writes = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                for turn in 0..2 {
                    let read = stream.read(&mut buffer).await.unwrap_or(0);
                    writes.fetch_add(usize::from(buffer[..read].starts_with(b"POST")), Ordering::SeqCst);
                    if turn == 0 {
                        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/fhir+json\r\n";
                        let answer = format!("{head}content-length: {}\r\n\r\n{PATIENT}", PATIENT.len());
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    let setup = Setup::in_front_of(Ehr::at(url), |world| {
        world.set("DataAdapter", "epic-ehr", "retry", json!({"maxAttempts": 3, "budgetPercent": 100}))
    })
    .await;
    let token = setup.token_at("epic").await;
    for _ in 0..20 {
        assert_eq!(setup.get("/epic/fhir/Patient/1", &token).await.status, 200);
    }
    let headers = [("authorization", &*format!("Bearer {token}")), ("content-type", "application/fhir+json")];
    for number in 1..=10 {
        let answer = setup.ask("POST", "/epic/fhir/Appointment", &headers, "{}").await;
        assert!([200, 502].contains(&answer.status), "{answer:?}");
        assert_eq!(writes.load(Ordering::SeqCst), number, "sent exactly once, answered or not");
    }
}

#[tokio::test]
async fn a_pause_that_the_ehr_asks_for_is_passed_on_and_kept() {
    for (status, code) in [(429, "HG7066"), (503, "HG7048")] {
        let setup = Setup::in_front_of(ehr(move |_| (status, Some("30"))).await, |world| world).await;
        let token = setup.token_at("epic").await;
        let first = setup.get("/epic/fhir/Patient/1", &token).await;
        assert_eq!((first.status, first.header("retry-after")), (status, Some("30")));
        let second = setup.get("/epic/fhir/Patient/1", &token).await;
        assert_eq!((second.refusal(), second.side()), ((status, code.into()), "ehr".into()));
        let pause: u32 = second.header("retry-after").unwrap().parse().unwrap();
        assert!((25..=30).contains(&pause), "{pause}");
        assert_eq!(setup.ehr.reached().len(), 1, "it is not called before");
    }
}

#[tokio::test]
async fn the_gateways_limit_is_each_apps_own() {
    let setup =
        Setup::with(|world| world.set("Gateway", "epic", "rateLimit", json!({"requestsPerSecond": 1, "burst": 3})))
            .await;
    let token = setup.token_at("epic").await;
    for _ in 0..3 {
        assert_eq!(setup.get("/epic/fhir/Patient/1", &token).await.status, 200);
    }
    let refused = setup.get("/epic/fhir/Patient/1", &token).await;
    assert_eq!((refused.refusal(), refused.header("retry-after")), ((429, "HG7066".into()), Some("1")));
    assert_eq!(refused.side(), "app");
    assert_eq!(setup.ehr.reached().len(), 3);
}

#[tokio::test]
async fn the_adapters_limit_paces_requests_and_refuses_what_comes_much_too_fast() {
    let setup = Setup::with(|world| {
        world.set("DataAdapter", "epic-ehr", "rateLimit", json!({"requestsPerSecond": 10, "burst": 1}))
    })
    .await;
    let token = setup.token_at("epic").await;
    let answers = futures_util::future::join_all((0..40).map(|_| setup.get("/epic/fhir/Patient/1", &token))).await;
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    assert!((2..=14).contains(&served), "{served}");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((answer.refusal(), answer.header("retry-after")), ((429, "HG7066".into()), Some("1")));
    }
    assert_eq!(setup.ehr.reached().len(), served);
}

#[tokio::test]
async fn the_ehrs_clock_is_read_off_its_answers() {
    let ehr = Ehr::answering(|_| {
        let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(90);
        let mut response = answer_json(200, PATIENT);
        let date = ahead.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        response.headers_mut().insert("date", date.parse().unwrap());
        response
    });
    let setup = Setup::in_front_of(ehr.await, |world| world).await;
    let token = setup.token_at("epic").await;
    setup.get("/epic/fhir/Patient/1", &token).await;
    let text = setup.proxy.metrics.text();
    let line = text.lines().find(|line| line.starts_with("hearthgate_ehr_clock_skew_seconds{")).unwrap();
    let skew: i64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((88..=91).contains(&skew), "{line}");
}
