//! Errors of the token endpoint (RFC 6749 §5.2).

use serde::Serialize;

use super::client_assertion::AssertionRefused;
use super::client_authentication::Scheme;
use crate::snapshot::NotLive;
use crate::values::code::Code;

/// Why a token request is refused.
///
/// What the client reads is `error` and `error_description` alone; they depend on nothing but the variant and the fields
/// shown, so that an unknown client and a wrong secret are told the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OAuthError {
    /// The body is no form.
    #[error("the request's body must be application/x-www-form-urlencoded")]
    NotAForm,
    /// The body is longer than any token request.
    #[error("the request's body is too large")]
    TooLarge,
    /// A parameter is missing.
    #[error("the parameter {0} is missing")]
    ParameterMissing(&'static str),
    /// A parameter stands there twice.
    #[error("a parameter is repeated")]
    ParameterRepeated,
    /// The `Authorization` header cannot be read.
    #[error("the Authorization header is not HTTP Basic with a client ID and a secret, or there are several")]
    AuthorizationMalformed,
    /// The client authenticates in more than one way, or names itself twice and differently.
    #[error("the client authenticates in more than one way")]
    SeveralClientAuthentications,
    /// Unknown client, or wrong credential.
    #[error("the client is unknown or its credential is wrong")]
    ClientAuthenticationFailed(Scheme),
    /// The client's assertion cannot be taken, whoever it is from.
    #[error("{0}")]
    AssertionRefused(AssertionRefused),
    /// The store is away, without which nothing can be used only once.
    #[error("this cannot be decided now, because a part of the gateway is away; try again in a few seconds")]
    StoreAway,
    /// A client gives up a token that is not its own.
    #[error("the token was issued to another client")]
    TokenOfAnother,
    /// Too many wrong credentials came.
    #[error("too many wrong credentials came; wait a minute")]
    TooManyFailures,
    /// A grant that there is not.
    #[error("this grant type is not supported here")]
    GrantTypeUnsupported,
    /// A public client cannot act by itself.
    #[error("a public client may not use this grant type")]
    PublicClient,
    /// There is no activation of the app on this gateway.
    #[error("the app is not activated on this gateway")]
    NotActivated,
    /// There is one, without effect now.
    #[error("the app's activation on this gateway is not in effect now")]
    NotLive(NotLive),
    /// The activation only serves launches with a user.
    #[error("the app's activation on this gateway authenticates users: tokens without a user are not issued")]
    UserOnly,
    /// Nothing of what was asked for may be granted.
    #[error("nothing of the requested scope may be granted")]
    ScopeUnavailable,
    /// What was presented is good for nothing.
    #[error("{0}")]
    GrantInvalid(#[from] GrantFault),
    /// A refresh that asks for more than was granted.
    #[error("the requested scope is more than was granted")]
    ScopeNotGranted,
    /// The gateway cannot sign yet.
    #[error("the gateway's signing key is not there yet; try again in a few seconds")]
    SigningUnready,
}

/// What is wrong with a code or a refresh token. Unknown, expired, spent and another client's are told alike: who asks
/// with a guess learns nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantFault {
    /// Unknown, expired, spent or another client's.
    #[error("the authorization code or refresh token is unknown, expired, spent or another client's")]
    Unknown,
    /// Another redirect URI than the code was sent to, or none.
    #[error("redirect_uri is not the one that the authorization code was sent to")]
    RedirectUri,
    /// No verifier, or one that does not meet the challenge.
    #[error("code_verifier is missing, or does not meet the code_challenge")]
    Verifier,
    /// The session ended: at the EHR, or with its activation.
    #[error("the user's session is over")]
    SessionOver,
}

/// The JSON body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Body {
    /// RFC 6749's word.
    pub error: &'static str,
    /// Code and sentence.
    pub error_description: String,
}

impl OAuthError {
    /// The code of the refusal.
    pub const fn code(&self) -> Code {
        match self {
            Self::NotAForm | Self::ParameterMissing(_) | Self::ParameterRepeated => Code::MalformedTokenRequest,
            Self::TooLarge => Code::BodyTooLarge,
            Self::AuthorizationMalformed | Self::ClientAuthenticationFailed(_) => Code::ClientAuthenticationFailed,
            Self::SeveralClientAuthentications => Code::SeveralClientAuthentications,
            Self::AssertionRefused(_) => Code::ClientAssertionRefused,
            Self::TokenOfAnother => Code::TokenOfAnother,
            Self::TooManyFailures => Code::TooManyFailures,
            Self::GrantTypeUnsupported => Code::GrantTypeUnsupported,
            Self::PublicClient | Self::NotActivated | Self::UserOnly => Code::ClientUnauthorized,
            Self::NotLive(NotLive::Suspended(_)) => Code::ActivationSuspended,
            Self::NotLive(NotLive::NotYet(_) | NotLive::Over(_)) => Code::ActivationOutsideWindow,
            Self::ScopeUnavailable | Self::ScopeNotGranted => Code::ScopeUnavailable,
            Self::GrantInvalid(GrantFault::SessionOver) => Code::SessionOver,
            Self::GrantInvalid(GrantFault::Unknown | GrantFault::RedirectUri | GrantFault::Verifier) => {
                Code::GrantInvalid
            }
            Self::StoreAway => Code::StoreAway,
            Self::SigningUnready => Code::GatewaySigningUnready,
        }
    }

    /// RFC 6749's word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NotAForm
            | Self::TooLarge
            | Self::ParameterMissing(_)
            | Self::ParameterRepeated
            | Self::SeveralClientAuthentications => "invalid_request",
            Self::AuthorizationMalformed
            | Self::ClientAuthenticationFailed(_)
            | Self::AssertionRefused(_)
            | Self::TooManyFailures => "invalid_client",
            Self::GrantTypeUnsupported => "unsupported_grant_type",
            Self::PublicClient | Self::NotActivated | Self::NotLive(_) | Self::UserOnly | Self::TokenOfAnother => {
                "unauthorized_client"
            }
            Self::ScopeUnavailable | Self::ScopeNotGranted => "invalid_scope",
            Self::GrantInvalid(_) => "invalid_grant",
            Self::StoreAway | Self::SigningUnready => "temporarily_unavailable",
        }
    }

    /// The HTTP status.
    pub const fn status(&self) -> http::StatusCode {
        match self {
            Self::AuthorizationMalformed | Self::ClientAuthenticationFailed(Scheme::Secret) => {
                http::StatusCode::UNAUTHORIZED
            }
            Self::TooLarge => http::StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooManyFailures => http::StatusCode::TOO_MANY_REQUESTS,
            Self::SigningUnready | Self::StoreAway => http::StatusCode::SERVICE_UNAVAILABLE,
            Self::NotAForm
            | Self::ParameterMissing(_)
            | Self::ParameterRepeated
            | Self::SeveralClientAuthentications
            | Self::ClientAuthenticationFailed(Scheme::Assertion)
            | Self::AssertionRefused(_)
            | Self::TokenOfAnother
            | Self::GrantTypeUnsupported
            | Self::PublicClient
            | Self::NotActivated
            | Self::NotLive(_)
            | Self::UserOnly
            | Self::GrantInvalid(_)
            | Self::ScopeNotGranted
            | Self::ScopeUnavailable => http::StatusCode::BAD_REQUEST,
        }
    }

    /// Seconds after which trying again makes sense.
    pub const fn retry_after(&self) -> Option<u32> {
        match self {
            Self::TooManyFailures => Some(60),
            Self::SigningUnready | Self::StoreAway => Some(5),
            _ => None,
        }
    }

    /// What the client reads.
    pub fn body(&self) -> Body {
        Body { error: self.word(), error_description: format!("{}: {self}", self.code()) }
    }
}
