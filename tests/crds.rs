//! The CRDs: the committed copies are current, every rule can be checked offline, and says what it should.
//!
//! Regenerate `crds/` with `UPDATE=1 cargo test --test crds`.

#![expect(clippy::panic, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeSet;
use std::path::Path;

use hearthgate::api::crd;
use hearthgate::snapshot::resources::Kind;
use hearthgate::source::document;
use hearthgate::source::schema::{self, Document, Problem};
use serde_json::{Value, json};

fn document(text: &str) -> Value {
    let documents = document::parse(text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    documents.into_iter().next().expect("one document").value
}

fn findings(value: &Value) -> Vec<String> {
    match schema::recognise(value) {
        Document::Object(kind, object) => match schema::validate(kind, object) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().map(Problem::to_string).collect(),
        },
        Document::Malformed(problem) => vec![problem.to_string()],
        other => panic!("{other:?}"),
    }
}

const APP: &str = "
apiVersion: hearthgate.dev/v1alpha1
kind: App
metadata: {name: x}
spec:
  clientType: BackendService
  jwksUri: https://app.example.org/jwks.json
";

const GATEWAY: &str = "
apiVersion: hearthgate.dev/v1alpha1
kind: Gateway
metadata: {name: x}
spec:
  dataAdapterRef: {name: epic}
";

const ADAPTER: &str = "
apiVersion: hearthgate.dev/v1alpha1
kind: DataAdapter
metadata: {name: x}
spec:
  dataSourceType: FhirR4
  fhirBaseUrl: https://ehr.example.org/FHIR/R4
";

const ACTIVATION: &str = "
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
fn with(base: &str, changes: &[(&str, Value)]) -> Value {
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

fn jwk(extra: &Value) -> Value {
    let mut key = json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"});
    key.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
    json!({"keys": [key]})
}

fn external(api_endpoint: &str) -> Value {
    json!({"clientId": "c", "clientSecretRef": {"name": "s", "key": "k"}, "apiEndpoint": api_endpoint})
}

/// Every CEL rule broken once, and the sentence that it says.
#[expect(clippy::too_many_lines, reason = "a table")]
fn broken_rules() -> Vec<(Value, &'static str)> {
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
    ]
}

/// Every rule that compares an object with what it was: old, new, sentence.
fn broken_transitions() -> Vec<(Value, Value, &'static str)> {
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

fn messages(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            for rule in object.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                let message = rule["message"].as_str().unwrap_or_else(|| panic!("{rule} has no message"));
                found.insert(message.to_owned());
            }
            object.values().for_each(|value| messages(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| messages(value, found)),
        _ => {}
    }
}

#[test]
fn the_committed_copies_are_current() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    for (name, expected) in crd::files().expect("the definitions are YAML") {
        let path = directory.join(&name);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(&directory).expect("crds/ can be made");
            std::fs::write(&path, &expected).expect("crds/ can be written");
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == expected,
            "crds/{name} is not what src/api says: run `UPDATE=1 cargo test --test crds` and commit what it wrote"
        );
    }
}

#[test]
fn every_schema_and_every_cel_rule_can_be_checked_offline() {
    schema::self_test().expect("all schemas and rules compile");
}

#[test]
fn the_good_examples_are_good() {
    for base in [APP, GATEWAY, ADAPTER, ACTIVATION] {
        assert_eq!(findings(&document(base)), Vec::<String>::new(), "{base}");
    }
}

#[test]
fn each_broken_rule_says_its_sentence_and_nothing_else() {
    for (value, sentence) in broken_rules() {
        assert_eq!(findings(&value), [sentence], "{value:#}");
    }
}

#[test]
fn what_must_not_change_is_held_against_what_it_was() {
    let valid = |value: &Value| match schema::recognise(value) {
        Document::Object(kind, object) => {
            let valid = schema::validate(kind, object).unwrap_or_else(|problems| panic!("{problems:?}"));
            let schema::Content::Custom(custom) = valid.content else { panic!("{value}") };
            (kind, custom.value)
        }
        other => panic!("{other:?}"),
    };
    for (old, new, sentence) in broken_transitions() {
        let ((kind, old), (_, new)) = (valid(&old), valid(&new));
        let problems = schema::validate_transition(kind, &old, &new).expect_err("a change that is not allowed");
        let found: Vec<_> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(found, [sentence]);
        assert_eq!(schema::validate_transition(kind, &old, &old), Ok(()));
    }
}

#[test]
fn no_rule_is_left_out_of_these_tables() {
    let mut expected = BTreeSet::new();
    for definition in crd::definitions() {
        messages(&serde_json::to_value(definition).expect("JSON"), &mut expected);
    }
    let mut told: Vec<_> = broken_rules().into_iter().map(|(_, sentence)| sentence).collect();
    told.extend(broken_transitions().into_iter().map(|(_, _, sentence)| sentence));
    for message in expected {
        assert!(
            told.iter().any(|sentence| sentence.ends_with(&message)),
            "no document here breaks the rule: {message}"
        );
    }
}

#[test]
fn findings_of_the_schema_read_well() {
    let table = [
        (
            with(APP, &[("/spec/clientType", json!("public"))]),
            "spec.clientType: must be one of Public, Confidential, BackendService",
        ),
        (with(APP, &[("/spec/clientType", Value::Null)]), "spec.clientType: is required"),
        (with(APP, &[("/spec/clientTyp", json!("x"))]), "spec.clientTyp: unknown field: did you mean clientType?"),
        (with(APP, &[("/spec/zzz", json!("x"))]), "spec.zzz: unknown field"),
        (with(APP, &[("/spec", Value::Null)]), "spec: is required"),
        (with(APP, &[("/extra", json!({}))]), "extra: unknown field"),
        (
            with(APP, &[("/spec/displayName", json!(false))]),
            "spec.displayName: must be text, not true or false: put it in quotes (YAML takes words such as no, on and 12 for something else)",
        ),
        (with(APP, &[("/spec/displayName", json!(""))]), "spec.displayName: must not be empty"),
        (with(APP, &[("/spec/clientId", json!("a b"))]), "spec.clientId: must match ^[A-Za-z0-9._~-]{1,128}$"),
        (
            with(APP, &[("/spec/clientId", json!("a".repeat(129)))]),
            "spec.clientId: must be at most 128 characters long, not 129",
        ),
        (with(APP, &[("/spec/clientSecrets", json!([]))]), "spec.clientSecrets: must not be empty"),
        (
            with(APP, &[("/spec/redirectUris", json!(vec!["https://a.example/"; 33]))]),
            "spec.redirectUris: must have at most 32 entries, not 33",
        ),
        (with(APP, &[("/spec/scopes", json!("system/Patient.rs"))]), "spec.scopes: must be a list, not text"),
        (with(APP, &[("/spec/suspend", json!("true"))]), "spec.suspend: must be true or false, not text"),
        (
            with(GATEWAY, &[("/spec/accessTokenLifetimeSeconds", json!(9))]),
            "spec.accessTokenLifetimeSeconds: must be at least 10",
        ),
        (
            with(GATEWAY, &[("/spec/accessTokenLifetimeSeconds", json!(3601))]),
            "spec.accessTokenLifetimeSeconds: must be at most 3600",
        ),
        (
            with(GATEWAY, &[("/spec/accessTokenLifetimeSeconds", json!(10.5))]),
            "spec.accessTokenLifetimeSeconds: must be a whole number, not a number with a fraction",
        ),
        (with(GATEWAY, &[("/spec/dataAdapterRef", json!("epic"))]), "spec.dataAdapterRef: must be a mapping, not text"),
        (
            with(ACTIVATION, &[("/spec/ehrAuthentication/system/backendAuth", json!({"keyPair": {"rsaBits": 1024}}))]),
            "spec.ehrAuthentication.system.backendAuth.keyPair.rsaBits: must be one of 2048, 3072, 4096",
        ),
        (
            with(ACTIVATION, &[("/spec/expiresAt", json!("2026-01-31"))]),
            "spec.expiresAt: must be an RFC 3339 time such as 2026-01-31T08:00:00Z",
        ),
        (with(APP, &[("/metadata/name", Value::Null)]), "metadata.name: is required"),
        (
            with(APP, &[("/metadata/name", Value::Null), ("/metadata/generateName", json!("x-"))]),
            "metadata.generateName: write metadata.name instead: a generated name would make another object at every apply",
        ),
        (
            with(APP, &[("/metadata/name", json!("Upper"))]),
            "metadata.name: must be at most 253 lower case letters, digits, '-' and '.', and each part between dots must begin and end with a letter or digit",
        ),
        (
            with(APP, &[("/metadata/name", json!(false))]),
            "metadata.name: must be text, not true or false: put it in quotes",
        ),
        (
            with(APP, &[("/metadata/namespace", json!("a.b"))]),
            "metadata.namespace: must be at most 63 lower case letters, digits and hyphens, and begin and end with a letter or digit",
        ),
        (
            with(APP, &[("/metadata/labels", json!({"a": true}))]),
            "metadata.labels.a: must be text, not true or false: put it in quotes",
        ),
        (with(APP, &[("/metadata/lables", json!({}))]), "metadata.lables: unknown field: did you mean labels?"),
        (with(APP, &[("/apiVersion", json!("hearthgate.dev/v1"))]), "apiVersion: must be hearthgate.dev/v1alpha1"),
        (with(APP, &[("/apiVersion", Value::Null)]), "apiVersion: is required: write hearthgate.dev/v1alpha1"),
        (with(APP, &[("/kind", json!("Apps"))]), "kind: must be one of DataAdapter, Gateway, App, Activation"),
    ];
    for (value, sentence) in table {
        assert_eq!(findings(&value), [sentence], "{value:#}");
    }
}

#[test]
fn null_means_absent_and_defaults_are_filled_in() {
    let value = document(
        "{apiVersion: hearthgate.dev/v1alpha1, kind: DataAdapter, metadata: {name: x, labels: null}, status: {junk: 1},
          spec: {dataSourceType: FhirR4, fhirBaseUrl: 'https://e.example', tls: null, retry: {maxAttempts: 3}, timeouts: null}}",
    );
    let Document::Object(Kind::DataAdapter, object) = schema::recognise(&value) else { panic!() };
    let valid = schema::validate(Kind::DataAdapter, object).expect("valid");
    let schema::Content::Custom(custom) = valid.content else { panic!() };
    assert_eq!(
        custom.value,
        json!({
            "apiVersion": "hearthgate.dev/v1alpha1",
            "kind": "DataAdapter",
            "metadata": {"name": "x", "namespace": "default"},
            "spec": {
                "dataSourceType": "FhirR4",
                "fhirBaseUrl": "https://e.example",
                "retry": {"maxAttempts": 3, "budgetPercent": 20},
                "timeouts": {"connectSeconds": 5, "requestSeconds": 60, "idleSeconds": 60},
                "backendAuthEnabled": false,
                "requestHeaders": [],
                "suspend": false,
                "circuitBreaker": {"failurePercent": 50, "minimumRequests": 20, "windowSeconds": 10, "openSeconds": 10},
            },
        })
    );
}

#[test]
fn a_secret_that_breaks_a_rule_is_told_without_its_values() {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "labels": {"hearthgate.dev/use": "credential"}},
        "data": {"one": "hunter2!", "ümlaut": "aHVudGVyMg=="},
        "stringData": {"two": 73_964_182, "three": ["hunter2"]},
        "dta": {"hunter2": "hunter2"},
    });
    assert_eq!(
        findings(&secret),
        [
            "dta: unknown field: did you mean data?",
            "data.ümlaut: the key must be at most 253 letters, digits, '-', '_' and '.'",
            "data.one: must be Base64; plain text belongs in stringData",
            "stringData.two: must be text, not a number: put it in quotes",
            "stringData.three: must be text, not a list: put it in quotes",
        ]
    );
}
