//! `hearthgate new app`.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::super::members::members;
use super::{object, secret_reference};

/// Write an App: who it is, how it proves that, and what it asks for.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate new app letters --scope system/Patient.rs --jwks-uri https://letters.example.org/jwks.json\n  hearthgate new app portal --type confidential --redirect-uri https://portal.example.org/callback --scope launch --scope patient/Patient.rs --secret portal-client"
)]
pub(super) struct NewApp {
    /// The App ID: the object's name
    name: String,
    /// What kind of client it is
    #[arg(long = "type", value_enum, default_value = "backend-service")]
    client_type: ClientType,
    /// A SMART scope that it asks for; repeatable
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Where it publishes its public keys: the best way
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
    /// Or the Secret with its client secret, and the entry (default: secret)
    #[arg(long, value_name = "NAME[/KEY]", conflicts_with = "jwks_uri")]
    secret: Option<String>,
    /// Name shown to people
    #[arg(long)]
    display_name: Option<String>,
    /// What it does
    #[arg(long)]
    description: Option<String>,
    /// A client ID of its own, instead of the one that follows from its name
    #[arg(long)]
    client_id: Option<String>,
    /// Where users may be sent back to; repeatable
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<String>,
    /// Where an EHR starts it
    #[arg(long, value_name = "URL")]
    launch_uri: Option<String>,
    /// Polled to tell whether it is healthy
    #[arg(long, value_name = "URL")]
    health_uri: Option<String>,
    /// Namespace [default: none, so that the file goes wherever it is applied]
    #[arg(short, long)]
    namespace: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ClientType {
    /// Runs on a user's device and keeps no secret
    Public,
    /// Has a server that keeps its credentials
    Confidential,
    /// No user at all: OAuth2 client credentials
    BackendService,
}

impl NewApp {
    pub(super) fn object(&self) -> Value {
        let client_type = match self.client_type {
            ClientType::Public => "Public",
            ClientType::Confidential => "Confidential",
            ClientType::BackendService => "BackendService",
        };
        let secret = self.secret.as_deref().map(|secret| json!([{ "secretRef": secret_reference(secret) }]));
        let spec = members([
            ("displayName", json!(self.display_name)),
            ("description", json!(self.description)),
            ("clientId", json!(self.client_id)),
            ("clientType", json!(client_type)),
            ("scopes", json!(self.scopes)),
            ("jwksUri", json!(self.jwks_uri)),
            ("clientSecrets", json!(secret)),
            ("redirectUris", json!(self.redirect_uris)),
            ("launchUri", json!(self.launch_uri)),
            ("healthUri", json!(self.health_uri)),
        ]);
        object("App", &self.name, self.namespace.as_deref(), &spec)
    }
}
