//! The HTTP server in front of the apps: one file an endpoint, one error type an endpoint.
//!
//! A request loads the published [`Snapshot`] once and keeps it to its end. Decisions are `protocol`'s; what is called is
//! `outbound`'s; here they meet the wire.

pub mod admin;
pub mod audit;
mod authorize;
mod awaited;
mod bearer;
mod body;
mod browser;
mod callback;
mod client_authentication;
mod cors;
mod document;
mod fhir;
mod forward;
mod headers;
mod http1;
mod introspect;
mod jwks;
mod key_set;
mod launch;
mod metadata;
pub mod metrics;
mod oauth_form;
mod observed;
mod operation_outcome;
mod paced;
mod prefixed;
mod private_api;
mod record;
mod refusal;
mod request_id;
mod revoke;
pub mod rewrite;
mod room;
pub mod server;
mod session;
mod session_tokens;
mod shared_state;
mod signatures;
mod smart_configuration;
mod throttle;
pub mod tls;
mod token;
pub mod trace;
mod traffic;
mod user_grants;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::HOST;
use http::request::Parts as Head;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use jiff::Timestamp;

pub use body::{Body, BoxError};
pub use metrics::Metrics;

use crate::outbound::{AppKeys, EhrClient, EhrTokens, SystemClock};
use crate::protocol::route::{Endpoint, RouteError, route};
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::values::code::Code;
use audit::AuditLog;
use cors::Cors;
use fhir::FhirRequest;
use http1::HeadFault;
use observed::Observation;
use private_api::PrivateApiRequest;
use record::Record;
use refusal::{Form, Refusal, Side};
use request_id::{RequestId, X_REQUEST_ID};
use room::Room;
use session_tokens::SessionTokens;
use signatures::Signatures;
use throttle::Throttle;
use trace::Traces;
use traffic::Traffic;

/// How much of a request is taken, and how patiently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest path and query, in bytes: 414 above.
    pub uri: usize,
    /// All headers together, in bytes: 431 above.
    pub headers: usize,
    /// Longest body, in bytes: 413 above.
    pub request_body: usize,
    /// Longest silence within a request's body; a body that drips is cut as well.
    pub request_idle: Duration,
    /// All bodies together that are held whole to be judged, in bytes: 503 above.
    pub judged_at_once: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            uri: 16 * 1024,
            headers: 32 * 1024,
            request_body: 64 * 1024 * 1024,
            request_idle: Duration::from_secs(10),
            judged_at_once: 128 * 1024 * 1024,
        }
    }
}

/// Serves requests with whatever snapshot is published.
pub struct Proxy {
    snapshot: Arc<ArcSwapOption<Snapshot>>,
    ehr_tokens: EhrTokens,
    ehr_client: EhrClient,
    app_keys: AppKeys,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    limits: Limits,
    room: Room,
    signatures: Signatures,
    session_tokens: SessionTokens,
    throttle: Throttle,
    traffic: Arc<Traffic>,
    audit: Option<AuditLog>,
    traces: Option<Traces>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Proxy").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Proxy {
    /// A proxy that serves what is published in `snapshot`; nothing there yet: 503.
    pub fn new(
        snapshot: Arc<ArcSwapOption<Snapshot>>,
        ehr_tokens: EhrTokens,
        ehr_client: EhrClient,
        store: Arc<dyn Store>,
        metrics: Arc<Metrics>,
        limits: Limits,
    ) -> Self {
        let traffic = Arc::<Traffic>::default();
        metrics.follow(Arc::new(Observation {
            snapshot: Arc::clone(&snapshot),
            ehr_tokens: ehr_tokens.clone(),
            traffic: Arc::clone(&traffic),
            store: Arc::clone(&store),
        }));
        Self {
            snapshot,
            ehr_tokens,
            app_keys: AppKeys::new(ehr_client.clone(), Arc::new(SystemClock)),
            ehr_client,
            store,
            metrics,
            limits,
            room: Room::new(limits.judged_at_once),
            signatures: Signatures::default(),
            session_tokens: SessionTokens::default(),
            throttle: Throttle::default(),
            traffic,
            audit: None,
            traces: None,
        }
    }

    /// The same, noting every request in this log.
    #[must_use]
    pub fn with_audit(self, audit: Option<AuditLog>) -> Self {
        Self { audit, ..self }
    }

    /// The same, exporting its spans there.
    #[must_use]
    pub fn with_traces(self, traces: Option<Traces>) -> Self {
        Self { traces, ..self }
    }

    /// Answers one request of the client at `peer`.
    pub async fn handle<Incoming>(&self, request: Request<Incoming>, peer: IpAddr) -> Response<Body>
    where
        Incoming: http_body::Body<Data = Bytes> + Send + 'static,
        Incoming::Error: Into<BoxError>,
    {
        let started = Instant::now();
        let (mut head, body) = request.into_parts();
        let span = trace::begin(self.traces.as_ref(), &mut head.headers);
        let body = body.map_err(Into::into).boxed_unsync();
        let request_id = RequestId::of(&head.headers);
        let mut record = Record::default();
        let mut response = self.answer(&head, body, &request_id, peer, &mut record).await;
        response.headers_mut().insert(X_REQUEST_ID, request_id.header());
        std::mem::take(&mut record.cors).tell(response.headers_mut());

        span.request_ended(known_method(&head.method), &record, response.status());
        if let Some(audit) = &self.audit {
            audit.note(&record, &request_id, response.status()).await;
        }
        let took = started.elapsed();
        tracing::info!(
            method = known_method(&head.method),
            endpoint = record.endpoint.as_str(),
            gateway = record.gateway.as_ref().map(tracing::field::display),
            app = record.app.as_ref().map(tracing::field::display),
            client = record.client_id,
            interaction = record.interaction,
            resource_type = record.resource_type,
            status = response.status().as_u16(),
            code = record.code.map(tracing::field::display),
            cause = record.cause,
            milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            request_id = request_id.as_str(),
            "request"
        );
        self.metrics.request(record, response.status(), took);
        response
    }

    async fn answer(
        &self,
        head: &Head,
        body: Body,
        request_id: &RequestId,
        peer: IpAddr,
        record: &mut Record,
    ) -> Response<Body> {
        let form = if head.uri.path().contains("/fhir") { Form::OperationOutcome } else { Form::Problem };
        let refuse = |refusal: Refusal, record: &mut Record| {
            record.code = Some(refusal.code);
            refusal.into_response(form, request_id)
        };
        if let Err(refusal) = self.within_limits(head) {
            return refuse(refusal, record);
        }
        let Some(snapshot) = self.snapshot.load_full() else {
            return refuse(not_synced(), record);
        };
        let snapshot = &*snapshot;
        let authority = match authority(head) {
            Ok(authority) => authority,
            Err(refusal) => return refuse(refusal, record),
        };
        let endpoint = match route(snapshot, &authority, head.uri.path()) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                if let RouteError::GatewayNotServed(key) | RouteError::EndpointUnknown(key) = &error {
                    record.gateway = Some(key.clone());
                }
                return refuse(unrouted(&error), record);
            }
        };
        record.endpoint = endpoint.class();
        record.gateway = endpoint.gateway().map(|gateway| gateway.key.clone());
        record.cors = Cors::of(snapshot, &endpoint, &head.headers);
        match record.cors.preflight(head, endpoint.allowed_methods()) {
            Some(Ok(answer)) => return answer,
            Some(Err(refusal)) => return refuse(refusal, record),
            None => {}
        }
        if !endpoint.allows(&head.method) {
            return refuse(method_refused(endpoint.allowed_methods()), record);
        }
        let now = Timestamp::now();
        match endpoint {
            Endpoint::Token(gateway) => self.token(snapshot, gateway, (head, body), (peer, now), record).await,
            Endpoint::Introspect(gateway) => {
                self.introspect(snapshot, gateway, (head, body), (peer, now), request_id, record).await
            }
            Endpoint::Revoke(gateway) => self.revoke(snapshot, gateway, (head, body), (peer, now), record).await,
            Endpoint::Authorize(gateway) => {
                self.authorize(snapshot, gateway, (head, body), (request_id, now), record).await
            }
            Endpoint::Callback(gateway) => self.callback(snapshot, gateway, head, (request_id, now), record).await,
            Endpoint::Launch { gateway, app } => {
                self.launch(snapshot, gateway, (app, head), (request_id, now), record).await
            }
            Endpoint::Jwks(gateway) => jwks::answer(gateway),
            Endpoint::KeySet(pair) => key_set::answer(pair),
            Endpoint::SmartConfiguration(gateway) => smart_configuration::smart(snapshot, gateway),
            Endpoint::AuthorizationServerMetadata(gateway) => {
                smart_configuration::authorization_server(snapshot, gateway)
            }
            Endpoint::OpenIdConfiguration(gateway) => smart_configuration::openid(snapshot, gateway),
            Endpoint::Metadata(gateway) => match self.metadata(snapshot, gateway, head, request_id, now).await {
                Ok(response) => response,
                Err(error) => refuse(error.refusal(gateway), record),
            },
            Endpoint::Fhir { gateway, rest } => {
                let request = FhirRequest { snapshot, gateway, rest, head, request_id, now };
                match self.fhir(request, body, record).await {
                    Ok(response) => response,
                    Err(error) => refuse(error.refusal(gateway), record),
                }
            }
            Endpoint::PrivateApi { gateway, rest } => {
                let request = PrivateApiRequest { snapshot, gateway, rest, head, request_id, now };
                match self.private_api(request, body, record).await {
                    Ok(response) => response,
                    Err(error) => refuse(error.refusal(gateway), record),
                }
            }
        }
    }

    fn within_limits(&self, head: &Head) -> Result<(), Refusal> {
        let app = |status, code, message: &str| Err(Refusal::new(status, code, Side::App, message));
        if let Some(fault) = head.extensions.get::<HeadFault>() {
            return app(StatusCode::BAD_REQUEST, Code::HttpRefused, &fault.to_string());
        }
        if matches!(head.method, Method::CONNECT | Method::TRACE) {
            return Err(method_refused("GET, HEAD, POST, PUT, PATCH, DELETE"));
        }
        let length = head.uri.path_and_query().map_or(0, |text| text.as_str().len());
        if length > self.limits.uri {
            return app(StatusCode::URI_TOO_LONG, Code::UriTooLong, "the request's URI is too long");
        }
        let headers: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if headers > self.limits.headers {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return app(status, Code::HeadersTooLarge, "the request's headers are too large");
        }
        Ok(())
    }
}

/// What the client called, in lower case. Where `:authority` or the absolute form and `Host` say different things, no
/// choice between them is right for every server on the way (RFC 9112 §3.2.2, RFC 9113 §8.3.1).
fn authority(head: &Head) -> Result<String, Refusal> {
    let refused = |message: String| Refusal::new(StatusCode::BAD_REQUEST, Code::HeaderRefused, Side::App, message);
    let host = headers::single(&head.headers, &HOST).map_err(|error| refused(error.to_string()))?;
    let in_uri = head.uri.authority().map(http::uri::Authority::as_str);
    if in_uri.zip(host).is_some_and(|(in_uri, host)| !in_uri.eq_ignore_ascii_case(host)) {
        return Err(refused("the request names two hosts".into()));
    }
    let authority = in_uri.or(host).unwrap_or_default();
    if authority.contains('@') {
        return Err(refused("the host holds user information".into()));
    }
    Ok(authority.to_ascii_lowercase())
}

fn not_synced() -> Refusal {
    let message = "this replica has not loaded its configuration yet";
    let mut refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Code::NotSynced, Side::Gateway, message);
    refusal.retry_after = Some(2);
    refusal
}

fn method_refused(allow: &'static str) -> Refusal {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    let mut refusal = Refusal::new(status, Code::MethodRefused, Side::App, "the method is not used here");
    refusal.allow = Some(allow);
    refusal
}

fn unrouted(error: &RouteError) -> Refusal {
    let (status, side) = match error {
        RouteError::Path(_) => (StatusCode::BAD_REQUEST, Side::App),
        RouteError::GatewayUnknown | RouteError::EndpointUnknown(_) => (StatusCode::NOT_FOUND, Side::App),
        RouteError::NothingServed | RouteError::GatewayNotServed(_) => (StatusCode::SERVICE_UNAVAILABLE, Side::Gateway),
    };
    Refusal::new(status, error.code(), side, error.to_string())
}

/// The method, where it is one of HTTP's: a log holds no inventions.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "other",
    }
}

#[cfg(test)]
mod tests;
