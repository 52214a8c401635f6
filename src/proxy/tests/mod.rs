//! Requests through the whole proxy, with an EHR of the test's own as the judge of what reached it.

mod client_assertion;
mod cors;
mod ehr;
mod faults;
mod fhir;
mod floods;
mod fuzz;
mod http;
mod introspect;
mod linked;
mod listening;
mod narrowed;
mod odd_paths;
mod packed;
mod private_api;
mod refusals;
mod seen;
mod smuggling;
mod tls;
mod token;
mod traces;
mod user_launch;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, Request, Response};
use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use tempfile::{NamedTempFile, TempPath};

use self::ehr::Ehr;
use super::audit::{AuditLog, Destination, Finished};
use super::{Body, Limits, Metrics, Proxy};
use crate::outbound::{EhrClient, EhrOutcomes, EhrTokens, SystemClock};
use crate::protocol::test_support::{CLIENT_ID, SECRET, World};
use crate::snapshot::Snapshot;
use crate::store::EmbeddedStore;
use crate::values::url::AddressPolicy;

/// The proxy in front of an EHR, serving a world.
struct Setup {
    proxy: Arc<Proxy>,
    snapshot: Arc<ArcSwapOption<Snapshot>>,
    ehr: Ehr,
    /// Where its store is, until the test ends.
    _state: tempfile::TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {:?}", self.body))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Status, and our code in the OperationOutcome.
    fn refusal(&self) -> (u16, String) {
        let json = self.json();
        assert_eq!(json["resourceType"], "OperationOutcome", "{json}");
        assert_eq!(self.header("cache-control"), Some("no-store"));
        (self.status, json["issue"][0]["details"]["coding"][0]["code"].as_str().unwrap().to_owned())
    }

    /// On whose side the fault is.
    fn side(&self) -> String {
        self.json()["issue"][0]["details"]["coding"][1]["code"].as_str().unwrap().to_owned()
    }
}

impl Setup {
    /// With the world as it is.
    async fn new() -> Self {
        Self::with(|world| world).await
    }

    /// With an edited world.
    async fn with(edit: impl FnOnce(World) -> World) -> Self {
        Self::in_front_of(Ehr::start().await, edit).await
    }

    /// With little patience for clients.
    async fn patient_for(request_idle: Duration) -> Self {
        let limits = Limits { request_idle, ..Limits::default() };
        Self::with_limits(Ehr::start().await, limits, |world| world).await
    }

    async fn in_front_of(ehr: Ehr, edit: impl FnOnce(World) -> World) -> Self {
        Self::with_limits(ehr, Limits::default(), edit).await
    }

    async fn with_limits(ehr: Ehr, limits: Limits, edit: impl FnOnce(World) -> World) -> Self {
        let snapshot = Arc::new(ArcSwapOption::from_pointee(edit(World::before(&ehr.url)).compile()));
        let client = EhrClient::new(AddressPolicy::new(AddressPolicy::loopback_ranges()));
        let tokens = EhrTokens::new(client.clone(), Arc::new(SystemClock), Arc::new(EhrOutcomes::default()));
        let metrics = Arc::new(Metrics::default());
        let state = tempfile::tempdir().unwrap();
        let store = Arc::new(EmbeddedStore::open(&state.path().join("store.redb")).await.unwrap());
        let proxy = Proxy::new(Arc::clone(&snapshot), tokens, client, store, metrics, limits);
        Self { proxy: Arc::new(proxy), snapshot, ehr, _state: state }
    }

    /// The same, noting its requests in an audit log: the log's file, and what ends when all is written.
    fn audited(self) -> (Self, TempPath, Finished) {
        let path = NamedTempFile::new().unwrap().into_temp_path();
        let destination = Destination::File { path: path.to_path_buf(), longest: u64::MAX };
        let (log, finished) = AuditLog::open(destination, Arc::clone(&self.proxy.metrics)).unwrap();
        let proxy = Arc::new(Arc::into_inner(self.proxy).unwrap().with_audit(Some(log)));
        (Self { proxy, ..self }, path, finished)
    }

    /// Publishes another world.
    fn publish(&self, edit: impl FnOnce(World) -> World) {
        self.snapshot.store(Some(Arc::new(edit(World::before(&self.ehr.url)).compile())));
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        read(self.proxy.handle(request, IpAddr::V4(Ipv4Addr::LOCALHOST)).await).await
    }

    /// A request below `https://gate.example.org/default`.
    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request =
            Request::builder().method(method).uri(format!("/default{path}")).header("host", "gate.example.org");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::from(body.to_owned())).unwrap()).await
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        self.ask("GET", path, &[("authorization", &format!("Bearer {token}"))], "").await
    }

    /// A token of `schedule-sync`.
    async fn token_at(&self, gateway: &str) -> String {
        let path = format!("/{gateway}/oauth2/token");
        let answer = self.ask("POST", &path, &[basic(CLIENT_ID, SECRET).as_header(), FORM], GRANT).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const GRANT: &str = "grant_type=client_credentials";

/// An `Authorization: Basic` header.
struct Basic(String);

impl Basic {
    fn as_header(&self) -> (&str, &str) {
        ("authorization", &self.0)
    }
}

fn basic(client_id: &str, secret: &str) -> Basic {
    Basic(format!("Basic {}", STANDARD.encode(format!("{client_id}:{secret}"))))
}

async fn read(response: Response<Body>) -> Answer {
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: head.status.as_u16(), headers: head.headers, body }
}
