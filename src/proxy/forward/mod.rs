//! One call to an EHR: the exact path and query appended to its base as text, the EHR's credentials put in last, no
//! redirect followed, and its 401 answered with a fresh token once.
//!
//! Before it: the limits of gateway and adapter, the pause that the EHR asked for, the circuit breaker. After it: what
//! may be asked again is asked again, within the adapter's attempts and budget.

mod authorization;
mod error;
mod inflate;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use self::authorization::Authorization;
pub(super) use self::error::{ForwardError, body_refusal};
pub(super) use self::inflate::EhrBody;
use super::Proxy;
use super::body::{self, Body, BodyError, Ending, Watched};
use super::request_id::{RequestId, X_REQUEST_ID};
use super::trace;
use super::traffic::AdapterTraffic;
use crate::outbound::{CallError, retry};
use crate::protocol::jwt;
use crate::snapshot::{Activation, DataAdapter};

/// Bodies up to this length are held, so that they can be sent again after a 401.
const REPLAYABLE: u64 = 64 * 1024;

const PRODUCT: &str = concat!("hearthgate/", env!("CARGO_PKG_VERSION"));

/// What is to be sent.
pub(super) struct Draft {
    pub(super) method: Method,
    /// Absolute: the EHR's base, and behind it what the client wrote.
    pub(super) target: String,
    /// Without credentials.
    pub(super) headers: HeaderMap,
    pub(super) body: Outgoing,
}

/// A request's body.
pub(super) enum Outgoing {
    /// All there: it may be sent again.
    Whole(Bytes),
    /// As it comes from the client.
    Stream(Body, Arc<Ending>),
}

/// Whose credentials go along.
pub(super) enum Credentials<'request> {
    /// None: what the EHR shows to all.
    Open,
    /// The activation's.
    Activation(&'request Arc<Activation>),
    /// A user's, by the session that the access token names.
    Session(&'request Arc<Activation>, &'request jwt::Session),
    /// The adapter's External auth: the whole `Authorization` header.
    Fixed { activation: &'request Arc<Activation>, authorization: &'request SecretString },
}

impl<'request> Credentials<'request> {
    /// On whose behalf the EHR is called.
    const fn activation(&self) -> Option<&'request Arc<Activation>> {
        match self {
            Self::Open => None,
            Self::Activation(activation) | Self::Session(activation, _) | Self::Fixed { activation, .. } => {
                Some(activation)
            }
        }
    }
}

impl Proxy {
    /// Takes a client's body: held if it is known to be short, else watched while it streams.
    pub(super) async fn outgoing(&self, body: Body) -> Result<Outgoing, BodyError> {
        let limits = &self.limits;
        let size = body.size_hint();
        if body.is_end_stream() {
            return Ok(Outgoing::Whole(Bytes::new()));
        }
        if size.lower() > u64::try_from(limits.request_body).unwrap_or(u64::MAX) {
            return Err(BodyError::TooLarge);
        }
        if size.exact().is_some_and(|length| length <= REPLAYABLE) {
            return body::read(body, limits.request_body, limits.request_idle).await.map(Outgoing::Whole);
        }
        let watched = Watched::new(body, Some(limits.request_body), limits.request_idle);
        let ending = Arc::clone(&watched.ending);
        Ok(Outgoing::Stream(watched.boxed_unsync(), ending))
    }

    /// Sends a draft. The answer is no 401 to our credentials and no redirect, and plain; anything else is the caller's to
    /// judge.
    pub(super) async fn forward(
        &self,
        adapter: &DataAdapter,
        credentials: &Credentials<'_>,
        mut draft: Draft,
        request_id: &RequestId,
    ) -> Result<Response<EhrBody>, ForwardError> {
        let target = Uri::try_from(draft.target.as_str()).map_err(|_| ForwardError::Target)?;
        draft.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        draft.headers.insert(USER_AGENT, HeaderValue::from_static(PRODUCT));
        draft.headers.insert(X_REQUEST_ID, request_id.header());
        for (name, value) in &adapter.request_headers {
            draft.headers.insert(name, value.clone());
        }
        let activation = credentials.activation();
        let traffic = self.traffic.of(adapter);
        if let Some(activation) = activation {
            self.traffic.within_rate(activation).map_err(|wait| ForwardError::RateLimited { wait })?;
        }
        if let Some(paused) = traffic.paused(activation.map(AsRef::as_ref), self.traffic.now()) {
            return Err(ForwardError::Paused(paused));
        }
        // Given back when the answer's headers are there: a stream is no load that others wait for.
        let app = activation.map_or(&adapter.key, |activation| &activation.app.key);
        let _place = traffic.admission.enter(app, adapter.rate_limit.as_ref()).await?;
        traffic.budget.earn(adapter.retry_budget_percent);
        let outbound = Outbound { adapter, traffic: &traffic, target: &target, is_safe: is_safe(&draft), request_id };
        let answer = self.attempts(&outbound, credentials, draft).await?;
        let whose = || format!("{} {}", adapter.key, request_id.as_str());
        inflate::plain(answer, adapter.timeouts.idle, whose).await
    }

    /// Asks, and asks again where that may help.
    async fn attempts(
        &self,
        outbound: &Outbound<'_>,
        credentials: &Credentials<'_>,
        mut draft: Draft,
    ) -> Result<Response<Incoming>, ForwardError> {
        let Outbound { adapter, traffic, .. } = *outbound;
        let (mut attempt, mut refused, mut pauses) = (1, None, retry::pauses());
        loop {
            let (authorization, renewable) = self.authorization(credentials, refused.as_ref()).await?;
            let (body, ending, replay) = match std::mem::replace(&mut draft.body, Outgoing::Whole(Bytes::new())) {
                Outgoing::Whole(bytes) => (body::full(bytes.clone()), None, Some(Outgoing::Whole(bytes))),
                Outgoing::Stream(body, ending) => (body, Some(ending), None),
            };
            let mut request = Request::new(body);
            *request.method_mut() = draft.method.clone();
            *request.uri_mut() = outbound.target.clone();
            *request.headers_mut() = draft.headers.clone();
            if let Some(header) = authorization.as_ref().and_then(Authorization::header) {
                request.headers_mut().insert(AUTHORIZATION, header.clone());
            } else if let Credentials::Fixed { authorization, .. } = credentials {
                let header = HeaderValue::from_str(authorization.expose_secret());
                let mut header = header.map_err(|_| ForwardError::Credential)?;
                header.set_sensitive(true);
                request.headers_mut().insert(AUTHORIZATION, header);
            }
            let answer = self.attempt(outbound, request).await?;
            if let Some(body) = replay {
                let may_help = attempt < adapter.maximum_attempts && outbound.may_help(&answer);
                if may_help && traffic.budget.spend(adapter.retry_budget_percent) {
                    attempt += 1;
                    self.metrics.ehr_retry(&adapter.key);
                    tokio::time::sleep(pauses.next().unwrap_or_default()).await;
                    draft.body = body;
                    continue;
                }
                let is_refused = answer.as_ref().is_ok_and(|answer| answer.status() == StatusCode::UNAUTHORIZED);
                if is_refused && renewable && refused.is_none() {
                    self.forget(credentials, authorization.as_ref());
                    draft.body = body;
                    refused = authorization;
                    continue;
                }
            }
            let answer = answer.map_err(|error| match ending.and_then(|ending| ending.get()) {
                Some(fault) => ForwardError::Body(fault),
                None => ForwardError::Call(error),
            })?;
            let status = answer.status();
            outbound.honour(&answer, credentials.activation().map(AsRef::as_ref), self.traffic.now());
            if status == StatusCode::UNAUTHORIZED {
                self.forget(credentials, authorization.as_ref());
                return Err(ForwardError::CredentialsRefused);
            }
            if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                return Err(ForwardError::Redirected(status.as_u16()));
            }
            return Ok(answer);
        }
    }

    /// One call, if the breaker lets it through; the breaker and the metrics hear how it ended.
    async fn attempt(
        &self,
        outbound: &Outbound<'_>,
        mut request: Request<Body>,
    ) -> Result<Result<Response<Incoming>, CallError>, ForwardError> {
        let Outbound { adapter, traffic, request_id, .. } = *outbound;
        let settings = &adapter.circuit_breaker;
        let admitted = traffic.breaker.admit(settings, self.traffic.now())?;
        let began = Instant::now();
        let span = trace::call(self.traces.as_ref(), &adapter.key, request.headers_mut());
        let answer = self.ehr_client.send(adapter, request).await;
        span.answered(answer.as_ref().map(Response::status).ok());
        self.metrics.ehr_call(&adapter.key, answer.as_ref().map(Response::status).ok(), began.elapsed());
        let opened = match &answer {
            Ok(answer) => {
                traffic.note_date(answer.headers(), Timestamp::now());
                // 501 is about the request, not about the EHR's health: one app must not close the gate for all.
                let failed = answer.status().is_server_error() && answer.status() != StatusCode::NOT_IMPLEMENTED;
                admitted.ended(failed, settings, self.traffic.now())
            }
            Err(error) => {
                tracing::warn!(adapter = %adapter.key, %error, request_id = request_id.as_str(), "the call to the EHR failed");
                match error {
                    // The client's own fault, and what every pooled connection comes to in the end: they tell nothing
                    // of the EHR's health.
                    CallError::RequestBody | CallError::Broken(_) => false,
                    CallError::AddressNotAllowed { .. }
                    | CallError::Connect(_)
                    | CallError::Tls(_)
                    | CallError::TlsSettings(_)
                    | CallError::Timeout { .. } => admitted.ended(true, settings, self.traffic.now()),
                }
            }
        };
        if opened {
            tracing::error!(adapter = %adapter.key, seconds = settings.open_seconds, "the EHR fails too often and is left alone");
        }
        Ok(answer)
    }

    /// Drops the token that the EHR answered 401 to.
    fn forget(&self, credentials: &Credentials<'_>, used: Option<&Authorization>) {
        if let (Credentials::Activation(activation), Some(Authorization::Activation(used))) = (credentials, used) {
            self.ehr_tokens.forget(activation, used);
        }
    }
}

/// What is the same in all attempts.
#[derive(Clone, Copy)]
struct Outbound<'call> {
    adapter: &'call DataAdapter,
    traffic: &'call AdapterTraffic,
    target: &'call Uri,
    is_safe: bool,
    request_id: &'call RequestId,
}

impl Outbound<'_> {
    /// Whether asking again could help, and does no harm: nothing was sent, or what was sent changes nothing. A time-out
    /// is not asked about twice: its client has waited long enough.
    fn may_help(&self, answer: &Result<Response<Incoming>, CallError>) -> bool {
        match answer {
            Ok(answer) => {
                let asks_to_wait = answer.headers().contains_key(http::header::RETRY_AFTER);
                let is_passing = matches!(answer.status().as_u16(), 502..=504);
                self.is_safe && is_passing && !asks_to_wait
            }
            Err(CallError::Connect(_)) => true,
            Err(CallError::Broken(_)) => self.is_safe,
            Err(
                CallError::AddressNotAllowed { .. }
                | CallError::Tls(_)
                | CallError::TlsSettings(_)
                | CallError::Timeout { .. }
                | CallError::RequestBody,
            ) => false,
        }
    }

    /// Does what an overloaded EHR asks for: 429 is about this client of it, 503 about everybody.
    fn honour(&self, answer: &Response<Incoming>, activation: Option<&Activation>, now: std::time::Duration) {
        let whom = match answer.status() {
            StatusCode::TOO_MANY_REQUESTS => activation,
            StatusCode::SERVICE_UNAVAILABLE => None,
            _ => return,
        };
        if let Some(pause) = retry::retry_after(answer.headers(), Timestamp::now()) {
            self.traffic.pause(whom, pause, now);
        }
    }
}

/// Whether a request changes nothing at the EHR: reads, and a search that is sent as a form.
fn is_safe(draft: &Draft) -> bool {
    let path = draft.target.split('?').next().unwrap_or_default();
    matches!(draft.method, Method::GET | Method::HEAD) || (draft.method == Method::POST && path.ends_with("/_search"))
}
