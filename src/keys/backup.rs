//! Backups of keys: a list of Secrets as kubectl would have it, encrypted as an age file (age-encryption.org/v1).
//!
//! Both formats are open and old, so that a backup outlives us: `age --decrypt keys.age | kubectl create -f -` restores it
//! with no program of ours at hand.

use std::io::{Read as _, Write as _};
use std::str::FromStr as _;

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::{Decryptor, Encryptor};
use k8s_openapi::api::core::v1::Secret;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::kubernetes::{key_secret, secret};
use super::{DamagedKey, KeySecret};

/// How much work it is to try a passphrase: 2^18 rounds of scrypt take about a second and 256 MiB.
const WORK: u8 = 18;
/// Files that ask for more work than that are not opened: some minutes.
const MOST_WORK: u8 = 22;

/// What locks a backup.
pub enum Lock {
    /// A passphrase.
    Passphrase(SecretString),
    /// Public keys: whoever has one of their private halves opens it. The machine that writes backups then holds nothing
    /// that could open one.
    Recipients(Vec<age::x25519::Recipient>),
}

/// What opens a backup.
pub enum Unlock {
    /// The passphrase that locked it.
    Passphrase(SecretString),
    /// Private keys, one of which is of a recipient.
    Identities(Vec<age::x25519::Identity>),
}

/// Why a backup cannot be written or read. Holds names, never content.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It cannot be locked with what was given.
    #[error("the backup cannot be encrypted: {0}")]
    Encrypt(#[from] age::EncryptError),
    /// It is no age file, was changed, or is locked with something else.
    #[error("the backup cannot be opened ({0}): is this its passphrase or key, and is the file whole?")]
    Decrypt(#[from] age::DecryptError),
    /// What is inside is no list of Secrets.
    #[error("what is in the backup is no list of Secrets: {0}")]
    Content(serde_json::Error),
    /// A Secret in it has no name or namespace.
    #[error("a Secret in the backup has no name or no namespace")]
    Unnamed,
    /// A key in it is not whole.
    #[error("the key {name} in the backup is not usable: {problem}")]
    Damaged {
        /// `namespace/name`.
        name: String,
        /// What is wrong with it.
        problem: DamagedKey,
    },
    /// A line that should be a public key is none.
    #[error("{text:?} is no age recipient (age1…): {reason}")]
    Recipient {
        /// The line.
        text: String,
        /// Why not.
        reason: &'static str,
    },
    /// A line that should be a private key is none.
    #[error("line {line} of the identity file is no age identity (AGE-SECRET-KEY-1…)")]
    Identity {
        /// From 1.
        line: usize,
    },
    /// There is no private key in the file.
    #[error("the identity file holds no age identity (AGE-SECRET-KEY-1…)")]
    NoIdentity,
}

/// As `kubectl get secrets -o json` writes it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    api_version: String,
    kind: String,
    items: Vec<Secret>,
}

impl Lock {
    /// Public keys, as `age-keygen` prints them.
    pub fn recipients<'text>(texts: impl IntoIterator<Item = &'text str>) -> Result<Self, BackupError> {
        let read = |text: &str| {
            let failed = |reason| BackupError::Recipient { text: text.to_owned(), reason };
            age::x25519::Recipient::from_str(text.trim()).map_err(failed)
        };
        Ok(Self::Recipients(texts.into_iter().map(read).collect::<Result<_, _>>()?))
    }
}

impl Unlock {
    /// Private keys, as `age-keygen` writes them into a file: a line each, comments apart.
    pub fn identities(text: &str) -> Result<Self, BackupError> {
        let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        let keys = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let read = |(line, text): (usize, &str)| {
            age::x25519::Identity::from_str(text).map_err(|_| BackupError::Identity { line })
        };
        let keys: Vec<_> = keys.map(read).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(BackupError::NoIdentity) } else { Ok(Self::Identities(keys)) }
    }
}

/// Writes a backup. With a passphrase it takes about a second of a processor: call it where that harms nobody.
pub fn seal(keys: &[KeySecret], lock: &Lock) -> Result<Vec<u8>, BackupError> {
    let list = List {
        api_version: "v1".to_owned(),
        kind: "List".to_owned(),
        items: keys.iter().cloned().map(secret).collect(),
    };
    let text = Zeroizing::new(serde_json::to_vec(&list).map_err(BackupError::Content)?);
    let encryptor = match lock {
        Lock::Passphrase(passphrase) => {
            let mut recipient = age::scrypt::Recipient::new(passphrase.clone());
            recipient.set_work_factor(WORK);
            Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))?
        }
        Lock::Recipients(recipients) => {
            Encryptor::with_recipients(recipients.iter().map(|recipient| recipient as &dyn age::Recipient))?
        }
    };
    let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor).map_err(age::EncryptError::from)?;
    let mut writer = encryptor.wrap_output(armor).map_err(age::EncryptError::from)?;
    let written = writer.write_all(&text).and_then(|()| writer.finish()).and_then(ArmoredWriter::finish);
    Ok(written.map_err(age::EncryptError::from)?)
}

/// Reads a backup. Every key in it is whole, or none is given.
pub fn open(backup: &[u8], unlock: &Unlock) -> Result<Vec<KeySecret>, BackupError> {
    let decryptor = Decryptor::new_buffered(ArmoredReader::new(backup))?;
    let mut reader = match unlock {
        Unlock::Passphrase(passphrase) => {
            let mut identity = age::scrypt::Identity::new(passphrase.clone());
            identity.set_max_work_factor(MOST_WORK);
            decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity))?
        }
        Unlock::Identities(identities) => {
            decryptor.decrypt(identities.iter().map(|identity| identity as &dyn age::Identity))?
        }
    };
    let mut text = Zeroizing::new(Vec::new());
    reader.read_to_end(&mut text).map_err(age::DecryptError::from)?;
    let list: List = serde_json::from_slice(&text).map_err(BackupError::Content)?;
    list.items.into_iter().map(key).collect()
}

fn key(secret: Secret) -> Result<KeySecret, BackupError> {
    let namespace = secret.metadata.namespace.clone().ok_or(BackupError::Unnamed)?;
    let name = secret.metadata.name.clone().ok_or(BackupError::Unnamed)?;
    let key = key_secret(&namespace, &name, secret);
    match key.check() {
        Ok(()) => Ok(key),
        Err(problem) => Err(BackupError::Damaged { name: format!("{namespace}/{name}"), problem }),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::keys::make::{make_gateway_keys, make_pair};
    use crate::keys::secret::{gateway_secret, pair_secret};
    use crate::values::key::{GatewayIdentity, PairIdentity, PairKind};

    fn keys() -> Vec<KeySecret> {
        let identity = PairIdentity { app: "sync".into(), pair: "sync".into(), revision: 1, kind: PairKind::P384 };
        let material = make_pair(PairKind::P384, "Sync", "2026-02-28T12:00:00Z".parse().unwrap()).unwrap();
        let gateway = GatewayIdentity { gateway: "epic".into(), revision: 1 };
        vec![
            pair_secret("cardiology", &identity, material),
            gateway_secret("cardiology", &gateway, make_gateway_keys().unwrap()),
        ]
    }

    fn recipient() -> (Lock, Unlock) {
        let identity = age::x25519::Identity::generate();
        let lock = Lock::recipients([identity.to_public().to_string().as_str()]).unwrap();
        let file = format!("# created: today\n{}\n", identity.to_string().expose_secret());
        (lock, Unlock::identities(&file).unwrap())
    }

    #[test]
    fn keys_come_back_as_they_were() {
        let (lock, unlock) = recipient();
        let keys = keys();
        let backup = seal(&keys, &lock).unwrap();
        assert!(backup.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----"));
        assert_eq!(open(&backup, &unlock).unwrap(), keys);
    }

    #[test]
    fn a_passphrase_opens_what_it_locked_and_another_does_not() {
        let keys = keys();
        let phrase = |text: &str| SecretString::from(text);
        let backup = seal(&keys, &Lock::Passphrase(phrase("correct horse battery staple"))).unwrap();
        assert_eq!(open(&backup, &Unlock::Passphrase(phrase("correct horse battery staple"))).unwrap(), keys);
        let error = open(&backup, &Unlock::Passphrase(phrase("correct horse battery stable"))).unwrap_err();
        assert!(matches!(error, BackupError::Decrypt(_)), "{error}");
    }

    #[test]
    fn what_was_changed_or_is_another_s_is_not_opened() {
        let (lock, unlock) = recipient();
        let (_, other) = recipient();
        let backup = seal(&keys(), &lock).unwrap();
        assert!(matches!(open(&backup, &other), Err(BackupError::Decrypt(_))));
        let mut cut = backup.clone();
        cut.truncate(backup.len() - 100);
        assert!(open(&cut, &unlock).is_err());
        assert!(open(b"no backup at all", &unlock).is_err());
    }

    #[test]
    fn kubectl_takes_what_is_inside() {
        let (lock, unlock) = recipient();
        let Unlock::Identities(identities) = &unlock else { unreachable!() };
        let backup = seal(&keys(), &lock).unwrap();
        let text = age::decrypt(&identities[0], &backup).unwrap();
        let list: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((list["apiVersion"].as_str(), list["kind"].as_str()), (Some("v1"), Some("List")));
        for item in list["items"].as_array().unwrap() {
            assert_eq!((item["apiVersion"].as_str(), item["kind"].as_str()), (Some("v1"), Some("Secret")));
            assert_eq!(item["immutable"], true);
        }
    }
}
