//! The CRDs: the committed copies are current, every rule can be checked offline, and says what it should.
//!
//! Regenerate `crds/` with `UPDATE=1 cargo test --test crds`.

#![expect(clippy::panic, reason = "a test fails by panicking, its helpers too")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use hearthgate::api::crd;
use hearthgate::snapshot::resources::Kind;
use hearthgate::source::schema::{self, Document, Problem};
use serde_json::{Value, json};
use support::rules::{ACTIVATION, ADAPTER, APP, GATEWAY, broken_rules, broken_transitions, document, with};

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
