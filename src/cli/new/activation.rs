//! `hearthgate new activation`.

use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCandidates;
use serde_json::{Value, json};

use super::super::completions;
use super::super::members::members;
use super::{object, secret_reference};

/// Write an Activation: one app let in at one gateway, with what the EHR gave for that.
///
/// With backend-auth (SMART Backend Services), the client ID may be left out until the EHR gives it: key and JWKS URL
/// are made before, and `hearthgate status` says what to register.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate new activation letters epic\n  hearthgate new activation letters epic --client-id 7b0f6e0e-9d4d-4c55-8a4b-5f4f3b0c9a11 --app-name 'Recall Letters'\n  hearthgate new activation letters athena --ehr-authentication client-credentials --client-id 0oa2 --secret athena-client/secret"
)]
pub(super) struct NewActivation {
    /// The app
    #[arg(add = ArgValueCandidates::new(completions::apps))]
    app: String,
    /// The gateway
    #[arg(add = ArgValueCandidates::new(completions::gateways))]
    gateway: String,
    /// Name [default: APP-at-GATEWAY]
    #[arg(long)]
    name: Option<String>,
    /// How to authenticate to the EHR
    #[arg(long, value_enum, default_value = "backend-auth")]
    ehr_authentication: Method,
    /// The client ID that the EHR gave
    #[arg(long)]
    client_id: Option<String>,
    /// What the EHR calls the app
    #[arg(long)]
    app_name: Option<String>,
    /// The EHR's token endpoint [default: the adapter's, else as the EHR says]
    #[arg(long, value_name = "URL")]
    token_url: Option<String>,
    /// The Secret with what the EHR gave, and the entry (default: secret)
    #[arg(long, value_name = "NAME[/KEY]")]
    secret: Option<String>,
    /// A ceiling below the app's scopes; repeatable
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// No effect from then on (RFC 3339)
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// Namespace [default: none, so that the file goes wherever it is applied]
    #[arg(short, long)]
    namespace: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Method {
    /// A signed JWT (SMART Backend Services)
    BackendAuth,
    /// OAuth 2.0 client credentials with a shared secret
    ClientCredentials,
    /// HTTP Basic on every call
    Basic,
    /// Nothing
    None,
    /// A SMART launch brokered to the EHR
    User,
}

impl NewActivation {
    pub(super) fn object(&self) -> Value {
        let secret = json!(self.secret.as_deref().map(secret_reference));
        let system = |method: &str, members: Value| json!({ "type": "System", "system": { method: members } });
        let (client_id, token_url) = (json!(self.client_id), json!(self.token_url));
        let ehr_authentication = match self.ehr_authentication {
            Method::BackendAuth => system(
                "backendAuth",
                members([("clientId", client_id), ("appName", json!(self.app_name)), ("tokenUrl", token_url)]),
            ),
            Method::ClientCredentials => system(
                "clientCredentials",
                members([("clientId", client_id), ("clientSecretRef", secret), ("tokenUrl", token_url)]),
            ),
            Method::Basic => system("basic", members([("clientSecretRef", secret)])),
            Method::None => system("none", json!({})),
            Method::User => json!({
                "type": "User",
                "user": members([("clientId", client_id), ("clientSecretRef", secret), ("tokenUrl", token_url)]),
            }),
        };
        let spec = members([
            ("appRef", json!({ "name": self.app })),
            ("gatewayRef", json!({ "name": self.gateway })),
            ("scopes", json!(self.scopes)),
            ("expiresAt", json!(self.expires_at)),
            ("ehrAuthentication", ehr_authentication),
        ]);
        let name = self.name.clone().unwrap_or_else(|| format!("{}-at-{}", self.app, self.gateway));
        object("Activation", &name, self.namespace.as_deref(), &spec)
    }
}
