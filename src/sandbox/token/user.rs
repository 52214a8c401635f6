//! Tokens of users: a code exchanged (RFC 6749 §4.1.3, RFC 7636 §4.6), a refresh token turned over (RFC 6749 §6).

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq as _;

use super::TokenError;
use super::form::Form;
use crate::sandbox::faults::TokenAlterations;
use crate::sandbox::log::Record;
use crate::sandbox::user_scope::{UserScope, granted, is_subset};
use crate::sandbox::user_session::{CodeFound, RefreshFound, UserSession};
use crate::sandbox::{SMART_STYLE_PATH, Shared};

/// What `tenant` says: an opaque name of the organisation.
const TENANT: &str = "hearth-family-clinic";

/// `authorization_code`.
pub(super) fn by_code(
    shared: &Shared,
    record: &Record,
    form: &Form,
    client_id: &str,
    alterations: &TokenAlterations,
) -> Result<Value, TokenError> {
    let code = form.required("code")?;
    let now = Timestamp::now().as_second();
    let grant = match shared.sessions.use_code(code, client_id, now) {
        CodeFound::Good(grant) => grant,
        CodeFound::UsedBefore(family) => {
            shared.end_family(family);
            return Err(TokenError::CodeUsedBefore);
        }
        CodeFound::Expired => return Err(TokenError::ExpiredCode),
        CodeFound::OfAnother => return Err(TokenError::CodeOfAnother),
        CodeFound::Unknown => return Err(TokenError::UnknownCode),
    };
    let redirect_uri = form.required("redirect_uri")?;
    if redirect_uri != grant.redirect_uri {
        return Err(TokenError::RedirectUri(redirect_uri.to_owned()));
    }
    match (grant.challenge.as_deref(), form.get("code_verifier")) {
        (None, None) => {}
        (Some(challenge), Some(verifier)) => check_verifier(challenge, verifier)?,
        (Some(_), None) => return Err(TokenError::NoVerifier),
        (None, Some(_)) => return Err(TokenError::VerifierWithoutChallenge),
    }
    let session = Arc::new(grant.session);
    let mut answer = issue(shared, record, &session)?;
    if session.holds(&UserScope::OpenId) {
        let token = shared.id_tokens.issue(&id_token_claims(shared, &session, now, alterations), alterations);
        answer.insert("id_token".to_owned(), json!(token.ok_or(TokenError::NoRandomness)?));
    }
    Ok(Value::Object(answer))
}

/// `refresh_token`: the old one is used up, and a new one comes along.
pub(super) fn by_refresh_token(
    shared: &Shared,
    record: &Record,
    form: &Form,
    client_id: &str,
) -> Result<Value, TokenError> {
    let value = form.required("refresh_token")?;
    let reused = |family| {
        shared.end_family(family);
        TokenError::RefreshTokenUsedBefore
    };
    let session = match shared.sessions.look_at_refresh_token(value, client_id) {
        RefreshFound::Good(session) => session,
        RefreshFound::UsedBefore(family) => return Err(reused(family)),
        RefreshFound::OfAnother => return Err(TokenError::RefreshTokenOfAnother),
        RefreshFound::Unknown => return Err(TokenError::UnknownRefreshToken),
    };
    let session = match form.get("scope") {
        None => session,
        Some(scope) if is_subset(scope, &session.scope) => {
            let (scope, scopes) = granted(scope, session.context.patient.is_some(), true);
            Arc::new(UserSession { scope, scopes, ..session.as_ref().clone() })
        }
        Some(scope) => return Err(TokenError::WiderScope(scope.to_owned())),
    };
    if !shared.sessions.use_refresh_token(value) {
        return Err(reused(session.family));
    }
    issue(shared, record, &session).map(Value::Object)
}

/// The tokens and what the app is started with (SMART App Launch 2.2, obtain access token).
fn issue(shared: &Shared, record: &Record, session: &Arc<UserSession>) -> Result<Map<String, Value>, TokenError> {
    let lifetime = shared.settings.token_lifetime_seconds;
    let now = Timestamp::now().as_second();
    let issued = shared.tokens.issue(&session.client_id, Some(Arc::clone(session)), now, lifetime);
    let (value, grant) = issued.ok_or(TokenError::NoRandomness)?;
    record.issued(&grant.token_id);
    let refresh_token = if session.is_renewable() {
        Some(shared.sessions.issue_refresh_token(Arc::clone(session)).ok_or(TokenError::NoRandomness)?)
    } else {
        None
    };
    let context = &session.context;
    let members = [
        ("access_token", Some(json!(value))),
        ("token_type", Some(json!("Bearer"))),
        ("expires_in", Some(json!(lifetime))),
        ("scope", Some(json!(session.scope))),
        ("refresh_token", refresh_token.map(|token| json!(token))),
        ("patient", context.patient.as_ref().map(|id| json!(id))),
        ("encounter", context.encounter.as_ref().map(|id| json!(id))),
        ("fhirContext", Some(json!(context.fhir_context)).filter(|_| !context.fhir_context.is_empty())),
        ("need_patient_banner", context.patient.as_ref().map(|_| json!(context.need_patient_banner))),
        ("intent", context.intent.as_ref().map(|intent| json!(intent))),
        ("smart_style_url", Some(json!(format!("{}{SMART_STYLE_PATH}", shared.base_url)))),
        ("tenant", Some(json!(TENANT))),
    ];
    Ok(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

fn id_token_claims(shared: &Shared, session: &UserSession, now: i64, alterations: &TokenAlterations) -> Value {
    let fhir_user = format!("{}/{}", shared.fhir.base(), session.person.fhir_user());
    let members = [
        ("iss", Some(json!(shared.issuer()))),
        ("sub", Some(json!(session.person.login))),
        ("aud", Some(json!(session.client_id))),
        ("iat", Some(json!(now))),
        ("exp", Some(json!(now + i64::from(shared.settings.token_lifetime_seconds)))),
        ("auth_time", Some(json!(session.authenticated))),
        ("nonce", session.nonce.as_ref().map(|nonce| json!(nonce))),
        ("fhirUser", session.holds(&UserScope::FhirUser).then(|| json!(fhir_user))),
        ("name", session.holds(&UserScope::Profile).then(|| json!(session.person.name))),
    ];
    let claims = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    alterations.applied_to_claims(Value::Object(claims))
}

fn check_verifier(challenge: &str, verifier: &str) -> Result<(), TokenError> {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
        return Err(TokenError::Verifier);
    }
    let computed = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
    bool::from(computed.as_bytes().ct_eq(challenge.as_bytes())).then_some(()).ok_or(TokenError::Verifier)
}
