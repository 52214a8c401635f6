//! The access token of a request: found, verified, judged; and what a client is told when it is not good (RFC 6750 §3).

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;

use super::Proxy;
use super::record::Record;
use super::refusal::{Refusal, Side};
use crate::protocol::bearer::{self, BearerError};
use crate::protocol::jwt::{self, Bearer, TokenRefused};
use crate::snapshot::{Gateway, Snapshot};

/// Why a request has no good token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unauthorized {
    #[error(transparent)]
    Bearer(#[from] BearerError),
    #[error(transparent)]
    Token(#[from] TokenRefused),
}

impl Unauthorized {
    pub(super) fn refusal(&self, gateway: &Gateway) -> Refusal {
        let (status, code, error) = match self {
            // RFC 6750 §3.1: who brings no credentials at all is told no error code.
            Self::Bearer(error @ BearerError::Missing) => (StatusCode::UNAUTHORIZED, error.code(), None),
            Self::Bearer(error @ (BearerError::Malformed | BearerError::InQuery)) => {
                (StatusCode::BAD_REQUEST, error.code(), Some("invalid_request"))
            }
            Self::Token(error) => (StatusCode::UNAUTHORIZED, error.code(), Some("invalid_token")),
        };
        let mut refusal = Refusal::new(status, code, Side::App, self.to_string());
        refusal.www_authenticate = challenge(gateway, error, None);
        refusal
    }
}

/// The `WWW-Authenticate` header of a gateway.
pub(super) fn challenge(gateway: &Gateway, error: Option<&str>, scope: Option<&str>) -> Option<HeaderValue> {
    let error = error.map(|error| format!(", error=\"{error}\"")).unwrap_or_default();
    let scope = scope.map(|scope| format!(", scope=\"{scope}\"")).unwrap_or_default();
    let text = format!("Bearer realm=\"{}\"{error}{scope}", gateway.fhir_base);
    HeaderValue::from_str(&text).ok()
}

impl Proxy {
    /// The bearer of a request at a gateway.
    pub(super) async fn bearer(
        &self,
        snapshot: &Snapshot,
        gateway: &Gateway,
        headers: &HeaderMap,
        query: Option<&str>,
        now: Timestamp,
        record: &mut Record,
    ) -> Result<Bearer, Unauthorized> {
        let token = bearer::read(headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes), query)?;
        let token = self.signatures.verify(token, gateway).await?;
        record.note_claimed_client_id(Some(token.client_id()));
        let bearer = jwt::judge(&token, snapshot, gateway, now)?;
        if self.is_revoked(gateway, &bearer, now) {
            return Err(TokenRefused::Revoked.into());
        }
        record.note_bearer(&bearer, gateway, token.subject());
        Ok(bearer)
    }
}
