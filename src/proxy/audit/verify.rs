//! Whether a chain of lines is unbroken.

use std::fmt::Write as _;
use std::io::{self, BufRead};

use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;

/// What the first line of all has for `previous`.
pub(super) const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// An unbroken chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many lines.
    pub lines: u64,
    /// How many more could not be written, as the lines after them say.
    pub lost: u64,
    /// The hash that the first line goes on from.
    pub first: String,
    /// The hash of the last line.
    pub last: String,
}

/// A chain that is broken, or no chain.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// A line is none of ours.
    #[error("line {0} is no line of an audit log")]
    NoLine(u64),
    /// A line does not go on from the one before.
    #[error("line {0} does not go on from the line before it: something was changed, taken out or put in")]
    NotChained(u64),
}

#[derive(Deserialize)]
struct Link {
    previous: String,
    #[serde(default)]
    lost: u64,
}

/// Follows the lines. `after`: the hash that the first one must go on from; `None`: whatever it says is believed.
pub fn verify(mut lines: impl BufRead, after: Option<&str>) -> Result<Verified, Broken> {
    let mut found = Verified { lines: 0, lost: 0, first: String::new(), last: after.unwrap_or(BEGINNING).to_owned() };
    let mut expected = after.map(str::to_owned);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if lines.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(found);
        }
        found.lines += 1;
        let text = bytes.strip_suffix(b"\n").ok_or(Broken::NoLine(found.lines))?;
        let link: Link = serde_json::from_slice(text).map_err(|_| Broken::NoLine(found.lines))?;
        if expected.as_ref().is_some_and(|expected| *expected != link.previous) {
            return Err(Broken::NotChained(found.lines));
        }
        if found.lines == 1 {
            found.first = link.previous;
        }
        found.lost = found.lost.saturating_add(link.lost);
        found.last = hash(text);
        expected = Some(found.last.clone());
    }
}

/// SHA-256 in hexadecimal.
pub(in crate::proxy) fn hash(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing into a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
