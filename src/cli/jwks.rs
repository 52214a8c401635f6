//! `hearthgate jwks`: the public keys to register at an EHR, and those of an app's own key to register here.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::completions;
use super::live::{ANSWER_WITHIN, LiveOptions, Place, client};
use super::{Outcome, block_on};
use crate::api::ActivationStatus;
use crate::snapshot::Kind;
use crate::values::causes::with_causes;
use crate::values::key::{Algorithm, Certificate, KeyProblem, SigningKey};

/// Print the JWK Set of an activation's key pair as the EHR fetches it, or its URL; or, of an app's own private key, the
/// JWK Set for spec.jwks.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate jwks schedule-sync-at-epic --url\n  hearthgate jwks schedule-sync-at-epic\n  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out private.pem\n  hearthgate jwks --key-file private.pem"
)]
pub(super) struct Jwks {
    /// The activation.
    #[arg(required_unless_present = "key_file", add = ArgValueCandidates::new(completions::activations))]
    activation: Option<String>,
    /// Print the public half of this private key (PKCS#8 PEM) instead, for an App's jwks
    #[arg(long, value_name = "FILE", conflicts_with_all = ["activation", "url"])]
    key_file: Option<PathBuf>,
    /// Only the URL that the EHR must be given.
    #[arg(long)]
    url: bool,
    #[command(flatten)]
    live: LiveOptions,
}

/// Why there is no key set.
#[derive(Debug, thiserror::Error)]
enum JwksError {
    /// The method has no key.
    #[error("activation {0} has no key pair: its method needs none")]
    None(String),
    /// The public listener does not answer as an EHR would find it.
    #[error("{url} answered {status}: this is what the EHR would see, too")]
    Unserved { url: String, status: u16 },
    /// It cannot be reached from here; an EHR may be nearer.
    #[error("cannot reach {url} from here")]
    Unreachable {
        url: String,
        #[source]
        error: reqwest::Error,
    },
    /// The certificate holds no key that signs assertions.
    #[error("the certificate {0}")]
    Certificate(KeyProblem),
    /// The key's file cannot be read.
    #[error("cannot read {path}: {error}")]
    File { path: PathBuf, error: std::io::Error },
    /// It holds no key that signs assertions.
    #[error("{path} {problem}")]
    Key { path: PathBuf, problem: KeyProblem },
}

impl Jwks {
    pub(super) fn run(self) -> Outcome {
        if let Some(path) = &self.key_file {
            println!("{:#}", of_key(path)?);
            return Ok(ExitCode::SUCCESS);
        }
        block_on(async {
            let status = self.live.status().await?;
            let activation = self.activation.unwrap_or_default();
            let live = self.live.find(&status, &[Kind::Activation], &activation)?;
            let url = live.status_as::<ActivationStatus>().jwks_url.ok_or(JwksError::None(activation))?;
            if self.url {
                println!("{url}");
                return Ok(ExitCode::SUCCESS);
            }
            let served = fetch(&url).await;
            let newest = live.status_as::<ActivationStatus>().certificate_pem;
            let set = match (served, newest, self.live.place()) {
                (Ok(set), ..) => set,
                (Err(error @ JwksError::Unreachable { .. }), Some(pem), Place::Cluster) => {
                    anstream::eprintln!("{}; this is the newest key, as its certificate has it", with_causes(&error));
                    of_certificate(&pem)?
                }
                (Err(error), ..) => return Err(error.into()),
            };
            println!("{set:#}");
            Ok(ExitCode::SUCCESS)
        })?
    }
}

/// The key set as an EHR gets it.
async fn fetch(url: &str) -> Result<Value, JwksError> {
    let unreachable = |error| JwksError::Unreachable { url: url.to_owned(), error };
    let response = client(ANSWER_WITHIN).map_err(unreachable)?.get(url).send().await.map_err(unreachable)?;
    if !response.status().is_success() {
        return Err(JwksError::Unserved { url: url.to_owned(), status: response.status().as_u16() });
    }
    response.json().await.map_err(unreachable)
}

/// The public half of a certificate's key.
fn of_certificate(pem: &str) -> Result<Value, JwksError> {
    let certificate = Certificate::from_pem(pem.as_bytes()).map_err(JwksError::Certificate)?;
    let key = certificate.public();
    let algorithm = [Algorithm::Rs384, Algorithm::Es384].into_iter().find(|algorithm| algorithm.fits(key.kind()));
    Ok(json!({ "keys": algorithm.map(|algorithm| key.jwk(algorithm)).into_iter().collect::<Vec<_>>() }))
}

fn of_key(path: &Path) -> Result<Value, JwksError> {
    let pem = std::fs::read(path).map_err(|error| JwksError::File { path: path.to_owned(), error })?;
    let key = SigningKey::from_pem(&Zeroizing::new(pem), &[Algorithm::Rs384, Algorithm::Es384, Algorithm::Es256])
        .map_err(|problem| JwksError::Key { path: path.to_owned(), problem })?;
    Ok(json!({ "keys": [key.jwk()] }))
}
