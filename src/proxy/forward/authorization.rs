//! What goes along with a call to the EHR: the activation's own credentials, or the token of a user's session.

use std::sync::Arc;

use http::HeaderValue;
use jiff::Timestamp;

use super::{Credentials, ForwardError};
use crate::outbound::EhrAuthorization;
use crate::protocol::jwt;
use crate::proxy::Proxy;
use crate::proxy::session;
use crate::proxy::session_tokens::{SessionError, SessionToken};
use crate::snapshot::{Activation, EhrAuthentication};
use crate::store::FamilyId;

/// What goes along, and what names it.
pub(super) enum Authorization {
    Activation(EhrAuthorization),
    Session(Arc<SessionToken>),
}

impl Authorization {
    pub(super) fn header(&self) -> Option<&HeaderValue> {
        match self {
            Self::Activation(authorization) => authorization.header.as_ref(),
            Self::Session(token) => Some(&token.header),
        }
    }
}

impl Proxy {
    /// The credentials, and whether asking again could give others. `refused` is what the EHR answered 401 to.
    pub(super) async fn authorization(
        &self,
        credentials: &Credentials<'_>,
        refused: Option<&Authorization>,
    ) -> Result<(Option<Authorization>, bool), ForwardError> {
        match credentials {
            Credentials::Open | Credentials::Fixed { .. } => Ok((None, false)),
            Credentials::Activation(activation) => {
                let renewable = match &activation.ehr_authentication {
                    EhrAuthentication::BackendAuth(_) | EhrAuthentication::ClientCredentials(_) => true,
                    EhrAuthentication::Basic(_) | EhrAuthentication::None | EhrAuthentication::User(_) => false,
                };
                match self.ehr_tokens.authorization(activation).await {
                    Ok(authorization) => {
                        if let Some(was_held) = authorization.was_held() {
                            self.metrics.token_use(&activation.key, if was_held { "hit" } else { "miss" });
                        }
                        Ok((Some(Authorization::Activation(authorization)), renewable))
                    }
                    Err(error) => {
                        self.metrics.token_use(&activation.key, "failed");
                        Err(ForwardError::Token { activation: activation.key.to_string(), error })
                    }
                }
            }
            Credentials::Session(activation, session) => {
                let refused = match refused {
                    Some(Authorization::Session(used)) => Some(&**used),
                    Some(Authorization::Activation(_)) | None => None,
                };
                let token = self.session_token(activation, session, refused).await?;
                Ok((Some(Authorization::Session(token)), true))
            }
        }
    }

    async fn session_token(
        &self,
        activation: &Activation,
        session: &jwt::Session,
        refused: Option<&SessionToken>,
    ) -> Result<Arc<SessionToken>, ForwardError> {
        let gateway = &activation.gateway;
        let (Some(records), Ok(family)) = (self.records(gateway), session.id.parse::<FamilyId>()) else {
            return Err(ForwardError::SessionOver);
        };
        match self.session_tokens.of(&self.ehr_tokens, &records, activation, family, refused).await {
            Ok(token) => Ok(token),
            Err(SessionError::Over) => {
                // The app's refresh tokens end with it; that this replica cannot tell the others changes nothing here.
                if let Err(error) = session::end(&records, gateway, family, Timestamp::now()).await {
                    tracing::warn!(gateway = %gateway.key, %error, "a session that is over could not be ended");
                }
                Err(ForwardError::SessionOver)
            }
            Err(SessionError::Store(error)) => {
                tracing::error!(gateway = %gateway.key, %error, "a user's session could not be read");
                Err(ForwardError::StoreAway)
            }
            Err(SessionError::Ehr { error, .. }) => {
                Err(ForwardError::Token { activation: activation.key.to_string(), error })
            }
        }
    }
}
