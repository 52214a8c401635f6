//! An installation compiled once, without serving it: files, or what a cluster or a server holds. What `plan`, `why`,
//! `access` and `rotate` look at.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::known::{self, Known};
use super::live::{LiveOptions, Place};
use super::platform::PlatformOptions;
use super::progress::Bar;
use super::told;
use crate::api::activation::KeyPair;
use crate::control::Serving;
use crate::control::findings::Findings;
use crate::control::pass::pass;
use crate::control::sink::Recorded;
use crate::snapshot::live::LiveStatus;
use crate::snapshot::{
    Compiled, Kind, ObjectKey, ObjectReference, Platform, Published, Report, Resources, Snapshot, compile,
};
use crate::source::Loaded;
use crate::source::kubernetes::listing::Listed;
use crate::source::loaded;
use crate::source::schema::DEFAULT_NAMESPACE;

/// Files and directories to look at.
#[derive(Clone, Debug, Args)]
pub(super) struct Paths {
    /// Files or directories; `-` is standard input [default: what the cluster or the server holds]
    #[arg(value_name = "PATH", conflicts_with = "file")]
    paths: Vec<PathBuf>,
    /// The same, as an option; repeatable
    #[arg(short, long, value_name = "PATH")]
    file: Vec<PathBuf>,
}

/// A path that is not there.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {error}", path = .path.display())]
pub(super) struct PathUnreadable {
    path: PathBuf,
    error: std::io::Error,
}

/// Objects, compiled.
pub(super) struct Offline {
    pub(super) loaded: Loaded,
    pub(super) resources: Resources,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) reports: Vec<Report>,
    /// Secrets that are in no file, and taken for granted.
    pub(super) assumed: Vec<ObjectReference>,
    /// What a cluster has shown; of files, nothing.
    known: Arc<Known>,
}

/// What was compiled, and what a running installation tells of it.
pub(super) struct Looked {
    pub(super) offline: Offline,
    /// `None`: files were looked at.
    pub(super) live: Option<LiveStatus>,
    /// The files; of a cluster none.
    pub(super) paths: Vec<PathBuf>,
}

impl Paths {
    /// Looks at the paths that were given; without any, at what the cluster or the standalone server holds.
    pub(super) async fn look(self, live: &LiveOptions, platform: &PlatformOptions) -> Result<Looked, Box<dyn Error>> {
        let paths: Vec<PathBuf> = self.paths.into_iter().chain(self.file).collect();
        if !paths.is_empty() {
            let offline = Offline::read(&paths, &platform.offline()?)?;
            return Ok(Looked { offline, live: None, paths });
        }
        match live.place() {
            Place::Cluster => {
                let listed = live.list().await?;
                let known = Known::of_cluster(&listed);
                let platform = platform.beside(&known)?;
                let offline = Offline::of_cluster(&listed, known, &platform);
                let objects = listed.into_iter().map(|own| own.live).collect();
                let status = LiveStatus { objects, ..LiveStatus::default() };
                Ok(Looked { offline, live: Some(status), paths })
            }
            Place::Server(_) => {
                let status = live.status().await?;
                let known = Known { public_url: known::public_url(status.objects.iter()), ..Known::default() };
                let paths: Vec<PathBuf> = status.directory.clone().into_iter().collect();
                let offline = Offline::read(&paths, &platform.beside(&known)?)?;
                Ok(Looked { offline, live: Some(status), paths })
            }
        }
    }
}

/// Reads files, with a sign of life where there are many. Objects without a namespace are in this one.
pub(super) fn load(namespace: &str, paths: &[PathBuf]) -> Loaded {
    let bar = Bar::of("files");
    loaded::read_in(namespace, paths, |left| bar.left(left))
}

/// Whether all paths are there.
pub(super) fn readable(paths: &[PathBuf]) -> Result<(), PathUnreadable> {
    for path in paths.iter().filter(|path| path.as_path() != Path::new("-")) {
        std::fs::metadata(path).map_err(|error| PathUnreadable { path: path.clone(), error })?;
    }
    Ok(())
}

impl Offline {
    /// Reads and compiles. Secrets that are in no file are taken for granted.
    pub(super) fn read(paths: &[PathBuf], platform: &Platform) -> Result<Self, PathUnreadable> {
        readable(paths)?;
        Ok(Self::compile(load(DEFAULT_NAMESPACE, paths), platform, Arc::default()))
    }

    /// Compiles what a cluster holds. Its Secrets are not read: those that something refers to are taken for granted.
    /// Each object stands in a text of its own, as it would be applied.
    pub(super) fn of_cluster(listed: &[Listed], known: Known, platform: &Platform) -> Self {
        // Plain data: writing it as YAML cannot fail.
        let text = |own: &Listed| serde_yaml::to_string(&own.document).unwrap_or_default();
        let texts = listed.iter().map(|own| (own.live.object.to_string(), text(own)));
        Self::compile(loaded::read_texts(texts), platform, Arc::new(known))
    }

    /// What was read, as it would be taken over where `old` is in force: an edit that an API server refuses changes
    /// nothing.
    pub(super) fn after(mut loaded: Loaded, platform: &Platform, old: &Self) -> Self {
        loaded.succeed(&old.loaded);
        Self::compile(loaded, platform, Arc::clone(&old.known))
    }

    fn compile(loaded: Loaded, platform: &Platform, known: Arc<Known>) -> Self {
        let mut resources = loaded.resources();
        give_ages(&mut resources, &known);
        let assumed = resources.assume_credentials(|object| loaded.names(object));
        let (snapshot, reports) = if known.resolved.is_empty() {
            compile(&resources, platform)
        } else {
            compile(&without_unseen(&resources, &known), platform)
        };
        Self { loaded, resources, snapshot: Arc::new(snapshot), reports, assumed, known }
    }

    /// What questions are asked about.
    pub(super) fn compiled(&self) -> Compiled<'_> {
        Compiled {
            resources: &self.resources,
            snapshot: &self.snapshot,
            reports: &self.reports,
            assumed: &self.assumed,
        }
    }

    /// What a server of these files would tell before it has asked anybody anything. Keys are those that the files hold.
    pub(super) fn told(&self, now: Timestamp) -> LiveStatus {
        let published =
            Published::new(Arc::clone(&self.snapshot), self.reports.clone(), self.resources.rejections.clone());
        let pass = pass(&published, &Findings::default(), &Serving::Here, &Recorded::default(), now);
        told::live(None, Some(&published), &pass.recorded.objects, &LiveStatus::default())
    }

    /// The key pair that an activation asks for.
    pub(super) fn pair_of(&self, activation: &ObjectKey) -> Option<ObjectKey> {
        let (pair, _) = self.key_pair(activation)?;
        Some(activation.sibling(pair.name.as_deref().unwrap_or(&activation.name)))
    }

    /// The field of an activation that asks for a key pair.
    pub(super) fn key_pair_field(&self, activation: &ObjectKey) -> Option<&'static str> {
        self.key_pair(activation).map(|(_, field)| field)
    }

    /// Whether an activation brings a key of its own.
    pub(super) fn brings_key(&self, activation: &ObjectKey) -> bool {
        self.key_pair(activation).is_some_and(|(pair, _)| pair.secret_ref.is_some())
    }

    fn key_pair(&self, activation: &ObjectKey) -> Option<(&KeyPair, &'static str)> {
        let method = &self.resources.activations.get(activation)?.spec.ehr_authentication;
        let system = method.system.as_ref().and_then(|system| system.backend_auth.as_ref());
        let user = method.user.as_ref().and_then(|user| user.key_pair.as_ref());
        system
            .map(|own| (&own.key_pair, "spec.ehrAuthentication.system.backendAuth.keyPair"))
            .or_else(|| Some((user?, "spec.ehrAuthentication.user.keyPair")))
    }

    /// What deploys an object of a cluster from git, and would take back what is changed there by hand.
    pub(super) fn deployed_by(&self, object: &ObjectReference) -> Option<&'static str> {
        self.known.deployed_by.get(object).copied()
    }

    /// What was taken for granted, in one line. Nobody expects to find a cluster's Secrets in files.
    pub(super) fn assumption(&self) -> Option<String> {
        if self.assumed.is_empty() || !self.known.ages.is_empty() {
            return None;
        }
        let names: Vec<String> = self.assumed.iter().map(|object| object.key.to_string()).collect();
        Some(format!("taken for granted, since no file holds them: Secrets {}", names.join(", ")))
    }
}

/// Objects that are in the cluster are as old as they are there.
fn give_ages(resources: &mut Resources, known: &Known) {
    if known.ages.is_empty() {
        return;
    }
    let age = |kind: Kind, key: &ObjectKey, metadata: &mut ObjectMeta| {
        metadata.creation_timestamp = known.ages.get(&ObjectReference::new(kind, key.clone())).cloned();
    };
    for (key, own) in &mut resources.data_adapters {
        age(Kind::DataAdapter, key, &mut Arc::make_mut(own).metadata);
    }
    for (key, own) in &mut resources.gateways {
        age(Kind::Gateway, key, &mut Arc::make_mut(own).metadata);
    }
    for (key, own) in &mut resources.apps {
        age(Kind::App, key, &mut Arc::make_mut(own).metadata);
    }
    for (key, own) in &mut resources.activations {
        age(Kind::Activation, key, &mut Arc::make_mut(own).metadata);
    }
}

/// The same without the certificates and keys of one's own that a cluster has found in order. They cannot be seen from
/// here, and decide about no request.
fn without_unseen(resources: &Resources, known: &Known) -> Resources {
    let mut seen = resources.clone();
    let is_resolved = |kind, key: &ObjectKey| known.resolved.contains(&ObjectReference::new(kind, key.clone()));
    for (key, own) in &mut seen.data_adapters {
        if own.spec.tls.is_some() && is_resolved(Kind::DataAdapter, key) {
            Arc::make_mut(own).spec.tls = None;
        }
    }
    for (key, own) in &mut seen.activations {
        if !is_resolved(Kind::Activation, key) {
            continue;
        }
        let method = &mut Arc::make_mut(own).spec.ehr_authentication;
        let system = method.system.as_mut().and_then(|system| system.backend_auth.as_mut());
        let user = method.user.as_mut().and_then(|user| user.key_pair.as_mut());
        for pair in system.map(|own| &mut own.key_pair).into_iter().chain(user) {
            pair.secret_ref = None;
        }
    }
    seen
}
