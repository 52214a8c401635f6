//! Which files are read, and what is in them.
//!
//! Kubernetes mounts a ConfigMap as `x.yaml -> ..data/x.yaml` with `..data -> ..2026_01_31_…/`: links inside the
//! directory are followed, also into hidden places. Links that lead out of it are refused: whoever may write into the
//! directory could otherwise have any file of the machine read.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

/// The largest file, in bytes.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// The most that is read from standard input: a whole rendered environment.
pub const MAX_STDIN_BYTES: usize = 16 << 20;
/// The most files below one directory.
const MAX_FILES: usize = 50_000;
/// The deepest folder.
const MAX_FOLDERS: usize = 32;

/// A file to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What people call it.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// What a directory holds.
#[derive(Debug, Default)]
pub struct Listing {
    /// The files, in the order in which they are read.
    pub files: Vec<Found>,
    /// What could not be listed.
    pub obstacles: Vec<Obstacle>,
    /// Every directory in which a change matters.
    pub directories: BTreeSet<PathBuf>,
}

/// Something that could not be listed.
#[derive(Debug)]
pub struct Obstacle {
    /// What people call it. Empty for the directory itself, if it has no name of its own.
    pub name: String,
    /// Whether all that is below it is missing too.
    pub folder: bool,
    /// Why.
    pub error: FileError,
}

/// Why a file or folder cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system says no.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A link that leads out of the directory.
    #[error("is a link that leads out of the directory: put the file itself here")]
    LeadsOutside,
    /// A pipe, socket or device.
    #[error("is not a regular file")]
    NotAFile,
    /// More than [`MAX_FILE_BYTES`], or from standard input [`MAX_STDIN_BYTES`].
    #[error("is larger than {} MiB: split it", .0 >> 20)]
    TooLarge(usize),
    /// Not UTF-8.
    #[error("is not UTF-8 text (first at byte {0})")]
    NotText(usize),
    /// More than `MAX_FOLDERS` folders deep.
    #[error("lies more than {MAX_FOLDERS} folders deep")]
    TooDeep,
    /// More than `MAX_FILES` files.
    #[error("holds more than {MAX_FILES} YAML files: the rest is not read")]
    TooMany,
}

/// Lists what a path holds: the file itself, or every `*.yaml`, `*.yml` and `*.json` below a directory.
///
/// Names begin with `prefix`, what people call the path. Hidden entries are left out, and so is the directory `except`.
pub fn list(path: &Path, prefix: &str, except: Option<&Path>) -> Listing {
    let mut listing = Listing::default();
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => match path.canonicalize() {
            Ok(root) => {
                let except = except.and_then(|except| except.canonicalize().ok());
                let mut walk = Walk { root: root.clone(), except, seen: BTreeSet::new(), listing };
                walk.folder(path, &root, prefix, 0);
                listing = walk.listing;
            }
            Err(error) => listing.obstacles.push(Obstacle { name: prefix.into(), folder: true, error: error.into() }),
        },
        Ok(_) => listing.files.push(Found { name: prefix.into(), path: path.into() }),
        Err(error) => listing.obstacles.push(Obstacle { name: prefix.into(), folder: true, error: error.into() }),
    }
    listing
}

struct Walk {
    root: PathBuf,
    except: Option<PathBuf>,
    seen: BTreeSet<PathBuf>,
    listing: Listing,
}

impl Walk {
    fn folder(&mut self, path: &Path, real: &Path, name: &str, depth: usize) {
        if self.except.as_deref() == Some(real) || !self.seen.insert(real.into()) {
            return;
        }
        if depth > MAX_FOLDERS {
            return self.obstacle(name, true, FileError::TooDeep);
        }
        self.listing.directories.insert(path.into());
        let entries = fs::read_dir(path).and_then(|entries| {
            let names: io::Result<Vec<_>> = entries.map(|entry| entry.map(|entry| entry.file_name())).collect();
            names
        });
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => return self.obstacle(name, true, error.into()),
        };
        entries.sort();
        for entry in entries {
            let text = entry.to_string_lossy();
            if text.starts_with('.') {
                continue;
            }
            let below = if name.is_empty() { text.clone().into_owned() } else { format!("{name}/{text}") };
            self.entry(&path.join(&entry), &real.join(&entry), &below, depth);
        }
    }

    fn entry(&mut self, path: &Path, real: &Path, name: &str, depth: usize) {
        let wanted = is_wanted(path);
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            // Gone since it was listed: as if it had never been there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.obstacle(name, !wanted, error.into()),
        };
        if metadata.is_dir() {
            self.folder(path, real, name, depth + 1);
        } else if metadata.is_symlink() {
            self.link(path, name, depth, wanted);
        } else if wanted && metadata.is_file() {
            self.file(path, real, name);
        } else if wanted {
            self.obstacle(name, false, FileError::NotAFile);
        }
    }

    fn link(&mut self, path: &Path, name: &str, depth: usize, wanted: bool) {
        let target = path.canonicalize().and_then(|target| Ok((fs::metadata(&target)?, target)));
        let (metadata, target) = match target {
            Ok(target) => target,
            // A link into nowhere is what a swap of `..data` looks like half way.
            Err(error) if wanted => return self.obstacle(name, false, error.into()),
            Err(_) => return,
        };
        let Ok(inside) = target.strip_prefix(&self.root) else {
            if wanted || metadata.is_dir() {
                self.obstacle(name, metadata.is_dir(), FileError::LeadsOutside);
            }
            return;
        };
        let hidden = inside.components().any(|part| part.as_os_str().to_string_lossy().starts_with('.'));
        if metadata.is_dir() {
            // Elsewhere it is read where it really is.
            if hidden {
                self.folder(path, &target, name, depth + 1);
            }
        } else if wanted && metadata.is_file() {
            self.listing.directories.extend(target.parent().map(Path::to_path_buf));
            self.file(path, &target, name);
        } else if wanted {
            self.obstacle(name, false, FileError::NotAFile);
        }
    }

    fn file(&mut self, path: &Path, real: &Path, name: &str) {
        if !self.seen.insert(real.into()) {
            return;
        }
        if self.listing.files.len() >= MAX_FILES {
            if self.listing.files.len() == MAX_FILES
                && !self.listing.obstacles.iter().any(|obstacle| matches!(obstacle.error, FileError::TooMany))
            {
                self.obstacle("", true, FileError::TooMany);
            }
            return;
        }
        self.listing.files.push(Found { name: name.into(), path: path.into() });
    }

    fn obstacle(&mut self, name: &str, folder: bool, error: FileError) {
        self.listing.obstacles.push(Obstacle { name: name.into(), folder, error });
    }
}

fn is_wanted(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|wanted| extension.eq_ignore_ascii_case(wanted)))
}

/// What a file holds.
#[derive(Debug)]
pub struct Contents {
    /// The text, wiped when it is let go: there may be a Secret in it.
    pub text: Zeroizing<String>,
    /// When it was last written, if the system tells.
    pub modified: Option<SystemTime>,
}

/// Reads a file of at most [`MAX_FILE_BYTES`].
pub fn read(path: &Path) -> Result<Contents, FileError> {
    // Asked before opening: opening a pipe waits for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(FileError::NotAFile);
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let expected = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if expected > MAX_FILE_BYTES {
        return Err(FileError::TooLarge(MAX_FILE_BYTES));
    }
    let text = read_text(file, expected, MAX_FILE_BYTES)?;
    Ok(Contents { text, modified: metadata.modified().ok() })
}

/// Reads standard input, at most [`MAX_STDIN_BYTES`].
pub fn read_stdin() -> Result<Contents, FileError> {
    Ok(Contents { text: read_text(io::stdin().lock(), 0, MAX_STDIN_BYTES)?, modified: None })
}

fn read_text(reader: impl Read, expected: usize, most: usize) -> Result<Zeroizing<String>, FileError> {
    // Room for all of it from the start, so that growing leaves no copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(expected.saturating_add(1)));
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(FileError::TooLarge(most));
    }
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            let position = error.utf8_error().valid_up_to();
            drop(Zeroizing::new(error.into_bytes()));
            Err(FileError::NotText(position))
        }
    }
}

/// A number that changes when any file of the listing is written, replaced, added or removed.
pub fn stamp(listing: &Listing) -> u64 {
    let mut hasher = DefaultHasher::new();
    for found in &listing.files {
        found.name.hash(&mut hasher);
        if let Ok(metadata) = fs::metadata(&found.path) {
            metadata.len().hash(&mut hasher);
            metadata.modified().ok().hash(&mut hasher);
            identity(&metadata).hash(&mut hasher);
        }
    }
    for obstacle in &listing.obstacles {
        obstacle.name.hash(&mut hasher);
    }
    hasher.finish()
}

/// What tells a file or directory from another one of the same name.
#[cfg(unix)]
pub fn identity(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino())
}

/// What tells a file or directory from another one of the same name.
#[cfg(not(unix))]
pub fn identity(metadata: &Metadata) -> Option<SystemTime> {
    metadata.created().ok()
}
