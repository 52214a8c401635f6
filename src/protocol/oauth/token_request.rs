//! The form of a token request (RFC 6749 §3.2), and what other requests of clients share with it.

use secrecy::SecretString;

use super::OAuthError;
use crate::protocol::{form, media_type};

/// No token request is longer.
pub const MAXIMUM_LENGTH: usize = 64 * 1024;

/// How a client says who it is in the body of a request (RFC 6749 §2.3.1, RFC 7521 §4.2): at the token endpoint, and
/// wherever else clients authenticate as they do there.
#[derive(Debug, Default)]
pub struct ClientParameters {
    /// `client_id`
    pub client_id: Option<String>,
    /// `client_secret`
    pub client_secret: Option<SecretString>,
    /// `client_assertion_type`
    pub client_assertion_type: Option<String>,
    /// `client_assertion`
    pub client_assertion: Option<SecretString>,
}

/// The parameters that the token endpoint knows. One without a value counts as left out (RFC 6749 §3.1); unknown ones
/// are ignored.
#[derive(Debug, Default)]
pub struct TokenRequest {
    /// Who asks.
    pub client: ClientParameters,
    /// `grant_type`
    pub grant_type: Option<String>,
    /// `scope`
    pub scope: Option<String>,
    /// `code`
    pub code: Option<SecretString>,
    /// `redirect_uri`
    pub redirect_uri: Option<String>,
    /// `code_verifier`
    pub code_verifier: Option<SecretString>,
    /// `refresh_token`
    pub refresh_token: Option<SecretString>,
}

impl ClientParameters {
    /// Takes the parameter, if it is one of these.
    pub fn take(&mut self, name: &str, value: Option<String>) {
        match name {
            "client_id" => self.client_id = value,
            "client_secret" => self.client_secret = value.map(Into::into),
            "client_assertion_type" => self.client_assertion_type = value,
            "client_assertion" => self.client_assertion = value.map(Into::into),
            _ => {}
        }
    }
}

impl TokenRequest {
    /// Reads the body.
    pub fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Self, OAuthError> {
        let mut request = Self::default();
        parameters(content_type, body, |name, value| match name {
            "grant_type" => request.grant_type = value,
            "scope" => request.scope = value,
            "code" => request.code = value.map(Into::into),
            "redirect_uri" => request.redirect_uri = value,
            "code_verifier" => request.code_verifier = value.map(Into::into),
            "refresh_token" => request.refresh_token = value.map(Into::into),
            _ => request.client.take(name, value),
        })?;
        Ok(request)
    }
}

/// Hands out each parameter of a form once, `None` for one without a value. Which are known is the taker's to say.
pub fn parameters(
    content_type: Option<&str>,
    body: &[u8],
    mut take: impl FnMut(&str, Option<String>),
) -> Result<(), OAuthError> {
    if content_type.map(media_type::essence).as_deref() != Some(form::MEDIA_TYPE) {
        return Err(OAuthError::NotAForm);
    }
    let mut seen = Vec::new();
    for pair in form::pairs(body) {
        let (name, value) = pair.map_err(|_| OAuthError::NotAForm)?;
        if seen.contains(&name) {
            return Err(OAuthError::ParameterRepeated);
        }
        if seen.len() >= 64 {
            return Err(OAuthError::TooLarge);
        }
        take(&name, (!value.is_empty()).then(|| value.into_owned()));
        seen.push(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Option<&str> = Some("application/x-www-form-urlencoded; charset=utf-8");

    #[test]
    fn parameters_are_read_and_empty_ones_count_as_left_out() {
        let request = TokenRequest::parse(FORM, b"grant_type=client_credentials&scope=&client_id=a&x=y").unwrap();
        assert_eq!(request.grant_type.as_deref(), Some("client_credentials"));
        assert_eq!((request.scope, request.client.client_id.as_deref()), (None, Some("a")));
    }

    #[test]
    fn what_is_no_form_or_says_a_thing_twice_is_refused() {
        let refused = |content_type, body: &str| TokenRequest::parse(content_type, body.as_bytes()).unwrap_err();
        assert_eq!(refused(None, "grant_type=a"), OAuthError::NotAForm);
        assert_eq!(refused(Some("application/json"), "{}"), OAuthError::NotAForm);
        assert_eq!(refused(FORM, "grant_type=%zz"), OAuthError::NotAForm);
        assert_eq!(refused(FORM, "scope=a&scope=a"), OAuthError::ParameterRepeated);
        assert_eq!(refused(FORM, "scope=a&sc%6fpe=b"), OAuthError::ParameterRepeated);
    }
}
