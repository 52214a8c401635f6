//! One call to an EHR: the exact path and query appended to its base as text, the EHR's credentials put in last, no
//! redirect followed, and its 401 answered with a fresh token once.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use hyper::body::Incoming;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use super::Proxy;
use super::body::{self, Body, BodyError, Ending, Watched};
use super::refusal::{Refusal, Side};
use super::request_id::{RequestId, X_REQUEST_ID};
use super::session;
use super::session_tokens::{SessionError, SessionToken};
use crate::outbound::{CallError, EhrAuthorization, EhrTokenError};
use crate::protocol::jwt;
use crate::snapshot::{Activation, DataAdapter, EhrAuthentication};
use crate::store::FamilyId;
use crate::values::code::Code;
use http_body_util::BodyExt as _;

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
    Fixed(&'request SecretString),
}

/// Why there is no answer to pass on.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
    /// The target is no URI.
    #[error("the path and query cannot be sent on")]
    Target,
    /// There is no token of the EHR.
    #[error("activation {activation}: {error}; its status.nextStep says what to do")]
    Token { activation: String, error: EhrTokenError },
    /// The user's session at the EHR is over.
    #[error("the user's session at the EHR is over")]
    SessionOver,
    /// The state that holds users' tokens cannot be reached.
    #[error("the state that holds the user's session cannot be reached now")]
    StoreAway,
    /// The External auth's secret is no header value.
    #[error("the adapter's External auth holds no usable credential")]
    Credential,
    /// The call failed.
    #[error("{}", said(.0))]
    Call(CallError),
    /// The client's body failed on the way.
    #[error("the request could not be sent on: {0}")]
    Body(BodyError),
    /// 401, also with a fresh token.
    #[error("the EHR refuses the gateway's own credentials")]
    CredentialsRefused,
    /// 3xx
    #[error("the EHR answered with a redirect ({0}), which is never followed")]
    Redirected(u16),
    /// The answer is compressed, though `identity` was asked for.
    #[error("the EHR's answer is compressed, though the gateway asked for plain content")]
    Compressed,
}

/// What a client is told of a failed call: never an address, a name or a certificate of the EHR.
const fn said(error: &CallError) -> &'static str {
    match error {
        CallError::AddressNotAllowed { .. } => "the EHR is at an address that the gateway does not call",
        CallError::Connect(_) => "the EHR could not be reached",
        CallError::Tls(_) | CallError::TlsSettings(_) => "no TLS connection to the EHR could be made",
        CallError::Timeout { .. } => "the EHR did not answer in time",
        CallError::Broken(_) => "the connection to the EHR broke off",
        CallError::RequestBody => "the request's body could not be read to its end",
    }
}

impl ForwardError {
    /// The refusal that a client gets.
    pub(super) fn refusal(&self) -> Refusal {
        let (status, code, side) = match self {
            Self::Target => (StatusCode::BAD_REQUEST, Code::PathRefused, Side::App),
            Self::Token { error, .. } => {
                let code = error.request_code();
                match code {
                    Code::ActivationKeyUnready => (StatusCode::SERVICE_UNAVAILABLE, code, Side::Gateway),
                    Code::EhrAddressNotAllowed => (StatusCode::BAD_GATEWAY, code, Side::Gateway),
                    Code::EhrTimeout => (StatusCode::GATEWAY_TIMEOUT, code, Side::Ehr),
                    _ => (StatusCode::BAD_GATEWAY, code, Side::Ehr),
                }
            }
            Self::SessionOver => (StatusCode::UNAUTHORIZED, Code::SessionOver, Side::App),
            Self::StoreAway => (StatusCode::SERVICE_UNAVAILABLE, Code::StoreAway, Side::Gateway),
            Self::Credential => (StatusCode::BAD_GATEWAY, Code::ActivationKeyUnready, Side::Gateway),
            Self::Call(error) => match error {
                CallError::AddressNotAllowed { .. } => {
                    (StatusCode::BAD_GATEWAY, Code::EhrAddressNotAllowed, Side::Gateway)
                }
                CallError::TlsSettings(_) => (StatusCode::BAD_GATEWAY, Code::EhrUnreachableNow, Side::Gateway),
                CallError::Connect(_) | CallError::Tls(_) | CallError::Broken(_) => {
                    (StatusCode::BAD_GATEWAY, Code::EhrUnreachableNow, Side::Ehr)
                }
                CallError::Timeout { .. } => (StatusCode::GATEWAY_TIMEOUT, Code::EhrTimeout, Side::Ehr),
                CallError::RequestBody => (StatusCode::BAD_REQUEST, Code::BodyUnreadable, Side::App),
            },
            Self::Body(error) => return body_refusal(*error),
            Self::CredentialsRefused => (StatusCode::BAD_GATEWAY, Code::EhrRefusedCredentials, Side::Ehr),
            Self::Redirected(_) => (StatusCode::BAD_GATEWAY, Code::EhrRedirected, Side::Ehr),
            Self::Compressed => (StatusCode::BAD_GATEWAY, Code::EhrAnswerUnusable, Side::Ehr),
        };
        Refusal::new(status, code, side, self.to_string())
    }
}

/// The refusal for a request's body that came to no good end.
pub(super) fn body_refusal(error: BodyError) -> Refusal {
    let (status, code) = match error {
        BodyError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Code::BodyTooLarge),
        BodyError::Stalled => (StatusCode::REQUEST_TIMEOUT, Code::BodyUnreadable),
        BodyError::Broken => (StatusCode::BAD_REQUEST, Code::BodyUnreadable),
    };
    Refusal::new(status, code, Side::App, error.to_string())
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

    /// Sends a draft. The answer is no 401 to our credentials and no redirect; anything else is the caller's to judge.
    pub(super) async fn forward(
        &self,
        adapter: &DataAdapter,
        credentials: &Credentials<'_>,
        mut draft: Draft,
        request_id: &RequestId,
    ) -> Result<Response<Incoming>, ForwardError> {
        let target = Uri::try_from(draft.target.as_str()).map_err(|_| ForwardError::Target)?;
        draft.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        draft.headers.insert(USER_AGENT, HeaderValue::from_static(PRODUCT));
        draft.headers.insert(X_REQUEST_ID, request_id.header());
        for (name, value) in &adapter.request_headers {
            draft.headers.insert(name, value.clone());
        }
        let mut refused = None;
        loop {
            let (authorization, renewable) = self.authorization(credentials, refused.as_ref()).await?;
            let (body, ending, replay) = match std::mem::replace(&mut draft.body, Outgoing::Whole(Bytes::new())) {
                Outgoing::Whole(bytes) => {
                    (body::full(bytes.clone()), None, refused.is_none().then_some(Outgoing::Whole(bytes)))
                }
                Outgoing::Stream(body, ending) => (body, Some(ending), None),
            };
            let mut request = Request::new(body);
            *request.method_mut() = draft.method.clone();
            *request.uri_mut() = target.clone();
            *request.headers_mut() = draft.headers.clone();
            if let Some(header) = authorization.as_ref().and_then(Authorization::header) {
                request.headers_mut().insert(AUTHORIZATION, header.clone());
            } else if let Credentials::Fixed(header) = credentials {
                let mut header = HeaderValue::from_str(header.expose_secret()).map_err(|_| ForwardError::Credential)?;
                header.set_sensitive(true);
                request.headers_mut().insert(AUTHORIZATION, header);
            }
            let answer = self.ehr_client.send(adapter, request).await;
            self.metrics.ehr_call(&adapter.key, answer.as_ref().map(Response::status).ok());
            let answer = answer.map_err(|error| {
                tracing::warn!(adapter = %adapter.key, %error, request_id = request_id.as_str(), "the call to the EHR failed");
                match ending.and_then(|ending| ending.get()) {
                    Some(fault) => ForwardError::Body(fault),
                    None => ForwardError::Call(error),
                }
            })?;
            let status = answer.status();
            if status == StatusCode::UNAUTHORIZED {
                if let (Credentials::Activation(activation), Some(Authorization::Activation(used))) =
                    (credentials, &authorization)
                {
                    self.ehr_tokens.forget(activation, used);
                }
                match replay {
                    Some(body) if renewable => {
                        draft.body = body;
                        refused = authorization;
                        continue;
                    }
                    Some(_) | None => return Err(ForwardError::CredentialsRefused),
                }
            }
            if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                return Err(ForwardError::Redirected(status.as_u16()));
            }
            let encoding = answer.headers().get(CONTENT_ENCODING);
            if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
                return Err(ForwardError::Compressed);
            }
            return Ok(answer);
        }
    }

    /// The credentials of an activation, and whether asking again could give others.
    async fn authorization(
        &self,
        credentials: &Credentials<'_>,
        refused: Option<&Authorization>,
    ) -> Result<(Option<Authorization>, bool), ForwardError> {
        match credentials {
            Credentials::Open | Credentials::Fixed(_) => Ok((None, false)),
            Credentials::Activation(activation) => {
                let renewable = match &activation.ehr_authentication {
                    EhrAuthentication::BackendAuth(_) | EhrAuthentication::ClientCredentials(_) => true,
                    EhrAuthentication::Basic(_) | EhrAuthentication::None | EhrAuthentication::User(_) => false,
                };
                match self.ehr_tokens.authorization(activation).await {
                    Ok(authorization) => Ok((Some(Authorization::Activation(authorization)), renewable)),
                    Err(error) => Err(ForwardError::Token { activation: activation.key.to_string(), error }),
                }
            }
            Credentials::Session(activation, session) => {
                let refused = match refused {
                    Some(Authorization::Session(used)) => Some(&**used),
                    Some(Authorization::Activation(_)) | None => None,
                };
                let token = self.session_token(activation, session, refused).await?;
                Ok((Some(Authorization::Session(token)), true))
            }
        }
    }

    async fn session_token(
        &self,
        activation: &Activation,
        session: &jwt::Session,
        refused: Option<&SessionToken>,
    ) -> Result<Arc<SessionToken>, ForwardError> {
        let gateway = &activation.gateway;
        let (Some(records), Ok(family)) = (self.records(gateway), session.id.parse::<FamilyId>()) else {
            return Err(ForwardError::SessionOver);
        };
        match self.session_tokens.of(&self.ehr_tokens, &records, activation, family, refused).await {
            Ok(token) => Ok(token),
            Err(SessionError::Over) => {
                // The app's refresh tokens end with it; that this replica cannot tell the others changes nothing here.
                if let Err(error) = session::end(&records, gateway, family, Timestamp::now()).await {
                    tracing::warn!(gateway = %gateway.key, %error, "a session that is over could not be ended");
                }
                Err(ForwardError::SessionOver)
            }
            Err(SessionError::Store(error)) => {
                tracing::error!(gateway = %gateway.key, %error, "a user's session could not be read");
                Err(ForwardError::StoreAway)
            }
            Err(SessionError::Ehr { error, .. }) => {
                Err(ForwardError::Token { activation: activation.key.to_string(), error })
            }
        }
    }
}

/// What goes along, and what names it.
enum Authorization {
    Activation(EhrAuthorization),
    Session(Arc<SessionToken>),
}

impl Authorization {
    fn header(&self) -> Option<&HeaderValue> {
        match self {
            Self::Activation(authorization) => authorization.header.as_ref(),
            Self::Session(token) => Some(&token.header),
        }
    }
}
