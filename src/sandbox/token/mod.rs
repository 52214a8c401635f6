//! The token endpoint, as strict and as tight-lipped as Epic's: `client_credentials` for backends, `authorization_code` and
//! `refresh_token` for user-facing apps.
//!
//! The answer to every failed authentication is Epic's bare `invalid_client`; the real reason is in the log alone.

mod client;
mod form;
mod user;

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, PRAGMA, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use self::client::authenticate;
use self::form::{Form, GrantType};
use super::Shared;
use super::assertion::AssertionError;
use super::faults::TokenAlterations;
use super::fetched_keys::FetchError;
use super::key_set::KeySetError;
use super::log::Record;

/// RFC 7523 §2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// What Epic grants is what the app's record at Epic says; a requested scope changes nothing.
const GRANTED_SCOPE: &str = "Appointment.create Appointment.read Appointment.search Appointment.update \
    DocumentReference.read DocumentReference.search Encounter.read Encounter.search Location.read Location.search \
    Observation.read Observation.search Patient.read Patient.search Practitioner.read Practitioner.search \
    Schedule.read Schedule.search Slot.read Slot.search";

/// Why a token request is refused.
#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error("{0}")]
    InvalidRequest(String),
    #[error("grant_type is {0:?}, only authorization_code, client_credentials and refresh_token are known")]
    UnsupportedGrantType(String),
    #[error("no client authentication: neither an assertion, nor a secret")]
    NoAuthentication,
    #[error("client_assertion_type is {0:?}, it must be {ASSERTION_TYPE}")]
    AssertionType(String),
    #[error("{0}")]
    Assertion(#[from] AssertionError),
    #[error("the client_id parameter {parameter:?} is not the iss {issuer:?}")]
    ClientIdDiffers { parameter: String, issuer: String },
    #[error("no client is registered with the ID {0:?}")]
    UnknownClient(String),
    #[error("the client is registered with a secret, not with a key")]
    NotAKeyClient,
    #[error("the client is registered with a key, not with a secret")]
    NotASecretClient,
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("the registered JWK Set: {0}")]
    KeySet(#[from] KeySetError),
    #[error("the signature does not verify with the registered key")]
    Signature,
    #[error("the jti {0:?} has been used before")]
    Replayed(String),
    #[error("the client secret is wrong")]
    WrongSecret,
    #[error("the Basic credential cannot be read: Base64 of form-urlencoded ID and secret is asked (RFC 6749 §2.3.1)")]
    UnreadableBasic,
    #[error("the Authorization header is not Basic")]
    NotBasic,
    #[error("the client is registered as a public one, without secret and key")]
    PublicClient,
    #[error("the client is registered for users, and gets no token for itself")]
    UserFacing,
    #[error("the code was never issued, or is long forgotten")]
    UnknownCode,
    #[error("the code was used before: everything that was issued for it is revoked")]
    CodeUsedBefore,
    #[error("the code has expired")]
    ExpiredCode,
    #[error("the code was issued to another client")]
    CodeOfAnother,
    #[error("redirect_uri is {0:?}, not the one that the code was issued for")]
    RedirectUri(String),
    #[error("code_verifier is missing, and a challenge was sent")]
    NoVerifier,
    #[error("code_verifier came without a challenge before it")]
    VerifierWithoutChallenge,
    #[error("code_verifier is not 43 to 128 unreserved characters, or does not fit the challenge")]
    Verifier,
    #[error("the refresh token was never issued, or is revoked")]
    UnknownRefreshToken,
    #[error("the refresh token was used before: everything that was issued with it is revoked")]
    RefreshTokenUsedBefore,
    #[error("the refresh token was issued to another client")]
    RefreshTokenOfAnother,
    #[error("the scope {0:?} is wider than what is held")]
    WiderScope(String),
    #[error("the system gives no randomness")]
    NoRandomness,
}

impl TokenError {
    /// What the client reads; `by_header` says whether it tried the Authorization header.
    fn answer(&self, by_header: bool) -> Response {
        let (status, error) = match self {
            TokenError::InvalidRequest(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            TokenError::UnsupportedGrantType(_) => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            TokenError::UserFacing => (StatusCode::BAD_REQUEST, "unauthorized_client"),
            TokenError::UnknownCode
            | TokenError::CodeUsedBefore
            | TokenError::ExpiredCode
            | TokenError::CodeOfAnother
            | TokenError::RedirectUri(_)
            | TokenError::NoVerifier
            | TokenError::VerifierWithoutChallenge
            | TokenError::Verifier
            | TokenError::UnknownRefreshToken
            | TokenError::RefreshTokenUsedBefore
            | TokenError::RefreshTokenOfAnother => (StatusCode::BAD_REQUEST, "invalid_grant"),
            TokenError::WiderScope(_) => (StatusCode::BAD_REQUEST, "invalid_scope"),
            TokenError::NoRandomness => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
            TokenError::NoAuthentication
            | TokenError::AssertionType(_)
            | TokenError::Assertion(_)
            | TokenError::ClientIdDiffers { .. }
            | TokenError::UnknownClient(_)
            | TokenError::NotAKeyClient
            | TokenError::NotASecretClient
            | TokenError::PublicClient
            | TokenError::Fetch(_)
            | TokenError::KeySet(_)
            | TokenError::Signature
            | TokenError::Replayed(_)
            | TokenError::WrongSecret
            | TokenError::UnreadableBasic
            | TokenError::NotBasic => {
                // RFC 6749 §5.2 asks for 401 and a challenge where the Authorization header was tried.
                (if by_header { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST }, "invalid_client")
            }
        };
        let mut response =
            (status, uncached(), Json(json!({ "error": error, "error_description": null }))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = http::HeaderValue::from_static(r#"Basic realm="sandbox""#);
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// `POST` to the token URL.
pub(super) async fn token(
    State(shared): State<Arc<Shared>>,
    Extension(record): Extension<Record>,
    alterations: Option<Extension<TokenAlterations>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let alterations = alterations.map(|Extension(alterations)| alterations).unwrap_or_default();
    let issued = async {
        let form = Form::read(query.as_deref(), &headers, &body)?;
        record.parameters(form.harmless());
        let grant_type = form.grant_type()?;
        let client_id = authenticate(&shared, &record, &headers, &form).await?;
        record.client(&client_id);
        match grant_type {
            GrantType::ClientCredentials => for_itself(&shared, &record, &client_id),
            GrantType::AuthorizationCode => user::by_code(&shared, &record, &form, &client_id, &alterations),
            GrantType::RefreshToken => user::by_refresh_token(&shared, &record, &form, &client_id),
        }
    }
    .await;
    match issued {
        Ok(answer) => (uncached(), Json(alterations.applied(answer))).into_response(),
        Err(error) => {
            record.refused(error.to_string());
            error.answer(headers.contains_key(AUTHORIZATION))
        }
    }
}

/// `client_credentials`: a token for the client itself.
fn for_itself(shared: &Shared, record: &Record, client_id: &str) -> Result<Value, TokenError> {
    if shared.registry.user_facing(client_id).is_some_and(|client| !client.redirect_uris.is_empty()) {
        return Err(TokenError::UserFacing);
    }
    let lifetime = shared.settings.token_lifetime_seconds;
    let issued = shared.tokens.issue(client_id, None, Timestamp::now().as_second(), lifetime);
    let (value, grant) = issued.ok_or(TokenError::NoRandomness)?;
    record.issued(&grant.token_id);
    Ok(json!({
        "access_token": value,
        "token_type": "bearer",
        "expires_in": lifetime,
        "scope": GRANTED_SCOPE,
    }))
}

fn uncached() -> [(http::HeaderName, &'static str); 2] {
    [(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")]
}
