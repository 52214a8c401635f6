//! `B/oauth2/revoke`: a client gives up a token (RFC 7009). What is revoked here is refused by every replica within a
//! second.

use std::net::IpAddr;

use http::request::Parts as Head;
use http::{Response, StatusCode};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::Proxy;
use super::body::{self, Body};
use super::client_authentication::Requester;
use super::introspect::away;
use super::oauth_form::{json, refused};
use super::record::Record;
use super::session;
use super::shared_state::absent_if_unopenable;
use crate::protocol::oauth::OAuthError;
use crate::protocol::oauth::presented_token::PresentedToken;
use crate::snapshot::{App, Gateway, Snapshot};

/// What a refresh token's family holds, as far as it matters here.
#[derive(Deserialize)]
struct Owner {
    client_id: String,
}

impl Proxy {
    /// Revokes a token. One that is unknown, expired or revoked already is as the client wants it to be.
    pub(super) async fn revoke(
        &self,
        snapshot: &Snapshot,
        gateway: &Gateway,
        (head, body): (&Head, Body),
        (peer, now): (IpAddr, Timestamp),
        record: &mut Record,
    ) -> Response<Body> {
        match self.give_up(snapshot, gateway, (head, body), (peer, now), record).await {
            Ok(()) => {
                let mut response = json(StatusCode::OK, &());
                *response.body_mut() = body::full("");
                response.headers_mut().remove(http::header::CONTENT_TYPE);
                response
            }
            Err(error) => {
                record.code = Some(error.code());
                refused(gateway, &error)
            }
        }
    }

    async fn give_up(
        &self,
        snapshot: &Snapshot,
        gateway: &Gateway,
        (head, body): (&Head, Body),
        (peer, now): (IpAddr, Timestamp),
        record: &mut Record,
    ) -> Result<(), OAuthError> {
        let (content_type, body) = self.oauth_form(head, body).await?;
        let presented = PresentedToken::parse(content_type, &body)?;
        let endpoint = gateway.revocation_endpoint();
        let from = Requester { headers: &head.headers, endpoint: &endpoint, peer, now };
        // A public client too: it has the token, and giving up is all that this lets it do.
        let app = self.authenticate_client(snapshot, gateway, &presented.client, from, record).await?;
        let token = presented.token.expose_secret();
        match self.signatures.verify(token, gateway).await {
            Ok(token) => {
                let claims = token.claims();
                self.give_up_access_token(gateway, &app, (&claims.client_id, &claims.jti, claims.exp), now).await
            }
            Err(_) => self.give_up_refresh_token(gateway, &app, token, now).await,
        }
    }

    async fn give_up_access_token(
        &self,
        gateway: &Gateway,
        app: &App,
        (client_id, token_id, expires): (&str, &str, i64),
        now: Timestamp,
    ) -> Result<(), OAuthError> {
        if client_id != app.client_id {
            return Err(OAuthError::TokenOfAnother);
        }
        let until = Timestamp::from_second(expires).unwrap_or(Timestamp::MAX);
        if until <= now {
            return Ok(());
        }
        let records = self.records(gateway).ok_or(OAuthError::SigningUnready)?;
        records.revoke(token_id, until, now).await.map_err(|error| away(gateway, &error))
    }

    /// A refresh token goes with all that was issued for it: its family, the access tokens of it, and the session.
    async fn give_up_refresh_token(
        &self,
        gateway: &Gateway,
        app: &App,
        token: &str,
        now: Timestamp,
    ) -> Result<(), OAuthError> {
        let records = self.records(gateway).ok_or(OAuthError::SigningUnready)?;
        let family = records.family::<Owner>(token, now).await;
        let family = family.or_else(absent_if_unopenable).map_err(|error| away(gateway, &error))?;
        let Some(family) = family else { return Ok(()) };
        if family.content.client_id != app.client_id {
            return Err(OAuthError::TokenOfAnother);
        }
        session::end(&records, gateway, family.id, now).await.map_err(|error| away(gateway, &error))
    }
}
