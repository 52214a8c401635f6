//! `hearthgate rotate`: the change that rotates a key.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use similar::TextDiff;

use super::completions;
use super::live::{LiveError, LiveOptions};
use super::offline::{Looked, Offline, Paths};
use super::platform::PlatformOptions;
use super::{Outcome, block_on};
use crate::api;
use crate::snapshot::{Kind, ObjectKey, ObjectReference};
use crate::source::edit::{self, EditError};

/// Rotate a key pair that faces an EHR, or a gateway's own signing keys: raise its revision by one.
///
/// Prints the change; with --write it is made in the file, where comments and layout stay as they are. Of a cluster, the
/// call of kubectl is printed; with --write the object is patched, unless Argo CD or Flux deploy it from git. Nothing is
/// replaced: the next key is made and published beside the old one, and signing moves over once the EHR accepts it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate rotate schedule-sync-at-epic examples/quickstart\n  hearthgate rotate schedule-sync-at-epic environments --write\n  hearthgate rotate epic environments | git apply\n  hearthgate rotate schedule-sync-at-epic --context production -n north"
)]
pub(super) struct Rotate {
    /// An activation, a key pair (keyPair.name) or a gateway
    #[arg(add = ArgValueCandidates::new(completions::rotatable))]
    name: String,
    #[command(flatten)]
    paths: Paths,
    /// Change the files, or the cluster's objects
    #[arg(short, long)]
    write: bool,
    #[command(flatten)]
    platform: PlatformOptions,
    #[command(flatten)]
    live: LiveOptions,
}

/// Why nothing is rotated.
#[derive(Debug, thiserror::Error)]
enum RotateError {
    #[error("there is no activation, key pair or gateway {name}{elsewhere}")]
    NotFound { name: String, elsewhere: &'static str },
    #[error("{name} names several things ({}): choose a namespace with -n", .found.join(", "))]
    Ambiguous { name: String, found: Vec<String> },
    #[error(
        "{0} is an App: its client secrets are its own. Add a second entry to clientSecrets, move the app over, then remove the first"
    )]
    App(ObjectReference),
    #[error("{0} has no key: its EHR authentication uses none")]
    NoKey(ObjectReference),
    #[error("{0} brings its own key: put the next one into another Secret and change keyPair.secretRef")]
    Brought(ObjectReference),
    #[error(
        "{tool} deploys {object} from git, and would take the change back: make it there (hearthgate rotate with a path)"
    )]
    Deployed { object: ObjectReference, tool: &'static str },
    #[error("{0} comes from standard input, which cannot be edited: name its file")]
    NoFile(ObjectReference),
    #[error("{path}: {error}", path = .path.display())]
    Io { path: PathBuf, error: std::io::Error },
    #[error("{file}: {error}")]
    Edit { file: String, error: EditError },
}

/// One field of one object that gets another number.
struct Raise {
    object: ObjectReference,
    field: String,
    revision: u32,
}

impl Raise {
    /// The change as a merge patch (RFC 7396).
    fn patch(&self) -> Value {
        self.field.rsplit('.').fold(self.revision.into(), |inner, name| json!({ name: inner }))
    }

    fn resource(&self) -> ApiResource {
        if self.object.kind == Kind::Gateway {
            ApiResource::erase::<api::Gateway>(&())
        } else {
            ApiResource::erase::<api::Activation>(&())
        }
    }

    /// The kind in the words of kubectl.
    fn plural(&self) -> String {
        let resource = self.resource();
        format!("{}.{}", resource.plural, resource.group)
    }
}

impl Rotate {
    pub(super) fn run(self) -> Outcome {
        let looked = block_on(self.paths.clone().look(&self.live, &self.platform))??;
        let raises = self.raises(&looked)?;
        if looked.paths.is_empty() {
            block_on(self.in_cluster(&looked.offline, &raises))??;
        } else {
            self.in_files(&looked.offline, &raises)?;
        }
        for raise in &raises {
            anstream::eprintln!("{}: revision {}", raise.object, raise.revision);
        }
        anstream::eprintln!("{}", self.what_follows(&raises));
        Ok(ExitCode::SUCCESS)
    }

    fn in_files(&self, offline: &Offline, raises: &[Raise]) -> Result<(), RotateError> {
        let files = edited(offline, raises)?;
        for (file, (before, after)) in &files {
            if self.write {
                fs::write(file, after).map_err(|error| RotateError::Io { path: file.into(), error })?;
                anstream::eprintln!("changed {file}");
            } else {
                let diff = TextDiff::from_lines(before, after);
                let name = in_patch(Path::new(file), std::env::current_dir().ok().as_deref());
                print!("{}", diff.unified_diff().header(&format!("a/{name}"), &format!("b/{name}")));
            }
        }
        Ok(())
    }

    /// Prints what kubectl would have to do, or does it.
    async fn in_cluster(&self, offline: &Offline, raises: &[Raise]) -> Result<(), Box<dyn Error>> {
        if !self.write {
            for raise in raises {
                let key = &raise.object.key;
                println!(
                    "kubectl{} patch {} {} -n {} --type merge -p '{}'",
                    self.live.for_kubectl(),
                    raise.plural(),
                    key.name,
                    key.namespace,
                    raise.patch()
                );
            }
            return Ok(());
        }
        for raise in raises {
            if let Some(tool) = offline.deployed_by(&raise.object) {
                return Err(RotateError::Deployed { object: raise.object.clone(), tool }.into());
            }
        }
        let client = self.live.connect().await?;
        for raise in raises {
            let resource = raise.resource();
            let objects: Api<DynamicObject> =
                Api::namespaced_with(client.clone(), &raise.object.key.namespace, &resource);
            objects
                .patch(&raise.object.key.name, &PatchParams::default(), &Patch::Merge(raise.patch()))
                .await
                .map_err(|error| LiveError::Change { object: raise.object.to_string(), failure: error.into() })?;
        }
        Ok(())
    }

    fn what_follows(&self, raises: &[Raise]) -> String {
        let commit = if self.write { "Commit it" } else { "Apply and commit it" };
        match raises.first().map(|raise| raise.object.kind) {
            Some(Kind::Gateway) => format!(
                "{commit}: tokens are signed with the new key once every replica has it; those of the old one stay good."
            ),
            _ => format!(
                "{commit}: the new key is made and published beside the old one. Where the EHR took a PEM, upload the new one \
                 (hearthgate pem); signing moves over once the EHR accepts it (hearthgate status)."
            ),
        }
    }

    /// What is to be raised: of a shared pair, the revision in every activation, so that the files agree.
    fn raises(&self, looked: &Looked) -> Result<Vec<Raise>, RotateError> {
        let offline = &looked.offline;
        let resources = &offline.resources;
        let named = |key: &&ObjectKey| {
            key.name == self.name && self.live.namespace().is_none_or(|namespace| key.namespace == namespace)
        };
        let mut pairs: BTreeSet<ObjectKey> = offline.snapshot.key_pairs.keys().filter(named).cloned().collect();
        let mut keyless = None;
        for key in resources.activations.keys().filter(named) {
            match offline.pair_of(key) {
                Some(pair) => drop(pairs.insert(pair)),
                None => keyless = Some(ObjectReference::new(Kind::Activation, key.clone())),
            }
        }
        let gateways: Vec<&ObjectKey> = resources.gateways.keys().filter(named).collect();
        let pairs: Vec<&ObjectKey> = pairs.iter().collect();
        match (pairs.as_slice(), gateways.as_slice()) {
            ([pair], []) => self.of_pair(looked, pair),
            ([], [gateway]) => Ok(of_gateway(offline, gateway).into_iter().collect()),
            ([], []) => Err(match (keyless, resources.apps.keys().find(named)) {
                (Some(object), _) => RotateError::NoKey(object),
                (None, Some(app)) => RotateError::App(ObjectReference::new(Kind::App, app.clone())),
                (None, None) => self.not_found(looked),
            }),
            (pairs, gateways) => {
                let pairs = pairs.iter().map(|key| format!("key pair {key}"));
                let gateways = gateways.iter().map(|key| format!("Gateway {key}"));
                Err(RotateError::Ambiguous { name: self.name.clone(), found: pairs.chain(gateways).collect() })
            }
        }
    }

    fn not_found(&self, looked: &Looked) -> RotateError {
        let elsewhere = if looked.live.is_some() { self.live.elsewhere() } else { " in these files" };
        RotateError::NotFound { name: self.name.clone(), elsewhere }
    }

    fn of_pair(&self, looked: &Looked, key: &ObjectKey) -> Result<Vec<Raise>, RotateError> {
        let offline = &looked.offline;
        let pair = offline.snapshot.key_pairs.get(key).ok_or_else(|| self.not_found(looked))?;
        let revision = pair.wanted.revision.saturating_add(1);
        let sharing = offline.resources.activations.keys().filter(|own| offline.pair_of(own).as_ref() == Some(key));
        let raises: Vec<Raise> = sharing
            .filter_map(|own| {
                let object = ObjectReference::new(Kind::Activation, own.clone());
                Some(Raise { object, field: format!("{}.revision", offline.key_pair_field(own)?), revision })
            })
            .collect();
        match raises.first() {
            Some(first) if offline.brings_key(&first.object.key) => Err(RotateError::Brought(first.object.clone())),
            _ => Ok(raises),
        }
    }
}

/// Every file that changes, before and after.
fn edited(offline: &Offline, raises: &[Raise]) -> Result<BTreeMap<String, (String, String)>, RotateError> {
    let mut files: BTreeMap<String, (String, String)> = BTreeMap::new();
    for raise in raises {
        let place = offline.loaded.place(&raise.object).filter(|place| place.file != "-");
        let place = place.ok_or_else(|| RotateError::NoFile(raise.object.clone()))?;
        let path = PathBuf::from(&place.file);
        let (_, after) = match files.entry(path.display().to_string()) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                let text = fs::read_to_string(&path).map_err(|error| RotateError::Io { path: path.clone(), error })?;
                new.insert((text.clone(), text))
            }
        };
        let path_in_document = format!("{}{}", place.prefix, raise.field);
        *after = edit::set_number(after, place.line, &path_in_document, raise.revision)
            .map_err(|error| RotateError::Edit { file: place.file, error })?;
    }
    Ok(files)
}

/// A file's name as patches have it, after `a/` and `b/`: from where the command runs, else from the root, without a
/// leading slash or dot.
fn in_patch(file: &Path, here: Option<&Path>) -> String {
    let below = here.and_then(|here| file.strip_prefix(here).ok()).unwrap_or(file);
    let named = |component: &Component<'_>| !matches!(component, Component::RootDir | Component::CurDir);
    below.components().filter(named).collect::<PathBuf>().display().to_string()
}

fn of_gateway(offline: &Offline, key: &ObjectKey) -> Option<Raise> {
    let gateway = offline.resources.gateways.get(key)?;
    let revision = gateway.spec.signing_keys.revision.saturating_add(1);
    let object = ObjectReference::new(Kind::Gateway, key.clone());
    Some(Raise { object, field: "spec.signingKeys.revision".to_owned(), revision })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rstest::rstest;

    use super::in_patch;

    #[rstest]
    #[case::as_it_was_typed("environments/sync.yaml", "environments/sync.yaml")]
    #[case::from_here("./sync.yaml", "sync.yaml")]
    #[case::of_a_server_that_serves_what_is_here("/home/me/environments/sync.yaml", "environments/sync.yaml")]
    #[case::of_a_server_that_serves_something_else("/srv/environments/sync.yaml", "srv/environments/sync.yaml")]
    #[case::beside("../sync.yaml", "../sync.yaml")]
    fn a_patch_names_its_file_as_git_does(#[case] file: &str, #[case] expected: &str) {
        assert_eq!(in_patch(Path::new(file), Some(Path::new("/home/me"))), expected);
    }
}
