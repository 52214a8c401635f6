//! The client assertion of SMART Backend Services as Epic checks it: a pure function of text, client, URL and time.
//!
//! What is asked: fhir.epic.com "OAuth 2.0 Specification", the section on backend apps, and SMART App Launch 2.2
//! client-confidential-asymmetric. Signature and single use are the caller's, because keys may have to be fetched.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;

use super::public_key::Algorithm;

/// `exp` may lie this far ahead at most, and as far behind `iat` and `nbf`: five minutes, in seconds.
pub(super) const LONGEST_LIFE_SECONDS: i64 = 300;
/// How far the client's clock may run ahead before `iat` or `nbf` count as the future.
const CLOCK_SKEW_SECONDS: i64 = 5;
/// The longest `jti` that Epic takes, in characters.
const LONGEST_JTI: usize = 151;
/// Longer texts are refused before anything is decoded.
const LONGEST_ASSERTION_BYTES: usize = 16 * 1024;

type Members = BTreeMap<String, Value>;

/// A well-formed, not yet verified assertion.
#[derive(Debug, Clone)]
pub(super) struct Assertion<'a> {
    header: Members,
    claims: Members,
    signed: &'a str,
    signature: Vec<u8>,
}

/// What the client registered, as far as it decides about the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeySource<'a> {
    /// A JWK Set at this URL.
    KeySetUrl(&'a str),
    /// A JWK Set handed over once.
    KeySet,
    /// One uploaded PEM; Epic discards `kid` here.
    Pem,
}

/// A header that passed: how to verify, and with which key of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CheckedHeader {
    pub(super) algorithm: Algorithm,
    /// Present whenever the client registered a key set.
    pub(super) kid: Option<String>,
}

/// Claims that passed, still to be used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CheckedClaims {
    pub(super) jti: String,
    /// Seconds since the epoch.
    pub(super) expires: i64,
}

/// Why an assertion is refused. The client never reads this: it goes to the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AssertionError {
    #[error("the client_assertion is longer than 16 KiB")]
    TooLong,
    #[error("the client_assertion is not a compact JWS: header.claims.signature in base64url without padding")]
    NotCompact,
    #[error("the {0} of the client_assertion is not a JSON object with unique members")]
    NotAnObject(&'static str),
    #[error("alg is {0}; Epic takes RS256, RS384, RS512, ES256 and ES384")]
    Algorithm(String),
    #[error("alg is {0}, which Epic takes only from clients registered with a JWK Set URL")]
    EllipticNeedsUrl(&'static str),
    #[error("typ is {0}, it must be JWT where it is given")]
    Type(String),
    #[error("the header has crit: no extension is understood")]
    Critical,
    #[error("kid is missing, and the client is registered with a JWK Set")]
    KidMissing,
    #[error("kid is not a string")]
    KidNotText,
    #[error("jku is not the registered JWK Set URL")]
    KeySetUrl,
    #[error("iss is missing or is not a string")]
    IssuerMissing,
    #[error("sub {subject} is not the same as iss {issuer:?}")]
    SubjectDiffers { subject: String, issuer: String },
    #[error("aud is {presented}, it must be exactly the token URL {expected:?}")]
    Audience { presented: String, expected: String },
    #[error("{0} is missing or is not an integer of seconds")]
    NotATime(&'static str),
    #[error("exp is past: {0} seconds ago")]
    Expired(i64),
    #[error("exp is {0} seconds ahead, at most 300 are allowed")]
    TooFarAhead(i64),
    #[error("{claim} lies {seconds} seconds in the future")]
    Future { claim: &'static str, seconds: i64 },
    #[error("exp is {seconds} seconds after {claim}, at most 300 are allowed")]
    LivesTooLong { claim: &'static str, seconds: i64 },
    #[error("jti is missing, empty or not a string")]
    JtiMissing,
    #[error("jti has {0} characters, at most 151 are allowed")]
    JtiTooLong(usize),
}

impl<'a> Assertion<'a> {
    /// Takes a compact JWS apart (RFC 7515 §7.1). Duplicate members are refused: two parsers could read them differently.
    pub(super) fn parse(text: &'a str) -> Result<Assertion<'a>, AssertionError> {
        if text.len() > LONGEST_ASSERTION_BYTES {
            return Err(AssertionError::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(AssertionError::NotCompact)?;
        let (header, claims) = signed.split_once('.').ok_or(AssertionError::NotCompact)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| AssertionError::NotCompact);
        Ok(Assertion {
            header: object(&decode(header)?).ok_or(AssertionError::NotAnObject("header"))?,
            claims: object(&decode(claims)?).ok_or(AssertionError::NotAnObject("claims"))?,
            signed,
            signature: decode(signature)?,
        })
    }

    /// The bytes that are signed (RFC 7515 §5.1).
    pub(super) fn signed(&self) -> &[u8] {
        self.signed.as_bytes()
    }

    /// The signature, decoded.
    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// `iss`, which names the client: SMART tells confidential clients to omit the `client_id` parameter.
    pub(super) fn issuer(&self) -> Result<&str, AssertionError> {
        self.claims.get("iss").and_then(Value::as_str).ok_or(AssertionError::IssuerMissing)
    }

    /// Header and claims for the log. The signature is left out: without it the rest proves nothing.
    pub(super) fn without_signature(&self) -> Value {
        serde_json::json!({ "header": self.header, "claims": self.claims })
    }

    /// Checks the header against what the client registered.
    pub(super) fn check_header(&self, source: KeySource<'_>) -> Result<CheckedHeader, AssertionError> {
        let name = self.header.get("alg").cloned().unwrap_or_default();
        let algorithm =
            name.as_str().and_then(Algorithm::from_name).ok_or_else(|| AssertionError::Algorithm(name.to_string()))?;
        if algorithm.is_elliptic() && !matches!(source, KeySource::KeySetUrl(_)) {
            return Err(AssertionError::EllipticNeedsUrl(algorithm.name()));
        }
        if let Some(typ) = self.header.get("typ").filter(|typ| typ.as_str() != Some("JWT")) {
            return Err(AssertionError::Type(typ.to_string()));
        }
        if self.header.contains_key("crit") {
            return Err(AssertionError::Critical);
        }
        if let Some(jku) = self.header.get("jku")
            && !matches!(source, KeySource::KeySetUrl(url) if jku.as_str() == Some(url))
        {
            return Err(AssertionError::KeySetUrl);
        }
        let kid = match (source, self.header.get("kid")) {
            (KeySource::Pem, _) => None,
            (KeySource::KeySet | KeySource::KeySetUrl(_), None) => return Err(AssertionError::KidMissing),
            (KeySource::KeySet | KeySource::KeySetUrl(_), Some(kid)) => {
                Some(kid.as_str().ok_or(AssertionError::KidNotText)?.to_owned())
            }
        };
        Ok(CheckedHeader { algorithm, kid })
    }

    /// Checks the claims at `now`, in seconds since the epoch.
    pub(super) fn check_claims(&self, token_url: &str, now: i64) -> Result<CheckedClaims, AssertionError> {
        let issuer = self.issuer()?;
        let subject = self.claims.get("sub").cloned().unwrap_or_default();
        if subject.as_str() != Some(issuer) {
            return Err(AssertionError::SubjectDiffers { subject: subject.to_string(), issuer: issuer.to_owned() });
        }
        let audience = self.claims.get("aud").cloned().unwrap_or_default();
        if audience.as_str() != Some(token_url) {
            return Err(AssertionError::Audience { presented: audience.to_string(), expected: token_url.to_owned() });
        }
        let expires = self.seconds("exp")?.ok_or(AssertionError::NotATime("exp"))?;
        if expires <= now {
            return Err(AssertionError::Expired(now.saturating_sub(expires)));
        }
        let ahead = expires.saturating_sub(now);
        if ahead > LONGEST_LIFE_SECONDS {
            return Err(AssertionError::TooFarAhead(ahead));
        }
        for claim in ["iat", "nbf"] {
            let Some(time) = self.seconds(claim)? else { continue };
            let future = time.saturating_sub(now);
            if future > CLOCK_SKEW_SECONDS {
                return Err(AssertionError::Future { claim, seconds: future });
            }
            let life = expires.saturating_sub(time);
            if life > LONGEST_LIFE_SECONDS {
                return Err(AssertionError::LivesTooLong { claim, seconds: life });
            }
        }
        Ok(CheckedClaims { jti: self.jti()?, expires })
    }

    fn seconds(&self, claim: &'static str) -> Result<Option<i64>, AssertionError> {
        match self.claims.get(claim) {
            None => Ok(None),
            Some(value) => value.as_i64().map(Some).ok_or(AssertionError::NotATime(claim)),
        }
    }

    fn jti(&self) -> Result<String, AssertionError> {
        let jti = self.claims.get("jti").and_then(Value::as_str).unwrap_or_default();
        match jti.chars().count() {
            0 => Err(AssertionError::JtiMissing),
            length if length > LONGEST_JTI => Err(AssertionError::JtiTooLong(length)),
            _ => Ok(jti.to_owned()),
        }
    }
}

/// Parses a JSON object whose members are unique; `None` for everything else.
fn object(bytes: &[u8]) -> Option<Members> {
    struct UniqueMembers;
    impl<'de> Visitor<'de> for UniqueMembers {
        type Value = Members;
        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("an object with unique members")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
            let mut members = Members::new();
            while let Some((name, value)) = map.next_entry::<String, Value>()? {
                if members.insert(name, value).is_some() {
                    return Err(serde::de::Error::custom("a member is given twice"));
                }
            }
            Ok(members)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let members = serde::Deserializer::deserialize_map(&mut deserializer, UniqueMembers).ok()?;
    deserializer.end().ok()?;
    Some(members)
}
