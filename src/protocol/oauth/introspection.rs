//! What is told of a token (RFC 7662 §2.2, with the launch context that SMART App Launch 2.2 adds).

use jiff::Timestamp;
use serde::Serialize;

use super::launch_context::LaunchContext;
use crate::protocol::jwt::Claims;
use crate::values::scope::ScopeSet;

/// Who asks, as far as the answer depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// An app that proved who it is, or that has a token of its own with no user behind it: it may ask about every token
    /// of the gateway, as a resource server must.
    App,
    /// A user's token: its scopes are about that user's data, so it may ask about tokens of its own client alone.
    Session {
        /// That client.
        client_id: String,
    },
}

impl Caller {
    /// Whether it may learn of tokens of this client.
    pub fn may_ask_about(&self, client_id: &str) -> bool {
        match self {
            Self::App => true,
            Self::Session { client_id: own } => own == client_id,
        }
    }
}

/// The answer. What is not active is told nothing of.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Introspection {
    /// The token is worth nothing here and now, whatever the reason.
    Inactive {
        /// `false`
        active: False,
    },
    /// It is good.
    Active(Box<Active>),
}

/// `false`, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "bool")]
pub struct False;

impl From<False> for bool {
    fn from(_: False) -> Self {
        false
    }
}

impl Introspection {
    /// The one answer for all that is not good.
    pub const INACTIVE: Self = Self::Inactive { active: False };
}

/// What is told of a good token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Active {
    active: bool,
    scope: String,
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    exp: i64,
    #[serde(flatten)]
    issued: Option<Issued>,
    #[serde(flatten)]
    session: SessionFacts,
}

/// What an access token says besides.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Issued {
    iss: String,
    aud: String,
    sub: String,
    iat: i64,
    jti: String,
}

/// What is told of a user's session, as far as the token's scopes are about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SessionFacts {
    /// `patient`, `encounter`, `fhirContext` and what else is in context.
    #[serde(flatten)]
    pub context: LaunchContext,
    /// The user's own resource.
    #[serde(rename = "fhirUser", skip_serializing_if = "Option::is_none")]
    pub fhir_user: Option<String>,
}

impl Active {
    /// The client that it was issued to.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Of an access token; `scopes` are those that it is worth now.
    pub fn access(claims: &Claims, scopes: &ScopeSet, session: SessionFacts) -> Self {
        Self {
            active: true,
            scope: scopes.to_string(),
            client_id: claims.client_id.clone(),
            token_type: Some("Bearer"),
            exp: claims.exp,
            issued: Some(Issued {
                iss: claims.iss.clone(),
                aud: claims.aud.clone(),
                sub: claims.sub.clone(),
                iat: claims.iat,
                jti: claims.jti.clone(),
            }),
            session,
        }
    }

    /// Of a refresh token. It has no `token_type`, which is about how access tokens are used.
    pub fn refresh(client_id: String, scopes: &ScopeSet, until: Timestamp) -> Self {
        Self {
            active: true,
            scope: scopes.to_string(),
            client_id,
            token_type: None,
            exp: until.as_second(),
            issued: None,
            session: SessionFacts::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_inactive_is_told_nothing_of() {
        assert_eq!(serde_json::to_string(&Introspection::INACTIVE).unwrap(), r#"{"active":false}"#);
    }

    #[test]
    fn a_refresh_token_is_told_of_in_smarts_four_members() {
        let scopes = ScopeSet::parse("patient/Patient.rs offline_access").unwrap();
        let until = Timestamp::from_second(1_767_225_600).unwrap();
        assert_eq!(
            serde_json::to_value(Introspection::Active(Box::new(Active::refresh("app".into(), &scopes, until))))
                .unwrap(),
            json!({"active": true, "scope": "patient/Patient.rs offline_access", "client_id": "app", "exp": 1_767_225_600})
        );
    }

    #[test]
    fn a_users_token_asks_about_its_own_client_alone() {
        let user = Caller::Session { client_id: "app".into() };
        assert!(user.may_ask_about("app") && !user.may_ask_about("another"));
        assert!(Caller::App.may_ask_about("another"));
    }
}
