//! `B/oauth2/token`: who is it, may it, for what; then a signature.

use std::net::IpAddr;

use http::request::Parts as Head;
use http::{Response, StatusCode};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use uuid::Uuid;

use super::Proxy;
use super::body::Body;
use super::client_authentication::Requester;
use super::oauth_form::{json, refused};
use super::record::Record;
use crate::protocol::jwt::{self, IssueError, IssuedToken, Subject};
use crate::protocol::oauth::launch_context::LaunchContext;
use crate::protocol::oauth::token_request::TokenRequest;
use crate::protocol::oauth::{OAuthError, client_credentials};
use crate::snapshot::{Activation, Gateway, Snapshot};
use crate::values::scope::ScopeSet;

/// RFC 6749 §5.1, with all that SMART requires.
#[derive(Serialize)]
pub(super) struct TokenResponse<'answer> {
    pub(super) access_token: &'answer str,
    token_type: &'static str,
    expires_in: i64,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refresh_token: Option<&'answer str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id_token: Option<&'answer str>,
    #[serde(flatten)]
    pub(super) context: LaunchContext,
}

impl<'answer> TokenResponse<'answer> {
    /// With an access token alone.
    pub(super) fn of(issued: &'answer IssuedToken, scopes: &ScopeSet) -> Self {
        Self {
            access_token: issued.token.expose_secret(),
            token_type: "Bearer",
            expires_in: issued.expires_in,
            scope: scopes.to_string(),
            refresh_token: None,
            id_token: None,
            context: LaunchContext::default(),
        }
    }

    pub(super) fn into_response(self) -> Response<Body> {
        json(StatusCode::OK, &self)
    }
}

/// An access token, or why there is none.
pub(super) fn access_token(
    activation: &Activation,
    subject: Subject,
    scopes: &ScopeSet,
    now: Timestamp,
) -> Result<IssuedToken, OAuthError> {
    let jti = Uuid::new_v4().to_string();
    jwt::issue(activation, subject, scopes, now, &jti).map_err(|error| unsigned(&activation.gateway, &error))
}

/// A signature that could not be made.
pub(super) fn unsigned(gateway: &Gateway, error: &IssueError) -> OAuthError {
    if let IssueError::Sign(error) = error {
        tracing::error!(gateway = %gateway.key, %error, "a token could not be signed");
    }
    OAuthError::SigningUnready
}

impl Proxy {
    /// Answers a token request; refusals too are of OAuth's form.
    pub(super) async fn token(
        &self,
        snapshot: &Snapshot,
        gateway: &Gateway,
        (head, body): (&Head, Body),
        (peer, now): (IpAddr, Timestamp),
        record: &mut Record,
    ) -> Response<Body> {
        match self.issue(snapshot, gateway, (head, body), (peer, now), record).await {
            Ok(response) => response,
            Err(error) => {
                record.code = Some(error.code());
                refused(gateway, &error)
            }
        }
    }

    async fn issue(
        &self,
        snapshot: &Snapshot,
        gateway: &Gateway,
        (head, body): (&Head, Body),
        (peer, now): (IpAddr, Timestamp),
        record: &mut Record,
    ) -> Result<Response<Body>, OAuthError> {
        let (content_type, body) = self.oauth_form(head, body).await?;
        let request = TokenRequest::parse(content_type, &body)?;
        match request.grant_type.as_deref() {
            Some("client_credentials" | "authorization_code" | "refresh_token") => {}
            Some(_) => return Err(OAuthError::GrantTypeUnsupported),
            None => return Err(OAuthError::ParameterMissing("grant_type")),
        }
        let from = Requester { headers: &head.headers, endpoint: &gateway.token_endpoint, peer, now };
        let app = self.authenticate_client(snapshot, gateway, &request.client, from, record).await?;
        match request.grant_type.as_deref() {
            Some("authorization_code") => self.authorization_code(snapshot, gateway, &app, &request, now).await,
            Some("refresh_token") => self.refresh_token(snapshot, gateway, &app, &request, now).await,
            Some(_) | None => {
                let grant = client_credentials::grant(snapshot, gateway, &app, request.scope.as_deref(), now)?;
                let issued = access_token(&grant.activation, Subject::Client, &grant.scopes, now)?;
                Ok(TokenResponse::of(&issued, &grant.scopes).into_response())
            }
        }
    }
}
