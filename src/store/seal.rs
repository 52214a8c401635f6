//! Sealing: what the store keeps is readable, and changeable, only with the gateway's sealing key.
//!
//! AES-256-GCM with a random nonce. Each address has a key of its own (HKDF-SHA256 from the sealing key): random nonces
//! are safe for about 2³² seals with one key (NIST SP 800-38D §8.3), which one busy gateway would reach in years and
//! one address never. Bound into each seal are the gateway, kind and key (through the address) and the expiry, so that
//! whoever can write to the store can still not move a record elsewhere or make it live longer.
//!
//! ```text
//! 1 byte   form, 1
//! 4 bytes  which sealing key
//! 8 bytes  expiry, milliseconds since 1970, big endian
//! 12 bytes nonce
//! rest     ciphertext and tag (16 bytes)
//! ```

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::rand;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{Address, Kind, SealProblem, StoreError};
use crate::values::key::SealingKey;

/// The longest content of a record, in bytes: an EHR's tokens are a few thousand.
pub const LONGEST_CONTENT: usize = 64 * 1024;

const FORM: u8 = 1;
const KEY_ID_LENGTH: usize = 4;
const HEADER_LENGTH: usize = 1 + KEY_ID_LENGTH + 8;

/// A record's content, sealed for its address.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    address: Address,
    until: Timestamp,
    bytes: Vec<u8>,
}

impl Sealed {
    /// What a store kept at `address`, as it came back; nothing is opened yet.
    pub fn from_bytes(address: Address, bytes: Vec<u8>) -> Result<Self, StoreError> {
        let header = Header::parse(&bytes).ok_or(StoreError::Unopenable { address, problem: SealProblem::Form })?;
        Ok(Self { address, until: header.until, bytes })
    }

    /// Where it belongs.
    pub fn address(&self) -> Address {
        self.address
    }

    /// When it expires, to the millisecond. Known to be true once it has opened.
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// The bytes that a store keeps.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sealed({}, until {}, {} bytes)", self.address, self.until, self.bytes.len())
    }
}

/// Seals with a gateway's current sealing key, and opens with any that it has.
#[derive(Clone)]
pub struct Sealer {
    gateway: Box<str>,
    current: RecordKeys,
    earlier: Vec<RecordKeys>,
}

impl Sealer {
    /// For a gateway (`<namespace>/<name>`): `current` is the revision that it signs with, `others` are those that are
    /// not withdrawn.
    pub fn new<'a>(gateway: &str, current: &SealingKey, others: impl IntoIterator<Item = &'a SealingKey>) -> Self {
        Self {
            gateway: gateway.into(),
            current: RecordKeys::new(current),
            earlier: others.into_iter().map(RecordKeys::new).collect(),
        }
    }

    /// The gateway that it seals for.
    pub fn gateway(&self) -> &str {
        &self.gateway
    }

    /// Where this gateway's record with that key lies.
    pub fn address(&self, kind: Kind, key: &str) -> Address {
        Address::of(kind, &self.gateway, key)
    }

    /// Seals a content that expires at `until`.
    pub fn seal(&self, address: Address, content: &[u8], until: Timestamp) -> Result<Sealed, StoreError> {
        let kind = address.kind();
        if content.len() > LONGEST_CONTENT {
            return Err(StoreError::TooLong { kind, length: content.len() });
        }
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| StoreError::NoRandomness)?;
        let milliseconds = until.as_millisecond();
        let mut bytes = Vec::with_capacity(HEADER_LENGTH + NONCE_LEN + content.len() + AES_256_GCM.tag_len());
        bytes.push(FORM);
        bytes.extend(self.current.id);
        bytes.extend(milliseconds.to_be_bytes());
        let bound = self.bound(address, &bytes);
        bytes.extend(nonce);
        let mut ciphertext = Zeroizing::new(content.to_vec());
        let tag = self
            .current
            .of(address)
            .and_then(|key| {
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.seal_in_place_separate_tag(nonce, Aad::from(&bound), &mut ciphertext).ok()
            })
            .ok_or(StoreError::TooLong { kind, length: content.len() })?;
        bytes.extend_from_slice(&ciphertext);
        bytes.extend_from_slice(tag.as_ref());
        let until = Timestamp::from_millisecond(milliseconds).unwrap_or(until);
        Ok(Sealed { address, until, bytes })
    }

    /// Opens what was sealed for the address where it was found.
    pub fn open(&self, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.try_open(sealed).map_err(|problem| StoreError::Unopenable { address: sealed.address, problem })
    }

    fn try_open(&self, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealProblem> {
        let header = Header::parse(&sealed.bytes).ok_or(SealProblem::Form)?;
        let mut keys = self.every_key().filter(|keys| keys.id == header.key_id).peekable();
        keys.peek().ok_or(SealProblem::UnknownKey)?;
        let bound = self.bound(sealed.address, header.bytes);
        // The ID is short; two keys may share it.
        keys.find_map(|keys| {
            let mut content = Zeroizing::new(header.ciphertext.to_vec());
            let nonce = Nonce::assume_unique_for_key(header.nonce);
            let length = keys.of(sealed.address)?.open_in_place(nonce, Aad::from(&bound), &mut content).ok()?.len();
            content.truncate(length);
            Some(content)
        })
        .ok_or(SealProblem::Broken)
    }

    fn every_key(&self) -> impl Iterator<Item = &RecordKeys> {
        std::iter::once(&self.current).chain(&self.earlier)
    }

    /// What a seal is bound to: everything that is not in its ciphertext.
    fn bound(&self, address: Address, header: &[u8]) -> Vec<u8> {
        let mut bound = b"hearthgate store record\0".to_vec();
        bound.extend_from_slice(header);
        bound.push(address.kind().number());
        bound.extend_from_slice(address.digest());
        bound.extend_from_slice(self.gateway.as_bytes());
        bound
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sealer({}, {} keys)", self.gateway, self.every_key().count())
    }
}

/// One sealing key, from which each record's own key is derived.
#[derive(Clone)]
struct RecordKeys {
    id: [u8; KEY_ID_LENGTH],
    root: Prk,
}

impl RecordKeys {
    fn new(key: &SealingKey) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"hearthgate sealing key id\0");
        context.update(key.expose());
        let mut id = [0; KEY_ID_LENGTH];
        for (to, from) in id.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        Self { id, root: Salt::new(HKDF_SHA256, b"hearthgate store").extract(key.expose()) }
    }

    /// The key of one address. `None` cannot happen: the length asked for is one that HKDF gives.
    fn of(&self, address: Address) -> Option<LessSafeKey> {
        let kind = [address.kind().number()];
        let info = [kind.as_slice(), address.digest()];
        self.root.expand(&info, &AES_256_GCM).ok().map(|key| LessSafeKey::new(UnboundKey::from(key)))
    }
}

/// A sealed record, taken apart.
struct Header<'a> {
    bytes: &'a [u8],
    key_id: [u8; KEY_ID_LENGTH],
    until: Timestamp,
    nonce: [u8; NONCE_LEN],
    ciphertext: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_at_checked(HEADER_LENGTH)?;
        let (form, header_rest) = header.split_first()?;
        let (key_id, milliseconds) = header_rest.split_first_chunk()?;
        let (nonce, ciphertext) = rest.split_first_chunk()?;
        if *form != FORM || ciphertext.len() < AES_256_GCM.tag_len() {
            return None;
        }
        Some(Self {
            bytes: header,
            key_id: *key_id,
            until: Timestamp::from_millisecond(i64::from_be_bytes(*milliseconds.first_chunk()?)).ok()?,
            nonce: *nonce,
            ciphertext,
        })
    }
}
