//! A gateway's own keys: what signs its tokens, and what seals the records of its store.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Algorithm, KeyError, KeyProblem, SigningKey, file};
use crate::values::secret::SecretBytes;

/// The content of one `<gateway>-signing-<revision>` Secret.
#[derive(Clone, Debug)]
pub struct GatewayKeys {
    /// Signs access tokens.
    pub es256: SigningKey,
    /// Signs id_tokens.
    pub rs256: SigningKey,
    /// Seals what the store keeps (refresh tokens, sessions).
    pub sealing: SealingKey,
}

/// 32 secret bytes for an AEAD cipher, wiped with their last holder.
#[derive(Clone)]
pub struct SealingKey(SecretBytes);

impl GatewayKeys {
    /// Reads the data of a gateway's signing Secret; all three files must be there.
    pub fn from_data(data: &BTreeMap<String, SecretBytes>) -> Result<Self, KeyError> {
        let get = |file: &'static str| data.get(file).ok_or(KeyProblem::Missing.in_file(file));
        let signing = |file: &'static str, wanted: &'static [Algorithm]| {
            SigningKey::from_pem(get(file)?.expose(), wanted).map_err(|problem| problem.in_file(file))
        };
        Ok(Self {
            es256: signing(file::ES256_PRIVATE_PEM, &[Algorithm::Es256])?,
            rs256: signing(file::RS256_PRIVATE_PEM, &[Algorithm::Rs256])?,
            sealing: SealingKey::from_base64(get(file::SEALING_KEY)?)
                .map_err(|problem| problem.in_file(file::SEALING_KEY))?,
        })
    }

    /// The public JWKs, for the gateway's JWKS document.
    pub fn jwks(&self) -> [Value; 2] {
        [self.es256.jwk(), self.rs256.jwk()]
    }
}

impl SealingKey {
    /// How long it is, in bytes.
    pub const LENGTH: usize = 32;

    fn from_base64(text: &SecretBytes) -> Result<Self, KeyProblem> {
        let text = text.expose().trim_ascii();
        // One byte more than is allowed, so that what is too long is seen to be.
        let mut bytes = Zeroizing::new(vec![0; Self::LENGTH + 1]);
        match STANDARD.decode_slice(text, &mut bytes) {
            Ok(Self::LENGTH) => {
                bytes.truncate(Self::LENGTH);
                Ok(Self(SecretBytes::new(std::mem::take(&mut *bytes))))
            }
            Ok(_) | Err(_) => Err(KeyProblem::SealingKey),
        }
    }

    /// The bytes, [`Self::LENGTH`] of them.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SealingKey([redacted])")
    }
}
