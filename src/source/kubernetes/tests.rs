use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1 as core;
use kube::core::DeserializeGuard;
use serde_json::{Value, json};

use super::bag::Bag;
use super::object::{self, Object, Watched};
use crate::api;
use crate::snapshot::resources::{Kind, ObjectKey, ObjectReference, SecretUse};
use crate::values::key::file;

fn parse<Resource: Watched>(value: Value) -> Object {
    let parsed: Resource = serde_json::from_value(value).unwrap();
    let key = object::key(parsed.meta()).unwrap();
    Object { content: parsed.keep(&key).unwrap(), key }
}

fn metadata(version: &str) -> Value {
    json!({
        "name": "schedule-sync",
        "namespace": "cardiology",
        "uid": "0e0e1b3c",
        "generation": 3,
        "resourceVersion": version,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": { "team": "scheduling" },
        "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
            "hearthgate.dev/probe-requested-at": "now",
            "hearthgate.development/other": "x",
        },
        "managedFields": [{ "manager": "kubectl", "operation": "Apply" }],
    })
}

fn activation(version: &str, status: &Value) -> Object {
    parse::<api::Activation>(json!({
        "apiVersion": "hearthgate.dev/v1alpha1",
        "kind": "Activation",
        "metadata": metadata(version),
        "spec": {
            "appRef": { "name": "schedule-sync" },
            "gatewayRef": { "name": "epic" },
            "ehrAuthentication": { "type": "System", "system": { "none": {} } },
        },
        "status": status,
    }))
}

fn key() -> ObjectKey {
    ObjectKey::new("cardiology", "schedule-sync")
}

fn secret(version: &str, usage: &str, value: &str) -> Value {
    let mut metadata = metadata(version);
    metadata["labels"] = json!({ "hearthgate.dev/use": usage });
    json!({ "metadata": metadata, "data": { "value": value } })
}

#[test]
fn a_status_write_of_no_consequence_is_no_news() {
    let mut bag = Bag::default();
    assert!(bag.keep(activation("1", &json!({ "observedGeneration": -1 }))));
    assert!(!bag.keep(activation("2", &json!({ "observedGeneration": 3, "served": "1/1" }))));
}

#[test]
fn what_is_recorded_of_keys_is_read_back_and_is_news() {
    let recorded = json!({
        "observedGeneration": 3,
        "keys": [{
            "revision": 1, "kid": "k", "thumbprint": "k", "state": "Signing", "secretName": "schedule-sync-key-1",
            "signingSince": "2026-01-01T00:00:00Z",
        }],
    });
    let mut bag = Bag::default();
    bag.keep(activation("1", &Value::Null));
    assert!(bag.keep(activation("2", &recorded)));
    assert!(!bag.keep(activation("3", &recorded)));
    let observed = bag.resources().observed;
    let observed = &observed.activations["cardiology/schedule-sync"];
    assert_eq!(observed.keys[0].secret_name, "schedule-sync-key-1");
    assert!(observed.accepted_before);
}

#[test]
fn an_ehr_that_refuses_what_it_accepted_is_remembered_as_such() {
    for (status, reason, expected) in
        [("True", "EHRAuthenticated", true), ("False", "Refused", true), ("False", "AwaitingRegistration", false)]
    {
        let mut bag = Bag::default();
        bag.keep(activation(
            "1",
            &json!({ "observedGeneration": 1, "conditions": [{
                "type": "EHRAuthenticated", "status": status, "reason": reason, "message": "",
                "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]}),
        ));
        let observed = bag.resources().observed;
        let accepted = observed.activations.get("cardiology/schedule-sync").is_some_and(|one| one.accepted_before);
        assert_eq!(accepted, expected, "{reason}");
    }
}

#[test]
fn only_what_the_compiler_reads_is_kept() {
    let mut bag = Bag::default();
    bag.keep(activation("1", &json!({ "observedGeneration": 1 })));
    let kept = &bag.resources().activations[&key()];
    let annotations = BTreeMap::from([("hearthgate.dev/probe-requested-at".to_owned(), "now".to_owned())]);
    assert_eq!(kept.metadata.annotations.as_ref(), Some(&annotations));
    assert_eq!(kept.metadata.managed_fields, None);
    assert_eq!(kept.metadata.resource_version, None);
    assert_eq!(kept.metadata.generation, Some(3));
    assert_eq!(kept.metadata.uid.as_deref(), Some("0e0e1b3c"));
    assert!(kept.metadata.creation_timestamp.is_some());
    assert_eq!(kept.status, None);
}

#[test]
fn a_secret_that_did_not_change_stays_the_same_value_so_that_its_keys_are_parsed_once() {
    let mut bag = Bag::default();
    assert!(bag.keep(parse::<core::Secret>(secret("1", "credential", "b25l"))));
    let before = bag.resources().secrets[&key()].clone();
    assert_eq!(before.usage, SecretUse::Credential);
    assert!(!bag.keep(parse::<core::Secret>(secret("2", "credential", "b25l"))));
    assert!(std::sync::Arc::ptr_eq(&before, &bag.resources().secrets[&key()]));
    assert!(bag.keep(parse::<core::Secret>(secret("3", "credential", "dHdv"))));
    assert_eq!(bag.resources().secrets[&key()].data["value"].expose(), b"two");
}

#[test]
fn a_pair_is_kept_without_its_public_files_and_a_change_of_one_is_a_change() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile/keys/ec-1");
    let pair = |version: &str, more: &str| {
        let mut pair = secret(version, "key-pair", "");
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        let private = STANDARD.encode(text(file::PRIVATE_PEM));
        let public = STANDARD.encode(text(file::PUBLIC_PEM) + more);
        pair["data"] = json!({ file::PRIVATE_PEM: private, file::PUBLIC_PEM: public });
        parse::<core::Secret>(pair)
    };
    let mut bag = Bag::default();
    assert!(bag.keep(pair("1", "")));
    assert_eq!(bag.resources().secrets[&key()].data.keys().collect::<Vec<_>>(), [file::PRIVATE_PEM]);
    assert!(!bag.keep(pair("2", "")));
    assert!(bag.keep(pair("3", "\n")));
}

#[test]
fn a_secret_with_another_use_is_not_for_us() {
    let parsed: core::Secret = serde_json::from_value(secret("1", "something", "b25l")).unwrap();
    assert_eq!(parsed.keep(&key()), None);
}

#[test]
fn an_object_that_cannot_be_read_stays_as_it_was_and_is_told() {
    let guarded: DeserializeGuard<api::Activation> = serde_json::from_value(json!({
        "metadata": metadata("7"), "spec": { "appRef": "not an object" },
    }))
    .unwrap();
    assert!(guarded.0.is_err());
    let reference = ObjectReference::new(Kind::Activation, key());
    let mut bag = Bag::default();
    bag.keep(activation("1", &Value::Null));
    assert!(bag.refuse(&reference, "cannot be read".into()));
    assert!(!bag.refuse(&reference, "cannot be read".into()));
    let resources = bag.resources();
    assert_eq!(resources.rejections[0].object.as_ref(), Some(&reference));
    assert!(resources.activations.contains_key(&key()));
    assert!(bag.keep(activation("8", &Value::Null)), "correcting it is news");
    assert_eq!(bag.resources().rejections, []);
}

#[test]
fn a_complete_list_removes_what_it_does_not_show_in_its_own_namespace_only() {
    let mut bag = Bag::default();
    bag.keep(activation("1", &Value::Null));
    let none = std::collections::BTreeSet::new();
    assert!(!bag.retain(Kind::Activation, Some("neurology"), &none));
    assert!(!bag.retain(Kind::App, None, &none));
    assert!(bag.retain(Kind::Activation, Some("cardiology"), &none));
    assert!(bag.resources().activations.is_empty());
}
