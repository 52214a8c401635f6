//! `hearthgate new`: YAML to commit.

mod activation;
mod app;
mod secret;

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::members::members;
use super::{Outcome, input};
use crate::api::common::{GROUP, VERSION};
use crate::source::reading::{self, Finding};

/// Write the YAML of a new object, to be committed. It is judged by the same rules as by `check` before it is printed.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate new app letters --scope system/Patient.rs --jwks-uri https://letters.example.org/jwks.json > letters.yaml\n  hearthgate new activation letters epic --client-id 7b0f6e0e-9d4d-4c55-8a4b-5f4f3b0c9a11 >> letters.yaml\n  hearthgate new secret letters-client --random | kubeseal"
)]
pub(super) struct New {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    App(app::NewApp),
    Activation(activation::NewActivation),
    Secret(secret::NewSecret),
}

/// Why there is no YAML.
#[derive(Debug, thiserror::Error)]
enum NewError {
    /// An API server would refuse it.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
    /// A file cannot be read.
    #[error("cannot read {path}: {error}")]
    File { path: String, error: std::io::Error },
    /// The system has no random bytes to give.
    #[error("the system gives no random bytes")]
    Random,
    /// Too short for a secret.
    #[error("what {path} holds is too short for a client secret: 16 characters at least (--random makes a good one)")]
    TooShort { path: String },
}

impl New {
    pub(super) fn run(self) -> Outcome {
        let text = match self.kind {
            Kind::App(own) => yaml(&own.object())?,
            Kind::Activation(own) => yaml(&own.object())?,
            Kind::Secret(own) => yaml(&own.object()?)?,
        };
        judge(&text)?;
        print!("---\n{text}");
        Ok(ExitCode::SUCCESS)
    }
}

fn yaml(object: &Value) -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(object)
}

/// Says no to what an API server would refuse.
fn judge(text: &str) -> Result<(), NewError> {
    let entries = match reading::read("", text).outcome {
        Ok(entries) => entries,
        Err(failure) => return Err(NewError::Invalid(vec![failure.message])),
    };
    let problems: Vec<String> = entries
        .into_iter()
        .flat_map(|entry| match entry.finding {
            Finding::Valid(_) | Finding::Foreign(_) => Vec::new(),
            Finding::Invalid { problems, .. } => problems.iter().map(ToString::to_string).collect(),
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(NewError::Invalid(problems)) }
}

/// Name, namespace and kind; without a namespace the file goes wherever it is applied.
fn object(kind: &str, name: &str, namespace: Option<&str>, spec: &Value) -> Value {
    let metadata = members([("name", json!(name)), ("namespace", json!(namespace))]);
    json!({ "apiVersion": format!("{GROUP}/{VERSION}"), "kind": kind, "metadata": metadata, "spec": spec })
}

/// `NAME` or `NAME/KEY`, as a reference to a Secret's entry.
fn secret_reference(text: &str) -> Value {
    let (name, key) = text.split_once('/').unwrap_or((text, "secret"));
    json!({ "name": name, "key": key })
}

fn read_file(path: &Path) -> Result<String, NewError> {
    input::text(path).map_err(|error| NewError::File { path: path.display().to_string(), error })
}
