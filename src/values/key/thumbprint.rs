//! RFC 7638 thumbprints: the name of a key that anybody who has the public key can compute.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// The SHA-256 JWK thumbprint of a public key (RFC 7638), written as 43 characters of Base64url. It is the `kid` of
/// every key of ours, and what `keyPair.thumbprints` and `keyPair.withdrawn` hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Thumbprint([u8; 32]);

/// Text that is no thumbprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not an RFC 7638 thumbprint: 43 characters of Base64url (SHA-256) without padding")]
pub struct ThumbprintInvalid;

impl Thumbprint {
    /// The digest of the required members as §3 prescribes them: in lexical order, no white space.
    pub(super) fn of_required_members(json: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, json.as_bytes()).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Thumbprint({self})")
    }
}

impl FromStr for Thumbprint {
    type Err = ThumbprintInvalid;

    fn from_str(text: &str) -> Result<Self, ThumbprintInvalid> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ThumbprintInvalid)?;
        Ok(Self(bytes.try_into().map_err(|_| ThumbprintInvalid)?))
    }
}

impl TryFrom<String> for Thumbprint {
    type Error = ThumbprintInvalid;

    fn try_from(text: String) -> Result<Self, ThumbprintInvalid> {
        text.parse()
    }
}

impl From<Thumbprint> for String {
    fn from(thumbprint: Thumbprint) -> Self {
        thumbprint.to_string()
    }
}
