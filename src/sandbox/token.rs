//! The token endpoint: `client_credentials`, as strict and as tight-lipped as Epic's.
//!
//! The answer to every failed authentication is Epic's bare `invalid_client`; the real reason is in the log alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, PRAGMA, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use subtle::ConstantTimeEq as _;

use super::Shared;
use super::assertion::{Assertion, AssertionError, CheckedHeader, KeySource};
use super::fetched_keys::{FetchError, Origin};
use super::key_set::{KeySet, KeySetError};
use super::log::Record;
use super::registration::TokenCredential;

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
    #[error("grant_type is {0:?}, only client_credentials is known")]
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
    #[error("the system gives no randomness")]
    NoRandomness,
}

impl TokenError {
    /// What the client reads; `by_header` says whether it tried the Authorization header.
    fn answer(&self, by_header: bool) -> Response {
        let (status, error) = match self {
            TokenError::InvalidRequest(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            TokenError::UnsupportedGrantType(_) => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            TokenError::NoRandomness => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
            TokenError::NoAuthentication
            | TokenError::AssertionType(_)
            | TokenError::Assertion(_)
            | TokenError::ClientIdDiffers { .. }
            | TokenError::UnknownClient(_)
            | TokenError::NotAKeyClient
            | TokenError::NotASecretClient
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
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let issued = async {
        let form = Form::read(query.as_deref(), &headers, &body)?;
        record.parameters(form.harmless());
        let client_id = authenticate(&shared, &record, &headers, &form).await?;
        record.client(&client_id);
        shared
            .tokens
            .issue(&client_id, Timestamp::now().as_second(), shared.settings.token_lifetime_seconds)
            .ok_or(TokenError::NoRandomness)
    }
    .await;
    match issued {
        Ok((value, grant)) => {
            record.issued(&grant.token_id);
            let answer = json!({
                "access_token": value,
                "token_type": "bearer",
                "expires_in": shared.settings.token_lifetime_seconds,
                "scope": GRANTED_SCOPE,
            });
            (uncached(), Json(answer)).into_response()
        }
        Err(error) => {
            record.refused(error.to_string());
            error.answer(headers.contains_key(AUTHORIZATION))
        }
    }
}

fn uncached() -> [(http::HeaderName, &'static str); 2] {
    [(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")]
}

/// The parameters of a token request, each given once.
struct Form(BTreeMap<String, String>);

impl Form {
    fn read(query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Result<Form, TokenError> {
        let refuse = |reason: String| Err(TokenError::InvalidRequest(reason));
        let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return refuse(format!("Content-Type is {media_type:?}, it must be application/x-www-form-urlencoded"));
        }
        if query.is_some_and(|query| !query.is_empty()) {
            return refuse("the token URL has a query: parameters belong into the body".to_owned());
        }
        let mut parameters = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(body) {
            // RFC 6749 §3.2: without a value counts as omitted, and none may be given twice.
            if !value.is_empty() && parameters.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return refuse(format!("the parameter {name:?} is given twice"));
            }
        }
        let form = Form(parameters);
        match form.get("grant_type") {
            None => refuse("grant_type is missing".to_owned()),
            Some("client_credentials") => Ok(form),
            Some(other) => Err(TokenError::UnsupportedGrantType(other.to_owned())),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn harmless(&self) -> BTreeMap<String, String> {
        let secret = |name: &str| matches!(name, "client_assertion" | "client_secret");
        self.0.iter().filter(|(name, _)| !secret(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// Finds out who asks, by exactly one of three methods (RFC 6749 §2.3); the client's ID.
async fn authenticate(
    shared: &Shared,
    record: &Record,
    headers: &HeaderMap,
    form: &Form,
) -> Result<String, TokenError> {
    let assertion = form.get("client_assertion").is_some() || form.get("client_assertion_type").is_some();
    let secret = form.get("client_secret");
    let basic = headers.get_all(AUTHORIZATION).iter().count();
    if usize::from(assertion) + usize::from(secret.is_some()) + basic > 1 {
        return Err(TokenError::InvalidRequest("more than one client authentication".to_owned()));
    }
    if assertion {
        return by_assertion(shared, record, form).await;
    }
    let (client_id, presented, basic) = match (secret, headers.get(AUTHORIZATION)) {
        (Some(secret), _) => {
            let id = form.get("client_id").ok_or(TokenError::NoAuthentication)?;
            (id.to_owned(), SecretString::from(secret), false)
        }
        (None, Some(value)) => {
            let (id, secret) = basic_parts(value.as_bytes())?;
            if let Some(parameter) = form.get("client_id").filter(|parameter| *parameter != id) {
                return Err(TokenError::ClientIdDiffers { parameter: parameter.to_owned(), issuer: id });
            }
            (id, secret, true)
        }
        (None, None) => return Err(TokenError::NoAuthentication),
    };
    record.client(&client_id);
    match shared.registry.token_credential(&client_id) {
        Some(TokenCredential::Secret(expected)) => {
            let right = expected.expose_secret().as_bytes().ct_eq(presented.expose_secret().as_bytes());
            bool::from(right).then_some(()).ok_or(TokenError::WrongSecret)?;
        }
        Some(TokenCredential::KeySetUrl(_) | TokenCredential::KeySet(_) | TokenCredential::Pem(_)) => {
            return Err(TokenError::NotASecretClient);
        }
        None => return Err(TokenError::UnknownClient(client_id)),
    }
    if basic {
        record.credential(&client_id, None);
    }
    Ok(client_id)
}

/// Takes `Basic …` apart as RFC 6749 §2.3.1 says: both parts are form-urlencoded before they are joined.
fn basic_parts(value: &[u8]) -> Result<(String, SecretString), TokenError> {
    let text = std::str::from_utf8(value).map_err(|_| TokenError::UnreadableBasic)?;
    let (scheme, encoded) = text.split_once(' ').ok_or(TokenError::NotBasic)?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return Err(TokenError::NotBasic);
    }
    let joined = STANDARD.decode(encoded.trim()).map_err(|_| TokenError::UnreadableBasic)?;
    let joined = String::from_utf8(joined).map_err(|_| TokenError::UnreadableBasic)?;
    let (id, secret) = joined.split_once(':').ok_or(TokenError::UnreadableBasic)?;
    Ok((form_decoded(id)?, SecretString::from(form_decoded(secret)?)))
}

fn form_decoded(part: &str) -> Result<String, TokenError> {
    percent_encoding::percent_decode_str(&part.replace('+', " "))
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| TokenError::UnreadableBasic)
}

async fn by_assertion(shared: &Shared, record: &Record, form: &Form) -> Result<String, TokenError> {
    let presented_type = form.get("client_assertion_type").unwrap_or_default();
    if presented_type != ASSERTION_TYPE {
        return Err(TokenError::AssertionType(presented_type.to_owned()));
    }
    let assertion = Assertion::parse(form.get("client_assertion").unwrap_or_default())?;
    record.assertion(assertion.without_signature());
    let client_id = assertion.issuer()?.to_owned();
    record.client(&client_id);
    if let Some(parameter) = form.get("client_id").filter(|parameter| *parameter != client_id) {
        return Err(TokenError::ClientIdDiffers { parameter: parameter.to_owned(), issuer: client_id });
    }
    let credential =
        shared.registry.token_credential(&client_id).ok_or_else(|| TokenError::UnknownClient(client_id.clone()))?;
    let source = match &credential {
        TokenCredential::KeySetUrl(url) => KeySource::KeySetUrl(url),
        TokenCredential::KeySet(_) => KeySource::KeySet,
        TokenCredential::Pem(_) => KeySource::Pem,
        TokenCredential::Secret(_) => return Err(TokenError::NotAKeyClient),
    };
    let header = assertion.check_header(source)?;
    let claims = assertion.check_claims(&shared.token_url(), Timestamp::now().as_second())?;
    verify(shared, &credential, &header, &assertion).await?;
    // The last step, so that only its owner can use an identifier up, and two copies at once cannot both pass.
    if !shared.used.use_up(&client_id, &claims.jti, claims.expires, Timestamp::now().as_second()) {
        return Err(TokenError::Replayed(claims.jti));
    }
    Ok(client_id)
}

async fn verify(
    shared: &Shared,
    credential: &TokenCredential,
    header: &CheckedHeader,
    assertion: &Assertion<'_>,
) -> Result<(), TokenError> {
    match credential {
        TokenCredential::Secret(_) => Err(TokenError::NotAKeyClient),
        TokenCredential::Pem(key) => key
            .verifies(header.algorithm, assertion.signed(), assertion.signature())
            .then_some(())
            .ok_or(TokenError::Signature),
        TokenCredential::KeySet(keys) => verify_with(keys, header, assertion),
        TokenCredential::KeySetUrl(url) => {
            let (keys, origin) = shared.fetched_keys.get(url).await?;
            match (verify_with(&keys, header, assertion), origin) {
                (Err(_), Origin::Cache) => verify_with(&*shared.fetched_keys.fetch(url).await?, header, assertion),
                (verdict, _) => verdict,
            }
        }
    }
}

fn verify_with(keys: &KeySet, header: &CheckedHeader, assertion: &Assertion<'_>) -> Result<(), TokenError> {
    let kid = header.kid.as_deref().ok_or(AssertionError::KidMissing)?;
    let key = keys.select(kid, header.algorithm)?;
    key.verifies(header.algorithm, assertion.signed(), assertion.signature()).then_some(()).ok_or(TokenError::Signature)
}
