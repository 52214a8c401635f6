//! `B/oauth2/authorize`: no page of ours, the browser goes straight on to the EHR.

use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts as Head;
use http::{Method, Response, StatusCode};
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use super::Proxy;
use super::body::{self, Body};
use super::browser::{self, LaunchCookie, random_text};
use super::headers;
use super::record::Record;
use super::refusal::{Refusal, Side};
use super::request_id::RequestId;
use super::shared_state::absent_if_unopenable;
use crate::outbound::EhrTokenError;
use crate::protocol::oauth::authorize::{self, Asked, Authorization, EhrLeg, PageFault, Refused, user_of};
use crate::protocol::oauth::ehr_launch::EhrLaunch;
use crate::protocol::oauth::{redirect, user_scopes};
use crate::protocol::{form, media_type};
use crate::snapshot::{Gateway, Snapshot};
use crate::store::{Kind, StoreError};
use crate::values::code::Code;

/// How long a user may take to log in at the EHR, in seconds.
const PATIENCE: i64 = 15 * 60;

/// A launch that waits for the EHR to send the user back.
#[derive(Serialize, Deserialize)]
pub(super) struct Pending {
    /// UID of the activation.
    pub(super) activation: String,
    /// What the app asked for.
    pub(super) asked: Asked,
    /// What of it may be granted.
    pub(super) scope: String,
    /// What only we and the EHR know.
    pub(super) leg: EhrLeg,
    /// What only the browser knows besides us.
    pub(super) cookie: String,
}

/// Under which key a pending launch lies.
pub(super) fn pending_key(state: &str) -> String {
    format!("state {state}")
}

/// Under which key lies what our own `launch` stands for.
pub(super) fn launch_key(launch: &str) -> String {
    format!("launch {launch}")
}

/// Why the user is not sent on.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuthorizeError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("{fault}")]
    Later { asked: Box<Asked>, fault: Obstacle },
}

/// What a good request meets.
#[derive(Debug, thiserror::Error)]
pub(super) enum Obstacle {
    #[error("the launch is not known, or over: start the app from the EHR again")]
    LaunchUnknown,
    #[error("the gateway's own keys are not there yet")]
    SigningUnready,
    #[error("the state that this needs cannot be reached now")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Ehr(#[from] EhrTokenError),
}

impl Obstacle {
    pub(super) const fn code(&self) -> Code {
        match self {
            Self::LaunchUnknown => Code::LaunchUnknown,
            Self::SigningUnready => Code::GatewaySigningUnready,
            Self::Store(_) => Code::StoreAway,
            Self::Ehr(error) => error.request_code(),
        }
    }

    /// RFC 6749 §4.1.2.1's word for it.
    const fn word(&self) -> &'static str {
        match self {
            Self::LaunchUnknown => "invalid_request",
            Self::SigningUnready | Self::Store(_) => "temporarily_unavailable",
            Self::Ehr(error) => word_of(error),
        }
    }
}

/// What an app is told of an EHR's failure.
pub(super) const fn word_of(error: &EhrTokenError) -> &'static str {
    match error {
        EhrTokenError::Unreachable { .. }
        | EhrTokenError::Timeout { .. }
        | EhrTokenError::Unavailable { .. }
        | EhrTokenError::Interrupted => "temporarily_unavailable",
        EhrTokenError::KeyUnready
        | EhrTokenError::ClientIdMissing
        | EhrTokenError::NeedsUser
        | EhrTokenError::Refused { .. }
        | EhrTokenError::TlsFailed { .. }
        | EhrTokenError::AddressNotAllowed { .. }
        | EhrTokenError::UnusableAnswer { .. } => "server_error",
    }
}

impl AuthorizeError {
    fn code(&self) -> Code {
        match self {
            Self::Refused(Refused::OnPage(fault)) => fault.code(),
            Self::Refused(Refused::ByRedirect { fault, .. }) => fault.code(),
            Self::Later { fault, .. } => fault.code(),
        }
    }

    fn into_response(self, gateway: &Gateway, request_id: &RequestId) -> Response<Body> {
        let (redirect_uri, state, word) = match &self {
            Self::Refused(Refused::OnPage(fault)) => {
                let refusal = Refusal::new(StatusCode::BAD_REQUEST, fault.code(), Side::App, fault.to_string());
                return browser::page(&refusal, request_id);
            }
            Self::Refused(Refused::ByRedirect { redirect_uri, state, fault }) => {
                (redirect_uri, state.as_deref(), fault.word())
            }
            Self::Later { asked, fault } => (&asked.redirect_uri, Some(asked.state.as_str()), fault.word()),
        };
        let description = format!("{}: {self}", self.code());
        let parameters = [("error", Some(word)), ("error_description", Some(description.as_str()))];
        browser::redirect(&redirect::answer(redirect_uri, &gateway.issuer, state, parameters))
    }
}

impl Proxy {
    /// Answers an authorization request, by GET or POST.
    pub(super) async fn authorize(
        &self,
        snapshot: &Snapshot,
        gateway: &Arc<Gateway>,
        (head, body): (&Head, Body),
        (request_id, now): (&RequestId, Timestamp),
        record: &mut Record,
    ) -> Response<Body> {
        match self.send_on(snapshot, gateway, (head, body), now, record).await {
            Ok(response) => response,
            Err(error) => {
                record.code = Some(error.code());
                if let AuthorizeError::Later { fault: Obstacle::Store(error), .. } = &error {
                    tracing::error!(gateway = %gateway.key, %error, "a launch could not be kept");
                }
                error.into_response(gateway, request_id)
            }
        }
    }

    async fn send_on(
        &self,
        snapshot: &Snapshot,
        gateway: &Arc<Gateway>,
        (head, body): (&Head, Body),
        now: Timestamp,
        record: &mut Record,
    ) -> Result<Response<Body>, AuthorizeError> {
        let form;
        let parameters = if head.method == Method::POST {
            form = self.form(head, body).await.map_err(Refused::from)?;
            &form[..]
        } else {
            head.uri.query().unwrap_or_default().as_bytes()
        };
        let authorization = authorize::decide(snapshot, gateway, parameters, now)?;
        record.app = Some(authorization.activation.app.key.clone());
        record.client_id = Some(authorization.asked.client_id.clone());
        let asked = authorization.asked.clone();
        let kept = self.keep(gateway, authorization, now).await;
        kept.map_err(|fault| AuthorizeError::Later { asked: Box::new(asked), fault })
    }

    async fn form(&self, head: &Head, body: Body) -> Result<bytes::Bytes, PageFault> {
        let content_type = headers::single(&head.headers, &CONTENT_TYPE).map_err(|_| PageFault::Unreadable)?;
        let is_form = content_type.map(media_type::essence).as_deref() == Some(form::MEDIA_TYPE);
        if !is_form || head.headers.contains_key(CONTENT_ENCODING) {
            return Err(PageFault::Unreadable);
        }
        let form = body::read(body, authorize::MAXIMUM_LENGTH, self.limits.request_idle).await;
        form.map_err(|_| PageFault::Unreadable)
    }

    /// Keeps the launch until the user is back, and sends the browser to the EHR.
    async fn keep(
        &self,
        gateway: &Gateway,
        authorization: Authorization,
        now: Timestamp,
    ) -> Result<Response<Body>, Obstacle> {
        let Authorization { activation, asked, launch, scopes } = authorization;
        let user = user_of(&activation).ok_or(EhrTokenError::NeedsUser)?;
        let records = self.records(gateway).ok_or(Obstacle::SigningUnready)?;
        let launch = match launch {
            None => None,
            Some(launch) => {
                let kept = records.get::<EhrLaunch>(Kind::Launch, &launch_key(&launch), now).await;
                let kept = kept.or_else(absent_if_unopenable)?;
                let kept = kept.filter(|kept| kept.content.activation == activation.uid);
                Some(kept.ok_or(Obstacle::LaunchUnknown)?.content.launch)
            }
        };
        let endpoint = self.ehr_tokens.authorization_url(&activation).await?;
        let leg = EhrLeg {
            verifier: random_text()?,
            nonce: random_text()?,
            scope: user_scopes::asked_of_the_ehr(user, &scopes, launch.is_some()),
            is_ehr_launch: launch.is_some(),
        };
        let (state, cookie) = (random_text()?, random_text()?);
        let location = authorize::ehr_request(endpoint.as_str(), &activation, user, &leg, &state, launch.as_deref());
        let pending = Pending {
            activation: activation.uid.clone(),
            asked,
            scope: scopes.to_string(),
            leg,
            cookie: cookie.clone(),
        };
        records.put(Kind::Launch, &pending_key(&state), &pending, now + PATIENCE.seconds(), now).await?;
        let mut response = browser::redirect(&location);
        LaunchCookie { gateway, state: &state }.set(&mut response, &cookie, PATIENCE);
        Ok(response)
    }
}
