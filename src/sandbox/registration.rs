//! Who may come: what a hospital's EHR team would have registered, held in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use subtle::ConstantTimeEq as _;
use url::Url;

use super::key_set::{KeySet, KeySetError};
use super::public_key::{KeyError, PublicKey};

const LONGEST_CLIENT_ID: usize = 128;
const MOST_CLIENTS: usize = 10_000;

/// One client at the simulated EHR. Registering the same ID again replaces its credential of the same sort (a client has
/// one for the token endpoint and one for Basic) and adds its redirect URIs to those that it has: one client ID may stand
/// for an app at several gateways.
#[derive(Debug, Clone)]
pub struct Registration {
    /// What the vendor calls Client ID: 1 to 128 visible ASCII characters.
    pub client_id: String,
    /// The vendor's name of the app, for people.
    pub app_name: Option<String>,
    /// How the client proves who it is.
    pub credential: Credential,
    /// Where users may be sent back to; compared byte by byte. With one, the client is a user-facing one: it gets tokens
    /// for users and none for itself.
    pub redirect_uris: Vec<String>,
    /// Where the EHR's list of apps starts it (SMART App Launch 2.2, EHR launch).
    pub launch_url: Option<String>,
}

impl Registration {
    /// A client that gets tokens for itself alone.
    pub fn new(client_id: impl Into<String>, credential: Credential) -> Registration {
        let client_id = client_id.into();
        Registration { client_id, app_name: None, credential, redirect_uris: Vec::new(), launch_url: None }
    }
}

/// How a client proves who it is.
#[derive(Debug, Clone)]
pub enum Credential {
    /// Signed assertions, keys fetched from this `http` or `https` URL. The only one that may sign with ES256 or ES384.
    JwksUrl(String),
    /// Signed assertions, keys of this JWK Set, RS256 to RS512.
    Jwks(Value),
    /// Signed assertions, the key of this X.509 certificate or SubjectPublicKeyInfo, RSA only; `kid` is ignored.
    Pem(String),
    /// `client_secret_basic` or `client_secret_post` at the token endpoint.
    ClientSecret(SecretString),
    /// Nothing but PKCE: a public client, which must be user-facing.
    Public,
    /// Basic at the private API (there with the client ID in `Epic-Client-ID`) and at the FHIR base.
    Basic {
        /// The user name; like `emp$user` at Epic.
        user: String,
        /// The password.
        password: SecretString,
    },
}

/// Why a registration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// The client ID is empty, too long, or holds blanks or non-ASCII characters.
    #[error("the client ID must be 1 to 128 visible ASCII characters")]
    ClientId,
    /// The JWK Set URL is not an absolute `http` or `https` URL.
    #[error("the JWK Set URL must be an absolute http or https URL")]
    JwksUrl,
    /// The JWK Set is not one, or shows a private key.
    #[error("the JWK Set is refused: {0}")]
    Jwks(String),
    /// The PEM holds no RSA public key of 2048 bits or more.
    #[error("the PEM is refused: {0}")]
    Pem(String),
    /// The secret, user or password is empty, or the user holds a colon (RFC 7617 §2).
    #[error("the secret, user and password must not be empty, and the user must not hold a colon")]
    Secret,
    /// The JSON does not name exactly one sort of credential.
    #[error("name exactly one of jwksUrl, jwks, pem, clientSecret, public, or basicUser with basicPassword")]
    OneCredential,
    /// A redirect URI or launch URL is not an absolute URL, or has a fragment (RFC 6749 §3.1.2).
    #[error("{0:?} is not an absolute http or https URL without fragment")]
    Url(String),
    /// A public client without redirect URI could do nothing.
    #[error("a public client needs a redirect URI")]
    PublicWithoutRedirect,
    /// Ten thousand clients are registered already.
    #[error("10000 clients are registered already: delete some")]
    TooMany,
}

/// The JSON form of a registration, as `POST /sandbox/clients` takes it. It holds secrets in the clear, so it is never
/// shown (no `Debug`) and at once turned into a [`Registration`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RegistrationDocument {
    client_id: String,
    app_name: Option<String>,
    jwks_url: Option<String>,
    jwks: Option<Value>,
    pem: Option<String>,
    client_secret: Option<String>,
    #[serde(default)]
    public: bool,
    basic_user: Option<String>,
    basic_password: Option<String>,
    #[serde(default)]
    redirect_uris: Vec<String>,
    launch_url: Option<String>,
}

impl TryFrom<RegistrationDocument> for Registration {
    type Error = RegistrationError;

    fn try_from(document: RegistrationDocument) -> Result<Registration, RegistrationError> {
        let basic = match (document.basic_user, document.basic_password) {
            (Some(user), Some(password)) => Some(Credential::Basic { user, password: password.into() }),
            (None, None) => None,
            _ => return Err(RegistrationError::OneCredential),
        };
        let mut given = [
            document.jwks_url.map(Credential::JwksUrl),
            document.jwks.map(Credential::Jwks),
            document.pem.map(Credential::Pem),
            document.client_secret.map(|secret| Credential::ClientSecret(secret.into())),
            document.public.then_some(Credential::Public),
            basic,
        ]
        .into_iter()
        .flatten();
        match (given.next(), given.next()) {
            (Some(credential), None) => Ok(Registration {
                client_id: document.client_id,
                app_name: document.app_name,
                credential,
                redirect_uris: document.redirect_uris,
                launch_url: document.launch_url,
            }),
            _ => Err(RegistrationError::OneCredential),
        }
    }
}

/// What a client shows at the token endpoint, checked and parsed.
#[derive(Debug, Clone)]
pub(super) enum TokenCredential {
    KeySetUrl(String),
    KeySet(KeySet),
    Pem(PublicKey),
    Secret(SecretString),
    Public,
}

/// What the authorization endpoint and the list of apps need to know of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UserFacing {
    /// For people: the app's name, else the client ID.
    pub(super) name: String,
    pub(super) redirect_uris: BTreeSet<String>,
    pub(super) launch_url: Option<String>,
    /// Whether PKCE is all that it has.
    pub(super) public: bool,
}

#[derive(Debug, Clone)]
struct BasicCredential {
    user: String,
    password: SecretString,
}

#[derive(Debug, Clone, Default)]
struct Client {
    app_name: Option<String>,
    token: Option<TokenCredential>,
    basic: Option<BasicCredential>,
    redirect_uris: BTreeSet<String>,
    launch_url: Option<String>,
}

/// A client without its secrets, as `GET /sandbox/clients` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredClient {
    /// The client ID.
    pub client_id: String,
    /// The vendor's name of the app.
    pub app_name: Option<String>,
    /// `jwksUrl`, `jwks`, `pem`, `clientSecret`, `public`, `basic`.
    pub credentials: Vec<&'static str>,
    /// Where its keys are fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// Where users may be sent back to.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub redirect_uris: BTreeSet<String>,
    /// Where the EHR's list of apps starts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_url: Option<String>,
}

/// All clients.
#[derive(Debug, Default)]
pub(super) struct Registry {
    clients: Mutex<BTreeMap<String, Client>>,
}

impl Registry {
    /// Adds a client, or replaces its credential of the same sort.
    pub(super) fn register(&self, registration: Registration) -> Result<(), RegistrationError> {
        let Registration { client_id, app_name, credential, redirect_uris, launch_url } = registration;
        let visible = client_id.bytes().all(|byte| byte.is_ascii_graphic());
        if client_id.is_empty() || client_id.len() > LONGEST_CLIENT_ID || !visible {
            return Err(RegistrationError::ClientId);
        }
        for url in redirect_uris.iter().chain(&launch_url) {
            check_url(url)?;
        }
        if matches!(credential, Credential::Public) && redirect_uris.is_empty() {
            return Err(RegistrationError::PublicWithoutRedirect);
        }
        let checked = check(credential)?;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= MOST_CLIENTS && !clients.contains_key(&client_id) {
            return Err(RegistrationError::TooMany);
        }
        let client = clients.entry(client_id).or_default();
        if app_name.is_some() {
            client.app_name = app_name;
        }
        client.redirect_uris.extend(redirect_uris);
        if launch_url.is_some() {
            client.launch_url = launch_url;
        }
        match checked {
            Checked::Token(credential) => client.token = Some(credential),
            Checked::Basic(credential) => client.basic = Some(credential),
        }
        Ok(())
    }

    /// Removes a client with all its credentials; `false` when there is none.
    pub(super) fn unregister(&self, client_id: &str) -> bool {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).remove(client_id).is_some()
    }

    /// Whether the client is registered, so that tokens die with it.
    pub(super) fn knows(&self, client_id: &str) -> bool {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).contains_key(client_id)
    }

    /// What the client shows at the token endpoint.
    pub(super) fn token_credential(&self, client_id: &str) -> Option<TokenCredential> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).get(client_id)?.token.clone()
    }

    /// What users may do with the client; `None` where there is no such client.
    pub(super) fn user_facing(&self, client_id: &str) -> Option<UserFacing> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let client = clients.get(client_id)?;
        Some(UserFacing {
            name: client.app_name.clone().unwrap_or_else(|| client_id.to_owned()),
            redirect_uris: client.redirect_uris.clone(),
            launch_url: client.launch_url.clone(),
            public: matches!(client.token, Some(TokenCredential::Public)),
        })
    }

    /// The client that these Basic parts belong to; with `client_id` only that client counts.
    pub(super) fn basic_client(&self, user: &str, password: &[u8], client_id: Option<&str>) -> Option<String> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients
            .iter()
            .filter(|(id, _)| client_id.is_none_or(|wanted| wanted == id.as_str()))
            .find(|(_, client)| {
                client.basic.as_ref().is_some_and(|basic| {
                    basic.user == user && bool::from(basic.password.expose_secret().as_bytes().ct_eq(password))
                })
            })
            .map(|(id, _)| id.clone())
    }

    /// All clients in the order of their IDs, without secrets.
    pub(super) fn list(&self) -> Vec<RegisteredClient> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients
            .iter()
            .map(|(client_id, client)| {
                let token = client.token.as_ref().map(|credential| match credential {
                    TokenCredential::KeySetUrl(_) => "jwksUrl",
                    TokenCredential::KeySet(_) => "jwks",
                    TokenCredential::Pem(_) => "pem",
                    TokenCredential::Secret(_) => "clientSecret",
                    TokenCredential::Public => "public",
                });
                RegisteredClient {
                    client_id: client_id.clone(),
                    app_name: client.app_name.clone(),
                    credentials: token.into_iter().chain(client.basic.as_ref().map(|_| "basic")).collect(),
                    jwks_url: match &client.token {
                        Some(TokenCredential::KeySetUrl(url)) => Some(url.clone()),
                        _ => None,
                    },
                    redirect_uris: client.redirect_uris.clone(),
                    launch_url: client.launch_url.clone(),
                }
            })
            .collect()
    }
}

enum Checked {
    Token(TokenCredential),
    Basic(BasicCredential),
}

fn check_url(text: &str) -> Result<(), RegistrationError> {
    let usable = Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.fragment().is_none());
    usable.then_some(()).ok_or_else(|| RegistrationError::Url(text.to_owned()))
}

fn check(credential: Credential) -> Result<Checked, RegistrationError> {
    Ok(match credential {
        Credential::JwksUrl(url) => {
            let parsed = Url::parse(&url).map_err(|_| RegistrationError::JwksUrl)?;
            if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
                return Err(RegistrationError::JwksUrl);
            }
            Checked::Token(TokenCredential::KeySetUrl(url))
        }
        Credential::Jwks(document) => Checked::Token(TokenCredential::KeySet(
            KeySet::parse(&document).map_err(|error: KeySetError| RegistrationError::Jwks(error.to_string()))?,
        )),
        Credential::Pem(text) => Checked::Token(TokenCredential::Pem(
            PublicKey::from_pem(&text).map_err(|error: KeyError| RegistrationError::Pem(error.to_string()))?,
        )),
        Credential::ClientSecret(secret) => {
            if secret.expose_secret().is_empty() {
                return Err(RegistrationError::Secret);
            }
            Checked::Token(TokenCredential::Secret(secret))
        }
        Credential::Public => Checked::Token(TokenCredential::Public),
        Credential::Basic { user, password } => {
            if user.is_empty() || user.contains(':') || password.expose_secret().is_empty() {
                return Err(RegistrationError::Secret);
            }
            Checked::Basic(BasicCredential { user, password })
        }
    })
}
