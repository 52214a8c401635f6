//! Files compiled once, without a cluster or a server: what `plan`, `why` and `access` look at.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;

use super::live::{LiveError, LiveOptions};
use super::told;
use crate::api::activation::KeyPair;
use crate::control::Serving;
use crate::control::findings::Findings;
use crate::control::pass::pass;
use crate::control::sink::Recorded;
use crate::snapshot::live::LiveStatus;
use crate::snapshot::{
    Compiled, ObjectKey, ObjectReference, Platform, Published, Report, Resources, Snapshot, compile,
};
use crate::source::Loaded;
use crate::source::loaded;

/// Files and directories to look at.
#[derive(Clone, Debug, Args)]
pub(super) struct Paths {
    /// Files or directories; `-` is standard input [default: the directory that --server serves]
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

/// Files, compiled.
pub(super) struct Offline {
    pub(super) loaded: Loaded,
    pub(super) resources: Resources,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) reports: Vec<Report>,
    /// Secrets that are in no file, and taken for granted.
    pub(super) assumed: Vec<ObjectReference>,
}

impl Paths {
    /// The paths that were given; without any, the directory that a standalone server serves, and what it tells.
    pub(super) async fn or_served(self, live: &LiveOptions) -> Result<(Vec<PathBuf>, Option<LiveStatus>), LiveError> {
        let given: Vec<PathBuf> = self.paths.into_iter().chain(self.file).collect();
        if !given.is_empty() {
            return Ok((given, None));
        }
        let status = live.status().await?;
        Ok((status.directory.clone().into_iter().collect(), Some(status)))
    }
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
        Ok(Self::compile(loaded::read(paths), platform))
    }

    /// The same, as it would be taken over where `old` is in force: an edit that an API server refuses changes nothing.
    pub(super) fn read_after(paths: &[PathBuf], platform: &Platform, old: &Self) -> Result<Self, PathUnreadable> {
        readable(paths)?;
        let mut loaded = loaded::read(paths);
        loaded.succeed(&old.loaded);
        Ok(Self::compile(loaded, platform))
    }

    fn compile(loaded: Loaded, platform: &Platform) -> Self {
        let mut resources = loaded.resources();
        let assumed = resources.assume_credentials(|object| loaded.names(object));
        let (snapshot, reports) = compile(&resources, platform);
        Self { loaded, resources, snapshot: Arc::new(snapshot), reports, assumed }
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
        let published = Published {
            snapshot: Arc::clone(&self.snapshot),
            reports: self.reports.clone(),
            rejections: self.resources.rejections.clone(),
        };
        let pass = pass(&published, &Findings::default(), &Serving::Here, &Recorded::default(), now);
        told::live(None, Some(&published), &pass.recorded.objects)
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

    fn key_pair(&self, activation: &ObjectKey) -> Option<(&KeyPair, &'static str)> {
        let method = &self.resources.activations.get(activation)?.spec.ehr_authentication;
        let system = method.system.as_ref().and_then(|system| system.backend_auth.as_ref());
        let user = method.user.as_ref().and_then(|user| user.key_pair.as_ref());
        system
            .map(|own| (&own.key_pair, "spec.ehrAuthentication.system.backendAuth.keyPair"))
            .or_else(|| Some((user?, "spec.ehrAuthentication.user.keyPair")))
    }

    /// What was taken for granted, in one line.
    pub(super) fn assumption(&self) -> Option<String> {
        if self.assumed.is_empty() {
            return None;
        }
        let names: Vec<String> = self.assumed.iter().map(|object| object.key.to_string()).collect();
        Some(format!("taken for granted, since no file holds them: Secrets {}", names.join(", ")))
    }
}
