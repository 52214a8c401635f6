//! What scripts build once, for all tests.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Builds `target/<name>` by `scripts/<name>` where nobody has, and gives the directory that the script names. `what`: of
/// what there is none where that fails.
pub fn built(name: &str, what: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = root.join("target").join(name);
    fs::create_dir_all(&directory).expect("a directory");
    // Two test binaries must not build the same thing at once.
    let lock = File::create(directory.join("lock")).expect("a lock file");
    lock.lock().expect("the lock");
    let output = Command::new(root.join("scripts").join(name))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| panic!("scripts/{name}: {error}"));
    assert!(output.status.success(), "there is no {what} to test with: see the message above");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}
