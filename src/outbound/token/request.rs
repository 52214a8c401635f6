//! Token requests, as SMART Backend Services and RFC 6749 have them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request};
use http_body_util::Full;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use url::form_urlencoded::{self, byte_serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::EhrTokenError;
use crate::api::activation::TokenEndpointAuthMethod;
use crate::outbound::{EPIC_CLIENT_ID, epic_client_id};
use crate::snapshot::DataAdapter;
use crate::snapshot::activation::{BackendAuth, ClientCredentials, User, UserCredential};
use crate::snapshot::key_pair::KeyRevision;
use crate::values::key::JwsHeader;
use crate::values::url::EndpointUrl;

/// How long an assertion is valid, in seconds. SMART allows 300; the rest is room for an EHR whose clock is behind.
const VALID_FOR: i64 = 240;

/// How far back `iat` lies, in seconds: room for an EHR whose clock is behind, since Epic refuses an `iat` in its future.
/// `exp` − `iat` stays below the 300 that Epic allows.
const ISSUED_BEFORE: i64 = 30;

/// RFC 7523 §2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

#[derive(Serialize)]
struct Claims<'text> {
    iss: &'text str,
    sub: &'text str,
    aud: &'text str,
    jti: Uuid,
    iat: i64,
    exp: i64,
}

/// The client assertion (SMART App Launch 2.2, "Client Authentication: Asymmetric"). The result is a credential.
fn assertion(
    key: &KeyRevision,
    client_id: &str,
    audience: &str,
    now: Timestamp,
) -> Result<Zeroizing<String>, EhrTokenError> {
    let now = now.as_second();
    let claims = Claims {
        iss: client_id,
        sub: client_id,
        aud: audience,
        jti: Uuid::new_v4(),
        iat: now.saturating_sub(ISSUED_BEFORE),
        exp: now.saturating_add(VALID_FOR),
    };
    // No `jku`: an EHR must know the key set's URL from its registration, and some refuse a header that they don't expect.
    let header = JwsHeader { typ: Some("JWT"), jku: None };
    let signed = key.signing.sign(&header, &claims).map_err(|error| {
        tracing::error!(key = %key.thumbprint, %error, "a client assertion could not be signed");
        EhrTokenError::KeyUnready
    })?;
    Ok(Zeroizing::new(signed))
}

/// The request of SMART Backend Services, signed with this key.
pub(super) fn backend(
    adapter: &DataAdapter,
    auth: &BackendAuth,
    key: &KeyRevision,
    token_url: &EndpointUrl,
    now: Timestamp,
) -> Result<Request<Full<Bytes>>, EhrTokenError> {
    let client_id = auth.client_id.as_deref().ok_or(EhrTokenError::ClientIdMissing)?;
    let audience = auth.audience.as_deref().unwrap_or(token_url.as_str());
    let assertion = assertion(key, client_id, audience, now)?;
    let mut form = Form::client_credentials(&auth.scopes);
    form.sign(&assertion);
    form.into_request(adapter, token_url, client_id, None)
}

/// A request for a token of the client itself, signed with this key: not granted to a client of users, but refused in
/// other words to one whose key is not known.
pub(super) fn proof_for_users(
    adapter: &DataAdapter,
    auth: &User,
    key: &KeyRevision,
    token_url: &EndpointUrl,
    now: Timestamp,
) -> Result<Request<Full<Bytes>>, EhrTokenError> {
    let mut form = Form::client_credentials("");
    form.sign(&assertion(key, &auth.client_id, user_audience(adapter, token_url), now)?);
    form.into_request(adapter, token_url, &auth.client_id, None)
}

fn user_audience<'urls>(adapter: &'urls DataAdapter, token_url: &'urls EndpointUrl) -> &'urls str {
    adapter.oauth.audience.as_deref().unwrap_or(token_url.as_str())
}

/// The request with a shared secret (RFC 6749 §4.4).
pub(super) fn shared_secret(
    adapter: &DataAdapter,
    auth: &ClientCredentials,
    token_url: &EndpointUrl,
) -> Result<Request<Full<Bytes>>, EhrTokenError> {
    let mut form = Form::client_credentials(&auth.scopes);
    let authorization = form.prove(&auth.client_id, &auth.client_secret, auth.method)?;
    form.into_request(adapter, token_url, &auth.client_id, authorization)
}

/// What is exchanged for a user's token.
#[derive(Clone, Copy)]
pub enum UserGrant<'launch> {
    /// A code that the EHR sent a user back with (RFC 6749 §4.1.3).
    Code {
        /// The code.
        code: &'launch str,
        /// Where it was sent to.
        redirect_uri: &'launch str,
        /// What meets our challenge (RFC 7636 §4.5).
        verifier: &'launch str,
    },
    /// A refresh token of the EHR (RFC 6749 §6).
    Refresh(&'launch str),
}

/// The request for a user's token, with whatever the activation proves itself with.
pub(super) fn user(
    adapter: &DataAdapter,
    auth: &User,
    grant: UserGrant<'_>,
    token_url: &EndpointUrl,
    now: Timestamp,
) -> Result<Request<Full<Bytes>>, EhrTokenError> {
    let mut form = Form(Zeroizing::new(String::with_capacity(4096)));
    match grant {
        UserGrant::Code { code, redirect_uri, verifier } => {
            form.append("grant_type", "authorization_code");
            form.append("code", code);
            form.append("redirect_uri", redirect_uri);
            form.append("code_verifier", verifier);
        }
        UserGrant::Refresh(token) => {
            form.append("grant_type", "refresh_token");
            form.append("refresh_token", token);
        }
    }
    let authorization = match &auth.credential {
        UserCredential::Public => {
            form.append("client_id", &auth.client_id);
            None
        }
        UserCredential::Secret { secret, method } => form.prove(&auth.client_id, secret, *method)?,
        UserCredential::KeyPair { signing, .. } => {
            let key = signing.as_ref().ok_or(EhrTokenError::KeyUnready)?;
            form.sign(&assertion(key, &auth.client_id, user_audience(adapter, token_url), now)?);
            None
        }
    };
    form.into_request(adapter, token_url, &auth.client_id, authorization)
}

/// `client_secret_basic`: both parts are form-urlencoded first (RFC 6749 §2.3.1).
fn basic(client_id: &str, secret: &str) -> Result<HeaderValue, EhrTokenError> {
    let mut pair = Zeroizing::new(String::new());
    pair.extend(byte_serialize(client_id.as_bytes()));
    pair.push(':');
    pair.extend(byte_serialize(secret.as_bytes()));
    sensitive(&Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes()))))
}

/// A header value that no log shows.
pub(super) fn sensitive(text: &str) -> Result<HeaderValue, EhrTokenError> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| EhrTokenError::UnusableAnswer { reason: "it holds characters that no header can".to_owned() })?;
    value.set_sensitive(true);
    Ok(value)
}

struct Form(Zeroizing<String>);

impl Form {
    fn client_credentials(scopes: &str) -> Self {
        let mut form = Self(Zeroizing::new(String::with_capacity(2048)));
        form.append("grant_type", "client_credentials");
        if !scopes.is_empty() {
            form.append("scope", scopes);
        }
        form
    }

    /// Proves the client with an assertion.
    fn sign(&mut self, assertion: &str) {
        self.append("client_assertion_type", JWT_BEARER);
        self.append("client_assertion", assertion);
    }

    /// Proves the client with its secret: in the form, or in the header that is given back.
    fn prove(
        &mut self,
        client_id: &str,
        secret: &SecretString,
        method: TokenEndpointAuthMethod,
    ) -> Result<Option<HeaderValue>, EhrTokenError> {
        match method {
            TokenEndpointAuthMethod::ClientSecretBasic => basic(client_id, secret.expose_secret()).map(Some),
            TokenEndpointAuthMethod::ClientSecretPost => {
                self.append("client_id", client_id);
                self.append("client_secret", secret.expose_secret());
                Ok(None)
            }
        }
    }

    fn append(&mut self, name: &str, value: &str) {
        form_urlencoded::Serializer::for_suffix(&mut *self.0, 0).append_pair(name, value);
    }

    fn into_request(
        mut self,
        adapter: &DataAdapter,
        token_url: &EndpointUrl,
        client_id: &str,
        authorization: Option<HeaderValue>,
    ) -> Result<Request<Full<Bytes>>, EhrTokenError> {
        let body = Bytes::from(std::mem::take(&mut *self.0));
        let mut request = Request::post(token_url.as_str()).body(Full::new(body)).map_err(|_| {
            EhrTokenError::Unreachable { reason: "the token URL cannot be called as written".to_owned() }
        })?;
        let headers = request.headers_mut();
        for (name, value) in &adapter.request_headers {
            headers.append(name.clone(), value.clone());
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(value) = epic_client_id(adapter, Some(client_id)) {
            headers.insert(EPIC_CLIENT_ID, value);
        }
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value);
        }
        Ok(request)
    }
}
