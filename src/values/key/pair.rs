//! The four files of a key pair, as they are made and as they are read back.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Algorithm, Certificate, KeyError, KeyKind, KeyProblem, PublicKey, SigningKey, Thumbprint, file};
use crate::values::secret::SecretBytes;

/// A freshly made pair: the content of its four files.
#[derive(Clone, Debug)]
pub struct KeyPairMaterial {
    /// `private.pem`: PKCS#8.
    pub private_pem: SecretBytes,
    /// `public.pem`: SubjectPublicKeyInfo.
    pub public_pem: String,
    /// `certificate.pem`: self-signed X.509.
    pub certificate_pem: String,
    /// `jwk.json`: the public JWK.
    pub jwk: Value,
}

impl KeyPairMaterial {
    /// The files by name, as a Secret's data.
    pub fn into_data(self) -> BTreeMap<String, SecretBytes> {
        BTreeMap::from([
            (file::PRIVATE_PEM.to_owned(), self.private_pem),
            (file::PUBLIC_PEM.to_owned(), self.public_pem.into()),
            (file::CERTIFICATE_PEM.to_owned(), self.certificate_pem.into()),
            (file::JWK_JSON.to_owned(), format!("{:#}\n", self.jwk).into()),
        ])
    }
}

/// A key pair that was read: it signs, and every public file that came with it holds the same key.
#[derive(Clone, Debug)]
pub struct ParsedKeyPair {
    signing: SigningKey,
    certificate: Option<Certificate>,
}

impl ParsedKeyPair {
    /// What a pair that faces an EHR may sign with: exactly what SMART Backend Services names.
    pub const ALGORITHMS: &'static [Algorithm] = &[Algorithm::Rs384, Algorithm::Es384];

    /// Reads the data of a Secret. Only `private.pem` must be there, since the public halves follow from it (a pair
    /// that somebody brought often has nothing else); each public file that is there must hold the same key.
    pub fn from_data(data: &BTreeMap<String, SecretBytes>) -> Result<Self, KeyError> {
        let private = data.get(file::PRIVATE_PEM).ok_or(KeyProblem::Missing.in_file(file::PRIVATE_PEM))?;
        let signing = SigningKey::from_pem(private.expose(), Self::ALGORITHMS)
            .map_err(|problem| problem.in_file(file::PRIVATE_PEM))?;
        if let Some(public) = data.get(file::PUBLIC_PEM) {
            check_public(public, &signing).map_err(|problem| problem.in_file(file::PUBLIC_PEM))?;
        }
        if let Some(jwk) = data.get(file::JWK_JSON) {
            check_jwk(jwk, &signing).map_err(|problem| problem.in_file(file::JWK_JSON))?;
        }
        let certificate = match data.get(file::CERTIFICATE_PEM) {
            None => None,
            Some(certificate) => Some(
                read_certificate(certificate, &signing).map_err(|problem| problem.in_file(file::CERTIFICATE_PEM))?,
            ),
        };
        Ok(Self { signing, certificate })
    }

    /// Reads a pair that we made: as [`Self::from_data`], and all four files must be there.
    pub fn from_whole_data(data: &BTreeMap<String, SecretBytes>) -> Result<Self, KeyError> {
        for file in file::OF_A_PAIR {
            if !data.contains_key(file) {
                return Err(KeyProblem::Missing.in_file(file));
            }
        }
        Self::from_data(data)
    }

    /// What signs the assertions.
    pub fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        self.signing.public()
    }

    /// The `kid`.
    pub fn thumbprint(&self) -> Thumbprint {
        self.signing.thumbprint()
    }

    /// What kind of key it is.
    pub fn kind(&self) -> KeyKind {
        self.signing.public().kind()
    }

    /// The algorithm that it signs with: `RS384` for RSA, `ES384` for P-384.
    pub fn algorithm(&self) -> Algorithm {
        self.signing.algorithm()
    }

    /// The JWK to publish.
    pub fn jwk(&self) -> Value {
        self.signing.jwk()
    }

    /// The certificate, where there is one; a brought pair may have none.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }
}

fn check_public(content: &SecretBytes, signing: &SigningKey) -> Result<(), KeyProblem> {
    same_key(&PublicKey::from_pem(content.expose())?, signing)
}

fn read_certificate(content: &SecretBytes, signing: &SigningKey) -> Result<Certificate, KeyProblem> {
    let certificate = Certificate::from_pem(content.expose())?;
    same_key(certificate.public(), signing)?;
    Ok(certificate.around(signing.public().clone()))
}

fn check_jwk(content: &SecretBytes, signing: &SigningKey) -> Result<(), KeyProblem> {
    let jwk: Value = serde_json::from_slice(content.expose()).map_err(|_| KeyProblem::NotJson)?;
    same_key(&PublicKey::from_jwk(&jwk)?, signing)?;
    // Someone may have registered this very file at an EHR: what it says of the key must be what our tokens say.
    let ours = signing.jwk();
    for member in ["kid", "alg", "use"] {
        if jwk.get(member).is_some_and(|value| Some(value) != ours.get(member)) {
            return Err(KeyProblem::JwkDiffers { member });
        }
    }
    Ok(())
}

fn same_key(found: &PublicKey, signing: &SigningKey) -> Result<(), KeyProblem> {
    if found == signing.public() { Ok(()) } else { Err(KeyProblem::OtherKey) }
}
