//! One verdict: whatever `kubectl apply` to a real API server says about a document, the offline check says too.
//!
//! `hearthgate check` in a pull request is worth something only if what passes there also applies, and standalone must
//! mean by a file what a cluster means by it.

use futures_util::StreamExt as _;
use futures_util::stream;
use hearthgate::source::document;
use hearthgate::source::schema::{self, Content, Document, Problem};
use serde_json::{Value, json};

use super::corpus::{
    Case,
    Verdict::{self, Accepted, Refused},
    core, names, numbers, shapes, stricter, texts, times, words,
};
use crate::support::control_plane::ControlPlane;
use crate::support::rules::{ACTIVATION, ADAPTER, APP, GATEWAY, broken_rules, broken_transitions};

fn offline(text: &str) -> (Verdict, String) {
    let documents = match document::parse(text) {
        Ok(documents) => documents,
        Err(unreadable) => return (Refused, unreadable.to_string()),
    };
    for document in documents {
        match schema::recognise(&document.value) {
            Document::Object(kind, object) => {
                if let Err(problems) = schema::validate(kind, object) {
                    return (Refused, problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; "));
                }
            }
            Document::Malformed(problem) => return (Refused, problem.to_string()),
            other => return (Refused, format!("{other:?}")),
        }
    }
    (Accepted, String::new())
}

async fn compare(cases: Vec<Case>) {
    let plane = ControlPlane::shared().await;
    let namespace = &plane.namespace("parity").await;
    let apply = &["apply", "--dry-run=server", "--validate=strict", "-n", namespace, "-f", "-"];
    let disagreements: Vec<String> = stream::iter(cases)
        .map(|(expected, text)| async move {
            let told = plane.kubectl_with_input(apply, &text).await;
            let real = if told.success { Accepted } else { Refused };
            let (ours, why) = offline(&text);
            (real != expected || ours != expected).then(|| {
                format!(
                    "expected {expected:?}\nkubectl: {real:?} {}\noffline: {ours:?} {why}\n{text}",
                    told.stderr.trim()
                )
            })
        })
        .buffer_unordered(4)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(disagreements.is_empty(), "{} disagreements\n\n{}", disagreements.len(), disagreements.join("\n\n"));
}

#[tokio::test]
async fn both_read_the_same_words() {
    compare(words()).await;
}

#[tokio::test]
async fn both_read_the_same_numbers() {
    compare(numbers()).await;
}

#[tokio::test]
async fn both_read_the_same_times() {
    compare(times()).await;
}

#[tokio::test]
async fn both_know_the_same_shapes() {
    compare(shapes()).await;
}

#[tokio::test]
async fn both_take_the_same_names() {
    compare(names()).await;
}

#[tokio::test]
async fn both_read_the_same_texts() {
    compare(texts()).await;
}

#[tokio::test]
async fn both_take_the_same_secrets_and_config_maps() {
    compare(core()).await;
}

#[tokio::test]
async fn every_rule_says_the_same_sentence_in_both() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("rules").await;
    let apply = ["apply", "--dry-run=server", "--validate=strict", "-n", &namespace, "-f", "-"];
    for (value, sentence) in broken_rules() {
        let text = value.to_string();
        assert_eq!(offline(&text), (Refused, sentence.to_owned()), "{value:#}");
        let refused = plane.kubectl_with_input(&apply, &text).await.refused();
        // The API server puts the value between field and sentence.
        let (_, message) =
            sentence.split_once(": ").filter(|(path, _)| path.starts_with("spec")).unwrap_or(("", sentence));
        assert!(refused.contains(message), "{refused}\n{value:#}");
    }
}

#[tokio::test]
async fn both_hold_what_must_not_change_against_what_it_was() {
    let plane = ControlPlane::shared().await;
    for (old, new, sentence) in broken_transitions() {
        let namespace = plane.namespace("transition").await;
        plane.kubectl_with_input(&["create", "-n", &namespace, "-f", "-"], &old.to_string()).await.ok();
        let replace = ["replace", "-n", &namespace, "-f", "-"];
        let refused = plane.kubectl_with_input(&replace, &new.to_string()).await.refused();
        let (path, message) = sentence.split_once(": ").expect("a path");
        assert!(refused.contains(path) && refused.contains(message), "{refused}");
        // Everything else may change.
        let harmless = switched_off(&old);
        plane.kubectl_with_input(&replace, &harmless.to_string()).await.ok();
    }
}

/// The same object, with its kill switch on.
fn switched_off(object: &Value) -> Value {
    let mut changed = object.clone();
    if let Some(spec) = changed.pointer_mut("/spec").and_then(Value::as_object_mut) {
        spec.insert("suspend".into(), json!(true));
    }
    changed
}

#[tokio::test]
async fn both_fill_in_the_same_defaults() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("defaults").await;
    for base in [APP, GATEWAY, ADAPTER, ACTIVATION] {
        let apply = ["apply", "--dry-run=server", "-n", &namespace, "-o", "json", "-f", "-"];
        let real: Value = serde_json::from_str(&plane.kubectl_with_input(&apply, base).await.ok()).expect("JSON");
        let value = crate::support::rules::document(base);
        let Document::Object(kind, object) = schema::recognise(&value) else { panic!("{base}") };
        let Content::Custom(ours) = schema::validate(kind, object).expect("it is valid").content else {
            panic!("{base}")
        };
        assert_eq!(ours.value["spec"], real["spec"], "{base}");
    }
}

#[tokio::test]
async fn where_the_offline_check_is_stricter_it_is_so_on_purpose() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("stricter").await;
    for (reason, text) in stricter() {
        let apply = ["apply", "--dry-run=server", "--validate=strict", "-n", &namespace, "-f", "-"];
        plane.kubectl_with_input(&apply, &text).await.ok();
        assert_eq!(offline(&text).0, Refused, "{reason}");
    }
}
