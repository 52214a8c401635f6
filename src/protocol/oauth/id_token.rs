//! id_tokens (OpenID Connect Core §2): the EHR's, checked; ours, made. The user that an app learns of is the EHR's, under
//! a name of ours.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::jwt::IssueError;
use crate::snapshot::Gateway;
use crate::values::base_url::BaseUrl;
use crate::values::key::{Algorithm, JwsHeader, PublicKey};
use crate::values::scope::{Scope, ScopeSet, Word};

/// How far the EHR's clock may be off, in seconds.
const SKEW: i64 = 60;

/// Longer texts are no id_tokens.
const LONGEST: usize = 32 * 1024;

/// How long an id_token of ours says who it was, in seconds: long enough to be read, no longer.
const LIFETIME: i64 = 300;

/// What the EHR's id_token must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'launch> {
    /// The EHR's issuer.
    pub issuer: &'launch str,
    /// Our client ID there.
    pub client_id: &'launch str,
    /// What we sent along.
    pub nonce: &'launch str,
}

/// A user, as an EHR's id_token tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EhrUser {
    /// The EHR's issuer.
    pub issuer: String,
    /// The user's name there.
    pub subject: String,
    /// The user's own resource, as the EHR writes it.
    pub fhir_user: Option<String>,
    /// When the user logged in, in seconds since 1970.
    pub auth_time: Option<i64>,
}

/// Why an id_token of the EHR is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenInvalid {
    /// It is no signed JWT with claims that can be read.
    #[error("it is no signed JWT, or its claims cannot be read")]
    Malformed,
    /// Neither RS256, RS384, ES256 nor ES384.
    #[error("it is signed with an algorithm that is not accepted")]
    Algorithm,
    /// No key, or more than one, of the EHR's key set fits. A newer key set may have it.
    #[error("no key of the EHR's key set fits it")]
    KeyUnknown,
    /// The key fits, the signature does not.
    #[error("its signature does not hold")]
    Signature,
    /// Another issuer.
    #[error("its issuer is not the EHR's")]
    Issuer,
    /// It is for somebody else.
    #[error("it was not issued to this client")]
    Audience,
    /// It is over, or of the future.
    #[error("it has expired, or was issued in the future")]
    Time,
    /// It belongs to another launch.
    #[error("its nonce is not the one that was sent")]
    Nonce,
    /// It names nobody.
    #[error("its sub is empty or too long")]
    Subject,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct EhrClaims {
    iss: String,
    sub: String,
    aud: Value,
    #[serde(default)]
    azp: Option<String>,
    exp: f64,
    #[serde(default)]
    iat: Option<f64>,
    #[serde(default)]
    nonce: Option<String>,
    #[serde(default, rename = "fhirUser")]
    fhir_user: Option<Value>,
    /// What it was called before SMART 1.0's errata.
    #[serde(default)]
    profile: Option<Value>,
    #[serde(default)]
    auth_time: Option<Value>,
}

/// Checks an EHR's id_token with its key set (OpenID Connect Core §3.1.3.7).
pub fn verify(
    token: &str,
    key_set: &Value,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<EhrUser, IdTokenInvalid> {
    if token.len() > LONGEST {
        return Err(IdTokenInvalid::Malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(IdTokenInvalid::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(IdTokenInvalid::Malformed)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| IdTokenInvalid::Malformed);
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| IdTokenInvalid::Malformed)?;
    if header.crit.is_some() {
        return Err(IdTokenInvalid::Malformed);
    }
    let algorithm: Algorithm = header.alg.parse().map_err(|_| IdTokenInvalid::Algorithm)?;
    let key = only_key(key_set, algorithm, header.kid.as_deref()).ok_or(IdTokenInvalid::KeyUnknown)?;
    let key = key.verifying_key(algorithm).map_err(|_| IdTokenInvalid::KeyUnknown)?;
    key.verify(signed.as_bytes(), &decode(signature)?).map_err(|_| IdTokenInvalid::Signature)?;
    let claims: EhrClaims = serde_json::from_slice(&decode(payload)?).map_err(|_| IdTokenInvalid::Malformed)?;
    judge(claims, expected, now)
}

/// The one key that fits: of those with this `kid`, or of all where the token names none.
fn only_key(key_set: &Value, algorithm: Algorithm, kid: Option<&str>) -> Option<PublicKey> {
    let text = |jwk: &Value, member: &str| jwk.get(member).and_then(Value::as_str).map(str::to_owned);
    let mut fitting = key_set.get("keys")?.as_array()?.iter().filter_map(|jwk| {
        let named = kid.is_none_or(|kid| text(jwk, "kid").as_deref() == Some(kid));
        let signs = text(jwk, "use").is_none_or(|purpose| purpose == "sig");
        let algorithm_fits = text(jwk, "alg").is_none_or(|own| own == algorithm.as_str());
        let key = (named && signs && algorithm_fits).then(|| PublicKey::from_jwk(jwk).ok()).flatten()?;
        algorithm.fits(key.kind()).then_some(key)
    });
    let key = fitting.next()?;
    fitting.next().is_none().then_some(key)
}

fn judge(claims: EhrClaims, expected: &Expected<'_>, now: Timestamp) -> Result<EhrUser, IdTokenInvalid> {
    if claims.iss != expected.issuer {
        return Err(IdTokenInvalid::Issuer);
    }
    let audiences: Vec<&str> = match &claims.aud {
        Value::String(audience) => vec![audience.as_str()],
        Value::Array(audiences) => audiences.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is_ours = audiences.contains(&expected.client_id)
        && match &claims.azp {
            Some(party) => party == expected.client_id,
            None => audiences.len() == 1,
        };
    if !is_ours {
        return Err(IdTokenInvalid::Audience);
    }
    let seconds = |moment: i64| {
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact in 53 bits for 285 million years")]
        let moment = moment as f64;
        moment
    };
    let now = now.as_second();
    if !claims.exp.is_finite() || claims.exp <= seconds(now - SKEW) {
        return Err(IdTokenInvalid::Time);
    }
    if claims.iat.is_some_and(|issued| issued > seconds(now + SKEW)) {
        return Err(IdTokenInvalid::Time);
    }
    if claims.nonce.as_deref() != Some(expected.nonce) {
        return Err(IdTokenInvalid::Nonce);
    }
    if claims.sub.is_empty() || claims.sub.len() > 255 {
        return Err(IdTokenInvalid::Subject);
    }
    let mut fhir_user = [claims.fhir_user, claims.profile].into_iter().flatten();
    Ok(EhrUser {
        issuer: claims.iss,
        subject: claims.sub,
        fhir_user: fhir_user.find_map(|claim| claim.as_str().map(str::to_owned)),
        auth_time: claims.auth_time.and_then(|time| time.as_i64()),
    })
}

/// A user under the gateway's name for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// OpenID's `sub`: the same for this user at this gateway whichever app asks, and unlike any other gateway's.
    pub sub: String,
    /// Their own resource, below the gateway's FHIR base.
    pub fhir_user: Option<String>,
    /// When they logged in, in seconds since 1970.
    pub auth_time: Option<i64>,
}

impl User {
    /// The EHR's user at a gateway.
    pub fn of(user: &EhrUser, gateway: &Gateway) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in ["hearthgate sub", gateway.issuer.as_str(), user.issuer.as_str(), user.subject.as_str()] {
            // Each part goes in with its length, so that no two lists of parts look the same.
            context.update(&part.len().to_be_bytes());
            context.update(part.as_bytes());
        }
        let from = gateway.data_adapter.fhir_base.without_slash();
        let reference = user.fhir_user.as_deref().and_then(|reference| person(reference, from));
        Self {
            sub: URL_SAFE_NO_PAD.encode(context.finish()),
            fhir_user: reference.map(|reference| format!("{}/{reference}", gateway.fhir_base)),
            auth_time: user.auth_time,
        }
    }
}

/// `Practitioner/1` of a relative reference, or of one below the EHR's base. What lies elsewhere cannot be read here.
fn person<'reference>(reference: &'reference str, base: &str) -> Option<&'reference str> {
    let relative = match BaseUrl::new(base).below(reference) {
        Some(rest) => rest.strip_prefix('/')?,
        None => reference,
    };
    let (kind, id) = relative.split_once('/')?;
    let is_person = ["Patient", "Practitioner", "PractitionerRole", "RelatedPerson", "Person"].contains(&kind);
    let is_id = (1..=256).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    (is_person && is_id).then_some(relative)
}

#[derive(Serialize)]
struct Claims<'launch> {
    iss: &'launch str,
    sub: &'launch str,
    aud: &'launch str,
    exp: i64,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'launch str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    #[serde(rename = "fhirUser", skip_serializing_if = "Option::is_none")]
    fhir_user: Option<&'launch str>,
}

/// Our own id_token, signed RS256; `None` where `openid` was not granted.
pub fn issue(
    gateway: &Gateway,
    user: &User,
    client_id: &str,
    nonce: Option<&str>,
    scopes: &ScopeSet,
    now: Timestamp,
) -> Result<Option<String>, IssueError> {
    let holds = |word| scopes.covers(&Scope::Word(word));
    if !holds(Word::OpenId) {
        return Ok(None);
    }
    let current = gateway.signing.current.as_ref().ok_or(IssueError::KeyMissing)?;
    let now = now.as_second();
    let claims = Claims {
        iss: &gateway.issuer,
        sub: &user.sub,
        aud: client_id,
        exp: now.saturating_add(LIFETIME),
        iat: now,
        nonce,
        auth_time: user.auth_time,
        fhir_user: user.fhir_user.as_deref().filter(|_| holds(Word::FhirUser) || holds(Word::Profile)),
    };
    let token = current.keys.rs256.sign(&JwsHeader { typ: Some("JWT"), jku: None }, &claims)?;
    Ok(Some(token))
}
