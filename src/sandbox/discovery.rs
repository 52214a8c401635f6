//! `.well-known/smart-configuration` of the FHIR bases (SMART App Launch 2.2, conformance).

use serde_json::{Value, json};

use super::Shared;

/// What this EHR can do; it names no endpoint that is not there.
pub(super) fn smart_configuration(shared: &Shared) -> Value {
    json!({
        "token_endpoint": shared.token_url(),
        "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_basic", "client_secret_post"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256", "RS384", "RS512", "ES256", "ES384"],
        "grant_types_supported": ["client_credentials"],
        "scopes_supported": ["system/*.read", "system/*.rs"],
        "code_challenge_methods_supported": ["S256"],
        "capabilities": [
            "client-confidential-asymmetric",
            "client-confidential-symmetric",
            "permission-v1",
            "permission-v2",
        ],
    })
}
