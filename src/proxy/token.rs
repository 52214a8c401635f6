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
use crate::protocol::jwt::{self, IssueError, Subject};
use crate::protocol::oauth::token_request::TokenRequest;
use crate::protocol::oauth::{OAuthError, client_credentials};
use crate::snapshot::{Gateway, Snapshot};

/// RFC 6749 §5.1, with all that SMART Backend Services requires.
#[derive(Serialize)]
struct TokenResponse<'answer> {
    access_token: &'answer str,
    token_type: &'static str,
    expires_in: i64,
    scope: String,
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
            Some("client_credentials") => {}
            Some(_) => return Err(OAuthError::GrantTypeUnsupported),
            None => return Err(OAuthError::ParameterMissing("grant_type")),
        }
        let from = Requester { headers: &head.headers, endpoint: &gateway.token_endpoint, peer, now };
        let app = self.authenticate_client(snapshot, gateway, &request.client, from, record).await?;
        let grant = client_credentials::grant(snapshot, gateway, &app, request.scope.as_deref(), now)?;
        let jti = Uuid::new_v4().to_string();
        let issued = jwt::issue(&grant.activation, Subject::Client, &grant.scopes, now, &jti).map_err(|error| {
            if let IssueError::Sign(error) = &error {
                tracing::error!(gateway = %gateway.key, %error, "an access token could not be signed");
            }
            OAuthError::SigningUnready
        })?;
        Ok(json(
            StatusCode::OK,
            &TokenResponse {
                access_token: issued.token.expose_secret(),
                token_type: "Bearer",
                expires_in: issued.expires_in,
                scope: grant.scopes.to_string(),
            },
        ))
    }
}
