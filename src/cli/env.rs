//! `hearthgate env`: what an app must be configured with.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::desk::{Desk, DeskOptions};
use super::members::members;
use super::{Outcome, print_document};
use crate::api::activation::Connection;
use crate::api::{AppSpec, ClientType};
use crate::console::snippets;

/// Print what the app's developer configures: client ID, issuer, token URL, FHIR base, scopes, and how the app proves who
/// it is.
///
/// A secret is never in it, only the name of the Secret that holds it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate env schedule-sync-at-epic > .env\n  hearthgate env schedule-sync-at-epic -o configmap | kubectl apply -f -\n  hearthgate env schedule-sync-at-epic -o curl\n  hearthgate env schedule-sync-at-epic -f examples/quickstart --public-url https://fhir.example.org"
)]
pub(super) struct Env {
    #[command(flatten)]
    desk: DeskOptions,
    /// How to print
    #[arg(short, long, value_enum, default_value = "dotenv")]
    output: Output,
    /// What the names of variables begin with
    #[arg(long, default_value = "SMART_")]
    prefix: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// Lines for a .env file
    Dotenv,
    /// A ConfigMap, for envFrom
    Configmap,
    /// The first calls, to try it out
    Curl,
    /// For programs
    Json,
}

/// There is nothing to connect to.
#[derive(Debug, thiserror::Error)]
#[error("activation {0} has no URLs yet: `hearthgate status {0}` says why")]
struct Unconnected(String);

/// How an app proves who it is at our token endpoint.
enum Proof<'spec> {
    /// It does not: a public client.
    Nothing,
    /// By a secret, in this Secret's entry.
    Secret { name: &'spec str, key: &'spec str },
    /// By a key of its own.
    Key { published_at: Option<&'spec str> },
}

impl Env {
    pub(super) fn run(self) -> Outcome {
        let desk = self.desk.open()?;
        let connection = desk.status.connection.clone().ok_or_else(|| Unconnected(desk.key.name.clone()))?;
        let settings = Settings { desk: &desk, connection: &connection, proof: Proof::of(&desk.app.spec) };
        let text = match self.output {
            Output::Dotenv => settings.dotenv(&self.prefix),
            Output::Configmap => serde_yaml::to_string(&settings.config_map(&self.prefix))?,
            Output::Curl => settings.curl(),
            Output::Json => format!("{:#}\n", settings.json()),
        };
        print_document(text.as_bytes())?;
        if let Some(note) = &desk.note {
            anstream::eprintln!("note: {note}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl<'spec> Proof<'spec> {
    fn of(spec: &'spec AppSpec) -> Self {
        if spec.client_type == ClientType::Public {
            return Self::Nothing;
        }
        match spec.client_secrets.as_deref().unwrap_or_default() {
            // Of two, the second is the one that the app moves to.
            [.., newest] => Self::Secret { name: &newest.secret_ref.name, key: &newest.secret_ref.key },
            [] => Self::Key { published_at: spec.jwks_uri.as_ref().map(|uri| uri.0.as_str()) },
        }
    }

    /// The name that discovery documents have for it.
    const fn method(&self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Secret { .. } => "client_secret_basic",
            Self::Key { .. } => "private_key_jwt",
        }
    }

    /// Where the app gets what it proves itself with.
    fn source(&self, namespace: &str) -> String {
        match self {
            Self::Nothing => "no secret: a public client, which uses PKCE (S256)".to_owned(),
            Self::Secret { name, key } => {
                format!("the client secret is entry {key} of Secret {name} in namespace {namespace}")
            }
            Self::Key { published_at: Some(uri) } => {
                format!("sign with the app's own private key, whose public half is at {uri}")
            }
            Self::Key { published_at: None } => {
                "sign with the app's own private key, whose public half is in the App's spec.jwks".to_owned()
            }
        }
    }

    fn json(&self, namespace: &str) -> Value {
        match self {
            Self::Nothing => Value::Null,
            Self::Secret { name, key } => json!({
                "secretRef": { "namespace": namespace, "name": name, "key": key }
            }),
            Self::Key { published_at } => json!({ "privateKeyOf": published_at.unwrap_or("spec.jwks") }),
        }
    }
}

struct Settings<'desk> {
    desk: &'desk Desk,
    connection: &'desk Connection,
    proof: Proof<'desk>,
}

impl Settings<'_> {
    fn namespace(&self) -> &str {
        &self.desk.key.namespace
    }

    fn scopes(&self) -> String {
        self.connection.granted_scopes.join(" ")
    }

    fn title(&self) -> String {
        let Desk { activation, key, .. } = self.desk;
        let (app, gateway) = (&activation.app.key.name, &activation.gateway.key.name);
        format!("App {app} on Gateway {gateway} (activation {key})")
    }

    /// Names without a prefix, and values.
    fn variables(&self) -> Vec<(&'static str, String)> {
        let Connection { client_id, fhir_base_url, token_url, authorization_url, .. } = self.connection;
        let redirects = self.desk.app.spec.redirect_uris.iter().flatten();
        let redirects: Vec<&str> = redirects.map(|uri| uri.0.as_str()).collect();
        let all = [
            ("CLIENT_ID", Some(client_id.clone())),
            ("ISSUER", self.desk.gateway.url.clone()),
            ("TOKEN_URL", Some(token_url.clone())),
            ("AUTHORIZATION_URL", authorization_url.clone()),
            ("REDIRECT_URIS", Some(redirects.join(" ")).filter(|uris| !uris.is_empty())),
            ("FHIR_BASE_URL", Some(fhir_base_url.clone())),
            ("SCOPES", Some(self.scopes())),
            ("TOKEN_ENDPOINT_AUTH_METHOD", Some(self.proof.method().to_owned())),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    fn dotenv(&self, prefix: &str) -> String {
        let lines = self.variables().into_iter().map(|(name, value)| format!("{prefix}{name}={}\n", quoted(&value)));
        let lines: String = lines.collect();
        format!("# {}\n{lines}# {}\n", self.title(), self.proof.source(self.namespace()))
    }

    fn config_map(&self, prefix: &str) -> Value {
        let data = self.variables().into_iter().map(|(name, value)| (format!("{prefix}{name}"), Value::from(value)));
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": format!("{}-env", self.desk.key.name),
                "namespace": self.namespace(),
                "annotations": { "kubernetes.io/description": self.proof.source(self.namespace()) },
            },
            "data": data.collect::<serde_json::Map<_, _>>(),
        })
    }

    fn json(&self) -> Value {
        members([
            ("activation", json!(self.desk.key)),
            ("clientId", json!(self.connection.client_id)),
            ("issuer", json!(self.desk.gateway.url)),
            ("tokenUrl", json!(self.connection.token_url)),
            ("authorizationUrl", json!(self.connection.authorization_url)),
            ("fhirBaseUrl", json!(self.connection.fhir_base_url)),
            ("smartConfigurationUrl", json!(self.desk.gateway.smart_configuration_url)),
            ("redirectUris", json!(self.desk.app.spec.redirect_uris.as_deref().unwrap_or_default())),
            ("scopes", json!(self.connection.granted_scopes)),
            ("tokenEndpointAuthMethod", json!(self.proof.method())),
            ("credential", self.proof.json(self.namespace())),
        ])
    }

    /// A token and a first call. Where a user must log in first, the discovery that a SMART client begins with.
    fn curl(&self) -> String {
        let fhir = &self.connection.fhir_base_url;
        let title = self.title();
        let source = self.proof.source(self.namespace());
        let Some(token) = snippets::token(&self.desk.app.spec, self.connection).into_iter().next() else {
            return format!(
                "# {title}\n# {source}\n# Tokens of this app begin with a user: a SMART client starts from here.\n\
                 curl --silent {fhir}/.well-known/smart-configuration\n"
            );
        };
        let secret = match &self.proof {
            Proof::Secret { name, key } => format!(
                "CLIENT_SECRET=$(kubectl get secret {name} -n {} -o go-template='{{{{index .data \"{key}\" | base64decode}}}}')\n",
                self.namespace()
            ),
            Proof::Nothing | Proof::Key { .. } => String::new(),
        };
        format!(
            "# {title}\n# {source}\n{secret}{}\n# Then, with the access_token of the answer:\n\
             curl --silent --header \"Authorization: Bearer $TOKEN\" {fhir}/metadata\n",
            token.text
        )
    }
}

/// As shells and the common readers of .env files take it: in double quotes where it holds more than plain characters.
fn quoted(value: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?@%+,=".contains(&byte);
    if value.bytes().all(is_plain) {
        return value.to_owned();
    }
    let escaped: String = value
        .chars()
        .flat_map(|character| {
            matches!(character, '"' | '\\' | '$' | '`').then_some('\\').into_iter().chain([character])
        })
        .collect();
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::quoted;
    use rstest::rstest;

    #[rstest]
    #[case::plain("https://fhir.example.org/a?b=c", "https://fhir.example.org/a?b=c")]
    #[case::scopes("system/Patient.rs system/Slot.r", "\"system/Patient.rs system/Slot.r\"")]
    #[case::what_a_shell_would_run("a$(b)`c`\"\\", "\"a\\$(b)\\`c\\`\\\"\\\\\"")]
    #[case::a_comment("a#b", "\"a#b\"")]
    fn a_value_stays_what_it_is_in_a_shell(#[case] value: &str, #[case] expected: &str) {
        assert_eq!(quoted(value), expected);
    }
}
