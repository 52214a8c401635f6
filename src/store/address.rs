//! Where a record lies: its kind, and a digest instead of its key, because keys are codes, tokens and identifiers that
//! must not stand in a file or on a wire.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

/// What a record is. The words appear in the store's keys and in errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The `jti` of a client's assertion (RFC 7523 §3): used once.
    Assertion,
    /// An authorization code (RFC 6749 §4.1.2): taken once.
    Code,
    /// An authorization under way, by the `state` that the EHR brings back, and `launch` values of our own.
    Launch,
    /// A user's session: the EHR's tokens and the launch context.
    Session,
    /// A refresh-token family, by its ID.
    Family,
    /// A revoked access token, by its `jti`, or a family's ID: all of its access tokens.
    Revocation,
    /// Who does something that only one replica should, such as renewing an EHR's token; used once, for seconds.
    Claim,
    /// How often somebody presented a wrong secret.
    Attempts,
    /// A link that is sealed and kept nowhere: whoever holds it brings it back.
    Link,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Assertion,
        Self::Code,
        Self::Launch,
        Self::Session,
        Self::Family,
        Self::Revocation,
        Self::Claim,
        Self::Attempts,
        Self::Link,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Assertion => "assertion",
            Self::Code => "code",
            Self::Launch => "launch",
            Self::Session => "session",
            Self::Family => "family",
            Self::Revocation => "revocation",
            Self::Claim => "claim",
            Self::Attempts => "attempts",
            Self::Link => "link",
        }
    }

    /// Its number in the embedded store's file; never given to another kind.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Assertion => 1,
            Self::Code => 2,
            Self::Launch => 3,
            Self::Session => 4,
            Self::Family => 5,
            Self::Revocation => 6,
            Self::Claim => 7,
            Self::Attempts => 8,
            Self::Link => 9,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Where one record lies. Two gateways never share one, whatever their keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    kind: Kind,
    digest: [u8; Self::DIGEST_LENGTH],
}

impl Address {
    pub(super) const DIGEST_LENGTH: usize = 32;

    /// The address of what a gateway (`<namespace>/<name>`) knows by this key.
    pub fn of(kind: Kind, gateway: &str, key: &str) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(b"hearthgate store address\0");
        // The length keeps gateway `a` with key `b/c` apart from gateway `a/b` with key `c`.
        context.update(&(gateway.len() as u64).to_be_bytes());
        context.update(gateway.as_bytes());
        context.update(key.as_bytes());
        let mut digest = [0; Self::DIGEST_LENGTH];
        digest.copy_from_slice(context.finish().as_ref());
        Self { kind, digest }
    }

    /// The record's kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// SHA-256 over gateway and key.
    pub fn digest(&self) -> &[u8; Self::DIGEST_LENGTH] {
        &self.digest
    }

    /// Where the revocation of all that is known by the same key lies.
    #[must_use]
    pub fn revocation(&self) -> Self {
        Self { kind: Kind::Revocation, ..*self }
    }

    pub(super) fn from_digest(kind: Kind, digest: [u8; Self::DIGEST_LENGTH]) -> Self {
        Self { kind, digest }
    }

    /// The digest in hexadecimal.
    pub(super) fn hex(&self) -> String {
        self.digest.iter().fold(String::with_capacity(Self::DIGEST_LENGTH * 2), |mut text, byte| {
            text.extend([byte >> 4, byte & 0xf].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('?')));
            text
        })
    }
}

/// Kind and digest, as in `code 3f2a…`.
impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.kind, self.hex())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Address, Kind};

    #[test]
    fn kinds_have_words_and_numbers_of_their_own() {
        let words: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        let numbers: BTreeSet<u8> = Kind::ALL.iter().map(|kind| kind.number()).collect();
        assert_eq!((words.len(), numbers.len()), (Kind::ALL.len(), Kind::ALL.len()));
    }

    #[test]
    fn gateway_and_key_are_kept_apart() {
        let addresses: BTreeSet<Address> = [("a", "b/c"), ("a/b", "c"), ("a/b/c", ""), ("", "a/b/c")]
            .into_iter()
            .map(|(gateway, key)| Address::of(Kind::Code, gateway, key))
            .collect();
        assert_eq!(addresses.len(), 4);
    }

    #[test]
    fn an_address_shows_its_kind_and_its_digest_only() {
        let address = Address::of(Kind::Code, "clinic/epic", "secret-code");
        let shown = format!("{address} {address:?}");
        assert!(shown.starts_with("code ") && !shown.contains("secret") && !shown.contains("clinic"), "{shown}");
        assert_eq!(address.hex().len(), 64);
    }
}
