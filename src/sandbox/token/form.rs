//! The form of a token request, as RFC 6749 §3.2 asks for it.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::TokenError;

/// The grants of this EHR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GrantType {
    AuthorizationCode,
    ClientCredentials,
    RefreshToken,
}

/// The parameters of a token request, each given once.
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    pub(super) fn read(query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Result<Form, TokenError> {
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
        Ok(Form(parameters))
    }

    /// Which grant is asked for.
    pub(super) fn grant_type(&self) -> Result<GrantType, TokenError> {
        match self.get("grant_type") {
            None => Err(TokenError::InvalidRequest("grant_type is missing".to_owned())),
            Some("authorization_code") => Ok(GrantType::AuthorizationCode),
            Some("client_credentials") => Ok(GrantType::ClientCredentials),
            Some("refresh_token") => Ok(GrantType::RefreshToken),
            Some(other) => Err(TokenError::UnsupportedGrantType(other.to_owned())),
        }
    }

    /// A parameter that the grant cannot do without.
    pub(super) fn required(&self, name: &str) -> Result<&str, TokenError> {
        self.get(name).ok_or_else(|| TokenError::InvalidRequest(format!("{name} is missing")))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// What may be logged: everything that cannot be used as a credential.
    pub(super) fn harmless(&self) -> BTreeMap<String, String> {
        let secret = |name: &str| {
            matches!(name, "client_assertion" | "client_secret" | "code" | "code_verifier" | "refresh_token")
        };
        self.0.iter().filter(|(name, _)| !secret(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}
