//! A browser's session: the person's token, sealed in a cookie that only this process can open.
//!
//! Nothing is kept on the server. AES-256-GCM under a key that ends with the process, so a stolen cookie is no token of
//! the cluster and is worth nothing elsewhere; the token's own expiry ends the session, and eight hours do.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

/// How long a session lasts at most: a working day.
const LONGEST: SignedDuration = SignedDuration::from_hours(8);
/// Browsers keep no longer cookies than 4096 bytes, name and attributes included.
const LONGEST_COOKIE: usize = 3800;
const EXPIRY_LENGTH: usize = 8;

/// The machine has no randomness.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this machine has no randomness")]
pub struct NoRandomness;

/// Why a token cannot be kept in a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Too long for a cookie.
    #[error("this token is too long for a browser's cookie: make a shorter one with kubectl create token")]
    TooLong,
    /// No randomness, or no key.
    #[error("the token cannot be sealed on this machine")]
    Unsealable,
}

/// Seals and opens sessions.
pub struct Sealer(LessSafeKey);

impl Sealer {
    /// A sealer whose key nobody else has.
    pub fn new() -> Result<Self, NoRandomness> {
        let mut key = Zeroizing::new([0; 32]);
        rand::fill(&mut *key).map_err(|_| NoRandomness)?;
        Ok(Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).map_err(|_| NoRandomness)?)))
    }

    /// The cookie's value for this token.
    pub fn seal(&self, token: &SecretString, now: Timestamp) -> Result<String, SealError> {
        let until = now.saturating_add(LONGEST).map_err(|_| SealError::Unsealable)?.as_second().to_be_bytes();
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| SealError::Unsealable)?;
        let mut ciphertext = Zeroizing::new(token.expose_secret().as_bytes().to_vec());
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(until), &mut ciphertext)
            .map_err(|_| SealError::Unsealable)?;
        let value = URL_SAFE_NO_PAD.encode([&until[..], &nonce, &ciphertext, tag.as_ref()].concat());
        if value.len() > LONGEST_COOKIE { Err(SealError::TooLong) } else { Ok(value) }
    }

    /// The token in a cookie's value, if this process sealed it and its time is not over.
    pub fn open(&self, value: &str, now: Timestamp) -> Option<SecretString> {
        let bytes = URL_SAFE_NO_PAD.decode(value).ok()?;
        let (until, rest) = bytes.split_first_chunk::<EXPIRY_LENGTH>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let opened = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(*until), &mut sealed).ok()?;
        let is_over = now.as_second() >= i64::from_be_bytes(*until);
        (!is_over).then(|| std::str::from_utf8(opened).ok().map(SecretString::from)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_session_opens_for_eight_hours_and_in_this_process_only() {
        let sealer = Sealer::new().unwrap();
        let value = sealer.seal(&SecretString::from("a token"), at(1_000)).unwrap();
        assert!(!value.contains("token"));
        let opened = |sealer: &Sealer, value: &str, second| {
            sealer.open(value, at(second)).map(|token| token.expose_secret().to_owned())
        };
        let end = 1_000 + 8 * 60 * 60;
        assert_eq!(opened(&sealer, &value, end - 1), Some("a token".into()));
        assert_eq!(opened(&sealer, &value, end), None);
        assert_eq!(opened(&Sealer::new().unwrap(), &value, 1_000), None);
        let mut longer = URL_SAFE_NO_PAD.decode(&value).unwrap();
        longer[7] ^= 0x40;
        assert_eq!(opened(&sealer, &URL_SAFE_NO_PAD.encode(longer), 1_000), None, "nobody lengthens a session");
    }

    #[test]
    fn a_token_that_no_cookie_holds_is_refused() {
        let sealer = Sealer::new().unwrap();
        let token = SecretString::from("x".repeat(4_000));
        assert_eq!(sealer.seal(&token, at(0)), Err(SealError::TooLong));
    }
}
