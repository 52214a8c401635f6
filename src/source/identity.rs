//! UID and generation, which an API server would keep, kept in a file of the state directory.
//!
//! Tokens and observations are bound to UIDs, so this file is never silently emptied: one that cannot be understood is
//! set aside under another name, and that is told.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::snapshot::resources::ObjectReference;

/// Name of the file in the state directory.
pub const FILE_NAME: &str = "identities.json";
const FORMAT: u32 = 1;

/// What an API server would keep about one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Which object.
    #[serde(flatten)]
    pub object: ObjectReference,
    /// Random; a new one when the object was gone and came back.
    pub uid: Uuid,
    /// Moves when the spec changes.
    pub generation: i64,
    /// The file that it was read from.
    pub file: String,
    /// The spec that was accepted, so that what must not change does not change over a restart either.
    pub spec: Value,
}

/// Why identities cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The state directory or the file in it cannot be read or written.
    #[error("the state file {} cannot be {what}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The identities have no JSON form: a defect.
    #[error("the identities cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// All identities, and the file that keeps them.
#[derive(Debug)]
pub struct Identities {
    path: PathBuf,
    objects: BTreeMap<ObjectReference, Identity>,
    is_saved: bool,
}

#[derive(Serialize, Deserialize)]
struct Format<Objects> {
    version: u32,
    objects: Objects,
}

impl Identities {
    /// Reads the file of the state directory. A file that cannot be understood is renamed to
    /// `identities.json.corrupt-<time>`; the objects then get new UIDs.
    pub fn open(state: &Path, now: jiff::Timestamp) -> Result<Self, IdentityError> {
        let path = state.join(FILE_NAME);
        let failed = |what| {
            let path = path.clone();
            move |source| IdentityError::Io { path, what, source }
        };
        fs::create_dir_all(state).map_err(failed("written"))?;
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path, objects: BTreeMap::new(), is_saved: true });
            }
            Err(error) => return Err(failed("read")(error)),
        };
        match serde_json::from_slice::<Format<Vec<Identity>>>(&bytes) {
            Ok(Format { version: FORMAT, objects }) => {
                let objects = objects.into_iter().map(|identity| (identity.object.clone(), identity)).collect();
                Ok(Self { path, objects, is_saved: true })
            }
            unusable => {
                let aside = state.join(format!("{FILE_NAME}.corrupt-{}", now.strftime("%Y%m%dT%H%M%SZ")));
                fs::rename(&path, &aside).map_err(failed("set aside"))?;
                tracing::error!(
                    file = %path.display(),
                    set_aside = %aside.display(),
                    reason = unusable.err().map_or_else(|| "an unknown version".to_owned(), |error| error.to_string()),
                    "the identities of all objects cannot be read: they get new UIDs, which ends live tokens"
                );
                Ok(Self { path, objects: BTreeMap::new(), is_saved: true })
            }
        }
    }

    /// What is known about an object.
    pub fn get(&self, object: &ObjectReference) -> Option<&Identity> {
        self.objects.get(object)
    }

    /// Remembers an object.
    pub fn insert(&mut self, identity: Identity) {
        self.is_saved = false;
        self.objects.insert(identity.object.clone(), identity);
    }

    /// Forgets the objects that are gone: they come back as others.
    pub fn retain(&mut self, stays: impl Fn(&Identity) -> bool) {
        let before = self.objects.len();
        self.objects.retain(|_, identity| stays(identity));
        self.is_saved &= self.objects.len() == before;
    }

    /// Writes the file, if anything changed: a new file, synced, then renamed over the old one.
    pub fn save(&mut self) -> Result<(), IdentityError> {
        if self.is_saved {
            return Ok(());
        }
        let objects: Vec<_> = self.objects.values().collect();
        let mut bytes = serde_json::to_vec_pretty(&Format { version: FORMAT, objects })?;
        bytes.push(b'\n');
        write_atomically(&self.path, &bytes).map_err(|source| IdentityError::Io {
            path: self.path.clone(),
            what: "written",
            source,
        })?;
        self.is_saved = true;
        Ok(())
    }
}

fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("json.new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&new, path)?;
    // The rename itself must survive a power cut too.
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::{FILE_NAME, Identities, Identity};
    use crate::snapshot::resources::{Kind, ObjectKey, ObjectReference};

    fn identity() -> Identity {
        Identity {
            object: ObjectReference::new(Kind::App, ObjectKey::new("default", "x")),
            uid: Uuid::from_u128(1),
            generation: 3,
            file: "apps/x.yaml".into(),
            spec: json!({"clientType": "Public"}),
        }
    }

    #[test]
    fn what_was_saved_is_there_after_a_restart() {
        let state = tempfile::tempdir().unwrap();
        let mut identities = Identities::open(&state.path().join("new"), jiff::Timestamp::UNIX_EPOCH).unwrap();
        identities.insert(identity());
        identities.save().unwrap();
        let again = Identities::open(&state.path().join("new"), jiff::Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(again.get(&identity().object), Some(&identity()));
    }

    #[test]
    fn a_file_that_makes_no_sense_is_set_aside() {
        for text in ["", "{", "{\"version\": 2, \"objects\": []}", "\u{0}\u{0}\u{0}"] {
            let state = tempfile::tempdir().unwrap();
            std::fs::write(state.path().join(FILE_NAME), text).unwrap();
            let mut identities = Identities::open(state.path(), jiff::Timestamp::UNIX_EPOCH).unwrap();
            identities.insert(identity());
            identities.save().unwrap();
            let aside = state.path().join("identities.json.corrupt-19700101T000000Z");
            assert_eq!(std::fs::read_to_string(aside).unwrap(), text);
        }
    }
}
