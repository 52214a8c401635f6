//! `hearthgate new secret`.

use std::path::PathBuf;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use serde_json::{Value, json};

use super::super::members::members;
use super::{NewError, read_file};
use crate::api::common::{ALLOWED_HOSTS_ANNOTATION, USE_LABEL};
use crate::snapshot::resources::SecretUse;

/// Write a Secret with the label without which it is never read. Its value comes from a file, from standard input, or is
/// random; never from the command line, where histories and process lists show it.
///
/// The value stands in the output: pipe it into what seals it (kubeseal, sops, kubectl apply), not into git.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate new secret letters-client --random | kubectl apply -f -\n  pass show ehr/athena | hearthgate new secret athena-client --from-file - --allowed-host api.athenahealth.com | kubeseal"
)]
pub(super) struct NewSecret {
    /// Name of the Secret
    name: String,
    /// Name of its entry
    #[arg(long, default_value = "secret")]
    key: String,
    /// Read the value from this file, `-` for standard input; line breaks at its end are left out
    #[arg(long, value_name = "FILE", required_unless_present = "random")]
    from_file: Option<PathBuf>,
    /// Make a random client secret (256 bits) for an app of yours
    #[arg(long, conflicts_with = "from_file")]
    random: bool,
    /// The only host that it may be sent to, for what an EHR gave; repeatable
    #[arg(long = "allowed-host", value_name = "HOST")]
    allowed_hosts: Vec<String>,
    /// Namespace [default: none, so that the file goes wherever it is applied]
    #[arg(short, long)]
    namespace: Option<String>,
}

impl NewSecret {
    pub(super) fn object(&self) -> Result<Value, NewError> {
        let value = match &self.from_file {
            Some(path) => {
                let text = read_file(path)?;
                let text = text.trim_end_matches(['\r', '\n']).to_owned();
                if text.chars().count() < 16 {
                    return Err(NewError::TooShort { path: path.display().to_string() });
                }
                text
            }
            None => random()?,
        };
        let hosts = Some(self.allowed_hosts.join(",")).filter(|hosts| !hosts.is_empty());
        let metadata = members([
            ("name", json!(self.name)),
            ("namespace", json!(self.namespace)),
            ("labels", json!({ USE_LABEL: SecretUse::Credential.as_str() })),
            ("annotations", json!(hosts.map(|hosts| json!({ ALLOWED_HOSTS_ANNOTATION: hosts })))),
        ]);
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "stringData": { self.key.clone(): value },
        }))
    }
}

fn random() -> Result<String, NewError> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NewError::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
