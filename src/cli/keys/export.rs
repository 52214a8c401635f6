//! `hearthgate keys export`.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use secrecy::ExposeSecret as _;

use super::super::Outcome;
use super::{KeysError, Place, passphrase};
use crate::keys::backup::{self, BackupError, Lock};

/// Whoever has the file can try passphrases for years: a second of work for each does not save a short one.
const SHORTEST_PASSPHRASE: usize = 12;

/// Write an encrypted backup of all keys, in the format of age (age-encryption.org).
///
/// Encrypt for public keys (--recipient), so that the machine that writes backups can open none, or with a passphrase.
/// What is inside is a list of Secrets: without hearthgate, `age --decrypt keys.age | kubectl create -f -` restores it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate keys export --recipient age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p --output keys.age\n  hearthgate keys export --state clinic/.hearthgate --passphrase-file phrase.txt --output keys.age\n  pass show hearthgate/backup | hearthgate keys export -n cardiology --passphrase-file - > keys.age"
)]
pub(super) struct Export {
    #[command(flatten)]
    place: Place,
    /// A public key of age (age1…) that can open the backup; repeatable
    #[arg(long = "recipient", value_name = "AGE1", conflicts_with = "passphrase_file")]
    recipients: Vec<String>,
    /// A file with a passphrase, `-` for standard input
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Write to this file, which must not exist, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Go on without keys that are damaged
    #[arg(long)]
    without_damaged: bool,
}

impl Export {
    pub(super) fn run(self) -> Outcome {
        let lock = self.lock()?;
        let (listing, name) = self.place.list()?;
        for damage in &listing.damaged {
            anstream::eprintln!("damaged: {damage}");
        }
        if !listing.damaged.is_empty() && !self.without_damaged {
            return Err(KeysError::Damaged(listing.damaged.len()).into());
        }
        if listing.keys.is_empty() {
            return Err(KeysError::Nothing(name).into());
        }
        let backup = backup::seal(&listing.keys, &lock)?;
        match &self.output {
            Some(path) => write(path, &backup)?,
            None => io::stdout().write_all(&backup)?,
        }
        let place = self.output.as_ref().map(|path| format!(" to {}", path.display())).unwrap_or_default();
        let what = if listing.keys.len() == 1 { "1 key".to_owned() } else { format!("{} keys", listing.keys.len()) };
        anstream::eprintln!("wrote {what} of {name}{place}");
        Ok(ExitCode::SUCCESS)
    }

    fn lock(&self) -> Result<Lock, Box<dyn std::error::Error>> {
        match &self.passphrase_file {
            Some(path) => {
                let phrase = passphrase(path)?;
                let found = phrase.expose_secret().chars().count();
                if found < SHORTEST_PASSPHRASE {
                    return Err(KeysError::TooShort { path: path.clone(), found, least: SHORTEST_PASSPHRASE }.into());
                }
                Ok(Lock::Passphrase(phrase))
            }
            None if self.recipients.is_empty() => Err(KeysError::NoKey("--recipient or --passphrase-file").into()),
            None => {
                let lock: Result<Lock, BackupError> = Lock::recipients(self.recipients.iter().map(String::as_str));
                Ok(lock?)
            }
        }
    }
}

/// Whole and on disk, or not there; readable by its owner alone, encrypted or not.
fn write(path: &Path, backup: &[u8]) -> Result<(), KeysError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeysError::Exists(path.to_owned()),
        _ => KeysError::Write { path: path.to_owned(), error },
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let written = file.write_all(backup).and_then(|()| file.sync_all());
    written.map_err(|error| {
        // Half a backup is worse than none. That it cannot be removed either changes nothing in what is told.
        let _ = std::fs::remove_file(path);
        failed(error)
    })
}
