//! Access tokens: JWTs by RFC 9068, signed ES256 with the gateway's own key.
//!
//! Verifying has two halves. Whether a *signature* holds never changes, so the proxy may remember it
//! ([`verify`] → [`VerifiedToken`]). What the token is worth is judged on every request ([`judge`]): issuer, audience,
//! key, expiry, the activation as it stands now, and the scopes under today's ceiling.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::snapshot::{Activation, Gateway, NotLive, Snapshot};
use crate::values::code::Code;
use crate::values::key::{JwsHeader, SignError};
use crate::values::scope::ScopeSet;

/// `typ` of access tokens (RFC 9068 §2.1): what keeps any other JWT of the same key from being taken for one.
const TYPE: &str = "at+jwt";

/// Longer texts are no tokens of ours, and are not even hashed.
pub const MAXIMUM_LENGTH: usize = 16 * 1024;

/// The claims (RFC 9068 §2.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The gateway's public URL.
    pub iss: String,
    /// The gateway's FHIR base.
    pub aud: String,
    /// Whom the token speaks for: the user of its session, else the client ID.
    pub sub: String,
    /// The client ID.
    pub client_id: String,
    /// Seconds since 1970: not valid from then on.
    pub exp: i64,
    /// Seconds since 1970: when it was issued.
    pub iat: i64,
    /// Unique.
    pub jti: String,
    /// What was granted.
    pub scope: String,
    /// UID of the activation that it was issued for.
    pub activation: String,
    /// The user's session that it belongs to; absent: no user stands behind the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
}

/// The session of a user that a token belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The ID of its refresh-token family: revoking the family revokes the token.
    pub id: String,
    /// The patient in the launch's context, as the EHR's logical ID: what `patient/` scopes are held to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient: Option<String>,
}

/// Whom a token is issued to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The app itself.
    Client,
    /// A user in a session.
    User {
        /// The user's identifier at this gateway (OpenID `sub`).
        sub: String,
        /// The session.
        session: Session,
    },
}

/// A token that was issued.
#[derive(Debug)]
pub struct IssuedToken {
    /// The token itself.
    pub token: SecretString,
    /// Its lifetime in seconds.
    pub expires_in: i64,
}

/// Why no token could be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The gateway's key is not there yet.
    #[error("the gateway has no signing key yet")]
    KeyMissing,
    /// The signature failed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Issues a token. `jti` is random and unique: 122 bits or more.
pub fn issue(
    activation: &Activation,
    subject: Subject,
    scopes: &ScopeSet,
    now: Timestamp,
    jti: &str,
) -> Result<IssuedToken, IssueError> {
    let gateway = &activation.gateway;
    let current = gateway.signing.current.as_ref().ok_or(IssueError::KeyMissing)?;
    let expires_in = i64::try_from(gateway.access_token_lifetime.as_secs()).unwrap_or(300);
    let (sub, session) = match subject {
        Subject::Client => (activation.app.client_id.clone(), None),
        Subject::User { sub, session } => (sub, Some(session)),
    };
    let claims = Claims {
        iss: gateway.issuer.clone(),
        aud: gateway.fhir_base.clone(),
        sub,
        client_id: activation.app.client_id.clone(),
        exp: now.as_second().saturating_add(expires_in),
        iat: now.as_second(),
        jti: jti.to_owned(),
        scope: scopes.to_string(),
        activation: activation.uid.clone(),
        session,
    };
    let token = current.keys.es256.sign(&JwsHeader { typ: Some(TYPE), jku: None }, &claims)?;
    Ok(IssuedToken { token: token.into(), expires_in })
}

/// A token whose signature held under one key. Worth nothing until it is judged.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    claims: Claims,
    scopes: ScopeSet,
    kid: String,
}

impl VerifiedToken {
    /// Whose token it claims to be.
    pub fn subject(&self) -> &str {
        &self.claims.sub
    }

    /// The client that it was issued to.
    pub fn client_id(&self) -> &str {
        &self.claims.client_id
    }

    /// What it claims, of which only the signature is known to hold.
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }
}

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// It is no token of ours, or its signature does not hold.
    #[error("the access token is malformed, or its signature does not hold")]
    Invalid,
    /// Its time is over.
    #[error("the access token has expired")]
    Expired,
    /// It, or the session that it belongs to, was revoked. Not told by [`judge`]: who shares the state knows.
    #[error("the access token was revoked")]
    Revoked,
    /// The session that it belongs to is over at the EHR. Not told by [`judge`]: who shares the state knows.
    #[error("the user's session at the EHR is over")]
    SessionOver,
    /// Another gateway issued it, or it was issued for another.
    #[error("the access token was not issued by and for this gateway")]
    AnotherGateway,
    /// The activation that it names is not there any more, or is another one now.
    #[error("the activation that the access token was issued for is gone")]
    ActivationGone,
    /// The activation has no effect now.
    #[error("the activation is not in effect: {0}")]
    NotLive(NotLive),
}

impl TokenRefused {
    /// The code of the refusal.
    pub const fn code(&self) -> Code {
        match self {
            Self::Invalid => Code::TokenInvalid,
            Self::Expired => Code::TokenExpired,
            Self::Revoked => Code::TokenRevoked,
            Self::SessionOver => Code::SessionOver,
            Self::AnotherGateway => Code::TokenForAnotherGateway,
            Self::ActivationGone => Code::ActivationGone,
            Self::NotLive(NotLive::Suspended(_)) => Code::ActivationSuspended,
            Self::NotLive(NotLive::NotYet(_) | NotLive::Over(_)) => Code::ActivationOutsideWindow,
        }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

/// Checks form and signature with the keys of this gateway. The costly half, which may be remembered by the token's
/// digest: it depends on nothing but the token and the key that its `kid` (a thumbprint) names.
pub fn verify(token: &str, gateway: &Gateway) -> Result<VerifiedToken, TokenRefused> {
    if token.len() > MAXIMUM_LENGTH {
        return Err(TokenRefused::Invalid);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenRefused::Invalid)?;
    let (header, payload) = signed.split_once('.').ok_or(TokenRefused::Invalid)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenRefused::Invalid);
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenRefused::Invalid)?;
    if header.alg != "ES256" || !header.typ.eq_ignore_ascii_case(TYPE) || header.crit.is_some() {
        return Err(TokenRefused::Invalid);
    }
    let claims = || -> Result<Claims, TokenRefused> {
        serde_json::from_slice(&decode(payload)?).map_err(|_| TokenRefused::Invalid)
    };
    let Some(key) = gateway.signing.revisions.iter().find(|key| key.es256_kid == header.kid) else {
        // Nothing is believed here: the issuer only chooses between two ways to say no.
        let elsewhere = claims().is_ok_and(|claims| claims.iss != gateway.issuer);
        return Err(if elsewhere { TokenRefused::AnotherGateway } else { TokenRefused::Invalid });
    };
    let signature = decode(signature)?;
    key.es256_verifying.verify(signed.as_bytes(), &signature).map_err(|_| TokenRefused::Invalid)?;
    let claims = claims()?;
    let scopes = ScopeSet::parse(&claims.scope).map_err(|_| TokenRefused::Invalid)?;
    Ok(VerifiedToken { claims, scopes, kid: header.kid })
}

/// What a good token gives.
#[derive(Clone, Debug)]
pub struct Bearer {
    /// The activation, as it stands now.
    pub activation: Arc<Activation>,
    /// What may be done now: the token's scopes within today's ceiling.
    pub scopes: ScopeSet,
    /// The token's `jti`: what its revocation names.
    pub token_id: String,
    /// The session that it belongs to; `None`: no user stands behind it.
    pub session: Option<Session>,
}

/// Judges a token at a gateway, as things stand now.
pub fn judge(
    token: &VerifiedToken,
    snapshot: &Snapshot,
    gateway: &Gateway,
    now: Timestamp,
) -> Result<Bearer, TokenRefused> {
    let claims = &token.claims;
    if claims.iss != gateway.issuer || claims.aud != gateway.fhir_base {
        return Err(TokenRefused::AnotherGateway);
    }
    // A key that was withdrawn since the signature was remembered.
    if !gateway.signing.revisions.iter().any(|key| key.es256_kid == token.kid) {
        return Err(TokenRefused::Invalid);
    }
    if now.as_second() >= claims.exp {
        return Err(TokenRefused::Expired);
    }
    let activation = snapshot.activation_by_uid(&claims.activation).ok_or(TokenRefused::ActivationGone)?;
    if activation.gateway.uid != gateway.uid || activation.app.client_id != claims.client_id {
        return Err(TokenRefused::ActivationGone);
    }
    activation.live_at(now).map_err(TokenRefused::NotLive)?;
    let ceiling = token.scopes.intersect(&activation.ceiling);
    let scopes = if claims.session.is_some() { ceiling } else { ceiling.without_user() };
    Ok(Bearer {
        activation: Arc::clone(activation),
        scopes,
        token_id: claims.jti.clone(),
        session: claims.session.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::test_support::{self, World};
    use crate::snapshot::ObjectKey;
    use jiff::ToSpan as _;
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;
    use serde_json::json;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("default", name)
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn token(snapshot: &Snapshot, scopes: &str) -> String {
        let activation = &snapshot.activations[&key("sync-epic")];
        let issued = issue(activation, Subject::Client, &ScopeSet::parse(scopes).unwrap(), now(), "id-1").unwrap();
        assert_eq!(issued.expires_in, 300);
        issued.token.expose_secret().to_owned()
    }

    fn judged_at(snapshot: &Snapshot, gateway: &str, token: &str, now: Timestamp) -> Result<String, TokenRefused> {
        let gateway = &snapshot.gateways[&key(gateway)];
        judge(&verify(token, gateway)?, snapshot, gateway, now).map(|bearer| bearer.scopes.to_string())
    }

    #[test]
    fn a_token_says_what_rfc_9068_asks() {
        let snapshot = test_support::snapshot();
        let token = token(&snapshot, "system/Patient.rs");
        let parts: Vec<_> = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
        let header: serde_json::Value = serde_json::from_slice(&parts[0]).unwrap();
        let gateway = &snapshot.gateways[&key("epic")];
        let kid = gateway.signing.current.as_ref().unwrap().es256_kid.clone();
        assert_eq!(header, json!({"alg": "ES256", "typ": "at+jwt", "kid": kid}));
        let claims: serde_json::Value = serde_json::from_slice(&parts[1]).unwrap();
        assert_eq!(
            claims,
            json!({
                "iss": "https://gate.example.org/default/epic", "aud": "https://gate.example.org/default/epic/fhir",
                "sub": test_support::CLIENT_ID, "client_id": test_support::CLIENT_ID, "exp": 1_767_225_900, "iat": 1_767_225_600,
                "jti": "id-1", "scope": "system/Patient.rs", "activation": "uid-of-sync-epic",
            })
        );
    }

    #[test]
    fn a_good_token_gives_its_scopes_within_todays_ceiling() {
        let snapshot = test_support::snapshot();
        let token = token(&snapshot, "system/Patient.rs system/Appointment.cruds");
        let judged = |world: World| judged_at(&world.compile(), "epic", &token, now());
        let world = || World::before("http://127.0.0.1:9");
        assert_eq!(judged(world()), Ok("system/Appointment.cruds system/Patient.rs".into()));
        let narrower = world().set("Activation", "sync-epic", "scopes", json!(["system/Patient.r"]));
        assert_eq!(judged(narrower), Ok("system/Patient.r".into()));
    }

    #[test]
    fn time_and_place_are_judged() {
        let snapshot = test_support::snapshot();
        let token = token(&snapshot, "system/Patient.rs");
        assert!(judged_at(&snapshot, "epic", &token, now() + 299.seconds()).is_ok());
        assert_eq!(judged_at(&snapshot, "epic", &token, now() + 300.seconds()), Err(TokenRefused::Expired));
        assert_eq!(judged_at(&snapshot, "plain", &token, now()), Err(TokenRefused::AnotherGateway));
    }

    #[test]
    fn what_happens_to_the_activation_happens_to_its_tokens() {
        let token = token(&test_support::snapshot(), "system/Patient.rs");
        let refused = |world: World| judged_at(&world.compile(), "epic", &token, now()).unwrap_err().code();
        let world = || World::before("http://127.0.0.1:9");
        for (kind, name) in
            [("Activation", "sync-epic"), ("App", "schedule-sync"), ("Gateway", "epic"), ("DataAdapter", "epic-ehr")]
        {
            assert_eq!(refused(world().set(kind, name, "suspend", true.into())), Code::ActivationSuspended, "{kind}");
        }
        assert_eq!(refused(world().without("Activation", "sync-epic")), Code::ActivationGone);
        let another_client = world().set("App", "schedule-sync", "clientId", "another-client".into());
        assert_eq!(refused(another_client), Code::ActivationGone);
        let over = world().set("Activation", "sync-epic", "expiresAt", "2025-12-31T23:59:59Z".into());
        assert_eq!(refused(over), Code::ActivationOutsideWindow);
        assert_eq!(refused(world().without_signing_keys()), Code::TokenInvalid);
    }

    #[test]
    fn a_forged_token_is_refused() {
        let snapshot = test_support::snapshot();
        let token = token(&snapshot, "system/Patient.rs");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, payload) = signed.split_once('.').unwrap();
        let gateway = &snapshot.gateways[&key("epic")];
        let kid = &gateway.signing.revisions[0].es256_kid;
        let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let other_claims = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        let other_claims = URL_SAFE_NO_PAD.encode(other_claims.replace("Patient.rs", "Patient.cruds"));
        for forged in [
            String::new(),
            "a.b.c".into(),
            format!("{signed}."),
            format!("{header}.{other_claims}.{signature}"),
            format!("{}.{payload}.", encode(json!({"alg": "none", "typ": "at+jwt", "kid": kid}))),
            format!("{}.{payload}.{signature}", encode(json!({"alg": "HS256", "typ": "at+jwt", "kid": kid}))),
            format!("{}.{payload}.{signature}", encode(json!({"alg": "ES256", "typ": "JWT", "kid": kid}))),
            format!("{}.{payload}.{signature}", encode(json!({"alg": "ES256", "typ": "at+jwt", "kid": "x"}))),
            format!("{token}="),
            format!("{token}\n"),
        ] {
            assert_eq!(verify(&forged, gateway).unwrap_err(), TokenRefused::Invalid, "{forged}");
        }
        // Same key, but an id_token or a logout token is no access token.
        let signing = &gateway.signing.current.as_ref().unwrap().keys.es256;
        let claims = verify(&token, gateway).unwrap().claims;
        let id_token = signing.sign(&JwsHeader { typ: Some("JWT"), jku: None }, &claims).unwrap();
        assert_eq!(verify(&id_token, gateway).unwrap_err(), TokenRefused::Invalid);
        let endless = json!({"iss": gateway.issuer, "aud": gateway.fhir_base, "sub": "a", "client_id": "a",
            "exp": "9999999999", "iat": 0, "jti": "a", "scope": "", "activation": "uid-of-sync-epic"});
        let endless = signing.sign(&JwsHeader { typ: Some(TYPE), jku: None }, &endless).unwrap();
        assert_eq!(verify(&endless, gateway).unwrap_err(), TokenRefused::Invalid);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_changed_token_is_accepted(position in 0usize..400, replacement in "[A-Za-z0-9_.=-]") {
            let snapshot = test_support::snapshot();
            let mut changed = token(&snapshot, "system/Patient.rs");
            let position = position % changed.len();
            let original = changed.clone();
            changed.replace_range(position..=position, &replacement);
            prop_assume!(changed != original);
            prop_assert!(verify(&changed, &snapshot.gateways[&key("epic")]).is_err());
        }
    }
}
