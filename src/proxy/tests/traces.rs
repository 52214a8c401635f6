//! Traces: a context goes through to the EHR, and spans go to a collector.

use super::*;
use crate::proxy::trace::Traces;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn without_export_a_context_passes_through_as_it_came() {
    let setup = Setup::new().await;
    let token = format!("Bearer {}", setup.token_at("epic").await);
    for (sent, arrives) in [(PARENT, Some(PARENT)), ("00-0-0-00", None), ("evil", None)] {
        let headers = [("authorization", token.as_str()), ("traceparent", sent), ("tracestate", "a=b")];
        setup.ask("GET", "/epic/fhir/Patient/1", &headers, "").await;
        let reached = setup.ehr.reached().pop().unwrap();
        assert_eq!(reached.header("traceparent"), arrives, "{sent}");
        assert_eq!(reached.header("tracestate"), arrives.map(|_| "a=b"), "{sent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_export_request_and_call_are_spans_of_the_clients_trace() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let collector = Ehr::answering(|_| ehr::answer(200, &[("content-type", "application/x-protobuf")], "")).await;
    let traces = Traces::export_to(&collector.url).unwrap();
    let mut setup = Setup::new().await;
    setup.proxy = Arc::new(Arc::into_inner(setup.proxy).unwrap().with_traces(Some(traces.clone())));
    let token = format!("Bearer {}", setup.token_at("epic").await);
    let headers = [("authorization", token.as_str()), ("traceparent", PARENT)];
    setup.ask("GET", "/epic/fhir/Patient/secret-id?name=secret-name", &headers, "").await;
    let reached = setup.ehr.only();
    let handed_on: Vec<&str> = reached.header("traceparent").unwrap().split('-').collect();
    assert_eq!((handed_on[1], handed_on[3]), (TRACE, "01"));
    assert_ne!(handed_on[2], "b7ad6b7169203331", "the call's own span");

    tokio::task::spawn_blocking(move || traces.finish()).await.unwrap();
    let exported = collector.reached();
    assert!(exported.iter().all(|exported| exported.target == "/v1/traces"), "{exported:?}");
    let bytes: Vec<u8> = exported.iter().flat_map(|exported| exported.body.to_vec()).collect();
    let holds = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    let id: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&TRACE[at * 2..at * 2 + 2], 16).unwrap()).collect();
    assert!(holds(&id) && holds(b"default/schedule-sync") && holds(b"call to the EHR") && holds(b"Patient"));
    assert!(!holds(b"secret"), "no id, no query");
}
