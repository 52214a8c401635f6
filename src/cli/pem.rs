//! `hearthgate pem`: the certificate to register at an EHR.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::completions;
use super::live::LiveOptions;
use super::{Outcome, block_on};
use crate::api::ActivationStatus;
use crate::snapshot::Kind;

/// Print the X.509 certificate (PEM) of an activation's newest key, for EHRs that take an uploaded file.
///
/// Where the EHR takes a JWK Set URL, give it that instead: `hearthgate jwks --url`. The fingerprint goes to standard
/// error, so that two people can compare it by telephone.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hearthgate pem schedule-sync-at-epic --output schedule-sync.pem")]
pub(super) struct Pem {
    /// The activation.
    #[arg(add = ArgValueCandidates::new(completions::activations))]
    activation: String,
    /// Write to this file instead of standard output.
    #[arg(short, long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    live: LiveOptions,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
enum PemError {
    /// None yet, or a brought key without one.
    #[error(
        "activation {0} has no certificate: its method has no key, the key is not made yet, or a key of your own came without one"
    )]
    None(String),
    /// The file cannot be written.
    #[error("cannot write {path}: {error}")]
    Write { path: PathBuf, error: std::io::Error },
}

impl Pem {
    pub(super) fn run(self) -> Outcome {
        let status = block_on(self.live.status())??;
        let live = self.live.find(&status, &[Kind::Activation], &self.activation)?;
        let activation: ActivationStatus = live.status_as();
        let pem = activation.certificate_pem.ok_or(PemError::None(self.activation))?;
        match self.output {
            Some(path) => std::fs::write(&path, &pem).map_err(|error| PemError::Write { path, error })?,
            None => print!("{pem}"),
        }
        let newest = activation.keys.last().and_then(|key| key.certificate_fingerprint.as_deref());
        if let Some(fingerprint) = newest {
            anstream::eprintln!("SHA-256 fingerprint: {fingerprint}");
        }
        Ok(ExitCode::SUCCESS)
    }
}
