//! Who asks at the token endpoint: by assertion, by secret, or, public, by name alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use super::form::Form;
use super::{ASSERTION_TYPE, TokenError};
use crate::sandbox::Shared;
use crate::sandbox::assertion::{Assertion, AssertionError, CheckedHeader, KeySource};
use crate::sandbox::fetched_keys::Origin;
use crate::sandbox::key_set::KeySet;
use crate::sandbox::log::Record;
use crate::sandbox::registration::TokenCredential;

/// Finds out who asks, by exactly one of three methods (RFC 6749 §2.3); the client's ID.
pub(super) async fn authenticate(
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
        (None, None) => return by_name(shared, record, form),
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
        Some(TokenCredential::Public) => return Err(TokenError::PublicClient),
        None => return Err(TokenError::UnknownClient(client_id)),
    }
    if basic {
        record.credential(&client_id, None);
    }
    Ok(client_id)
}

/// A public client has nothing but its name (RFC 6749 §3.2.1); PKCE proves that it is the one that asked for the code.
fn by_name(shared: &Shared, record: &Record, form: &Form) -> Result<String, TokenError> {
    let client_id = form.get("client_id").ok_or(TokenError::NoAuthentication)?;
    record.client(client_id);
    match shared.registry.token_credential(client_id) {
        Some(TokenCredential::Public) => Ok(client_id.to_owned()),
        Some(_) => Err(TokenError::NoAuthentication),
        None => Err(TokenError::UnknownClient(client_id.to_owned())),
    }
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
        TokenCredential::Public => return Err(TokenError::PublicClient),
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
        TokenCredential::Secret(_) | TokenCredential::Public => Err(TokenError::NotAKeyClient),
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
