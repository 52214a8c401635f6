//! The form by which a token is asked about (RFC 7662 §2.1) or given up (RFC 7009 §2.1).

use secrecy::SecretString;

use super::OAuthError;
use super::token_request::{self, ClientParameters};

/// The parameters that both endpoints know. `token_type_hint` is not looked at: each kind of token shows what it is.
#[derive(Debug)]
pub struct PresentedToken {
    /// Who asks.
    pub client: ClientParameters,
    /// `token`
    pub token: SecretString,
}

impl PresentedToken {
    /// Reads the body.
    pub fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Self, OAuthError> {
        let (mut client, mut token) = (ClientParameters::default(), None);
        token_request::parameters(content_type, body, |name, value| match name {
            "token" => token = value,
            _ => client.take(name, value),
        })?;
        Ok(Self { client, token: token.ok_or(OAuthError::ParameterMissing("token"))?.into() })
    }
}

impl ClientParameters {
    /// Whether the body says anything that proves a client.
    pub const fn prove_something(&self) -> bool {
        self.client_secret.is_some() || self.client_assertion.is_some() || self.client_assertion_type.is_some()
    }
}
