//! `hearthgate token`: a real access token, by the app's own credentials.

mod cause;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize as _;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use self::cause::Shown;
use super::completions;
use super::live::{ANSWER_WITHIN, LiveError, LiveOptions, Place, client};
use super::output::Output;
use super::{Outcome, block_on, input};
use crate::api::{ActivationStatus, AppSpec};
use crate::protocol::oauth::client_assertion;
use crate::snapshot::live::{LiveObject, LiveStatus};
use crate::snapshot::resources::SecretUse;
use crate::snapshot::{Kind, ObjectKey, ObjectReference};
use crate::source::loaded;
use crate::values::key::{Algorithm, KeyProblem, SignError, SigningKey};

/// Get an access token for an app at a gateway, as the app would: at the token endpoint, with an assertion that its
/// private key signs (--key-file), or with its client secret.
///
/// The secret is read where the app's clientSecrets point, in the directory that the server serves (or in -f), or from
/// a file; in a cluster from a file or standard input. The token goes to standard output, what it is worth to standard error.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  TOKEN=$(hearthgate token schedule-sync)\n  hearthgate token schedule-sync --key-file private.pem --kid 2026-07\n  hearthgate token schedule-sync --gateway epic --scope 'system/Patient.rs' -o json\n  pass show schedule-sync | hearthgate token schedule-sync --secret-file -"
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
    /// Sign with this private key (PKCS#8 PEM, RSA or EC), whose public half is in the app's jwks or jwksUri
    #[arg(long, value_name = "FILE", conflicts_with_all = ["secret_file", "file"])]
    key_file: Option<PathBuf>,
    /// The key's `kid` in the app's key set [default: none, which will do where one key alone fits]
    #[arg(long, requires = "key_file")]
    kid: Option<String>,
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
    /// A cluster's Secrets are for those who may read them.
    #[error(
        "give the client secret of app {app} with --secret-file, `-` for standard input: a cluster's Secrets are not read. \
         Whoever may read it says: {command}"
    )]
    SecretInCluster { app: String, command: String },
    /// The secret is nowhere.
    #[error("the client secret of app {app} is not in {place}: give it with --secret-file")]
    NoSecret { app: String, place: String },
    /// It has none.
    #[error("app {0} has no client secret: it proves who it is with a key of its own, which --key-file names")]
    NeedsKey(String),
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    SecretFile { path: PathBuf, error: std::io::Error },
    /// The key cannot sign.
    #[error("{path} {problem}")]
    Key { path: PathBuf, problem: KeyProblem },
    /// The signature could not be made.
    #[error("the assertion could not be signed: {0}")]
    Sign(#[from] SignError),
    /// The token endpoint says no.
    #[error("{url} answered {status}: {error}{}", likely_because(.cause.as_ref()))]
    Refused { url: String, status: u16, error: String, cause: Option<String> },
}

fn at(gateway: Option<&String>) -> String {
    gateway.map(|gateway| format!(" on gateway {gateway}")).unwrap_or_default()
}

fn likely_because(cause: Option<&String>) -> String {
    cause.map(|cause| format!("\nlikely because {cause}")).unwrap_or_default()
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
            let mut form = vec![("grant_type", "client_credentials".to_owned())];
            form.extend(self.scope.clone().map(|scope| ("scope", scope)));
            let mut request = client(ANSWER_WITHIN)?.post(&connection.token_url);
            let shown = if let Some(path) = &self.key_file {
                let key = signing_key(path)?;
                let assertion = self.assertion(&key, &connection.client_id, &connection.token_url)?;
                form.push(("client_assertion_type", client_assertion::TYPE.to_owned()));
                form.push(("client_assertion", assertion));
                Shown::Key { path, key, kid: self.kid.as_deref() }
            } else {
                let secret = match (self.live.place(), &self.secret_file, &self.file) {
                    (Place::Cluster, None, None) => return Err(self.secret_in_cluster(&app.object).await?.into()),
                    _ => self.secret(&status, &app.object.key)?,
                };
                request = request.basic_auth(&connection.client_id, Some(secret.expose_secret()));
                Shown::Secret { place: self.secret_place(&status) }
            };
            let request = request
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish());
            let response = request.send().await?;
            let code = response.status();
            let answer: Value = response.json().await?;
            if !code.is_success() {
                let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                let error = format!("{} {}", text("error"), text("error_description"));
                let cause = match text("error").as_str() {
                    "invalid_client" => self
                        .written(&status, &app.object)
                        .await
                        .map(|written| cause::likely(&written, &app.object.key.namespace, &shown)),
                    _ => None,
                };
                return Err(
                    TokenError::Refused { url: connection.token_url, status: code.as_u16(), error, cause }.into()
                );
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

    /// A minute is long enough for one request.
    fn assertion(&self, key: &SigningKey, client_id: &str, token_url: &str) -> Result<String, TokenError> {
        let mut header =
            Map::from_iter([("alg".to_owned(), key.algorithm().as_str().into()), ("typ".to_owned(), "JWT".into())]);
        header.extend(self.kid.as_deref().map(|kid| ("kid".to_owned(), kid.into())));
        let claims = json!({"iss": client_id, "sub": client_id, "aud": token_url,
            "exp": Timestamp::now().as_second() + 60, "jti": Uuid::new_v4().to_string()});
        let signed = [Value::from(header), claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = URL_SAFE_NO_PAD.encode(key.sign_bytes(signed.as_bytes())?);
        Ok(format!("{signed}.{signature}"))
    }

    /// How somebody who may read the Secret hands it over.
    async fn secret_in_cluster(&self, app: &ObjectReference) -> Result<TokenError, LiveError> {
        let listed = self.live.list().await?;
        let of_app = listed.iter().find(|own| own.live.object == *app);
        let text = |pointer: &str| of_app.and_then(|own| own.document.pointer(pointer)).and_then(Value::as_str);
        if of_app.is_some_and(|own| own.document.pointer("/spec/clientSecrets/0").is_none()) {
            return Ok(TokenError::NeedsKey(self.app.clone()));
        }
        let name = text("/spec/clientSecrets/0/secretRef/name").unwrap_or("NAME");
        let entry = text("/spec/clientSecrets/0/secretRef/key").unwrap_or("KEY");
        let (kubectl, namespace) = (self.live.for_kubectl(), &app.key.namespace);
        let command = format!(
            "kubectl{kubectl} get secret {name} -n {namespace} -o go-template='{{{{index .data \"{entry}\" | base64decode}}}}' \
             | hearthgate token {} --secret-file -",
            self.app
        );
        Ok(TokenError::SecretInCluster { app: self.app.clone(), command })
    }

    /// The app as it is written, where that can be seen.
    async fn written(&self, status: &LiveStatus, app: &ObjectReference) -> Option<AppSpec> {
        if self.live.place() == Place::Cluster {
            let listed = self.live.list().await.ok()?;
            let document = &listed.iter().find(|own| own.live.object == *app)?.document;
            return AppSpec::deserialize(document.get("spec")?).ok();
        }
        let resources = loaded::read(&[status.directory.clone()?]).resources();
        Some(resources.apps.get(&app.key)?.spec.clone())
    }

    /// Where the client secret is read.
    fn secret_place(&self, status: &LiveStatus) -> String {
        let place = self.secret_file.as_ref().or(self.file.as_ref()).or(status.directory.as_ref());
        match place {
            None => "any known place".to_owned(),
            Some(path) if path.as_path() == Path::new("-") => "standard input".to_owned(),
            Some(path) => path.display().to_string(),
        }
    }

    fn secret(&self, status: &LiveStatus, app: &ObjectKey) -> Result<SecretString, TokenError> {
        if let Some(path) = &self.secret_file {
            let text = read(path).map_err(|error| TokenError::SecretFile { path: path.clone(), error })?;
            return Ok(SecretString::from(text.expose_secret().trim_end_matches(['\r', '\n'])));
        }
        let place = self.file.as_ref().or(status.directory.as_ref());
        let missing = || TokenError::NoSecret { app: self.app.clone(), place: self.secret_place(status) };
        let resources = loaded::read(&[place.ok_or_else(missing)?.clone()]).resources();
        let spec = &resources.apps.get(app).ok_or_else(missing)?.spec;
        let first = spec.client_secrets.as_deref().unwrap_or_default().first();
        let reference = &first.ok_or_else(|| TokenError::NeedsKey(self.app.clone()))?.secret_ref;
        let secret = resources.secrets.get(&app.sibling(&reference.name)).ok_or_else(missing)?;
        let bytes = secret.data.get(&reference.key).filter(|_| secret.usage == SecretUse::Credential);
        let text = bytes.and_then(|bytes| bytes.expose_str().ok()).ok_or_else(missing)?;
        Ok(SecretString::from(text.trim_end_matches(['\r', '\n'])))
    }
}

fn signing_key(path: &Path) -> Result<SigningKey, TokenError> {
    let pem = read(path).map_err(|error| TokenError::SecretFile { path: path.to_owned(), error })?;
    SigningKey::from_pem(pem.expose_secret().as_bytes(), &[Algorithm::Rs384, Algorithm::Es384, Algorithm::Es256])
        .map_err(|problem| TokenError::Key { path: path.to_owned(), problem })
}

fn read(path: &Path) -> std::io::Result<SecretString> {
    input::text(path).map(Into::into)
}
