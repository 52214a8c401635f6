//! `hearthgate token`: a real access token, by the app's own client credentials.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCandidates;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::completions;
use super::live::{LiveOptions, client};
use super::{Outcome, block_on};
use crate::api::ActivationStatus;
use crate::snapshot::live::{LiveObject, LiveStatus};
use crate::snapshot::resources::SecretUse;
use crate::snapshot::{Kind, ObjectKey, ObjectReference};
use crate::source::loaded;

/// Get an access token for an app at a gateway, as the app would: with its client secret, at the token endpoint.
///
/// The secret is read where the app's clientSecrets point, in the directory that the server serves (or in -f), or from
/// a file. The token goes to standard output, what it is worth to standard error.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  TOKEN=$(hearthgate token schedule-sync)\n  hearthgate token schedule-sync --gateway epic --scope 'system/Patient.rs' -o json\n  pass show schedule-sync | hearthgate token schedule-sync --secret-file -"
)]
pub(super) struct Token {
    /// The app.
    #[arg(add = ArgValueCandidates::new(completions::apps))]
    app: String,
    /// The gateway [default: the only one that the app is activated on]
    #[arg(short, long)]
    gateway: Option<String>,
    /// Scopes to ask for [default: all that may be granted]
    #[arg(long)]
    scope: Option<String>,
    /// Read the client secret from this file, `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    secret_file: Option<PathBuf>,
    /// Read the Secret objects from this file or directory [default: the directory that the server serves]
    #[arg(short, long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Print the token alone, or the whole answer
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    live: LiveOptions,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
enum TokenError {
    /// The app has no activation.
    #[error("app {app} is not activated{}; `hearthgate status {app}` shows where it is", at(.gateway.as_ref()))]
    NotActivated { app: String, gateway: Option<String> },
    /// It has several.
    #[error("app {app} is activated on several gateways ({}): choose one with --gateway", .gateways.join(", "))]
    Ambiguous { app: String, gateways: Vec<String> },
    /// The activation has a fault.
    #[error("activation {0} cannot be used yet: `hearthgate status {0}` says why")]
    Unconnected(String),
    /// The secret is nowhere.
    #[error("the client secret of app {app} is not in {place}: give it with --secret-file")]
    NoSecret { app: String, place: String },
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    SecretFile { path: PathBuf, error: std::io::Error },
    /// The token endpoint says no.
    #[error("{url} answered {status}: {error}")]
    Refused { url: String, status: u16, error: String },
}

fn at(gateway: Option<&String>) -> String {
    gateway.map(|gateway| format!(" on gateway {gateway}")).unwrap_or_default()
}

impl Token {
    pub(super) fn run(self) -> Outcome {
        block_on(async {
            let status = self.live.status().await?;
            let app = self.live.find(&status, &[Kind::App], &self.app)?;
            let activation = self.activation(&status, &app.object)?;
            let connection = activation
                .status_as::<ActivationStatus>()
                .connection
                .ok_or_else(|| TokenError::Unconnected(activation.object.key.name.clone()))?;
            let secret = self.secret(&status, &app.object.key)?;
            let mut form = vec![("grant_type", "client_credentials")];
            form.extend(self.scope.as_deref().map(|scope| ("scope", scope)));
            let request = client()?
                .post(&connection.token_url)
                .basic_auth(&connection.client_id, Some(secret.expose_secret()))
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish());
            let response = request.send().await?;
            let status = response.status();
            let answer: Value = response.json().await?;
            if !status.is_success() {
                let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                let error = format!("{} {}", text("error"), text("error_description"));
                return Err(TokenError::Refused { url: connection.token_url, status: status.as_u16(), error }.into());
            }
            self.print(&answer);
            Ok(ExitCode::SUCCESS)
        })?
    }

    fn print(&self, answer: &Value) {
        match self.output {
            Output::Json => println!("{answer:#}"),
            Output::Text => {
                let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
                let seconds = answer.get("expires_in").and_then(Value::as_u64).unwrap_or_default();
                println!("{}", text("access_token"));
                anstream::eprintln!("for {seconds} seconds: {}", text("scope"));
            }
        }
    }

    fn activation<'status>(
        &self,
        status: &'status LiveStatus,
        app: &ObjectReference,
    ) -> Result<&'status LiveObject, TokenError> {
        let gateway_of = |live: &LiveObject| {
            live.reference(Kind::Gateway).map(|gateway| gateway.key.name.clone()).unwrap_or_default()
        };
        let found: Vec<_> = status
            .objects
            .iter()
            .filter(|live| live.object.kind == Kind::Activation && live.references.contains(app))
            .filter(|live| self.gateway.as_ref().is_none_or(|gateway| gateway_of(live) == *gateway))
            .collect();
        match found.as_slice() {
            [one] => Ok(one),
            [] => Err(TokenError::NotActivated { app: self.app.clone(), gateway: self.gateway.clone() }),
            several => Err(TokenError::Ambiguous {
                app: self.app.clone(),
                gateways: several.iter().map(|live| gateway_of(live)).collect(),
            }),
        }
    }

    fn secret(&self, status: &LiveStatus, app: &ObjectKey) -> Result<SecretString, TokenError> {
        if let Some(path) = &self.secret_file {
            return read_secret(path).map_err(|error| TokenError::SecretFile { path: path.clone(), error });
        }
        let place = self.file.as_ref().or(status.directory.as_ref());
        let missing = || TokenError::NoSecret {
            app: self.app.clone(),
            place: place.map_or_else(|| "any known place".into(), |path| path.display().to_string()),
        };
        let resources = loaded::read(&[place.ok_or_else(missing)?.clone()]).resources();
        let reference = resources.apps.get(app).and_then(|app| app.spec.client_secrets.as_ref()?.first());
        let reference = &reference.ok_or_else(missing)?.secret_ref;
        let secret = resources.secrets.get(&app.sibling(&reference.name)).ok_or_else(missing)?;
        let bytes = secret.data.get(&reference.key).filter(|_| secret.usage == SecretUse::Credential);
        let text = bytes.and_then(|bytes| bytes.expose_str().ok()).ok_or_else(missing)?;
        Ok(SecretString::from(text.trim_end_matches(['\r', '\n'])))
    }
}

fn read_secret(path: &Path) -> std::io::Result<SecretString> {
    let text = if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        text
    } else {
        std::fs::read_to_string(path)?
    };
    Ok(SecretString::from(text.trim_end_matches(['\r', '\n'])))
}
