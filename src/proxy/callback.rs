//! `B/oauth2/callback`: the EHR sends the user back. The code is exchanged, the user looked at, and the browser goes on to
//! the app with a code of ours.

use std::sync::Arc;

use http::request::Parts as Head;
use http::{Response, StatusCode};
use jiff::Timestamp;

use super::Proxy;
use super::authorize::{Pending, pending_key, word_of};
use super::body::Body;
use super::browser::{self, LaunchCookie, random_text};
use super::record::Record;
use super::refusal::{Refusal, Side};
use super::request_id::RequestId;
use super::session::{self, EhrSession, Session};
use super::shared_state::absent_if_unopenable;
use crate::outbound::{EhrTokenError, IdentityError, UserGrant, UserTokens};
use crate::protocol::oauth::authorization_code::{Grant, LIFETIME};
use crate::protocol::oauth::authorize::{self, Asked, user_of};
use crate::protocol::oauth::callback::{self, Returned};
use crate::protocol::oauth::id_token::User;
use crate::protocol::oauth::launch_context::LaunchContext;
use crate::protocol::oauth::redirect;
use crate::protocol::oauth::user_scopes::{self, Given};
use crate::snapshot::{Activation, Gateway, NotLive, Snapshot};
use crate::store::{FamilyId, Kind, Records, StoreError, Take};
use crate::values::code::Code;
use crate::values::scope::ScopeSet;

/// Why nobody goes on to an app.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallbackError {
    #[error(transparent)]
    Unreadable(#[from] callback::Unreadable),
    #[error("the launch is not known, over, used before, or was begun in another browser")]
    Unknown,
    #[error("the app is not there any more, or lost the address that the answer was meant for")]
    AppGone,
    #[error("the gateway's own keys are not there yet")]
    SigningUnready,
    #[error("the state that this needs cannot be reached now")]
    Store(#[from] StoreError),
    /// Told to the app.
    #[error("{fault}")]
    ByRedirect { asked: Box<Asked>, fault: Fault },
}

/// Why the app gets no code.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the EHR did not authorize the launch ({0})")]
    Denied(&'static str),
    #[error("the answer comes from another issuer than the EHR's")]
    Issuer,
    #[error("the app's activation on this gateway is gone")]
    ActivationGone,
    #[error("the app's activation on this gateway is not in effect now")]
    NotLive(NotLive),
    #[error("{0}")]
    Ehr(#[from] EhrTokenError),
    #[error("the EHR granted openid and gave no id_token")]
    IdTokenMissing,
    #[error("the EHR granted openid and gave no valid id_token")]
    Identity(#[from] IdentityError),
    #[error("the EHR granted nothing of what was asked for")]
    ScopeUnavailable,
    #[error("the state that this needs cannot be reached now")]
    Store(#[from] StoreError),
}

impl CallbackError {
    const fn code(&self) -> Code {
        match self {
            Self::Unreadable(_) => Code::MalformedAuthorizationRequest,
            Self::Unknown => Code::LaunchUnknown,
            Self::AppGone => Code::RedirectRefused,
            Self::SigningUnready => Code::GatewaySigningUnready,
            Self::Store(_) => Code::StoreAway,
            Self::ByRedirect { fault, .. } => fault.code(),
        }
    }

    fn into_response(self, gateway: &Gateway, request_id: &RequestId) -> Response<Body> {
        let (status, side) = match &self {
            Self::Unreadable(_) => (StatusCode::BAD_REQUEST, Side::Ehr),
            Self::Unknown | Self::AppGone => (StatusCode::BAD_REQUEST, Side::App),
            Self::SigningUnready | Self::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, Side::Gateway),
            Self::ByRedirect { asked, fault } => {
                let description = format!("{}: {self}", self.code());
                let parameters = [("error", Some(fault.word())), ("error_description", Some(description.as_str()))];
                let state = Some(asked.state.as_str());
                return browser::redirect(&redirect::answer(&asked.redirect_uri, &gateway.issuer, state, parameters));
            }
        };
        browser::page(&Refusal::new(status, self.code(), side, self.to_string()), request_id)
    }
}

impl Fault {
    const fn code(&self) -> Code {
        match self {
            Self::Denied(_) | Self::Issuer => Code::EhrDenied,
            Self::ActivationGone => Code::ActivationGone,
            Self::NotLive(NotLive::Suspended(_)) => Code::ActivationSuspended,
            Self::NotLive(NotLive::NotYet(_) | NotLive::Over(_)) => Code::ActivationOutsideWindow,
            Self::Ehr(error) | Self::Identity(IdentityError::Unread(error)) => error.request_code(),
            Self::IdTokenMissing | Self::Identity(IdentityError::Invalid(_)) => Code::EhrIdTokenInvalid,
            Self::ScopeUnavailable => Code::ScopeUnavailable,
            Self::Store(_) => Code::StoreAway,
        }
    }

    /// RFC 6749 §4.1.2.1's word for it.
    const fn word(&self) -> &'static str {
        match self {
            Self::Denied(word) => word,
            Self::ActivationGone | Self::NotLive(_) => "unauthorized_client",
            Self::Ehr(error) | Self::Identity(IdentityError::Unread(error)) => word_of(error),
            Self::Issuer | Self::IdTokenMissing | Self::Identity(IdentityError::Invalid(_)) => "server_error",
            Self::ScopeUnavailable => "invalid_scope",
            Self::Store(_) => "temporarily_unavailable",
        }
    }
}

/// A launch that came back, before its outcome is looked at.
struct Back {
    state: String,
    pending: Pending,
    returned: Returned,
    records: Records,
}

impl Proxy {
    /// Answers the request that the EHR sent the browser here with.
    pub(super) async fn callback(
        &self,
        snapshot: &Snapshot,
        gateway: &Arc<Gateway>,
        head: &Head,
        (request_id, now): (&RequestId, Timestamp),
        record: &mut Record,
    ) -> Response<Body> {
        let back = match self.back(gateway, head, now).await {
            Ok(back) => back,
            Err(error) => return told(error, gateway, request_id, record),
        };
        let cookie = LaunchCookie { gateway, state: &back.state };
        let mut response = match self.go_on(snapshot, gateway, &back, now, record).await {
            Ok(response) => response,
            Err(error) => told(error, gateway, request_id, record),
        };
        cookie.clear(&mut response);
        response
    }

    /// Finds the launch that the browser comes back from, which must be one that it began. Nobody comes back twice.
    async fn back(&self, gateway: &Gateway, head: &Head, now: Timestamp) -> Result<Back, CallbackError> {
        let returned = callback::read(head.uri.query().unwrap_or_default())?;
        let records = self.records(gateway).ok_or(CallbackError::SigningUnready)?;
        let key = pending_key(&returned.state);
        let known = records.get::<Pending>(Kind::Launch, &key, now).await;
        let known = known.or_else(absent_if_unopenable)?;
        let known = known.ok_or(CallbackError::Unknown)?.content;
        let cookie = LaunchCookie { gateway, state: &returned.state };
        // Looked at first: who has no cookie spoils nobody's launch.
        if !cookie.is_shown(&head.headers, &known.cookie) {
            return Err(CallbackError::Unknown);
        }
        match records.take::<Pending>(Kind::Launch, &key, now, now).await? {
            Take::First(pending) => Ok(Back { state: returned.state.clone(), pending, returned, records }),
            Take::Again(_) | Take::Absent => Err(CallbackError::Unknown),
        }
    }

    async fn go_on(
        &self,
        snapshot: &Snapshot,
        gateway: &Arc<Gateway>,
        back: &Back,
        now: Timestamp,
        record: &mut Record,
    ) -> Result<Response<Body>, CallbackError> {
        let asked = &back.pending.asked;
        record.client_id = Some(asked.client_id.clone());
        // The registration may have changed since.
        let app = snapshot.app_by_client_id(&asked.client_id).ok_or(CallbackError::AppGone)?;
        record.app = Some(app.key.clone());
        if !app.redirect_uris.contains(&asked.redirect_uri) {
            return Err(CallbackError::AppGone);
        }
        let code = self.code(snapshot, gateway, back, now).await;
        let code = code.map_err(|fault| CallbackError::ByRedirect { asked: Box::new(asked.clone()), fault })?;
        let state = Some(asked.state.as_str());
        let location = redirect::answer(&asked.redirect_uri, &gateway.issuer, state, [("code", Some(code.as_str()))]);
        Ok(browser::redirect(&location))
    }

    /// Gets the EHR's tokens, and keeps them under a code of ours.
    async fn code(
        &self,
        snapshot: &Snapshot,
        gateway: &Arc<Gateway>,
        back: &Back,
        now: Timestamp,
    ) -> Result<String, Fault> {
        let Back { pending, returned, records, .. } = back;
        let activation = snapshot.activation_by_uid(&pending.activation).ok_or(Fault::ActivationGone)?;
        let is_the_same = activation.gateway.uid == gateway.uid && activation.app.client_id == pending.asked.client_id;
        if !is_the_same {
            return Err(Fault::ActivationGone);
        }
        activation.live_at(now).map_err(Fault::NotLive)?;
        self.check_issuer(activation, returned.issuer.as_deref())?;
        let code = returned.outcome.as_ref().map_err(|word| Fault::Denied(word))?;
        let redirect_uri = authorize::callback(gateway);
        let grant = UserGrant::Code { code, redirect_uri: &redirect_uri, verifier: &pending.leg.verifier };
        let tokens = self.ehr_tokens.of_user(activation, grant).await?;
        let user = self.user(activation, pending, &tokens).await?;
        let context =
            LaunchContext::read(&tokens.members, gateway.data_adapter.fhir_base.without_slash(), &gateway.fhir_base);
        let given = Given {
            scope: tokens.scope.as_deref(),
            has_id_token: user.is_some(),
            has_refresh_token: tokens.refresh_token.is_some(),
            has_patient: context.patient.is_some(),
            has_encounter: context.encounter.is_some(),
            is_ehr_launch: pending.leg.is_ehr_launch,
        };
        let requested = ScopeSet::parse(&pending.scope).unwrap_or_default();
        let scopes = user_scopes::granted(&requested.intersect(&user_scopes::ceiling(activation)), &given);
        if scopes.is_empty() {
            return Err(Fault::ScopeUnavailable);
        }
        // The EHR may have taken its time.
        let now = Timestamp::now().max(now);
        let kept = session::Code {
            family: FamilyId::random()?,
            asked: pending.asked.clone(),
            grant: Grant {
                activation: activation.uid.clone(),
                client_id: pending.asked.client_id.clone(),
                scope: scopes.to_string(),
            },
            session: Session {
                activation: activation.uid.clone(),
                user,
                context,
                ehr: EhrSession::new(&tokens, None, now),
            },
        };
        let code = random_text()?;
        records.put(Kind::Code, &code, &kept, session::after(now, LIFETIME), now).await?;
        Ok(code)
    }

    /// RFC 9207 §2.4: an issuer that is said must be the EHR's, and one that an EHR always says must be said. What an EHR
    /// calls itself is known from its SMART configuration; where nothing is known, there is nothing to compare: this
    /// callback belongs to one EHR alone.
    fn check_issuer(&self, activation: &Activation, issuer: Option<&str>) -> Result<(), Fault> {
        let client_id = user_of(activation).map(|user| user.client_id.as_str());
        let told = self.ehr_tokens.discovery().known(&activation.gateway.data_adapter, client_id);
        let Some(told) = told else { return Ok(()) };
        match (issuer, &told.issuer) {
            (Some(said), Some(known)) if said != known => Err(Fault::Issuer),
            (None, Some(_)) if told.names_issuer => Err(Fault::Issuer),
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }

    /// Who the user is, where the EHR tells. An EHR that granted `openid` must.
    async fn user(
        &self,
        activation: &Activation,
        pending: &Pending,
        tokens: &UserTokens,
    ) -> Result<Option<User>, Fault> {
        let owed = user_scopes::owes_id_token(&pending.leg.scope, tokens.scope.as_deref());
        // Without openid no nonce was sent, and nothing binds an id_token to this launch.
        let asked = user_scopes::owes_id_token(&pending.leg.scope, None);
        match &tokens.id_token {
            Some(id_token) if asked => {
                let user = self.ehr_tokens.identify(activation, id_token, &pending.leg.nonce).await;
                let user = user.inspect_err(|error| {
                    tracing::warn!(activation = %activation.key, %error, "a user of the EHR is not known");
                })?;
                Ok(Some(User::of(&user, &activation.gateway)))
            }
            None if owed => Err(Fault::IdTokenMissing),
            Some(_) | None => Ok(None),
        }
    }
}

fn told(error: CallbackError, gateway: &Gateway, request_id: &RequestId, record: &mut Record) -> Response<Body> {
    record.code = Some(error.code());
    if let CallbackError::Store(cause) | CallbackError::ByRedirect { fault: Fault::Store(cause), .. } = &error {
        tracing::error!(gateway = %gateway.key, error = %cause, "a launch could not be gone on with");
    }
    error.into_response(gateway, request_id)
}
