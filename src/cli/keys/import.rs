//! `hearthgate keys import`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use zeroize::Zeroizing;

use super::super::{Outcome, block_on};
use super::{KeysError, Opened, Place, passphrase, read};
use crate::keys::backup::{self, Unlock};
use crate::keys::{Created, KeySecret, KeyStoreError};

/// Restore keys from a backup. A key is only ever made where there is none of its name: nothing is overwritten.
///
/// Restore before the resources are applied, or with `--no-new-keys`, so that no new key is made in place of one that is
/// to come. Exits with 1 where another key stands in the place of one of the backup.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate keys import keys.age --identity-file key.txt\n  hearthgate keys import keys.age --state clinic/.hearthgate --passphrase-file phrase.txt\n  hearthgate keys import keys.age -n cardiology --identity-file key.txt --dry-run"
)]
pub(super) struct Import {
    /// The backup, `-` for standard input
    backup: PathBuf,
    #[command(flatten)]
    place: Place,
    /// A file with a private key of age (AGE-SECRET-KEY-1…)
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_file")]
    identity_file: Option<PathBuf>,
    /// A file with the passphrase, `-` for standard input
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What became of one key.
enum Restored {
    New,
    TheSame,
    Another,
    Failed(KeyStoreError),
}

impl Import {
    pub(super) fn run(self) -> Outcome {
        let unlock = self.unlock()?;
        let keys = backup::open(&read(&self.backup)?, &unlock)?;
        block_on(async {
            let opened = self.place.open().await?;
            let mut is_whole = true;
            let keys: Vec<&KeySecret> = keys.iter().filter(|key| opened.wants(key)).collect();
            if keys.is_empty() {
                return Err(KeysError::Nothing(self.backup.display().to_string()).into());
            }
            for key in keys {
                let (text, is_fine) = match self.restore(&opened, key).await {
                    Restored::New if self.dry_run => ("would be restored".to_owned(), true),
                    Restored::New => ("restored".to_owned(), true),
                    Restored::TheSame => ("is there already".to_owned(), true),
                    Restored::Another => {
                        ("NOT restored: there is another key of this name, which is left as it is".to_owned(), false)
                    }
                    Restored::Failed(error) => (format!("NOT restored: {error}"), false),
                };
                is_whole &= is_fine;
                println!("{}/{}: {text}", key.namespace, key.name);
            }
            Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        })?
    }

    async fn restore(&self, opened: &Opened, key: &KeySecret) -> Restored {
        let found = if self.dry_run {
            opened.store.get(&key.namespace, &key.name).await
        } else {
            match opened.store.create(key).await {
                Ok(Created::New) => Ok(None),
                Ok(Created::AlreadyExists(existing)) => Ok(Some(*existing)),
                Err(error) => Err(error),
            }
        };
        match found {
            Ok(None) => Restored::New,
            Ok(Some(existing)) if existing.data == key.data => Restored::TheSame,
            Ok(Some(_)) => Restored::Another,
            Err(error) => Restored::Failed(error),
        }
    }

    fn unlock(&self) -> Result<Unlock, Box<dyn std::error::Error>> {
        match (&self.identity_file, &self.passphrase_file) {
            (Some(path), _) => {
                let text = read(path)?;
                let text = Zeroizing::new(String::from_utf8_lossy(&text).into_owned());
                Ok(Unlock::identities(&text)?)
            }
            (None, Some(path)) => Ok(Unlock::Passphrase(passphrase(path)?)),
            (None, None) => Err(KeysError::NoKey("--identity-file or --passphrase-file").into()),
        }
    }
}
