//! A backup of keys: made and restored by the command, opened by a key of its own.

use std::path::PathBuf;
use std::process::{Command, Output};

use secrecy::ExposeSecret as _;
use tempfile::TempDir;

/// A backup that is yet to be made. It goes with the test.
pub struct Backup {
    folder: TempDir,
    recipient: String,
}

impl Backup {
    /// Nothing is in it yet.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = age::x25519::Identity::generate();
        std::fs::write(folder.path().join("key.txt"), identity.to_string().expose_secret()).unwrap();
        Self { folder, recipient: identity.to_public().to_string() }
    }

    /// Where it is.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("keys.age")
    }

    /// Backs up the keys of a place, as options say it.
    pub fn export(&self, place: &[&str]) {
        let file = self.file();
        let command = ["keys", "export", "--recipient", &self.recipient, "--output", file.to_str().unwrap()];
        succeeded(hearthgate(&[&command, place].concat()));
        let bytes = std::fs::read(file).unwrap();
        assert!(!bytes.windows(11).any(|part| part == b"PRIVATE KEY"), "the backup is not encrypted");
    }

    /// Restores it there; what the command says.
    pub fn import(&self, place: &[&str]) -> String {
        let (file, key) = (self.file(), self.folder.path().join("key.txt"));
        let command = ["keys", "import", file.to_str().unwrap(), "--identity-file", key.to_str().unwrap()];
        succeeded(hearthgate(&[&command, place].concat()))
    }
}

fn hearthgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hearthgate")).args(arguments).output().unwrap()
}

fn succeeded(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
