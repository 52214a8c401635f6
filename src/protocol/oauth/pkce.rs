//! Proof Key for Code Exchange (RFC 7636): `S256` alone, since `plain` proves nothing to who has seen the challenge.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

/// The one method.
pub const METHOD: &str = "S256";

/// A code challenge: SHA-256 of a verifier, in base64url without padding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge(String);

impl Challenge {
    /// A challenge as it was sent; `None` if no verifier could meet it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 33];
        (URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) == Ok(32)).then(|| Self(text.to_owned()))
    }

    /// The challenge of a verifier.
    pub fn of(verifier: &str) -> Self {
        Self(URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes())))
    }

    /// Whether this verifier has the right form (RFC 7636 §4.1: 43 to 128 unreserved characters) and is the one.
    pub fn is_met_by(&self, verifier: &str) -> bool {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        (43..=128).contains(&verifier.len())
            && verifier.bytes().all(unreserved)
            && bool::from(Self::of(verifier).0.as_bytes().ct_eq(self.0.as_bytes()))
    }

    /// As it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636, appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_example_of_the_rfc_holds() {
        let challenge = Challenge::parse(CHALLENGE).unwrap();
        assert_eq!(Challenge::of(VERIFIER), challenge);
        assert!(challenge.is_met_by(VERIFIER));
        assert!(!challenge.is_met_by(&VERIFIER.replace('d', "e")));
    }

    #[test]
    fn a_verifier_has_43_to_128_unreserved_characters() {
        for (verifier, good) in [
            ("a".repeat(42), false),
            ("a".repeat(43), true),
            ("~".repeat(128), true),
            ("a".repeat(129), false),
            (format!("{}+", "a".repeat(43)), false),
            (format!("{}ä", "a".repeat(43)), false),
        ] {
            assert_eq!(Challenge::of(&verifier).is_met_by(&verifier), good, "{verifier}");
        }
    }

    #[test]
    fn what_no_verifier_meets_is_no_challenge() {
        for text in ["", "a", VERIFIER.get(..42).unwrap(), &format!("{CHALLENGE}="), &format!("{CHALLENGE}AA")] {
            assert_eq!(Challenge::parse(text), None, "{text}");
        }
    }
}
