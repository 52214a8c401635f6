//! Bytes that must not be seen: what a Secret or a key file holds.
//!
//! `secrecy`'s slices cannot be cloned, and the same key file is held by the resources, the snapshot and the key store
//! at once; so this is one allocation behind an `Arc`, wiped when its last holder lets go. It has no `Serialize`:
//! whoever writes a secret somewhere says so with [`SecretBytes::expose`].

use std::fmt;
use std::str::Utf8Error;
use std::sync::Arc;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes that are wiped from memory with their last holder and are shown neither by `Debug` nor by any format.
///
/// A clone shares the allocation. Comparing takes the same time wherever the bytes differ; only the lengths are told.
#[derive(Clone)]
pub struct SecretBytes(Arc<Zeroizing<Vec<u8>>>);

impl SecretBytes {
    /// Takes the bytes over; no other copy is made.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }

    /// The bytes themselves. Name the place where they go; never a log line or an error.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text.
    ///
    /// The error tells the offset of the first byte that is not UTF-8, and none of the content.
    pub fn expose_str(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(&self.0)
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretBytes([redacted])")
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for SecretBytes {}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl From<String> for SecretBytes {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::SecretBytes;

    #[test]
    fn debug_shows_nothing_of_the_content() {
        assert_eq!(format!("{:?}", SecretBytes::from("hunter2".to_owned())), "SecretBytes([redacted])");
    }

    #[test]
    fn equal_bytes_are_equal_and_others_are_not() {
        let secret = SecretBytes::new(vec![1, 2, 3]);
        assert_eq!(secret, secret.clone());
        assert_eq!(secret, SecretBytes::new(vec![1, 2, 3]));
        assert_ne!(secret, SecretBytes::new(vec![1, 2, 4]));
        assert_ne!(secret, SecretBytes::new(vec![1, 2]));
    }
}
