//! Documents that break each rule of the four schemas once: judged offline by `tests/crds.rs`, and by a real API server
//! in `tests/kubernetes.rs`.

use hearthgate::source::document;
use serde_json::{Value, json};

/// The one document of a text.
pub fn document(text: &str) -> Value {
    let documents = document::parse(text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    documents.into_iter().next().expect("one document").value
}

/// A good App.
pub const APP: &str = "
apiVersion: hearthgate.dev/v1alpha1
kind: App
metadata: {name: x}
spec:
  clientType: BackendService
  jwksUri: https://app.example.org/jwks.json
";

/// A good Gateway.
pub const GATEWAY: &str = "
apiVersion: hearthgate.dev/v1alpha1
kind: Gateway
metadata: {name: x}
spec:
  dataAdapterRef: {name: epic}
";

/// A good DataAdapter.
pub const ADAPTER: &str = "
apiVersion: hearthgate.dev/v1alpha1
kind: DataAdapter
metadata: {name: x}
spec:
  dataSourceType: FhirR4
  fhirBaseUrl: https://ehr.example.org/FHIR/R4
";

/// A good Activation.
pub const ACTIVATION: &str = "
apiVersion: hearthgate.dev/v1alpha1
kind: Activation
metadata: {name: x}
spec:
  appRef: {name: app}
  gatewayRef: {name: gateway}
  ehrAuthentication:
    type: System
    system:
      backendAuth: {}
";

/// A good object with some fields replaced, removed (null) or added, each given as JSON pointer and value.
pub fn with(base: &str, changes: &[(&str, Value)]) -> Value {
    let mut value = document(base);
    for (pointer, change) in changes {
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        let parent = value.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}"));
        match parent {
            Value::Object(object) if change.is_null() => drop(object.remove(field)),
            Value::Object(object) => drop(object.insert(field.into(), change.clone())),
            other => panic!("{pointer} leads into {other}"),
        }
    }
    value
}

/// A JWK Set of one public key, with further members.
pub fn jwk(extra: &Value) -> Value {
    let mut key = json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"});
    key.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
    json!({"keys": [key]})
}

/// External auth with that `apiEndpoint`.
pub fn external(api_endpoint: &str) -> Value {
    json!({"clientId": "c", "clientSecretRef": {"name": "s", "key": "k"}, "apiEndpoint": api_endpoint})
}

/// Every CEL rule broken once, and the sentence that it says.
#[expect(clippy::too_many_lines, reason = "a table")]
pub fn broken_rules() -> Vec<(Value, &'static str)> {
    let header = |name: &str| with(ADAPTER, &[("/spec/requestHeaders", json!([{"name": name, "value": "v"}]))]);
    let redirect = |uri: &str| with(APP, &[("/spec/redirectUris", json!([uri]))]);
    let secret = json!({"name": "s", "key": "k"});
    vec![
        (
            with(
                APP,
                &[("/spec/clientType", json!("Public")), ("/spec/redirectUris", json!(["https://a.example/cb"]))],
            ),
            "spec.clientType: a Public app cannot keep a secret: remove clientSecrets, jwks and jwksUri, or choose Confidential or BackendService",
        ),
        (
            with(APP, &[("/spec/jwksUri", Value::Null)]),
            "spec.clientType: a Confidential or BackendService app must prove who it is: give jwksUri or jwks (the better way), or clientSecrets",
        ),
        (
            with(APP, &[("/spec/clientType", json!("Confidential"))]),
            "spec.clientType: a Public or Confidential app needs at least one entry in redirectUris: users are sent back there",
        ),
        (with(APP, &[("/spec/jwks", jwk(&json!({})))]), "spec.jwks: give either jwks or jwksUri, not both"),
        (
            with(APP, &[("/spec/jwksUri", Value::Null), ("/spec/jwks", jwk(&json!({"d": "AA"})))]),
            "spec.jwks.keys[0]: this is a private or symmetric key: replace it, it has been shown to everyone who can read this object",
        ),
        (
            with(APP, &[("/spec/launchUri", json!("https://user@a.example/"))]),
            "spec.launchUri: must be an absolute http or https URL without userinfo, fragment or white space",
        ),
        (redirect("nowhere"), "spec.redirectUris[0]: must be an absolute URI without fragment or white space"),
        (
            redirect("JavaScript:alert(1)"),
            "spec.redirectUris[0]: must not use a scheme that a browser executes or reads locally",
        ),
        (
            redirect("https://user@a.example/cb"),
            "spec.redirectUris[0]: an http or https redirect URI must name a host and no userinfo",
        ),
        (
            with(GATEWAY, &[("/metadata/name", json!("keys"))]),
            "the name 'keys' is reserved: the EHR-facing key sets live at <platform>/<namespace>/keys/",
        ),
        (
            with(GATEWAY, &[("/spec/publicUrl", json!("https://fhir.example.org/"))]),
            "spec.publicUrl: publicUrl must not end with a slash: it is the OAuth issuer and compared exactly",
        ),
        (
            with(GATEWAY, &[("/spec/publicUrl", json!("https://fhir.example.org/a?b=c"))]),
            "spec.publicUrl: publicUrl must not have a query",
        ),
        (
            with(ADAPTER, &[("/spec/externalAuth", external("https://ehr.example.org/api"))]),
            "spec.externalAuth: externalAuth needs backendAuthEnabled: true",
        ),
        (
            with(ADAPTER, &[("/spec/fhirBaseUrl", json!("https://ehr.example.org/?a"))]),
            "spec.fhirBaseUrl: fhirBaseUrl must not have a query",
        ),
        (
            with(
                ADAPTER,
                &[
                    ("/spec/backendAuthEnabled", json!(true)),
                    ("/spec/externalAuth", external("https://ehr.example.org/api?x")),
                ],
            ),
            "spec.externalAuth.apiEndpoint: apiEndpoint must not have a query",
        ),
        (
            header("Authorization"),
            "spec.requestHeaders[0].name: this header carries a credential: credentials come from Secrets, never from a spec",
        ),
        (
            header("Host"),
            "spec.requestHeaders[0].name: this header belongs to the connection or the message and is set by the gateway",
        ),
        (header("X-Forwarded-For"), "spec.requestHeaders[0].name: forwarding headers are set by the gateway alone"),
        (
            with(
                ACTIVATION,
                &[
                    ("/spec/notBefore", json!("2026-02-01T00:00:00Z")),
                    ("/spec/expiresAt", json!("2026-01-01T00:00:00+01:00")),
                ],
            ),
            "spec.expiresAt: notBefore must be earlier than expiresAt",
        ),
        (
            with(ACTIVATION, &[("/spec/ehrAuthentication/type", json!("User"))]),
            "spec.ehrAuthentication.type: type System needs the field system and no user; type User needs the field user and no system",
        ),
        (
            with(ACTIVATION, &[("/spec/ehrAuthentication/system/none", json!({}))]),
            "spec.ehrAuthentication.system: give exactly one of backendAuth, clientCredentials, basic and none",
        ),
        (
            with(
                ACTIVATION,
                &[(
                    "/spec/ehrAuthentication",
                    json!({"type": "User", "user": {"clientId": "c", "clientSecretRef": secret, "keyPair": {}}}),
                )],
            ),
            "spec.ehrAuthentication.user.clientSecretRef: give one of clientSecretRef and keyPair, or neither for a public client of the EHR",
        ),
        (
            with(
                ACTIVATION,
                &[(
                    "/spec/ehrAuthentication",
                    json!({"type": "User", "user": {"clientId": "c", "tokenEndpointAuthMethod": "client_secret_post"}}),
                )],
            ),
            "spec.ehrAuthentication.user.tokenEndpointAuthMethod: tokenEndpointAuthMethod says how the secret of clientSecretRef is sent: give both, or neither",
        ),
    ]
}

/// Every rule that compares an object with what it was: old, new, sentence.
pub fn broken_transitions() -> Vec<(Value, Value, &'static str)> {
    let client_id = |id: Value| with(APP, &[("/spec/clientId", id)]);
    let immutable = "spec.clientId: clientId is immutable: apps in the field know it; register a new App instead";
    vec![
        (client_id(json!("a")), client_id(json!("b")), immutable),
        (client_id(json!("a")), client_id(Value::Null), immutable),
        (client_id(Value::Null), client_id(json!("a")), immutable),
        (
            document(ACTIVATION),
            with(ACTIVATION, &[("/spec/appRef/name", json!("other"))]),
            "spec.appRef: appRef is immutable: tokens and keys belong to this app; create another Activation",
        ),
        (
            document(ACTIVATION),
            with(ACTIVATION, &[("/spec/gatewayRef/name", json!("other"))]),
            "spec.gatewayRef: gatewayRef is immutable: tokens are bound to this gateway; create another Activation",
        ),
    ]
}
