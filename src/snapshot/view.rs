//! What a Snapshot serves, for people and for comparing: deterministic, and without secrets. Golden tests hold it, and
//! `plan` compares it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use super::activation::{
    Activation, BackendAuth, ClientCredentials, EhrAuthentication, TokenUrl, User, UserCredential,
};
use super::data_adapter::{ExternalAuth, PrivateApiRoute, Tls};
use super::key_pair::KeyRevision;
use super::{App, DataAdapter, Gateway, KeyPair, ObjectKey, Snapshot};
use crate::values::scope::ScopeSet;
use crate::values::url::EndpointUrl;

/// Stands where a secret is.
const SECRET: &str = "[secret]";

impl Snapshot {
    /// Everything that is served: objects by `namespace/name`, fields without a value left out, secrets replaced by
    /// `[secret]`, keys by their thumbprints.
    pub fn view(&self) -> Value {
        object([
            ("dataAdapters", all(&self.data_adapters, |own| data_adapter(own))),
            ("gateways", all(&self.gateways, |own| gateway(own))),
            ("apps", all(&self.apps, |own| app(own))),
            ("activations", all(&self.activations, |own| activation(own))),
            ("keyPairs", all(&self.key_pairs, |own| key_pair(own))),
            ("routes", self.routes.view()),
        ])
    }
}

fn to_hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn all<Own>(objects: &BTreeMap<ObjectKey, Own>, view: impl Fn(&Own) -> Value) -> Value {
    Value::Object(objects.iter().map(|(key, own)| (key.to_string(), view(own))).collect())
}

/// A JSON object without the members that say nothing.
fn object<const COUNT: usize>(members: [(&str, Value); COUNT]) -> Value {
    let says_something = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(array) => !array.is_empty(),
        Value::Object(object) => !object.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => true,
    };
    let members = members.into_iter().filter(|(_, value)| says_something(value));
    Value::Object(members.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

fn scopes(scopes: &ScopeSet) -> Value {
    scopes.to_string().into()
}

fn data_adapter(own: &DataAdapter) -> Value {
    let headers = own.request_headers.iter();
    let headers = headers.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
    object([
        ("uid", json!(own.uid)),
        ("displayName", json!(own.display_name)),
        ("dataSourceType", json!(own.data_source_type)),
        ("fhirBaseUrl", json!(own.fhir_base.as_str())),
        (
            "oauth",
            object([
                ("tokenUrl", json!(own.oauth.token_url.as_ref().map(EndpointUrl::as_str))),
                ("authorizationUrl", json!(own.oauth.authorization_url.as_ref().map(EndpointUrl::as_str))),
                ("audience", json!(own.oauth.audience)),
            ]),
        ),
        ("externalAuth", own.external_auth.as_ref().map_or(Value::Null, external_auth)),
        ("requestHeaders", headers.collect()),
        ("tls", tls(&own.tls)),
        (
            "timeouts",
            json!({
                "connectSeconds": own.timeouts.connect.as_secs(),
                "requestSeconds": own.timeouts.request.as_secs(),
                "idleSeconds": own.timeouts.idle.as_secs(),
            }),
        ),
        ("retry", json!({ "maxAttempts": own.maximum_attempts, "budgetPercent": own.retry_budget_percent })),
        ("circuitBreaker", json!(own.circuit_breaker)),
        ("rateLimit", json!(own.rate_limit)),
        ("suspend", json!(own.suspend)),
    ])
}

fn external_auth(own: &ExternalAuth) -> Value {
    let (header, client_id) = &own.client_id_header;
    let line = |route: &PrivateApiRoute| {
        let methods: Vec<_> = route.methods.iter().map(http::Method::as_str).collect();
        format!("{} {}/", methods.join(","), route.path_prefix)
    };
    // An empty list permits nothing, and none permits everything: the difference must be seen.
    let routes = match own.routes.as_deref() {
        None => "everything".into(),
        Some([]) => "nothing".into(),
        Some(routes) => routes.iter().map(line).collect(),
    };
    object([
        ("clientIdHeader", format!("{header}: {}", String::from_utf8_lossy(client_id.as_bytes())).into()),
        ("authorization", SECRET.into()),
        ("apiEndpoint", json!(own.api_endpoint.as_str())),
        ("routes", routes),
    ])
}

fn tls(own: &Tls) -> Value {
    let fingerprint = |pem: &String| format!("sha256:{}", to_hexadecimal(digest(&SHA256, pem.as_bytes()).as_ref()));
    object([
        ("caBundle", json!(own.ca_bundle_pem.as_ref().map(fingerprint))),
        ("clientCertificate", json!(own.client_certificate_pem.as_ref().map(fingerprint))),
        ("clientKey", json!(own.client_key_pem.as_ref().map(|_| SECRET))),
    ])
}

fn gateway(own: &Gateway) -> Value {
    let signing = own.signing.current.as_ref().map(|own| json!({ "revision": own.revision, "kid": own.es256_kid }));
    let verifying: Vec<_> = own.signing.revisions.iter().map(|own| own.es256_kid.as_str()).collect();
    object([
        ("uid", json!(own.uid)),
        ("displayName", json!(own.display_name)),
        ("issuer", json!(own.issuer)),
        ("fhirBase", json!(own.fhir_base)),
        ("tokenEndpoint", json!(own.token_endpoint)),
        ("dataAdapter", json!(own.data_adapter.key.to_string())),
        ("accessTokenLifetimeSeconds", json!(own.access_token_lifetime.as_secs())),
        ("allowedScopes", own.allowed_scopes.as_ref().map_or(Value::Null, scopes)),
        ("operations", json!(own.operations)),
        ("allowedOrigins", json!(own.allowed_origins)),
        ("rateLimit", json!(own.rate_limit)),
        (
            "signing",
            object([
                ("signs", json!(signing)),
                ("verifies", json!(verifying)),
                ("missingRevision", json!(own.signing.missing_revision)),
            ]),
        ),
        ("suspend", json!(own.suspend)),
    ])
}

fn app(own: &App) -> Value {
    let secrets: Vec<_> = own.client_secrets.iter().map(|_| SECRET).collect();
    object([
        ("uid", json!(own.uid)),
        ("displayName", json!(own.display_name)),
        ("clientId", json!(own.client_id)),
        ("clientType", json!(own.client_type)),
        ("scopes", scopes(&own.scopes)),
        ("clientSecrets", json!(secrets)),
        ("jwks", json!(own.jwks)),
        ("jwksUri", json!(own.jwks_uri.as_ref().map(EndpointUrl::as_str))),
        ("redirectUris", json!(own.redirect_uris)),
        ("launchUri", json!(own.launch_uri.as_ref().map(EndpointUrl::as_str))),
        ("healthUri", json!(own.health_uri.as_ref().map(EndpointUrl::as_str))),
        ("suspend", json!(own.suspend)),
    ])
}

fn activation(own: &Activation) -> Value {
    object([
        ("uid", json!(own.uid)),
        ("generation", json!(own.generation)),
        ("app", json!(own.app.key.to_string())),
        ("gateway", json!(own.gateway.key.to_string())),
        ("ceiling", scopes(&own.ceiling)),
        ("notBefore", json!(own.not_before)),
        ("expiresAt", json!(own.expires_at)),
        ("suspendedBy", json!(own.suspended_by.as_ref().map(ToString::to_string))),
        ("ehrAuthentication", ehr_authentication(&own.ehr_authentication)),
        ("probeRequestedAt", json!(own.probe_requested_at)),
    ])
}

fn ehr_authentication(own: &EhrAuthentication) -> Value {
    match own {
        EhrAuthentication::BackendAuth(own) => json!({ "backendAuth": backend_auth(own) }),
        EhrAuthentication::ClientCredentials(own) => json!({ "clientCredentials": client_credentials(own) }),
        EhrAuthentication::Basic(_) => json!({ "basic": { "authorization": SECRET } }),
        EhrAuthentication::None => json!({ "none": {} }),
        EhrAuthentication::User(own) => json!({ "user": user(own) }),
    }
}

fn backend_auth(own: &BackendAuth) -> Value {
    object([
        ("clientId", json!(own.client_id)),
        ("tokenUrl", token_url(&own.token_url)),
        ("audience", json!(own.audience)),
        ("scopes", text(&own.scopes)),
        ("keyPair", json!(own.pair.key.to_string())),
        ("signsWith", thumbprint(own.signing.as_deref())),
    ])
}

fn client_credentials(own: &ClientCredentials) -> Value {
    object([
        ("clientId", json!(own.client_id)),
        ("clientSecret", SECRET.into()),
        ("tokenEndpointAuthMethod", json!(own.method)),
        ("tokenUrl", token_url(&own.token_url)),
        ("scopes", text(&own.scopes)),
    ])
}

fn user(own: &User) -> Value {
    let credential = match &own.credential {
        UserCredential::Public => json!({ "public": {} }),
        UserCredential::Secret { method, .. } => json!({ "clientSecret": SECRET, "tokenEndpointAuthMethod": method }),
        UserCredential::KeyPair { pair, signing } => {
            object([("keyPair", json!(pair.key.to_string())), ("signsWith", thumbprint(signing.as_deref()))])
        }
    };
    object([
        ("clientId", json!(own.client_id)),
        ("credential", credential),
        ("scopes", json!(own.scopes)),
        ("authorizationUrl", json!(own.authorization_url.as_ref().map(EndpointUrl::as_str))),
        ("tokenUrl", token_url(&own.token_url)),
    ])
}

fn token_url(own: &TokenUrl) -> Value {
    match own {
        TokenUrl::Given(url) => url.as_str().into(),
        TokenUrl::Discovered => "as the EHR's SMART configuration says".into(),
    }
}

fn thumbprint(key: Option<&KeyRevision>) -> Value {
    json!(key.map(|key| key.thumbprint))
}

fn text(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}

fn key_pair(own: &KeyPair) -> Value {
    let revisions =
        own.revisions.iter().map(|own| format!("{}: {} ({})", own.revision, own.thumbprint, own.secret_name));
    // What is published is what the text says, and nothing else.
    let jwks: Value = serde_json::from_str(&own.jwks).unwrap_or_default();
    let published = jwks.get("keys").and_then(Value::as_array).into_iter().flatten();
    let missing = own.missing.as_ref().map(|missing| {
        json!({
            "secret": missing.identity.secret_name(),
            "app": missing.identity.app,
            "kind": missing.identity.kind.to_string(),
            "commonName": missing.common_name,
        })
    });
    object([
        ("app", json!(own.app)),
        ("kind", own.kind.to_string().into()),
        ("jwksUrl", json!(own.jwks_url)),
        ("published", published.filter_map(|jwk| jwk.get("kid").cloned()).collect()),
        ("revisions", revisions.collect()),
        ("missing", json!(missing)),
    ])
}
