//! The discovery documents: what works, nothing else.

use serde_json::{Value, json};

use crate::snapshot::Gateway;

/// How clients may authenticate at the token endpoint.
const TOKEN_ENDPOINT_AUTH_METHODS: [&str; 2] = ["client_secret_basic", "client_secret_post"];
/// The grants.
const GRANT_TYPES: [&str; 1] = ["client_credentials"];

/// `B/fhir/.well-known/smart-configuration` (SMART App Launch 2.2 "Conformance").
///
/// `issuer` and `jwks_uri` are left out as it asks, for there is no OpenID Connect here; nor is there an authorization
/// endpoint. `code_challenge_methods_supported` is required nonetheless: it says that `plain` will never do.
pub fn smart_configuration(gateway: &Gateway) -> Value {
    json!({
        "token_endpoint": gateway.token_endpoint,
        "token_endpoint_auth_methods_supported": TOKEN_ENDPOINT_AUTH_METHODS,
        "grant_types_supported": GRANT_TYPES,
        "scopes_supported": scopes(gateway),
        "code_challenge_methods_supported": ["S256"],
        "capabilities": ["client-confidential-symmetric", "permission-v1", "permission-v2"],
    })
}

/// `/.well-known/oauth-authorization-server<path of B>` (RFC 8414 §2).
pub fn authorization_server(gateway: &Gateway) -> Value {
    json!({
        "issuer": gateway.issuer,
        "token_endpoint": gateway.token_endpoint,
        "token_endpoint_auth_methods_supported": TOKEN_ENDPOINT_AUTH_METHODS,
        "jwks_uri": jwks_uri(gateway),
        "grant_types_supported": GRANT_TYPES,
        "response_types_supported": [],
        "scopes_supported": scopes(gateway),
    })
}

/// `B/.well-known/openid-configuration` (OpenID Connect Discovery 1.0 §3): for resource servers that look for
/// `jwks_uri` here. Without an authorization endpoint there is no login to discover.
pub fn openid_configuration(gateway: &Gateway) -> Value {
    let mut document = authorization_server(gateway);
    if let Some(members) = document.as_object_mut() {
        members.insert("subject_types_supported".into(), json!(["public"]));
        members.insert("id_token_signing_alg_values_supported".into(), json!(["RS256"]));
    }
    document
}

/// `B/oauth2/jwks`
pub fn jwks_uri(gateway: &Gateway) -> String {
    format!("{}/oauth2/jwks", gateway.issuer)
}

/// What may be asked for. A gateway without a ceiling leaves that to each app's registration, so the widest form stands
/// for all of them.
fn scopes(gateway: &Gateway) -> Vec<String> {
    match &gateway.allowed_scopes {
        Some(ceiling) => ceiling.without_user().iter().map(ToString::to_string).collect(),
        None if gateway.data_adapter.external_auth.is_some() => vec!["system/*.cruds".into(), "private-api".into()],
        None => vec!["system/*.cruds".into()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::test_support::World;
    use crate::snapshot::ObjectKey;

    #[test]
    fn the_documents_say_what_works() {
        let snapshot = World::before("http://127.0.0.1:9")
            .set("Gateway", "epic", "allowedScopes", json!(["system/Patient.rs", "user/Patient.rs", "private-api"]))
            .compile();
        let gateway = &snapshot.gateways[&ObjectKey::new("default", "epic")];
        assert_eq!(
            smart_configuration(gateway),
            json!({
                "token_endpoint": "https://gate.example.org/default/epic/oauth2/token",
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "grant_types_supported": ["client_credentials"],
                "scopes_supported": ["system/Patient.rs", "private-api"],
                "code_challenge_methods_supported": ["S256"],
                "capabilities": ["client-confidential-symmetric", "permission-v1", "permission-v2"],
            })
        );
        let server = authorization_server(gateway);
        assert_eq!(server["issuer"], "https://gate.example.org/default/epic");
        assert_eq!(server["jwks_uri"], "https://gate.example.org/default/epic/oauth2/jwks");
        assert_eq!(openid_configuration(gateway)["issuer"], server["issuer"]);
    }
}
