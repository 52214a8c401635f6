//! `B/oauth2/introspect`: what a token is worth, for those who may know (RFC 7662; SMART App Launch 2.2, "Token
//! Introspection").

use std::net::IpAddr;

use http::header::AUTHORIZATION;
use http::request::Parts as Head;
use http::{Response, StatusCode};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::Proxy;
use super::bearer::Unauthorized;
use super::body::Body;
use super::client_authentication::Requester;
use super::oauth_form::{json, refused};
use super::record::Record;
use super::refusal::Form;
use super::request_id::RequestId;
use super::shared_state::absent_if_unopenable;
use crate::api::ClientType;
use crate::protocol::jwt::{self, Session};
use crate::protocol::oauth::OAuthError;
use crate::protocol::oauth::client_authentication::Scheme;
use crate::protocol::oauth::introspection::{Active, Caller, Introspection, SessionFacts};
use crate::protocol::oauth::launch_context::LaunchContext;
use crate::protocol::oauth::presented_token::PresentedToken;
use crate::snapshot::{Gateway, Snapshot};
use crate::store::{Kind, StoreError};
use crate::values::scope::{Scope, ScopeSet, Word};

/// Why nothing is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum IntrospectError {
    /// The request, or the client that it is from.
    #[error(transparent)]
    OAuth(#[from] OAuthError),
    /// The bearer token that it came with.
    #[error(transparent)]
    Bearer(#[from] Unauthorized),
}

/// What a refresh token's family holds, as far as it is told here.
#[derive(Deserialize)]
struct GrantFacts {
    activation: String,
    client_id: String,
    scope: String,
}

/// What a session's record holds, as far as it is told here.
#[derive(Deserialize)]
struct SessionRecord {
    user: Option<UserFacts>,
    context: LaunchContext,
}

#[derive(Deserialize)]
struct UserFacts {
    fhir_user: Option<String>,
}

impl Proxy {
    /// Answers a question about a token.
    pub(super) async fn introspect(
        &self,
        snapshot: &Snapshot,
        gateway: &Gateway,
        (head, body): (&Head, Body),
        (peer, now): (IpAddr, Timestamp),
        request_id: &RequestId,
        record: &mut Record,
    ) -> Response<Body> {
        match self.tell(snapshot, gateway, (head, body), (peer, now), record).await {
            Ok(told) => json(StatusCode::OK, &told),
            Err(IntrospectError::OAuth(error)) => {
                record.code = Some(error.code());
                refused(gateway, &error)
            }
            Err(IntrospectError::Bearer(error)) => {
                let refusal = error.refusal(gateway);
                record.code = Some(refusal.code);
                refusal.into_response(Form::Problem, request_id)
            }
        }
    }

    async fn tell(
        &self,
        snapshot: &Snapshot,
        gateway: &Gateway,
        (head, body): (&Head, Body),
        (peer, now): (IpAddr, Timestamp),
        record: &mut Record,
    ) -> Result<Introspection, IntrospectError> {
        let (content_type, body) = self.oauth_form(head, body).await?;
        let presented = PresentedToken::parse(content_type, &body)?;
        let caller = self.caller(snapshot, gateway, head, &presented, (peer, now), record).await?;
        let token = presented.token.expose_secret();
        let about = match self.signatures.verify(token, gateway).await {
            Ok(token) => self.about_access_token(snapshot, gateway, &token, now).await?,
            Err(_) => self.about_refresh_token(snapshot, gateway, token, now).await?,
        };
        Ok(match about {
            Some(active) if caller.may_ask_about(active.client_id()) => Introspection::Active(Box::new(active)),
            Some(_) | None => Introspection::INACTIVE,
        })
    }

    async fn caller(
        &self,
        snapshot: &Snapshot,
        gateway: &Gateway,
        head: &Head,
        presented: &PresentedToken,
        (peer, now): (IpAddr, Timestamp),
        record: &mut Record,
    ) -> Result<Caller, IntrospectError> {
        let scheme = head.headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().get(..7));
        if scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer ")) {
            if presented.client.prove_something() {
                return Err(OAuthError::SeveralClientAuthentications.into());
            }
            let bearer = self.bearer(snapshot, gateway, &head.headers, head.uri.query(), now, record).await?;
            return Ok(match bearer.session {
                None => Caller::App,
                Some(_) => Caller::Session { client_id: bearer.activation.app.client_id.clone() },
            });
        }
        let endpoint = gateway.introspection_endpoint();
        let from = Requester { headers: &head.headers, endpoint: &endpoint, peer, now };
        let app = self.authenticate_client(snapshot, gateway, &presented.client, from, record).await?;
        if app.client_type == ClientType::Public {
            return Err(OAuthError::ClientAuthenticationFailed(Scheme::Secret).into());
        }
        let activation = snapshot.activation_of(&gateway.key, &app.key).ok_or(OAuthError::NotActivated)?;
        activation.live_at(now).map_err(OAuthError::NotLive)?;
        Ok(Caller::App)
    }

    async fn about_access_token(
        &self,
        snapshot: &Snapshot,
        gateway: &Gateway,
        token: &jwt::VerifiedToken,
        now: Timestamp,
    ) -> Result<Option<Active>, OAuthError> {
        let Ok(bearer) = jwt::judge(token, snapshot, gateway, now) else { return Ok(None) };
        if self.is_revoked(gateway, &bearer, now) {
            return Ok(None);
        }
        let session = match &bearer.session {
            None => SessionFacts::default(),
            Some(session) => match self.session_facts(gateway, session, &bearer.scopes, now).await? {
                Some(facts) => facts,
                // A session that ended took its tokens along.
                None => return Ok(None),
            },
        };
        Ok(Some(Active::access(token.claims(), &bearer.scopes, session)))
    }

    async fn session_facts(
        &self,
        gateway: &Gateway,
        session: &Session,
        scopes: &ScopeSet,
        now: Timestamp,
    ) -> Result<Option<SessionFacts>, OAuthError> {
        let records = self.records(gateway).ok_or(OAuthError::SigningUnready)?;
        let kept = records.get::<SessionRecord>(Kind::Session, &session.id, now).await;
        let kept = kept.or_else(absent_if_unopenable).map_err(|error| away(gateway, &error))?;
        let knows_user = scopes.covers(&Scope::Word(Word::FhirUser));
        Ok(kept.map(|kept| SessionFacts {
            context: kept.content.context.within(scopes),
            fhir_user: kept.content.user.and_then(|user| user.fhir_user).filter(|_| knows_user),
        }))
    }

    async fn about_refresh_token(
        &self,
        snapshot: &Snapshot,
        gateway: &Gateway,
        token: &str,
        now: Timestamp,
    ) -> Result<Option<Active>, OAuthError> {
        let records = self.records(gateway).ok_or(OAuthError::SigningUnready)?;
        let family = records.family::<GrantFacts>(token, now).await;
        let family = family.or_else(absent_if_unopenable).map_err(|error| away(gateway, &error))?;
        let Some(family) = family.filter(|family| family.latest) else { return Ok(None) };
        let grant = family.content;
        let activation = snapshot.activation_by_uid(&grant.activation);
        let Some(activation) = activation.filter(|activation| activation.live_at(now).is_ok()) else {
            return Ok(None);
        };
        let scopes = ScopeSet::parse(&grant.scope).unwrap_or_default().intersect(&activation.ceiling);
        Ok(Some(Active::refresh(grant.client_id, &scopes, family.until)))
    }
}

pub(super) fn away(gateway: &Gateway, error: &StoreError) -> OAuthError {
    tracing::error!(gateway = %gateway.key, %error, "the store could not be asked");
    OAuthError::StoreAway
}
