//! What a client is told of each refusal: the status, FHIR's word for it, and our code.

use std::collections::BTreeSet;

use serde_json::json;

use super::ehr::json as fhir_json;
use super::*;
use crate::outbound::dial::DialError;
use crate::outbound::{CallError, EhrTokenError};
use crate::protocol::bearer::BearerError;
use crate::protocol::fhir::answer::Unjudgeable;
use crate::protocol::fhir::{Denial, Unenforceable};
use crate::protocol::jwt::TokenRefused;
use crate::protocol::route::RouteError;
use crate::proxy::body::BodyError;
use crate::proxy::fhir::FhirError;
use crate::proxy::forward::ForwardError;
use crate::proxy::headers::{HeaderOddity, IF_NONE_EXIST};
use crate::proxy::refusal::{Form, Refusal};
use crate::proxy::request_id::RequestId;
use crate::snapshot::ObjectKey;
use crate::values::code::{Code, Group};

/// Status, FHIR's issue type, and our code.
type Told = (u16, String, String);

async fn told(refusal: Refusal) -> Told {
    let answer = read(refusal.into_response(Form::OperationOutcome, &RequestId::of(&HeaderMap::new()))).await;
    let (status, code) = answer.refusal();
    (status, answer.json()["issue"][0]["code"].as_str().unwrap().to_owned(), code)
}

fn token_errors() -> Vec<(EhrTokenError, u16, &'static str, &'static str)> {
    let reason = || "reason".to_owned();
    vec![
        (EhrTokenError::KeyUnready, 503, "transient", "HG7046"),
        (EhrTokenError::ClientIdMissing, 503, "transient", "HG7046"),
        (EhrTokenError::NeedsUser, 503, "transient", "HG7046"),
        (
            EhrTokenError::Refused { status: 400, error: None, description: None, clock_skew_seconds: None },
            502,
            "exception",
            "HG7040",
        ),
        (EhrTokenError::Unreachable { reason: reason() }, 502, "transient", "HG7041"),
        (EhrTokenError::TlsFailed { reason: reason() }, 502, "transient", "HG7041"),
        (EhrTokenError::Timeout { waited: Duration::from_secs(1) }, 504, "timeout", "HG7042"),
        (EhrTokenError::Unavailable { status: 500, retry_after: None }, 502, "transient", "HG7041"),
        (EhrTokenError::Unavailable { status: 429, retry_after: None }, 503, "transient", "HG7066"),
        (EhrTokenError::AddressNotAllowed { reason: reason() }, 502, "exception", "HG7047"),
        (EhrTokenError::UnusableAnswer { reason: reason() }, 502, "exception", "HG7045"),
        (EhrTokenError::Interrupted, 502, "transient", "HG7041"),
    ]
}

fn forward_errors() -> Vec<(ForwardError, u16, &'static str, &'static str)> {
    let wait = Duration::from_secs(1);
    let mut all = vec![
        (ForwardError::Target, 400, "invalid", "HG7011"),
        (ForwardError::SessionOver, 401, "login", "HG7096"),
        (ForwardError::StoreAway, 503, "transient", "HG7029"),
        (ForwardError::Credential, 502, "exception", "HG7046"),
        (ForwardError::Call(CallError::Connect(DialError::NotHttp)), 502, "transient", "HG7041"),
        (ForwardError::Call(CallError::Tls(DialError::NotHttp)), 502, "transient", "HG7041"),
        (ForwardError::Call(CallError::Broken("reason".into())), 502, "transient", "HG7041"),
        (ForwardError::Call(CallError::Timeout { waited: wait }), 504, "timeout", "HG7042"),
        (ForwardError::Call(CallError::RequestBody), 400, "invalid", "HG7070"),
        (ForwardError::Body(BodyError::TooLarge), 413, "too-long", "HG7063"),
        (ForwardError::CredentialsRefused, 502, "exception", "HG7043"),
        (ForwardError::Redirected(302), 502, "exception", "HG7044"),
        (ForwardError::RateLimited { wait }, 429, "throttled", "HG7066"),
        (ForwardError::Crowded, 429, "throttled", "HG7066"),
        (ForwardError::CircuitOpen { retry_after: wait }, 503, "transient", "HG7048"),
        (ForwardError::Compressed, 502, "exception", "HG7045"),
    ];
    all.extend(token_errors().into_iter().map(|(error, status, issue, code)| {
        (ForwardError::Token { activation: "default/sync-epic".into(), error }, status, issue, code)
    }));
    all
}

fn denials() -> Vec<(Denial, u16, &'static str, &'static str)> {
    let scope = |parameter| Denial::Scope { wanted: "system/Encounter.r".into(), parameter };
    let entry = Denial::Entry { number: 1, request: "GET Encounter/1".into(), denial: Box::new(scope(false)) };
    vec![
        (Denial::NotUnderstood, 403, "not-supported", "HG7009"),
        (Denial::NoCriteria, 400, "invalid", "HG7009"),
        (Denial::Parameter { name: "_filter".into(), why: "is not looked into" }, 403, "forbidden", "HG7018"),
        (Denial::Query, 400, "invalid", "HG7018"),
        (Denial::Format, 406, "not-supported", "HG7014"),
        (Denial::ContentType { wanted: "application/fhir+json" }, 415, "not-supported", "HG7016"),
        (Denial::OperationNotAllowed { name: "$match".into() }, 403, "forbidden", "HG7010"),
        (Denial::NoBatch("has no entry"), 400, "invalid", "HG7068"),
        (entry, 403, "forbidden", "HG7008"),
        (Denial::Reference, 400, "invalid", "HG7018"),
        (Denial::BodyWanted, 400, "invalid", "HG7068"),
        (Denial::Json("reason".into()), 400, "invalid", "HG7068"),
        (Denial::NoPatient, 403, "forbidden", "HG7050"),
        (Denial::AnotherPatient, 403, "forbidden", "HG7051"),
        (Denial::OutsideCompartment { resource_type: "Group".into() }, 403, "forbidden", "HG7051"),
        (Denial::Unenforceable(Unenforceable::History), 403, "forbidden", "HG7052"),
        (Denial::BodyBeyondScope, 403, "forbidden", "HG7053"),
        (Denial::PatchBeyondScope, 403, "forbidden", "HG7053"),
        (scope(false), 403, "forbidden", "HG7008"),
        (scope(true), 403, "forbidden", "HG7018"),
    ]
}

fn fhir_errors() -> Vec<(FhirError, u16, &'static str, &'static str)> {
    let token = |refused: TokenRefused| FhirError::Unauthorized(refused.into());
    let failed = |status, retry_after| FhirError::Failed { status, retry_after };
    let over = crate::snapshot::activation::NotLive::Over(jiff::Timestamp::UNIX_EPOCH);
    let mut all = vec![
        (FhirError::Unauthorized(BearerError::Missing.into()), 401, "login", "HG7001"),
        (FhirError::Unauthorized(BearerError::Malformed.into()), 400, "invalid", "HG7017"),
        (FhirError::Unauthorized(BearerError::InQuery.into()), 400, "invalid", "HG7012"),
        (token(TokenRefused::Invalid), 401, "login", "HG7002"),
        (token(TokenRefused::Expired), 401, "login", "HG7003"),
        (token(TokenRefused::Revoked), 401, "login", "HG7071"),
        (token(TokenRefused::SessionOver), 401, "login", "HG7096"),
        (token(TokenRefused::AnotherGateway), 401, "login", "HG7004"),
        (token(TokenRefused::ActivationGone), 401, "login", "HG7005"),
        (token(TokenRefused::NotLive(over)), 401, "login", "HG7007"),
        (FhirError::Header(HeaderOddity(IF_NONE_EXIST)), 400, "invalid", "HG7069"),
        (FhirError::NotAcceptable, 406, "not-supported", "HG7014"),
        (FhirError::Compressed, 415, "not-supported", "HG7016"),
        (FhirError::Body(BodyError::TooLarge), 413, "too-long", "HG7063"),
        (FhirError::Body(BodyError::Stalled), 408, "timeout", "HG7070"),
        (FhirError::Body(BodyError::Broken), 400, "invalid", "HG7070"),
        (FhirError::NoRoom, 503, "transient", "HG7072"),
        (FhirError::Form, 400, "invalid", "HG7018"),
        (FhirError::NotFhir(200), 502, "exception", "HG7045"),
        (failed(400, None), 400, "invalid", "HG7045"),
        (failed(403, None), 403, "forbidden", "HG7045"),
        (failed(404, None), 404, "not-found", "HG7045"),
        (failed(409, None), 409, "conflict", "HG7045"),
        (failed(410, None), 410, "deleted", "HG7045"),
        (failed(415, None), 415, "not-supported", "HG7045"),
        (failed(429, Some(7)), 429, "throttled", "HG7045"),
        (failed(500, None), 502, "exception", "HG7045"),
        (failed(503, None), 503, "transient", "HG7045"),
        (FhirError::NotWithinScope, 404, "not-found", "HG7054"),
        (FhirError::AnswerBeyondScope, 403, "forbidden", "HG7055"),
        (FhirError::AnswerUnjudged("it broke off"), 502, "exception", "HG7045"),
        (FhirError::Unjudgeable(Unjudgeable::Entries), 502, "exception", "HG7045"),
        (FhirError::LinkUnusable, 404, "not-found", "HG7056"),
        (FhirError::VersionConflict, 412, "conflict", "HG7057"),
    ];
    all.extend(forward_errors().into_iter().map(|(error, status, issue, code)| (error.into(), status, issue, code)));
    all.extend(denials().into_iter().map(|(denial, status, issue, code)| (denial.into(), status, issue, code)));
    all
}

#[tokio::test]
async fn every_refusal_says_what_it_is_in_fhirs_words() {
    let snapshot = crate::protocol::test_support::snapshot();
    let gateway = &snapshot.gateways[&ObjectKey::new("default", "epic")];
    let mut seen = BTreeSet::new();
    for (error, status, issue, code) in fhir_errors() {
        assert_eq!(told(error.refusal(gateway)).await, (status, issue.into(), code.into()), "{error:?}");
        seen.insert(code);
    }
    let key = ObjectKey::new("default", "epic");
    for (error, status, issue, code) in [
        (RouteError::GatewayUnknown, 404, "not-found", "HG7060"),
        (RouteError::NothingServed, 503, "transient", "HG7061"),
        (RouteError::GatewayNotServed(key.clone()), 503, "transient", "HG7061"),
        (RouteError::EndpointUnknown(key), 404, "not-found", "HG7067"),
    ] {
        assert_eq!(told(super::super::unrouted(&error)).await, (status, issue.into(), code.into()), "{error:?}");
        seen.insert(code);
    }
    assert_eq!(told(super::super::not_synced()).await, (503, "transient".into(), "HG7062".into()));
    assert_eq!(told(super::super::method_refused("GET")).await, (405, "not-supported".into(), "HG7013".into()));
    // What is told through whole requests below and elsewhere, and what other endpoints than FHIR's tell.
    let elsewhere = |code: &Code| {
        let number = code.number();
        ("HG7020"..="HG7030").contains(&number) || number >= "HG7080" || (number == "HG7015")
    };
    let through_requests = ["HG7006", "HG7013", "HG7062", "HG7064", "HG7065"];
    let missing: Vec<_> = Code::ALL
        .iter()
        .filter(|code| code.group() == Group::Request && !elsewhere(code))
        .filter(|code| !seen.contains(code.number()) && !through_requests.contains(&code.number()))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Status, FHIR's issue type, and our code of an answer.
fn of(answer: &Answer) -> Told {
    let (status, code) = answer.refusal();
    (status, answer.json()["issue"][0]["code"].as_str().unwrap().to_owned(), code)
}

#[tokio::test]
async fn limits_of_time_and_size_are_told_in_fhirs_words() {
    let ehr = Ehr::answering(|_| {
        std::thread::sleep(Duration::from_millis(1500));
        fhir_json(200, "{}")
    });
    let limits = Limits { request_body: 100, ..Limits::default() };
    let setup = Setup::with_limits(ehr.await, limits, |world| {
        world.set("DataAdapter", "epic-ehr", "timeouts", json!({"requestSeconds": 1}))
    })
    .await;
    let token = setup.token_at("epic").await;
    let late = setup.get("/epic/fhir/Patient/1", &token).await;
    assert_eq!(of(&late), (504, "timeout".into(), "HG7042".into()));
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
    let large = setup.ask("POST", "/epic/fhir/Appointment", &headers, &"x".repeat(101)).await;
    assert_eq!(of(&large), (413, "too-long".into(), "HG7063".into()));
    let long = setup.ask("GET", &format!("/epic/fhir/Patient?a={}", "x".repeat(20_000)), &[], "").await;
    assert_eq!(of(&long), (414, "too-long".into(), "HG7064".into()));
    let many = setup.ask("GET", "/epic/fhir/Patient", &[("x-large", &"x".repeat(40_000))], "").await;
    assert_eq!(of(&many), (431, "too-long".into(), "HG7065".into()));
    setup.publish(|world| world.set("Activation", "sync-epic", "suspend", true.into()));
    let suspended = setup.get("/epic/fhir/Patient/1", &token).await;
    assert_eq!(of(&suspended), (401, "login".into(), "HG7006".into()));
}

/// What is logged.
#[derive(Clone, Default)]
struct Logged(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_token_in_the_query_is_refused_and_written_nowhere() {
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    // While there is one subscriber only, tracing asks the thread that meets a line first whether anybody wants it: one of
    // another test's, which has none.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let (setup, path, finished) = Setup::new().await.audited();
    let token = setup.token_at("epic").await;
    let bearer = format!("Bearer {token}");
    for (method, path, headers) in [
        ("GET", "/epic/fhir/Patient/1", vec![]),
        ("GET", "/epic/fhir/Patient/1", vec![("authorization", bearer.as_str())]),
        ("GET", "/epic/fhir/metadata", vec![]),
        ("GET", "/epic/fhir/nowhere/at/all", vec![]),
        ("POST", "/epic/fhir/Patient/_search", vec![]),
    ] {
        let answer = setup.ask(method, &format!("{path}?access_token={token}"), &headers, "").await;
        assert_eq!(of(&answer), (400, "invalid".into(), "HG7012".into()), "{method} {path}");
        assert!(!String::from_utf8_lossy(&answer.body).contains(&token));
    }
    assert!(setup.ehr.reached().is_empty());
    let metrics = setup.proxy.metrics.text();
    drop(setup);
    finished.await.unwrap();
    let audited = std::fs::read_to_string(&path).unwrap();
    let logged = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
    assert!(audited.lines().count() == 5 && logged.contains("HG7012"), "{audited}{logged}");
    for (what, text) in [("audit", audited), ("log", logged), ("metrics", metrics)] {
        assert!(!text.contains(&token) && !text.contains("access_token="), "{what}: {text}");
    }
}
