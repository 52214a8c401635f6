//! What a command is given in a file, or on standard input where `-` stands for it.

use std::io::{self, Error, ErrorKind, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

/// The bytes: secrets among them leave no copy behind.
pub(super) fn bytes(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    if path.as_os_str() != "-" {
        return std::fs::read(path).map(Zeroizing::new);
    }
    let mut bytes = Zeroizing::new(Vec::new());
    io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same as text.
pub(super) fn text(path: &Path) -> io::Result<String> {
    let mut bytes = bytes(path)?;
    let invalid = |_| Error::new(ErrorKind::InvalidData, "stream did not contain valid UTF-8");
    String::from_utf8(std::mem::take(&mut *bytes)).map_err(invalid)
}
