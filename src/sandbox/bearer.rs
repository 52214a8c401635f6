//! Who may call FHIR: a Bearer token that this EHR issued, or a registered Basic credential.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;

use super::Shared;
use super::issued::Lookup;
use super::log::Record;
use super::user_session::UserSession;

/// Why a FHIR request's authorization is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unauthorized {
    #[error("no Authorization header")]
    Missing,
    #[error("more than one Authorization header")]
    Several,
    #[error("the Authorization header is neither Bearer nor Basic")]
    Scheme,
    #[error("the access token is unknown: never issued here, or revoked")]
    UnknownToken,
    #[error("the access token has expired")]
    ExpiredToken,
    #[error("the access token's client is no longer registered")]
    ClientGone,
    #[error("the Basic credential belongs to no registered client")]
    WrongBasic,
}

impl Unauthorized {
    /// The challenge of the answer (RFC 6750 §3: no error code where no credential came).
    pub(super) fn challenge(self) -> &'static str {
        match self {
            Unauthorized::Missing => r#"Bearer realm="sandbox""#,
            Unauthorized::Several | Unauthorized::Scheme => r#"Bearer realm="sandbox", error="invalid_request""#,
            Unauthorized::UnknownToken | Unauthorized::ExpiredToken | Unauthorized::ClientGone => {
                r#"Bearer realm="sandbox", error="invalid_token""#
            }
            Unauthorized::WrongBasic => r#"Basic realm="sandbox""#,
        }
    }
}

/// Whom a request is from.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) client_id: String,
    /// The user behind it; `None` where the client asks for itself.
    pub(super) session: Option<Arc<UserSession>>,
}

/// Whom the request is from; noted in the log too.
pub(super) fn authorize(shared: &Shared, record: &Record, headers: &HeaderMap) -> Result<Caller, Unauthorized> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Err(Unauthorized::Missing),
        (Some(_), Some(_)) => return Err(Unauthorized::Several),
        (Some(value), None) => value.to_str().map_err(|_| Unauthorized::Scheme)?,
    };
    let (scheme, credential) = value.split_once(' ').ok_or(Unauthorized::Scheme)?;
    if scheme.eq_ignore_ascii_case("Bearer") {
        match shared.tokens.look_up(credential.trim(), Timestamp::now().as_second()) {
            Lookup::Live(grant) => {
                record.credential(&grant.client_id, Some(&grant.token_id));
                if shared.registry.knows(&grant.client_id) {
                    Ok(Caller { client_id: grant.client_id, session: grant.session })
                } else {
                    Err(Unauthorized::ClientGone)
                }
            }
            Lookup::Expired(grant) => {
                record.credential(&grant.client_id, Some(&grant.token_id));
                Err(Unauthorized::ExpiredToken)
            }
            Lookup::Unknown => Err(Unauthorized::UnknownToken),
        }
    } else if scheme.eq_ignore_ascii_case("Basic") {
        let client_id = basic_client(shared, credential, None).ok_or(Unauthorized::WrongBasic)?;
        record.credential(&client_id, None);
        Ok(Caller { client_id, session: None })
    } else {
        Err(Unauthorized::Scheme)
    }
}

/// The client that a Basic credential (RFC 7617: not form-urlencoded, unlike at a token endpoint) belongs to.
pub(super) fn basic_client(shared: &Shared, encoded: &str, client_id: Option<&str>) -> Option<String> {
    let joined = STANDARD.decode(encoded.trim()).ok()?;
    let colon = joined.iter().position(|byte| *byte == b':')?;
    let (user, password) = joined.split_at_checked(colon)?;
    let user = std::str::from_utf8(user).ok()?;
    shared.registry.basic_client(user, password.get(1..)?, client_id)
}
