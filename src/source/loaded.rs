//! Everything that was read at one moment, from one or many files, and where it stands.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use uuid::Uuid;

use super::document::Place;
use super::files::{self, Found, Listing};
use super::parallel;
use super::reading::{self, Finding, Reading, Source};
use super::schema::{self, Content, Typed};
use crate::snapshot::resources::{Kind, Location, ObjectReference, Rejection, Resources};
use crate::values::code::Code;

/// A file written this recently may still be half written: what is missing in it may come a moment later.
pub const SETTLED_AFTER: Duration = Duration::from_millis(300);

/// The namespace of the UUIDs that objects get where nothing remembers one: the same for the same name.
const OFFLINE_UID_NAMESPACE: Uuid = Uuid::from_u128(0x6b1f_5a0e_93c4_4d57_8f0a_2e61_b8d4_c9a3);

/// Everything that was read at one moment.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The objects that an API server would accept.
    pub objects: BTreeMap<ObjectReference, Content>,
    /// What it would refuse, in the order in which it was read.
    pub rejections: Vec<Rejection>,
    /// What is not for us: one line about each.
    pub ignored: Vec<Ignored>,
    /// The objects of the last reading that must not be taken for removed.
    pub(super) unknown: Unknown,
    sources: BTreeMap<ObjectReference, Source>,
    readings: BTreeMap<Arc<str>, Arc<Reading>>,
}

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectPlace {
    /// The file.
    pub file: String,
    /// A line of its document, from 1.
    pub line: usize,
    /// What comes before the paths of its fields: empty, or `items[3].`.
    pub prefix: String,
}

/// A document that is not for us.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ignored {
    /// Where it stands.
    pub location: Location,
    /// What it is, in a few words.
    pub what: String,
}

/// What this reading cannot tell: an object that is not in it may still be there.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    /// Files that could not be read, or hold something invalid without a name.
    pub(super) files: BTreeSet<Arc<str>>,
    /// Folders that could not be listed, with a slash at the end; the whole directory is empty.
    pub(super) folders: Vec<String>,
    /// Files that were written just now.
    pub(super) unsettled: BTreeSet<Arc<str>>,
}

impl Unknown {
    /// Whether objects that came from this file may still be there.
    pub(super) fn covers(&self, file: &str) -> bool {
        self.files.contains(file)
            || self.unsettled.contains(file)
            || self.folders.iter().any(|folder| file.starts_with(folder))
    }
}

/// Reads files, directories and standard input (`-`), offline, as people name them.
pub fn read(paths: &[PathBuf]) -> Loaded {
    read_in(schema::DEFAULT_NAMESPACE, paths, |_| {})
}

/// The same, where objects without a namespace are in this one. `tell` hears how many files are left to be read.
pub fn read_in(namespace: &str, paths: &[PathBuf], mut tell: impl FnMut(usize)) -> Loaded {
    let mut readings = Vec::new();
    let mut loaded = Loaded::default();
    for path in paths {
        if path.as_os_str() == "-" {
            readings.push(Arc::new(match files::read_stdin() {
                Ok(contents) => reading::read_in(namespace, "-", &contents.text),
                Err(error) => reading::unreadable("-", &error),
            }));
            continue;
        }
        let name = path.to_string_lossy();
        let name = if name == "." { "" } else { name.strip_prefix("./").unwrap_or(&name).trim_end_matches('/') };
        let listing = files::list(path, name, None);
        loaded.add_obstacles(&listing);
        let read = |found: &Found| match files::read(&found.path) {
            Ok(contents) => Arc::new(reading::read_in(namespace, &found.name, &contents.text)),
            Err(error) => Arc::new(reading::unreadable(&found.name, &error)),
        };
        readings.extend(parallel::each(&listing.files, read, &mut tell));
    }
    loaded.add(readings);
    loaded
}

/// Reads a text that stands in no file.
pub fn read_text(name: &str, text: &str) -> Loaded {
    read_texts([(name.to_owned(), text.to_owned())])
}

/// Reads several such texts, each with its name.
pub fn read_texts(texts: impl IntoIterator<Item = (String, String)>) -> Loaded {
    let mut loaded = Loaded::default();
    loaded.add(texts.into_iter().map(|(name, text)| Arc::new(reading::read(&name, &text))).collect());
    loaded
}

/// Reads one directory again and again; what did not change is not judged again.
#[derive(Debug)]
pub(super) struct Reader {
    directory: PathBuf,
    except: PathBuf,
    cache: HashMap<String, ([u8; 32], Arc<Reading>)>,
    stamp: u64,
}

impl Reader {
    /// Reads `directory` but the folder `except`. Names are relative to the directory.
    pub(super) fn new(directory: PathBuf, except: PathBuf) -> Self {
        Self { directory, except, cache: HashMap::new(), stamp: 0 }
    }

    /// The directory as it is now, and every folder of it in which a change matters.
    pub(super) fn read(&mut self) -> (Loaded, BTreeSet<PathBuf>) {
        let listing = self.list();
        // Taken before reading: what is written meanwhile gives another stamp.
        self.stamp = files::stamp(&listing);
        let mut loaded = Loaded::default();
        loaded.add_obstacles(&listing);
        let now = SystemTime::now();
        let mut previous = std::mem::take(&mut self.cache);
        let mut readings = Vec::new();
        for found in &listing.files {
            let reading = self.read_file(found, previous.remove(&found.name), now, &mut loaded);
            readings.push(reading);
        }
        loaded.add(readings);
        (loaded, listing.directories)
    }

    /// Every folder in which a change matters.
    pub(super) fn folders(&self) -> BTreeSet<PathBuf> {
        self.list().directories
    }

    /// Whether anything was written since the last reading, judged without reading.
    pub(super) fn is_stale(&self) -> bool {
        files::stamp(&self.list()) != self.stamp
    }

    fn list(&self) -> Listing {
        files::list(&self.directory, "", Some(&self.except))
    }

    fn read_file(
        &mut self,
        found: &Found,
        previous: Option<([u8; 32], Arc<Reading>)>,
        now: SystemTime,
        loaded: &mut Loaded,
    ) -> Arc<Reading> {
        let contents = match files::read(&found.path) {
            Ok(contents) => contents,
            Err(error) => return Arc::new(reading::unreadable(&found.name, &error)),
        };
        // A time in the future says nothing about how long ago it was.
        let age = contents.modified.and_then(|modified| now.duration_since(modified).ok());
        if age.is_some_and(|age| age < SETTLED_AFTER) {
            loaded.unknown.unsettled.insert(found.name.as_str().into());
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, contents.text.as_bytes()).as_ref());
        let reading = match previous {
            Some((known, reading)) if known == hash => reading,
            _ => Arc::new(reading::read(&found.name, &contents.text)),
        };
        self.cache.insert(found.name.clone(), (hash, Arc::clone(&reading)));
        reading
    }
}

impl Loaded {
    /// Everything valid, as the compiler takes it. UIDs are derived from the names and generations are 1: nothing
    /// remembers better offline.
    pub fn resources(&self) -> Resources {
        let mut resources = Resources { rejections: self.rejections.clone(), ..Resources::default() };
        for (reference, content) in &self.objects {
            match content {
                Content::Custom(custom) => {
                    let uid = Uuid::new_v5(&OFFLINE_UID_NAMESPACE, reference.to_string().as_bytes());
                    place(reference, &identified(&custom.typed, uid, 1), &mut resources);
                }
                Content::Secret(secret) => {
                    resources.secrets.insert(reference.key.clone(), Arc::clone(secret));
                }
                Content::ConfigMap(config_map) => {
                    resources.config_maps.insert(reference.key.clone(), Arc::clone(config_map));
                }
                Content::Unlabelled => {}
            }
        }
        resources
    }

    /// Forgets Secrets and ConfigMaps: for a comparison with a cluster whose own are not read.
    pub fn without_secrets(&mut self) {
        self.objects.retain(|_, content| matches!(content, Content::Custom(_)));
        self.sources.retain(|object, _| !matches!(object.kind, Kind::Secret | Kind::ConfigMap));
    }

    /// What this is where `old` is in force: as an API server would, it keeps objects as they were whose new form is
    /// invalid, or changes what is immutable. The latter is told as well.
    pub fn succeed(&mut self, old: &Self) {
        for (reference, before) in &old.objects {
            let Some(source) = self.sources.get(reference) else { continue };
            let Content::Custom(before) = before else { continue };
            let problems = match self.objects.get(reference) {
                None => Vec::new(),
                Some(Content::Custom(after)) if after.value == before.value => continue,
                Some(Content::Custom(after)) => {
                    match schema::validate_transition(reference.kind, &before.value, &after.value) {
                        Ok(()) => continue,
                        Err(problems) => problems,
                    }
                }
                Some(Content::Secret(_) | Content::ConfigMap(_) | Content::Unlabelled) => continue,
            };
            self.rejections.extend(problems.into_iter().map(|problem| Rejection {
                object: Some(reference.clone()),
                code: Code::InvalidSpec,
                message: problem.to_string(),
                location: source.locate(&problem.path, problem.place),
            }));
            self.objects.insert(reference.clone(), Content::Custom(before.clone()));
        }
    }

    /// The place of a field of an object (`spec.scopes[0]`; empty: the object), or of the nearest thing above it.
    pub fn locate(&self, object: &ObjectReference, path: &str) -> Option<Location> {
        self.sources.get(object).map(|source| source.locate(path, Place::Value))
    }

    /// The file that an object stands in, a line of its document, and its path there (`items[3].` in a list).
    pub fn place(&self, object: &ObjectReference) -> Option<ObjectPlace> {
        let source = self.sources.get(object)?;
        let Location { file, line, .. } = source.locate("", Place::Value);
        let prefix = source.prefix();
        let dot = if prefix.is_empty() { "" } else { "." };
        Some(ObjectPlace { file, line, prefix: format!("{prefix}{dot}") })
    }

    /// The text of a file as it may be shown: nothing of a Secret is in it.
    pub fn text_of(&self, file: &str) -> Option<&str> {
        self.readings.get(file)?.text.as_deref()
    }

    /// The names of all files that were read, valid or not.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.readings.keys().map(|file| &**file)
    }

    /// Whether a document names this object, valid or not.
    pub fn names(&self, object: &ObjectReference) -> bool {
        self.sources.contains_key(object)
    }

    pub(super) fn is_unsettled(&self) -> bool {
        !self.unknown.unsettled.is_empty()
    }

    pub(super) fn source(&self, object: &ObjectReference) -> Option<&Source> {
        self.sources.get(object)
    }

    fn add_obstacles(&mut self, listing: &Listing) {
        for obstacle in &listing.obstacles {
            let file = if obstacle.name.is_empty() { ".".to_owned() } else { obstacle.name.clone() };
            if obstacle.folder {
                let slash = if obstacle.name.is_empty() { "" } else { "/" };
                self.unknown.folders.push(format!("{}{slash}", obstacle.name));
            } else {
                self.unknown.files.insert(obstacle.name.as_str().into());
            }
            self.rejections.push(Rejection {
                object: None,
                code: Code::InvalidDocument,
                message: obstacle.error.to_string(),
                location: Location { file, line: 1, column: 1 },
            });
        }
    }

    fn add(&mut self, readings: Vec<Arc<Reading>>) {
        for reading in readings {
            match &reading.outcome {
                Ok(entries) => {
                    for entry in entries {
                        self.add_entry(&entry.finding, &entry.source);
                    }
                }
                Err(failure) => {
                    self.unknown.files.insert(Arc::clone(&reading.file));
                    self.rejections.push(Rejection {
                        object: None,
                        code: Code::InvalidDocument,
                        message: failure.message.clone(),
                        location: failure.location.clone(),
                    });
                }
            }
            self.readings.insert(Arc::clone(&reading.file), reading);
        }
    }

    fn add_entry(&mut self, finding: &Finding, source: &Source) {
        match finding {
            Finding::Foreign(what) => {
                let location = source.locate("", Place::Value);
                self.ignored.push(Ignored { location, what: what.clone() });
            }
            Finding::Invalid { reference, code, problems } => {
                for problem in problems {
                    self.rejections.push(Rejection {
                        object: reference.clone(),
                        code: *code,
                        message: problem.to_string(),
                        location: source.locate(&problem.path, problem.place),
                    });
                }
                match reference {
                    Some(reference) => drop(self.is_first(reference, source)),
                    None => drop(self.unknown.files.insert(Arc::clone(source.file()))),
                }
            }
            Finding::Valid(valid) => {
                if !self.is_first(&valid.reference, source) {
                    return;
                }
                if matches!(valid.content, Content::Unlabelled) {
                    let what = format!("{}, which has no label {}", valid.reference, crate::api::common::USE_LABEL);
                    self.ignored.push(Ignored { location: source.locate("", Place::Value), what });
                }
                self.objects.insert(valid.reference.clone(), valid.content.clone());
            }
        }
    }

    /// Whether this is the first document that names the object. It decides; each further one is told.
    fn is_first(&mut self, reference: &ObjectReference, source: &Source) -> bool {
        let Some(first) = self.sources.get(reference) else {
            self.sources.insert(reference.clone(), source.clone());
            return true;
        };
        let first = first.locate("metadata.name", Place::Value);
        self.rejections.push(Rejection {
            object: Some(reference.clone()),
            code: Code::DuplicateObject,
            message: format!("{reference} stands in {first} too, which is used: keep one of the two"),
            location: source.locate("metadata.name", Place::Value),
        });
        false
    }
}

/// The object with its UID and generation.
pub(super) fn identified(typed: &Typed, uid: Uuid, generation: i64) -> Typed {
    macro_rules! identified {
        ($($variant:ident),+) => {
            match typed {
                $(Typed::$variant(object) => {
                    let mut object = object.as_ref().clone();
                    object.metadata.uid = Some(uid.to_string());
                    object.metadata.generation = Some(generation);
                    Typed::$variant(Arc::new(object))
                })+
            }
        };
    }
    identified!(DataAdapter, Gateway, App, Activation)
}

/// Puts an object into the bag.
pub(super) fn place(reference: &ObjectReference, typed: &Typed, resources: &mut Resources) {
    let key = reference.key.clone();
    match typed {
        Typed::DataAdapter(object) => drop(resources.data_adapters.insert(key, Arc::clone(object))),
        Typed::Gateway(object) => drop(resources.gateways.insert(key, Arc::clone(object))),
        Typed::App(object) => drop(resources.apps.insert(key, Arc::clone(object))),
        Typed::Activation(object) => drop(resources.activations.insert(key, Arc::clone(object))),
    }
}
