//! `.well-known/smart-configuration` of the FHIR bases (SMART App Launch 2.2, conformance), and the style for apps.

use axum::Json;
use http::header::ACCESS_CONTROL_ALLOW_ORIGIN;
use serde_json::{Value, json};

use super::{JWKS_PATH, Shared};

/// How clients may prove who they are at the token endpoint.
pub(super) const CLIENT_AUTHENTICATION: [&str; 4] =
    ["private_key_jwt", "client_secret_basic", "client_secret_post", "none"];
/// What their assertions may be signed with.
pub(super) const ASSERTION_ALGORITHMS: [&str; 5] = ["RS256", "RS384", "RS512", "ES256", "ES384"];
/// The scopes, with `*` where a type may stand.
pub(super) const SCOPES: [&str; 15] = [
    "openid",
    "fhirUser",
    "profile",
    "launch",
    "launch/patient",
    "launch/encounter",
    "offline_access",
    "online_access",
    "patient/*.read",
    "patient/*.rs",
    "patient/*.cruds",
    "user/*.read",
    "user/*.cruds",
    "system/*.read",
    "system/*.rs",
];

/// What this EHR can do; it names no endpoint that is not there.
pub(super) fn smart_configuration(shared: &Shared) -> Value {
    json!({
        "issuer": shared.issuer(),
        "jwks_uri": format!("{}{JWKS_PATH}", shared.base_url),
        "authorization_endpoint": shared.authorization_url(),
        "token_endpoint": shared.token_url(),
        "token_endpoint_auth_methods_supported": CLIENT_AUTHENTICATION,
        "token_endpoint_auth_signing_alg_values_supported": ASSERTION_ALGORITHMS,
        "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token"],
        "response_types_supported": ["code"],
        "scopes_supported": SCOPES,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "capabilities": [
            "launch-ehr",
            "launch-standalone",
            "authorize-post",
            "client-public",
            "client-confidential-symmetric",
            "client-confidential-asymmetric",
            "sso-openid-connect",
            "context-banner",
            "context-style",
            "context-ehr-patient",
            "context-ehr-encounter",
            "context-standalone-patient",
            "context-standalone-encounter",
            "permission-offline",
            "permission-online",
            "permission-patient",
            "permission-user",
            "permission-v1",
            "permission-v2",
        ],
    })
}

/// What `smart_style_url` shows (SMART App Launch 2.2, styling): apps fetch it from their own pages.
pub(super) async fn smart_style() -> ([(http::HeaderName, &'static str); 1], Json<Value>) {
    let style = json!({
        "color_background": "#fbfaf7",
        "color_error": "#b3261e",
        "color_highlight": "#0f5c66",
        "color_modal_backdrop": "#1b1c1d",
        "color_success": "#2e6b3a",
        "color_text": "#1b1c1d",
        "dim_border_radius": "6px",
        "dim_font_size": "16px",
        "dim_spacing_size": "20px",
        "font_family_body": "system-ui, sans-serif",
        "font_family_heading": "system-ui, sans-serif",
    });
    ([(ACCESS_CONTROL_ALLOW_ORIGIN, "*")], Json(style))
}
