//! `private_key_jwt`: a client proves who it is by a JWT that it signed (RFC 7523 §3; SMART App Launch 2.2,
//! "Client Authentication: Asymmetric").
//!
//! Three steps. [`ClientAssertion::parse`] reads, [`ClientAssertion::judge`] holds what it claims against the clock and
//! our own URLs, [`ClientAssertion::verify`] checks the signature with the keys that were *registered*: nothing in the
//! assertion leads to a key. What is left, that its `jti` comes once, is the store's.
//!
//! The sources disagree, and clients with them. `aud` is the token URL by SMART and the issuer by rfc7523bis, a string or
//! a list: any of these will do, as long as nobody else is named too, who could then present it here. `typ` is left out
//! by many. RS256 and ES256 are taken beside SMART's RS384 and ES384, because they are what common libraries sign with
//! unless told otherwise, and no weaker where it matters.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::snapshot::{App, Snapshot};
use crate::values::key::{Algorithm, JwkSet, KeyNotFound};
use crate::values::url::EndpointUrl;

/// The one `client_assertion_type` (RFC 7523 §2.2).
pub const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What assertions may be signed with.
pub const ALGORITHMS: [Algorithm; 4] = Algorithm::ALL;

/// How far ahead `exp` may lie, in seconds (SMART asks for five minutes).
const LONGEST_LIFETIME: i64 = 300;

/// How much two clocks may differ, in seconds: in favour of the client, for `exp`, `nbf` and `iat`.
pub const CLOCK_SKEW: i64 = 30;

/// In bytes.
const LONGEST: usize = 16 * 1024;

/// In bytes. Epic takes 151; a UUID has 36.
const LONGEST_JTI: usize = 256;

/// An assertion that could be read. Nothing in it is proven yet.
pub struct ClientAssertion {
    algorithm: Algorithm,
    kid: Option<String>,
    jku: Option<String>,
    client_id: String,
    audiences: Vec<String>,
    expires: i64,
    /// The later of `nbf` and `iat`.
    begins: Option<i64>,
    jti: String,
    signed: String,
    signature: Vec<u8>,
}

/// Why an assertion is refused, by its own words alone. Its sender knows all of this, so the answer tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionRefused {
    /// `client_assertion_type` is another.
    #[error("client_assertion_type must be {TYPE}")]
    Type,
    /// It is longer than any honest one.
    #[error("the client assertion is longer than 16 KiB")]
    TooLong,
    /// Not three parts of base64url with JSON objects in the first two.
    #[error("the client assertion is not a signed JWT in compact form")]
    NotAJwt,
    /// Two readers might each take another one of them.
    #[error("the client assertion's header or claims hold a member twice")]
    MemberRepeated,
    /// `none`, symmetric, or unknown.
    #[error("the client assertion's alg must be RS384, ES384, RS256 or ES256")]
    Algorithm,
    /// `typ` says that it is something else.
    #[error("the client assertion's typ must be JWT or client-authentication+jwt, or left out")]
    JwtType,
    /// A header parameter that is not text, or one that we cannot honour (`crit`, `b64`), or one that brings a key.
    #[error("the client assertion's header parameter {0} cannot be taken")]
    HeaderParameter(&'static str),
    /// A claim is missing or of another type.
    #[error("the client assertion's claim {0} is missing, or not what it should be")]
    Claim(&'static str),
    /// `iss`, `sub` and the parameter `client_id` differ.
    #[error("the client assertion's iss and sub must both be the client ID, and so must client_id where it is sent")]
    ClientId,
    /// It is meant for somebody else, or for somebody else too.
    #[error("the client assertion's aud must be the token endpoint's URL or the issuer, and nobody else")]
    Audience,
    /// `exp` is over.
    #[error("the client assertion has expired (exp)")]
    Expired,
    /// `exp` is too far ahead.
    #[error("the client assertion's exp is more than 5 minutes ahead")]
    TooFarAhead,
    /// `nbf` or `iat` is in the future.
    #[error("the client assertion is not valid yet (nbf, iat)")]
    NotYet,
    /// Its `jti` was used before. Told only once the signature held.
    #[error("the client assertion was used before (jti)")]
    Replayed,
}

/// Why an assertion does not prove its client. The answer tells none of it, since it speaks of the registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// No app has this client ID.
    #[error("no app has the client ID that the assertion names")]
    ClientUnknown,
    /// The app has neither `jwks` nor `jwksUri`.
    #[error("the app is registered without keys (jwks, jwksUri)")]
    WithoutKeys,
    /// `jku` is another URL than the registered one.
    #[error("the assertion's jku is not the registered jwksUri")]
    KeySetUrl,
    /// The set at `jwksUri` cannot be had.
    #[error("the app's key set could not be fetched")]
    KeySetAway,
    /// No key, or more than one.
    #[error(transparent)]
    Key(#[from] KeyNotFound),
    /// The signature is not the key's.
    #[error("the assertion's signature does not hold")]
    Signature,
}

impl ClientAssertion {
    /// Reads it, strictly. `client_id` is the request's parameter, where it was sent.
    pub fn parse(text: &str, client_id: Option<&str>) -> Result<Self, AssertionRefused> {
        if text.len() > LONGEST {
            return Err(AssertionRefused::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(AssertionRefused::NotAJwt)?;
        let (header, claims) = signed.split_once('.').ok_or(AssertionRefused::NotAJwt)?;
        let (header, claims) = (object(header)?, object(claims)?);
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| AssertionRefused::NotAJwt)?;

        let algorithm = header.get("alg").and_then(Value::as_str).and_then(|named| named.parse().ok());
        let algorithm = algorithm.filter(|named| ALGORITHMS.contains(named)).ok_or(AssertionRefused::Algorithm)?;
        // A key that its sender brings along is never looked at; who sends one is told so, for he relies on it.
        for name in ["crit", "b64", "jwk", "x5u"] {
            if header.contains_key(name) {
                return Err(AssertionRefused::HeaderParameter(name));
            }
        }
        let parameter = |name: &'static str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(AssertionRefused::HeaderParameter(name)),
        };
        let typ = parameter("typ")?;
        let types = ["JWT", "client-authentication+jwt"];
        if typ.is_some_and(|typ| !types.iter().any(|known| known.eq_ignore_ascii_case(&typ))) {
            return Err(AssertionRefused::JwtType);
        }

        let named = required_text(&claims, "iss")?;
        if named != required_text(&claims, "sub")? || client_id.is_some_and(|sent| sent != named) {
            return Err(AssertionRefused::ClientId);
        }
        let jti = required_text(&claims, "jti")?;
        if jti.len() > LONGEST_JTI {
            return Err(AssertionRefused::Claim("jti"));
        }
        let (not_before, issued) = (optional_time(&claims, "nbf")?, optional_time(&claims, "iat")?);
        Ok(Self {
            algorithm,
            kid: parameter("kid")?,
            jku: parameter("jku")?,
            client_id: named.to_owned(),
            audiences: audiences(&claims)?,
            expires: optional_time(&claims, "exp")?.ok_or(AssertionRefused::Claim("exp"))?,
            begins: not_before.max(issued),
            jti: jti.to_owned(),
            signed: signed.to_owned(),
            signature,
        })
    }

    /// The client that it claims to be from.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Holds its claims against what time it is and who we are: `audiences` are our own names.
    pub fn judge(&self, audiences: &[&str], now: Timestamp) -> Result<(), AssertionRefused> {
        if !self.audiences.iter().all(|named| audiences.contains(&named.as_str())) {
            return Err(AssertionRefused::Audience);
        }
        let now = now.as_second();
        if self.expires.saturating_add(CLOCK_SKEW) <= now {
            return Err(AssertionRefused::Expired);
        }
        if self.expires > now.saturating_add(LONGEST_LIFETIME + CLOCK_SKEW) {
            return Err(AssertionRefused::TooFarAhead);
        }
        if self.begins.is_some_and(|begins| begins > now.saturating_add(CLOCK_SKEW)) {
            return Err(AssertionRefused::NotYet);
        }
        Ok(())
    }

    /// The app that it claims to be from, if that has keys and they are where the assertion says.
    pub fn app<'snapshot>(&self, snapshot: &'snapshot Snapshot) -> Result<&'snapshot Arc<App>, Unproven> {
        let app = snapshot.app_by_client_id(&self.client_id).ok_or(Unproven::ClientUnknown)?;
        if app.inline_keys.is_none() && app.jwks_uri.is_none() {
            return Err(Unproven::WithoutKeys);
        }
        let registered = app.jwks_uri.as_ref().map(EndpointUrl::as_str);
        if self.jku.is_some() && self.jku.as_deref() != registered {
            return Err(Unproven::KeySetUrl);
        }
        Ok(app)
    }

    /// Checks the signature with the one key of the set that fits.
    pub fn verify(&self, keys: &JwkSet) -> Result<(), Unproven> {
        let key = keys.find(self.kid.as_deref(), self.algorithm)?;
        key.verify(self.signed.as_bytes(), &self.signature).map_err(|_| Unproven::Signature)
    }

    /// What may come once only: the `jti`, which is unique for its client. A client ID holds no space.
    pub fn once(&self) -> String {
        format!("{} {}", self.client_id, self.jti)
    }

    /// Until when it could come again: as long as [`judge`](Self::judge) would take it.
    pub fn until(&self) -> Timestamp {
        Timestamp::from_second(self.expires.saturating_add(CLOCK_SKEW)).unwrap_or(Timestamp::MAX)
    }
}

/// Whoever has an assertion can use it.
impl fmt::Debug for ClientAssertion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ClientAssertion").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

fn required_text<'claims>(
    claims: &'claims Map<String, Value>,
    name: &'static str,
) -> Result<&'claims str, AssertionRefused> {
    claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).ok_or(AssertionRefused::Claim(name))
}

/// A NumericDate (RFC 7519 §2) in whole seconds: a number, never text that looks like one (CVE-2026-25537).
fn optional_time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<i64>, AssertionRefused> {
    /// Beyond the year 9999 there are no dates, and no floating point number loses a second before.
    const LATEST: f64 = 253_402_300_799.0;
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => {
            let exact = number.as_f64().filter(|seconds| (0.0..=LATEST).contains(seconds));
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a fraction of a second is meant to go; the range is checked"
            )]
            let seconds = exact.map(|seconds| seconds.floor() as i64);
            seconds.map(Some).ok_or(AssertionRefused::Claim(name))
        }
        Some(_) => Err(AssertionRefused::Claim(name)),
    }
}

/// One audience or a list of some (RFC 7519 §4.1.3).
fn audiences(claims: &Map<String, Value>) -> Result<Vec<String>, AssertionRefused> {
    /// Ours has no more names.
    const MOST: usize = 4;
    let refused = AssertionRefused::Claim("aud");
    match claims.get("aud") {
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(list)) if (1..=MOST).contains(&list.len()) => {
            list.iter().map(|one| one.as_str().map(str::to_owned).ok_or(refused)).collect()
        }
        Some(_) | None => Err(refused),
    }
}

/// A part of a JWT: a JSON object whose names are unique (RFC 7515 §4, RFC 7519 §4).
fn object(part: &str) -> Result<Map<String, Value>, AssertionRefused> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| AssertionRefused::NotAJwt)?;
    let object: Object = serde_json::from_slice(&bytes).map_err(|_| AssertionRefused::NotAJwt)?;
    if object.repeats { Err(AssertionRefused::MemberRepeated) } else { Ok(object.members) }
}

/// A JSON object that remembers whether a name came twice, which `serde_json` lets pass.
#[derive(Default)]
struct Object {
    members: Map<String, Value>,
    repeats: bool,
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Object, A::Error> {
                let mut object = Object::default();
                while let Some((name, value)) = members.next_entry()? {
                    object.repeats |= object.members.insert(name, value).is_some();
                }
                Ok(object)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests;
