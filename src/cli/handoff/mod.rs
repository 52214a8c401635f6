//! `hearthgate handoff`: the message that a hospital's EHR team needs.

mod letter;
mod vendor;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use self::letter::{Block, Letter, Part};
use super::desk::{Desk, DeskOptions};
use super::{Outcome, print_document};
use crate::api::activation::{KeyState, KeyStatus};
use crate::snapshot::EhrAuthentication;
use crate::snapshot::activation::{TokenUrl, UserCredential};
use crate::values::scope::{Permissions, Scope, ScopeSet};

/// Write the message to the hospital's EHR team: what to register, where, and how to check that the key is the right one.
///
/// It is ready to be pasted into an e-mail and holds nothing secret. The certificate stands at its end, or goes into a
/// file to attach (--pem).
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate handoff schedule-sync-at-epic\n  hearthgate handoff schedule-sync-at-epic --contact 'Platform Team <fhir@example.org>' --pem schedule-sync.pem\n  hearthgate handoff schedule-sync-at-epic -o markdown > handoff.md"
)]
pub(super) struct HandoffCommand {
    #[command(flatten)]
    desk: DeskOptions,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    /// Whom to answer [default: whoever sent the message]
    #[arg(long, value_name = "WHOM")]
    contact: Option<String>,
    /// Write the certificate to this file, and name it as an attachment
    #[arg(long, value_name = "FILE")]
    pem: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// For an e-mail
    Text,
    /// For a ticket or a wiki
    Markdown,
}

/// The certificate's file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {error}", path = .path.display())]
struct Unwritten {
    path: PathBuf,
    error: std::io::Error,
}

impl HandoffCommand {
    pub(super) fn run(self) -> Outcome {
        let desk = self.desk.open()?;
        if let (Some(path), Some(pem)) = (&self.pem, &desk.status.certificate_pem) {
            std::fs::write(path, pem).map_err(|error| Unwritten { path: path.clone(), error })?;
        }
        let letter = Handoff { desk: &desk, contact: self.contact.as_deref(), pem: self.pem.as_deref() }.letter();
        let text = match self.output {
            Output::Text => letter.text(),
            Output::Markdown => letter.markdown(),
        };
        print_document(text.as_bytes())?;
        if asks_for_key(&desk) && desk.status.keys.is_empty() {
            anstream::eprintln!("note: the key is not made yet, so its fingerprint is missing; ask a server that runs");
        }
        if let Some(note) = &desk.note {
            anstream::eprintln!("note: {note}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn asks_for_key(desk: &Desk) -> bool {
    desk.activation.ehr_authentication.key_pair().is_some()
}

/// What is to be told.
struct Handoff<'desk> {
    desk: &'desk Desk,
    contact: Option<&'desk str>,
    pem: Option<&'desk std::path::Path>,
}

type Fact = (&'static str, String);

impl Handoff<'_> {
    fn letter(&self) -> Letter {
        let Desk { activation, .. } = self.desk;
        let ehr = &activation.gateway.data_adapter.display_name;
        let (app, method) = (self.app_name(), &activation.ehr_authentication);
        let vendor = vendor::guide(activation.gateway.data_adapter.data_source_type, method);
        let mut parts = vec![Part::new("What to register", self.what())];
        parts.push(Part::new("Where", vec![Block::Steps(vendor)]));
        if let Some(key) = self.key() {
            parts.push(Part::new("How to check that the key is ours", self.checks(key)));
        }
        parts.push(Part::new("When it is done", vec![Block::Steps(self.after())]));
        if let Some(pem) = self.desk.status.certificate_pem.as_ref().filter(|_| self.pem.is_none()) {
            let about =
                "Only where your system takes a file instead of a URL. It holds the public key and nothing secret.";
            parts.push(Part::new(
                "Certificate",
                vec![Block::Text(about.to_owned()), Block::Code(pem.trim_end().to_owned())],
            ));
        }
        let asks = match method {
            EhrAuthentication::User(_) => "Users of yours log in at your EHR, and the app then acts for them.",
            EhrAuthentication::None => "Your FHIR server is open to us as it stands, so there is nothing to register.",
            EhrAuthentication::BackendAuth(_)
            | EhrAuthentication::ClientCredentials(_)
            | EhrAuthentication::Basic(_) => "It works by itself, without a user who logs in.",
        };
        Letter {
            subject: format!("Access of the app {app} to {ehr}"),
            opening: format!("Hello,\n\nplease let the app \"{app}\" use the FHIR API of {ehr}. {asks}"),
            parts,
        }
    }

    /// The vendor's name of the app, where it has one of its own.
    fn app_name(&self) -> String {
        let system = self.desk.spec.spec.ehr_authentication.system.as_ref();
        let own = system.and_then(|system| system.backend_auth.as_ref()?.app_name.clone());
        own.unwrap_or_else(|| self.desk.activation.app.display_name.clone())
    }

    /// The newest key that is of use: what must be registered from now on.
    fn key(&self) -> Option<&KeyStatus> {
        self.desk.status.keys.iter().rev().find(|key| matches!(key.state, KeyState::Pending | KeyState::Signing))
    }

    fn what(&self) -> Vec<Block> {
        let Desk { activation, status, .. } = self.desk;
        let adapter = &activation.gateway.data_adapter;
        let method = &activation.ehr_authentication;
        let mut facts: Vec<Fact> = vec![("App", self.app_name())];
        if let Some(description) = &self.desk.app.spec.description {
            facts.push(("Purpose", description.clone()));
        }
        let client_id =
            || method.client_id().map_or_else(|| "please tell us the one that you give it".to_owned(), str::to_owned);
        let mut scopes = String::new();
        match method {
            EhrAuthentication::BackendAuth(auth) => {
                facts.push(("Client ID", client_id()));
                facts.push((
                    "Signs in with",
                    format!("a signed JWT, {} (SMART Backend Services, private_key_jwt)", auth.pair.kind.algorithm()),
                ));
                scopes.clone_from(&auth.scopes);
                facts.push(endpoint(&auth.token_url, adapter));
                facts.extend(auth.audience.clone().map(|audience| ("Audience (aud)", audience)));
            }
            EhrAuthentication::ClientCredentials(auth) => {
                facts.push(("Client ID", client_id()));
                facts.push(("Signs in with", "a client secret of yours (OAuth 2.0 client credentials)".to_owned()));
                scopes.clone_from(&auth.scopes);
                facts.push(endpoint(&auth.token_url, adapter));
            }
            EhrAuthentication::Basic(_) => {
                facts.push(("Signs in with", "a user and a password of yours (HTTP Basic)".to_owned()));
            }
            EhrAuthentication::None => {}
            EhrAuthentication::User(auth) => {
                facts.push(("Client ID", client_id()));
                facts.push(("Signs in with", proof(&auth.credential)));
                facts.extend(status.callback_url.clone().map(|url| ("Redirect URI", url)));
                facts.extend(status.launch_url.clone().map(|url| ("Launch URL", url)));
                scopes = auth.scopes.clone().unwrap_or_else(|| activation.ceiling.to_string());
                facts.push(endpoint(&auth.token_url, adapter));
            }
        }
        facts.extend(status.jwks_url.clone().map(|url| ("JWK Set URL", url)));
        if status.certificate_pem.is_some() {
            let place = self.pem.map_or_else(
                || "at the end of this message".to_owned(),
                |path| format!("attached as {}", path.display()),
            );
            facts.push(("Certificate (PEM)", format!("{place}; only if a URL cannot be given")));
        }
        facts.push(("FHIR base", adapter.fhir_base.as_str().to_owned()));
        if !scopes.is_empty() {
            facts.push(("Scopes", scopes));
        }
        let apis = apis(&activation.ceiling);
        if !apis.is_empty() {
            facts.push(("FHIR APIs", apis.join("\n")));
        }
        facts.extend(self.private_apis());
        vec![Block::Facts(facts)]
    }

    fn private_apis(&self) -> Option<Fact> {
        let activation = &self.desk.activation;
        let auth = activation.gateway.data_adapter.external_auth.as_ref()?;
        activation.ceiling.covers(&Scope::PrivateApi).then(|| {
            let endpoint = auth.api_endpoint.as_str();
            ("Other APIs", format!("{endpoint}, with a user and a password of yours (HTTP Basic)"))
        })
    }

    fn checks(&self, key: &KeyStatus) -> Vec<Block> {
        let mut blocks = vec![Block::Text(
            "Please compare these with what you have registered, and with us by telephone if in doubt: both are safe to read out."
                .to_owned(),
        )];
        let mut facts: Vec<Fact> = Vec::new();
        if let Some(fingerprint) = &key.certificate_fingerprint {
            facts.push(("Certificate, SHA-256", fingerprint.clone()));
        }
        facts.push(("Key, RFC 7638 (kid)", key.thumbprint.clone()));
        blocks.push(Block::Facts(facts));
        let file = self.pem.map_or_else(|| format!("{}.pem", self.desk.key.name), |path| path.display().to_string());
        let mut commands = Vec::new();
        if key.certificate_fingerprint.is_some() {
            commands.push(format!("openssl x509 -in {file} -noout -fingerprint -sha256"));
        }
        if let Some(url) = &self.desk.status.jwks_url {
            commands.push(format!("curl -s {url} | jq -r '.keys[].kid'"));
        }
        blocks.push(Block::Code(commands.join("\n")));
        blocks
    }

    fn after(&self) -> Vec<String> {
        let Desk { activation, status, .. } = self.desk;
        let answer = match self.contact {
            Some(contact) => format!("Please answer to {contact}"),
            None => "Please answer this message".to_owned(),
        };
        let method = &activation.ehr_authentication;
        let mut wanted = Vec::new();
        if matches!(method, EhrAuthentication::BackendAuth(_)) && method.client_id().is_none() {
            wanted.push("the client ID");
        }
        if matches!(method, EhrAuthentication::ClientCredentials(_) | EhrAuthentication::Basic(_)) {
            wanted.push("the secret (by a way of its own, never by e-mail)");
        }
        if matches!(method, EhrAuthentication::BackendAuth(_) | EhrAuthentication::ClientCredentials(_)) {
            wanted.push("the token URL, if it is not the one above");
        }
        wanted.push("when it takes effect");
        let last = wanted.pop().unwrap_or_default();
        let others = if wanted.is_empty() { String::new() } else { format!("{} and ", wanted.join(", ")) };
        let mut steps = vec![format!("{answer}, and tell us {others}{last}.")];
        if method.key_pair().is_some() && status.jwks_url.is_some() {
            steps.push(
                "The key will change from time to time. With the URL you need do nothing then; with a file we will send the next one."
                    .to_owned(),
            );
        }
        steps
    }
}

fn endpoint(url: &TokenUrl, adapter: &crate::snapshot::DataAdapter) -> Fact {
    let text = match url {
        TokenUrl::Given(url) => url.as_str().to_owned(),
        TokenUrl::Discovered => {
            format!("as {}/.well-known/smart-configuration says", adapter.fhir_base.without_slash())
        }
    };
    ("Token URL", text)
}

fn proof(credential: &UserCredential) -> String {
    match credential {
        UserCredential::Public => "PKCE (S256), without a secret: a public client".to_owned(),
        UserCredential::Secret { .. } => "a client secret of yours, and PKCE (S256)".to_owned(),
        UserCredential::KeyPair { pair, .. } => {
            format!("a signed JWT, {} (private_key_jwt), and PKCE (S256)", pair.kind.algorithm())
        }
    }
}

/// What is done with each type of resource, a line each.
fn apis(scopes: &ScopeSet) -> Vec<String> {
    let words = |permissions: Permissions| {
        let words: Vec<&str> = permissions.each().map(word).collect();
        words.join(", ")
    };
    let mut by_type: std::collections::BTreeMap<&str, Permissions> = std::collections::BTreeMap::new();
    for scope in scopes.resources() {
        let name = scope.resource_type.as_deref().unwrap_or("every type");
        let known = by_type.entry(name).or_default();
        *known = known.union(scope.permissions);
    }
    by_type.into_iter().map(|(name, permissions)| format!("{name}: {}", words(permissions))).collect()
}

fn word(permission: Permissions) -> &'static str {
    match permission {
        Permissions::CREATE => "create",
        Permissions::READ => "read",
        Permissions::UPDATE => "update",
        Permissions::DELETE => "delete",
        _ => "search",
    }
}
