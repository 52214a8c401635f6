//! Refresh tokens: each names its family and its generation, and proves both.
//!
//! `hgr_` and, in base64url, 16 bytes of family ID, 8 of generation, 32 of HMAC-SHA256 over both with a secret that
//! only the family's sealed record holds. So nothing that is kept resembles a token; every spent token of a family is
//! recognised for as long as the family lives, without keeping any of them; and a forged one ends nothing.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::StoreError;

const PREFIX: &str = "hgr_";
const ID_LENGTH: usize = 16;
const GENERATION_LENGTH: usize = 8;

/// The name of a refresh-token family; access tokens carry it too, so that one revocation ends them all.
///
/// It is made with the authorization code and kept in its record, so that a code that comes a second time names what
/// was, or is just being, issued for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct FamilyId([u8; ID_LENGTH]);

/// A text is not the ID of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the ID of a refresh-token family (22 characters of base64url)")]
pub struct NoFamilyId;

impl FamilyId {
    /// A new one, of 128 random bits.
    pub fn random() -> Result<Self, StoreError> {
        let mut bytes = [0; ID_LENGTH];
        rand::fill(&mut bytes).map_err(|_| StoreError::NoRandomness)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for FamilyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl FromStr for FamilyId {
    type Err = NoFamilyId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NoFamilyId)?;
        Ok(Self(bytes.try_into().map_err(|_| NoFamilyId)?))
    }
}

impl From<FamilyId> for String {
    fn from(id: FamilyId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for FamilyId {
    type Error = NoFamilyId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A refresh token that was presented and is genuine, and what its family holds.
#[derive(Clone, Debug)]
pub struct Family<T> {
    /// Its family.
    pub id: FamilyId,
    /// What was granted. Whoever rotates may change it.
    pub content: T,
    /// When the family ends, unless it is rotated on.
    pub until: Timestamp,
    /// The generation of the token that was presented.
    pub generation: u64,
    /// Whether the token was the family's latest when the record was read. A spent one is to be rotated all the same:
    /// that is what ends the family.
    pub latest: bool,
    pub(super) secret: FamilySecret,
}

/// What became of a refresh token that was rotated.
#[derive(Debug)]
pub enum Rotated {
    /// The token to give out now; the presented one is spent.
    Next(SecretString),
    /// The presented token was spent before: the family is ended and its access tokens are revoked.
    Reused,
    /// The family ended since its record was read.
    Ended,
}

/// What proves that a family's tokens are ours.
#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct FamilySecret(Zeroizing<[u8; 32]>);

impl FamilySecret {
    pub(super) fn random() -> Result<Self, StoreError> {
        let mut bytes = Zeroizing::new([0; 32]);
        rand::fill(bytes.as_mut_slice()).map_err(|_| StoreError::NoRandomness)?;
        Ok(Self(bytes))
    }

    /// The token of one generation.
    pub(super) fn token(&self, id: FamilyId, generation: u64) -> SecretString {
        let claim = claim(id, generation);
        let mut bytes = Zeroizing::new(claim.to_vec());
        bytes.extend_from_slice(hmac::sign(&self.key(), &claim).as_ref());
        let mut encoded = URL_SAFE_NO_PAD.encode(bytes.as_slice());
        let token = format!("{PREFIX}{encoded}");
        encoded.zeroize();
        token.into()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice())
    }
}

impl fmt::Debug for FamilySecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FamilySecret([redacted])")
    }
}

impl From<FamilySecret> for String {
    fn from(secret: FamilySecret) -> Self {
        URL_SAFE_NO_PAD.encode(secret.0.as_slice())
    }
}

impl TryFrom<String> for FamilySecret {
    type Error = &'static str;

    fn try_from(mut text: String) -> Result<Self, Self::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        let decoded = URL_SAFE_NO_PAD.decode_slice(&text, bytes.as_mut_slice());
        text.zeroize();
        match decoded {
            Ok(32) => Ok(Self(bytes)),
            Ok(_) | Err(_) => Err("not the secret of a refresh-token family"),
        }
    }
}

/// A refresh token as it came in, of which nothing is proven yet.
pub(super) struct PresentedToken {
    pub(super) id: FamilyId,
    pub(super) generation: u64,
    proof: Zeroizing<Vec<u8>>,
}

impl PresentedToken {
    /// Takes a token apart; `None` if it is none of ours.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?);
        let (id, rest) = bytes.split_first_chunk::<ID_LENGTH>()?;
        let (generation, proof) = rest.split_first_chunk::<GENERATION_LENGTH>()?;
        Some(Self {
            id: FamilyId(*id),
            generation: u64::from_be_bytes(*generation),
            proof: Zeroizing::new(proof.to_vec()),
        })
    }

    /// Whether the family that it names issued it; takes the same time wherever the proof differs.
    pub(super) fn is_proven_by(&self, secret: &FamilySecret) -> bool {
        hmac::verify(&secret.key(), &claim(self.id, self.generation), &self.proof).is_ok()
    }
}

fn claim(id: FamilyId, generation: u64) -> [u8; ID_LENGTH + GENERATION_LENGTH] {
    let mut claim = [0; ID_LENGTH + GENERATION_LENGTH];
    for (to, from) in claim.iter_mut().zip(id.0.into_iter().chain(generation.to_be_bytes())) {
        *to = from;
    }
    claim
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::{FamilyId, FamilySecret, PresentedToken};

    #[test]
    fn a_token_is_proven_by_its_own_family_only() {
        let (id, secret) = (FamilyId::random().unwrap(), FamilySecret::random().unwrap());
        let token = secret.token(id, 7);
        let presented = PresentedToken::parse(token.expose_secret()).unwrap();
        assert_eq!((presented.id, presented.generation), (id, 7));
        assert!(presented.is_proven_by(&secret));
        assert!(!presented.is_proven_by(&FamilySecret::random().unwrap()));
    }

    #[test]
    fn an_id_reads_back_from_its_text() {
        let id = FamilyId::random().unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("".parse::<FamilyId>().is_err());
        assert!("short".parse::<FamilyId>().is_err());
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", FamilySecret::random().unwrap()), "FamilySecret([redacted])");
    }

    proptest! {
        #[test]
        fn no_change_of_a_single_character_is_accepted(place in 0..79_usize, with in "[A-Za-z0-9_-]") {
            let (id, secret) = (FamilyId::random().unwrap(), FamilySecret::random().unwrap());
            let token = secret.token(id, 1);
            let token = token.expose_secret();
            let mut changed = token.to_owned();
            changed.replace_range(place..=place, &with);
            let accepted = PresentedToken::parse(&changed).is_some_and(|presented| presented.is_proven_by(&secret));
            prop_assert_eq!(accepted, changed == token);
        }

        #[test]
        fn any_text_is_taken_apart_without_panic(text in "(hgr_)?.{0,120}") {
            let _ = PresentedToken::parse(&text);
        }
    }
}
