//! The few things that the key store does to the file system, each with the path in its error.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::{DamagedKey, Doing, KeyStoreError, SecretBytes};

/// No file of a key comes near this.
const LONGEST: u64 = 64 * 1024;

/// Makes a directory that was not there, for nobody else to look into.
pub(super) fn make_directory(path: &Path) -> Result<(), KeyStoreError> {
    DirBuilder::new().mode(0o700).create(path).map_err(|error| KeyStoreError::io(Doing::Write, path, error))
}

/// Makes what is missing of a path, and makes each new name survive a power cut.
pub(super) fn make_directories(path: &Path) -> Result<(), KeyStoreError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_directories(parent)?;
    match make_directory(path) {
        Ok(()) => sync_directory(parent),
        // Another thread or process was quicker; it syncs too, but perhaps not before we go on.
        Err(_) if path.is_dir() => sync_directory(parent),
        Err(error) => Err(error),
    }
}

/// Writes a file that was not there (O_EXCL, so no link is followed either), mode 0600, and syncs it.
pub(super) fn write_new(path: &Path, content: &[u8]) -> Result<(), KeyStoreError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|error| KeyStoreError::io(Doing::Write, path, error))
}

/// Makes the names in a directory survive a power cut.
pub(super) fn sync_directory(path: &Path) -> Result<(), KeyStoreError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| KeyStoreError::io(Doing::Sync, path, error))
}

/// Takes away what was never visible under a key's name. If it cannot, it stays hidden and is never read.
pub(super) fn discard(hidden: &Path) {
    if let Err(error) = fs::remove_dir_all(hidden)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %hidden.display(), %error, "an unfinished key could not be removed; delete it by hand");
    }
}

/// Whether there is a directory of this name. Anything else of that name, a link too, is an error.
pub(super) fn is_directory(path: &Path) -> Result<bool, KeyStoreError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(true),
        Ok(_) => Err(KeyStoreError::Damaged { path: path.to_owned(), problem: DamagedKey::NotADirectory }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(KeyStoreError::io(Doing::Read, path, error)),
    }
}

/// The names in a directory that do not begin with a dot, in order; none where there is no directory.
pub(super) fn visible_names(directory: &Path) -> Result<Vec<String>, KeyStoreError> {
    let failed = |error| KeyStoreError::io(Doing::Read, directory, error);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        match entry.map_err(failed)?.file_name().into_string() {
            Ok(name) if name.starts_with('.') => {}
            Ok(name) => names.push(name),
            // No name of ours; and as a data key it would not be valid.
            Err(name) => {
                tracing::warn!(path = %directory.join(name).display(), "a name that is not UTF-8; ignored");
            }
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Reads one file of a key, and warns if others on this machine may read it too.
pub(super) fn read(directory: &Path, file: &str) -> Result<SecretBytes, KeyStoreError> {
    let path = directory.join(file);
    let failed = |error| KeyStoreError::io(Doing::Read, &path, error);
    let damaged = |problem| KeyStoreError::Damaged { path: directory.to_owned(), problem };
    let metadata = fs::symlink_metadata(&path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(damaged(DamagedKey::NotAFile { file: file.to_owned() }));
    }
    if metadata.len() > LONGEST {
        return Err(damaged(DamagedKey::TooLarge { file: file.to_owned() }));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(
            path = %path.display(),
            mode = format_args!("{mode:o}"),
            "other users of this machine may read this key file; run `chmod 600` on it"
        );
    }
    // All the room at once: a buffer that grows leaves unwiped copies behind. One byte more, to see growth.
    let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default().saturating_add(1));
    File::open(&path).and_then(|opened| opened.take(LONGEST).read_to_end(&mut content)).map_err(failed)?;
    Ok(SecretBytes::new(content))
}
