//! Least privilege: whole rules, as the bindings give them to each ServiceAccount.

use std::collections::BTreeSet;

use serde_json::Value;

use super::render::{NAMESPACE, rendered};

const URL: [&str; 2] = ["--set", "publicUrl=https://fhir.example.org"];

/// One permission: where (a namespace, or `*`), and `verb group/resource[=name]`.
type Grant = (String, String);

/// Everything that the chart's bindings let a ServiceAccount do.
fn grants(objects: &[Value], account: &str) -> BTreeSet<Grant> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let words = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let mut granted = BTreeSet::new();
    for binding in objects.iter().filter(|object| text(&object["kind"]).ends_with("RoleBinding")) {
        let subjects = binding["subjects"].as_array().expect("subjects");
        if !subjects.iter().any(|subject| subject["name"] == account && subject["namespace"] == NAMESPACE) {
            continue;
        }
        let everywhere = binding["kind"] == "ClusterRoleBinding";
        let role = objects
            .iter()
            .find(|object| {
                object["kind"] == binding["roleRef"]["kind"]
                    && object["metadata"]["name"] == binding["roleRef"]["name"]
                    && (everywhere || object["metadata"]["namespace"] == binding["metadata"]["namespace"])
            })
            .expect("the bound role");
        let place = if everywhere { "*".to_owned() } else { text(&binding["metadata"]["namespace"]) };
        for rule in role["rules"].as_array().expect("rules") {
            let known = ["apiGroups", "resources", "verbs", "resourceNames"];
            assert!(rule.as_object().expect("a rule").keys().all(|key| known.contains(&key.as_str())), "{rule}");
            let names = match words(&rule["resourceNames"]) {
                names if names.is_empty() => vec![String::new()],
                names => names.into_iter().map(|name| format!("={name}")).collect(),
            };
            for group in words(&rule["apiGroups"]) {
                for resource in words(&rule["resources"]) {
                    for verb in words(&rule["verbs"]) {
                        for name in &names {
                            granted.insert((place.clone(), format!("{verb} {group}/{resource}{name}")));
                        }
                    }
                }
            }
        }
    }
    granted
}

fn expected(place: &str, grants: &[&str]) -> BTreeSet<Grant> {
    grants.iter().map(|grant| (place.to_owned(), (*grant).to_owned())).collect()
}

const READ: [&str; 18] = [
    "get hearthgate.dev/activations",
    "list hearthgate.dev/activations",
    "watch hearthgate.dev/activations",
    "get hearthgate.dev/dataadapters",
    "list hearthgate.dev/dataadapters",
    "watch hearthgate.dev/dataadapters",
    "get hearthgate.dev/fhirgateways",
    "list hearthgate.dev/fhirgateways",
    "watch hearthgate.dev/fhirgateways",
    "get hearthgate.dev/smartapps",
    "list hearthgate.dev/smartapps",
    "watch hearthgate.dev/smartapps",
    "get /secrets",
    "list /secrets",
    "watch /secrets",
    "get /configmaps",
    "list /configmaps",
    "watch /configmaps",
];
const WRITE: [&str; 6] = [
    "patch hearthgate.dev/activations/status",
    "patch hearthgate.dev/dataadapters/status",
    "patch hearthgate.dev/fhirgateways/status",
    "patch hearthgate.dev/smartapps/status",
    "create events.k8s.io/events",
    "patch events.k8s.io/events",
];
const MAKE_KEYS: &str = "create /secrets";
/// In the release's own namespace, whatever is watched.
const OWN: [&str; 6] = [
    "create coordination.k8s.io/leases",
    "get coordination.k8s.io/leases=hearthgate-operator",
    "update coordination.k8s.io/leases=hearthgate-operator",
    "get discovery.k8s.io/endpointslices",
    "list discovery.k8s.io/endpointslices",
    "watch discovery.k8s.io/endpointslices",
];
const ASK_WHO: &str = "create authentication.k8s.io/tokenreviews";
const ASK_WHETHER: &str = "create authorization.k8s.io/subjectaccessreviews";

#[tokio::test]
async fn for_all_namespaces_each_may_do_exactly_this() {
    let objects = rendered(&URL).await;
    let mut operator = expected("*", &[&READ[..], &WRITE, &[MAKE_KEYS, ASK_WHO, ASK_WHETHER]].concat());
    operator.extend(expected(NAMESPACE, &OWN));
    assert_eq!(grants(&objects, "hearthgate-operator"), operator);
    assert_eq!(grants(&objects, "hearthgate-proxy"), expected("*", &[&READ[..], &[ASK_WHO]].concat()));
}

#[tokio::test]
async fn for_some_namespaces_nothing_but_reviews_reaches_beyond_them() {
    let objects = rendered(&[&URL[..], &["--set-json", r#"namespaces=["a","b"]"#]].concat()).await;
    let mut operator = expected("*", &[ASK_WHO, ASK_WHETHER]);
    operator.extend(expected(NAMESPACE, &OWN));
    let mut proxy = expected("*", &[ASK_WHO]);
    for namespace in ["a", "b"] {
        operator.extend(expected(namespace, &[&READ[..], &WRITE, &[MAKE_KEYS]].concat()));
        proxy.extend(expected(namespace, &READ));
    }
    assert_eq!(grants(&objects, "hearthgate-operator"), operator);
    assert_eq!(grants(&objects, "hearthgate-proxy"), proxy);
}

#[tokio::test]
async fn without_new_keys_no_secret_can_be_made_at_all() {
    let objects = rendered(&[&URL[..], &["--set", "keys.create=false"]].concat()).await;
    let mut operator = expected("*", &[&READ[..], &WRITE, &[ASK_WHO, ASK_WHETHER]].concat());
    operator.extend(expected(NAMESPACE, &OWN));
    assert_eq!(grants(&objects, "hearthgate-operator"), operator);
}

#[tokio::test]
async fn people_get_our_kinds_through_the_roles_that_they_have() {
    let objects = rendered(&URL).await;
    let aggregated = |object: &&Value, to: &str| {
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{to}");
        object["metadata"]["labels"][&label] == "true"
    };
    for (role, count) in [("view", 1), ("edit", 2), ("admin", 2)] {
        assert_eq!(objects.iter().filter(|object| aggregated(object, role)).count(), count, "{role}");
    }
    // Nobody gets a Secret by them, nor the right to write a status.
    for role in objects.iter().filter(|object| aggregated(object, "admin")) {
        for rule in role["rules"].as_array().expect("rules") {
            let kinds = serde_json::json!(["activations", "dataadapters", "fhirgateways", "smartapps"]);
            assert_eq!((&rule["apiGroups"], &rule["resources"]), (&serde_json::json!(["hearthgate.dev"]), &kinds));
        }
    }
}
