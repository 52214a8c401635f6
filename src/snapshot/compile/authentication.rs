//! How an activation authenticates to the EHR: the spec's methods with their references followed.

use aws_lc_rs::digest::{Context, SHA256};
use secrecy::{ExposeSecret as _, SecretString};

use super::super::activation::{BackendAuth, ClientCredentials, EhrAuthentication, TokenUrl, User, UserCredential};
use super::super::{DataAdapter, Finding};
use super::data_adapter::basic_authorization;
use super::key_pair::Share;
use super::lookup::{Lookup, Receiver, invalid_entry};
use crate::api::activation::{self, SystemAuthentication, TokenEndpointAuthMethod, UserAuthentication};
use crate::api::data_adapter::CredentialEncoding;
use crate::api::{HttpUrl, SecretKeyReference};
use crate::values::code::Code;
use crate::values::scope::Scope;
use crate::values::url::EndpointUrl;

/// Where the methods stand in a spec.
pub(super) mod field {
    pub(in super::super) const BACKEND_AUTH_KEY_PAIR: &str = "spec.ehrAuthentication.system.backendAuth.keyPair";
    pub(in super::super) const USER_KEY_PAIR: &str = "spec.ehrAuthentication.user.keyPair";
}

/// The spec's key pair, with the vendor's name of the app and the field where it stands.
pub(super) fn key_pair(
    authentication: &activation::EhrAuthentication,
) -> Option<(&activation::KeyPair, Option<&str>, &'static str)> {
    if let Some(backend_auth) = authentication.system.as_ref().and_then(|system| system.backend_auth.as_ref()) {
        let name = backend_auth.app_name.as_deref();
        return Some((&backend_auth.key_pair, name, field::BACKEND_AUTH_KEY_PAIR));
    }
    let pair = authentication.user.as_ref()?.key_pair.as_ref()?;
    Some((pair, None, field::USER_KEY_PAIR))
}

/// Everything of the method but its key, which is settled among all activations first.
pub(super) struct Checked {
    method: Method,
}

enum Method {
    BackendAuth {
        client_id: Option<String>,
        token_url: TokenUrl,
        audience: Option<String>,
        scopes: String,
    },
    ClientCredentials(ClientCredentials),
    Basic(SecretString),
    None,
    User {
        client_id: String,
        secret: Option<SecretString>,
        method: TokenEndpointAuthMethod,
        scopes: Option<String>,
        authorization_url: Option<EndpointUrl>,
        token_url: TokenUrl,
    },
}

/// Follows the references of the method that the spec names. Faults go to `findings`. Without an adapter, because of
/// faults elsewhere, what the spec itself says is checked all the same, so that a person learns of all faults at once.
pub(super) fn check(
    lookup: &Lookup<'_>,
    namespace: &str,
    authentication: &activation::EhrAuthentication,
    adapter: Option<&DataAdapter>,
    findings: &mut Vec<Finding>,
) -> Option<Checked> {
    let checker = Checker { lookup, namespace, adapter };
    let method = match (&authentication.system, &authentication.user) {
        (Some(system), _) => checker.system(system, findings),
        (None, Some(user)) => checker.user(user, findings),
        (None, None) => {
            findings.push(no_method("spec.ehrAuthentication", "system or user"));
            None
        }
    };
    Some(Checked { method: method? })
}

/// The schema does not permit it; what is served must not depend on that.
fn no_method(field: &str, methods: &str) -> Finding {
    Finding::new(Code::InvalidSpec, field, format!("{field} must hold {methods}"))
}

struct Checker<'resources, 'spec> {
    lookup: &'spec Lookup<'resources>,
    namespace: &'spec str,
    adapter: Option<&'spec DataAdapter>,
}

impl Checker<'_, '_> {
    fn system(&self, system: &SystemAuthentication, findings: &mut Vec<Finding>) -> Option<Method> {
        const BASIC: &str = "spec.ehrAuthentication.system.basic.clientSecretRef";
        if let Some(auth) = &system.backend_auth {
            let base = "spec.ehrAuthentication.system.backendAuth";
            return Some(Method::BackendAuth {
                client_id: auth.client_id.clone(),
                token_url: self.token_url(auth.token_url.as_ref(), base, findings)?,
                audience: auth.audience.clone().or_else(|| self.adapter?.oauth.audience.clone()),
                scopes: auth.scopes.join(" "),
            });
        }
        if let Some(auth) = &system.client_credentials {
            let base = "spec.ehrAuthentication.system.clientCredentials";
            let token_url = self.token_url(auth.token_url.as_ref(), base, findings)?;
            return Some(Method::ClientCredentials(ClientCredentials {
                client_id: auth.client_id.clone(),
                client_secret: self.secret(&auth.client_secret_ref, &token_url, base, findings)?,
                method: auth.token_endpoint_auth_method,
                token_url,
                scopes: auth.scopes.join(" "),
            }));
        }
        if let Some(auth) = &system.basic {
            let receiver = self.adapter.map_or(Receiver::Ourselves, |adapter| Receiver::Host(&adapter.fhir_base));
            let header = self
                .lookup
                .credential_text(self.namespace, &auth.client_secret_ref, &receiver, BASIC)
                .and_then(|credential| {
                    basic_authorization(credential.expose_secret(), CredentialEncoding::Plain)
                        .map_err(|fault| invalid_entry(self.namespace, &auth.client_secret_ref, BASIC, fault))
                });
            return header.map_err(|finding| findings.push(finding)).ok().map(Method::Basic);
        }
        if system.none.is_some() {
            return Some(Method::None);
        }
        let methods = "one of backendAuth, clientCredentials, basic and none";
        findings.push(no_method("spec.ehrAuthentication.system", methods));
        None
    }

    fn user(&self, auth: &UserAuthentication, findings: &mut Vec<Finding>) -> Option<Method> {
        let base = "spec.ehrAuthentication.user";
        let token_url = self.token_url(auth.token_url.as_ref(), base, findings)?;
        let secret = match &auth.client_secret_ref {
            Some(reference) => Some(self.secret(reference, &token_url, base, findings)?),
            None => None,
        };
        let field = format!("{base}.authorizationUrl");
        let own = self.lookup.optional_url(auth.authorization_url.as_ref(), &field, findings);
        check_scopes(auth.scopes.as_deref(), findings);
        Some(Method::User {
            client_id: auth.client_id.clone(),
            secret,
            method: auth.token_endpoint_auth_method.unwrap_or_default(),
            scopes: auth.scopes.as_ref().map(|scopes| scopes.join(" ")),
            authorization_url: own.or_else(|| self.adapter?.oauth.authorization_url.clone()),
            token_url,
        })
    }

    fn token_url(&self, own: Option<&HttpUrl>, base: &str, findings: &mut Vec<Finding>) -> Option<TokenUrl> {
        let Some(own) = own else {
            let default = self.adapter.and_then(|adapter| adapter.oauth.token_url.clone());
            return Some(default.map_or(TokenUrl::Discovered, TokenUrl::Given));
        };
        self.lookup.optional_url(Some(own), &format!("{base}.tokenUrl"), findings).map(TokenUrl::Given)
    }

    fn secret(
        &self,
        reference: &SecretKeyReference,
        token_url: &TokenUrl,
        base: &str,
        findings: &mut Vec<Finding>,
    ) -> Option<SecretString> {
        let receiver = match (token_url, self.adapter) {
            (TokenUrl::Given(url), _) => Receiver::Host(url),
            (TokenUrl::Discovered, Some(_)) => Receiver::Discovered,
            // Where it would go is not known yet.
            (TokenUrl::Discovered, None) => Receiver::Ourselves,
        };
        let field = format!("{base}.clientSecretRef");
        let secret = self.lookup.credential_text(self.namespace, reference, &receiver, &field);
        secret.map_err(|finding| findings.push(finding)).ok()
    }
}

/// A brokered launch asks for SMART scopes; what a backend asks its EHR for is the vendor's language (Epic: none,
/// others: their own words), and is sent as it is.
fn check_scopes(scopes: Option<&[String]>, findings: &mut Vec<Finding>) {
    for (index, text) in scopes.into_iter().flatten().enumerate() {
        if let Err(error) = text.parse::<Scope>() {
            let field = format!("spec.ehrAuthentication.user.scopes[{index}]");
            findings.push(Finding::new(Code::InvalidScope, &field, format!("{field}: {error}")));
        }
    }
}

impl Checked {
    /// Whether the method asks the EHR for tokens by itself.
    pub(super) fn asks_for_tokens(&self) -> bool {
        matches!(self.method, Method::BackendAuth { .. } | Method::ClientCredentials(_))
    }

    /// Whether the EHR's client ID is still missing.
    pub(super) fn awaits_client_id(&self) -> bool {
        matches!(self.method, Method::BackendAuth { client_id: None, .. })
    }

    /// Whether a user of the EHR logs in there.
    pub(super) fn is_user(&self) -> bool {
        matches!(self.method, Method::User { .. })
    }

    /// Puts method and key together. `None` where the method needs a pair and lost it to another activation.
    pub(super) fn with_key(self, share: Option<&Share>) -> Option<EhrAuthentication> {
        Some(match self.method {
            Method::BackendAuth { client_id, token_url, audience, scopes } => {
                let share = share?;
                EhrAuthentication::BackendAuth(BackendAuth {
                    client_id,
                    token_url,
                    audience,
                    scopes,
                    pair: share.pair.clone(),
                    signing: share.signing.clone(),
                })
            }
            Method::ClientCredentials(credentials) => EhrAuthentication::ClientCredentials(credentials),
            Method::Basic(header) => EhrAuthentication::Basic(header),
            Method::None => EhrAuthentication::None,
            Method::User { client_id, secret, method, scopes, authorization_url, token_url } => {
                let credential = match (secret, share) {
                    (Some(secret), _) => UserCredential::Secret { secret, method },
                    (None, Some(share)) => {
                        UserCredential::KeyPair { pair: share.pair.clone(), signing: share.signing.clone() }
                    }
                    (None, None) => UserCredential::Public,
                };
                EhrAuthentication::User(User { client_id, credential, scopes, authorization_url, token_url })
            }
        })
    }
}

/// A digest of everything that an EHR token depends on.
pub(super) fn digest(authentication: &EhrAuthentication, adapter: &DataAdapter) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    // Each part goes in with its length, so that no two lists of parts look the same.
    let mut put = |part: &str| {
        context.update(&part.len().to_be_bytes());
        context.update(part.as_bytes());
    };
    put(adapter.fhir_base.as_str());
    put(&format!("{:?}", adapter.data_source_type));
    match authentication {
        EhrAuthentication::BackendAuth(auth) => {
            put("backendAuth");
            put(auth.client_id.as_deref().unwrap_or_default());
            put(&token_url_text(&auth.token_url));
            put(auth.audience.as_deref().unwrap_or_default());
            put(&auth.scopes);
            put(&auth.signing.as_ref().map(|key| key.thumbprint.to_string()).unwrap_or_default());
        }
        EhrAuthentication::ClientCredentials(auth) => {
            put("clientCredentials");
            put(&auth.client_id);
            put(auth.client_secret.expose_secret());
            put(&format!("{:?}", auth.method));
            put(&token_url_text(&auth.token_url));
            put(&auth.scopes);
        }
        EhrAuthentication::Basic(header) => {
            put("basic");
            put(header.expose_secret());
        }
        EhrAuthentication::None => put("none"),
        EhrAuthentication::User(auth) => {
            put("user");
            put(&auth.client_id);
            put(&token_url_text(&auth.token_url));
            put(auth.scopes.as_deref().unwrap_or_default());
            match &auth.credential {
                UserCredential::Public => put("public"),
                UserCredential::Secret { secret, method } => {
                    put(secret.expose_secret());
                    put(&format!("{method:?}"));
                }
                UserCredential::KeyPair { signing, .. } => {
                    put(&signing.as_ref().map(|key| key.thumbprint.to_string()).unwrap_or_default());
                }
            }
        }
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

fn token_url_text(url: &TokenUrl) -> String {
    match url {
        TokenUrl::Given(url) => url.to_string(),
        TokenUrl::Discovered => String::new(),
    }
}
