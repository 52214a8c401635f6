//! What Argo CD, Flux and kustomize are told about our kinds, run for real: the health scripts in Lua 5.1 (Argo CD's
//! gopher-lua is that version), the test data against a real API server, the kustomization with a real kubectl.
//!
//! Regenerate `argocd/argocd-cm.yaml` and its copy in the chart with `UPDATE=1 cargo test --test argocd`.

#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use hearthgate::api::crd;
use mlua::{Lua, LuaOptions, LuaSerdeExt as _, StdLib};
use serde::Deserialize;
use serde_json::{Value, json};
use support::control_plane::{self, ControlPlane};

const KINDS: [&str; 4] = ["DataAdapter", "Gateway", "App", "Activation"];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn customization(kind: &str, file: &str) -> PathBuf {
    root("argocd/resource_customizations/hearthgate.dev").join(kind).join(file)
}

fn yaml(path: &Path) -> Value {
    serde_yaml::from_str(&text(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `health_test.yaml`, as Argo CD's own tests read it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HealthTests {
    tests: Vec<HealthTest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HealthTest {
    health_status: Health,
    input_path: String,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Health {
    status: String,
    message: String,
}

/// Runs a health script as Argo CD does: the object is the global `obj`, and no library reaches the outside.
fn health(script: &str, object: &Value) -> Health {
    let lua = Lua::new_with(StdLib::TABLE | StdLib::STRING, LuaOptions::default()).expect("Lua starts");
    lua.globals().set("obj", lua.to_value(object).expect("a table")).expect("it is set");
    lua.from_value(lua.load(script).eval().unwrap_or_else(|error| panic!("{error}"))).expect("status and message")
}

fn health_tests(kind: &str) -> Vec<HealthTest> {
    let tests: HealthTests = serde_yaml::from_str(&text(&customization(kind, "health_test.yaml"))).expect("tests");
    tests.tests
}

#[test]
fn every_health_script_says_what_its_tests_ask() {
    for kind in KINDS {
        let script = text(&customization(kind, "health.lua"));
        for test in health_tests(kind) {
            let object = yaml(&customization(kind, &test.input_path));
            assert_eq!(object["kind"], kind, "{}", test.input_path);
            assert_eq!(health(&script, &object), test.health_status, "{kind} {}", test.input_path);
        }
    }
}

#[test]
fn no_test_data_is_left_unasked() {
    for kind in KINDS {
        let asked: BTreeSet<_> =
            health_tests(kind).into_iter().map(|test| customization(kind, &test.input_path)).collect();
        let there: BTreeSet<_> = fs::read_dir(customization(kind, "testdata"))
            .expect("testdata/")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        assert_eq!(asked, there, "{kind}");
    }
}

#[test]
fn all_four_kinds_have_the_same_script() {
    for kind in KINDS {
        assert_eq!(text(&customization(kind, "health.lua")), text(&customization("App", "health.lua")), "{kind}");
    }
}

#[test]
fn an_object_without_anything_is_progressing() {
    let script = text(&customization("App", "health.lua"));
    for object in [
        json!({"metadata": {"generation": 1}}),
        json!({"metadata": {"generation": 1}, "status": {}}),
        json!({"metadata": {"generation": 1}, "spec": {}, "status": {"observedGeneration": 1}}),
        json!({"metadata": {"generation": 1}, "spec": {}, "status": {"observedGeneration": 1, "conditions": []}}),
    ] {
        assert_eq!(health(&script, &object).status, "Progressing", "{object}");
    }
}

#[tokio::test]
async fn the_test_data_is_what_an_api_server_could_hold() {
    let plane = ControlPlane::shared().await;
    for kind in KINDS {
        for test in health_tests(kind) {
            let mut object = yaml(&customization(kind, &test.input_path));
            let namespace = plane.namespace("argocd").await;
            object["metadata"] = json!({"name": "example"});
            let create = ["create", "--validate=strict", "-n", &namespace, "-f", "-"];
            plane.kubectl_with_input(&create, &object.to_string()).await.ok();
            let replace = ["replace", "--validate=strict", "--subresource=status", "-n", &namespace, "-f", "-"];
            let told = plane.kubectl_with_input(&replace, &object.to_string()).await;
            assert!(told.success, "{kind} {}: {}", test.input_path, told.stderr);
        }
    }
}

/// The entry for Argo CD's ConfigMap: one script for all kinds, by the wildcard that Argo CD knows.
fn snippet() -> String {
    let mut lines = vec![
        "# For the ConfigMap argocd-cm: the health of every kind of hearthgate.dev.".to_owned(),
        "data:".into(),
        "  resource.customizations: |".into(),
        "    hearthgate.dev/*:".into(),
        "      health.lua: |".into(),
    ];
    lines.extend(text(&customization("App", "health.lua")).lines().map(|line| format!("        {line}")));
    lines.join("\n") + "\n"
}

#[test]
fn the_snippet_for_argo_cd_is_current() {
    for path in ["argocd/argocd-cm.yaml", "charts/hearthgate/files/argocd-cm.yaml"] {
        if std::env::var_os("UPDATE").is_some() {
            fs::write(root(path), snippet()).expect("it can be written");
        }
        assert!(text(&root(path)) == snippet(), "{path} is stale: run `UPDATE=1 cargo test --test argocd`");
    }
    let read: Value = serde_yaml::from_str(&snippet()).expect("YAML");
    let inner = read["data"]["resource.customizations"].as_str().expect("text");
    let inner: Value = serde_yaml::from_str(inner).expect("YAML");
    assert_eq!(inner["hearthgate.dev/*"]["health.lua"], json!(text(&customization("App", "health.lua"))));
}

/// Every reference to another object in the CRDs: kind of ours, path, and what it may lead to.
fn references() -> BTreeSet<(String, String, String)> {
    fn walk(kind: &str, path: &str, schema: &Value, found: &mut BTreeSet<(String, String, String)>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}/{name}");
            if name.ends_with("Ref") {
                let targets: &[&str] = match name.as_str() {
                    "appRef" => &["App"],
                    "gatewayRef" => &["Gateway"],
                    "dataAdapterRef" => &["DataAdapter"],
                    "caBundleRef" => &["ConfigMap", "Secret"],
                    _ => &["Secret"],
                };
                found.extend(targets.iter().map(|to| (kind.to_owned(), format!("{path}/name"), (*to).to_owned())));
            }
            walk(kind, &path, property, found);
            walk(kind, &path, &property["items"], found);
        }
    }
    let mut found = BTreeSet::new();
    for definition in crd::definitions() {
        let definition = serde_json::to_value(definition).expect("JSON");
        let kind = definition["spec"]["names"]["kind"].as_str().expect("a kind");
        let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        walk(kind, "spec", spec, &mut found);
    }
    found
}

#[test]
fn kustomize_knows_every_reference() {
    let configuration = yaml(&root("kustomize/hearthgate.yaml"));
    let mut known = BTreeSet::new();
    for entry in configuration["nameReference"].as_array().expect("a list") {
        let to = entry["kind"].as_str().expect("a kind");
        assert_eq!(entry["group"] == "hearthgate.dev", KINDS.contains(&to), "{entry}");
        for field in entry["fieldSpecs"].as_array().expect("a list") {
            assert_eq!(field["group"], "hearthgate.dev", "{field}");
            let text = |name: &str| field[name].as_str().expect("text").to_owned();
            known.insert((text("kind"), text("path"), to.to_owned()));
        }
    }
    assert_eq!(known, references());
}

async fn fleet() -> BTreeMap<(String, String), Value> {
    let built = control_plane::offline("kubectl", &["kustomize", "examples/fleet"]).await.ok();
    hearthgate::source::document::parse(&built)
        .expect("YAML")
        .into_iter()
        .map(|document| document.value)
        .map(|object| {
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            ((text(&object["kind"]), text(&object["metadata"]["name"])), object)
        })
        .collect()
}

#[tokio::test]
async fn prefixes_and_hashes_follow_in_every_reference_of_the_fleet() {
    let fleet = fleet().await;
    let of = |kind: &str, name: &str| {
        fleet.get(&(kind.to_owned(), name.to_owned())).unwrap_or_else(|| panic!("no {kind} {name}"))
    };
    for hospital in ["north", "south"] {
        let prefixed = |name: &str| format!("{hospital}-{name}");
        let activation = &of("Activation", &prefixed("referrals"))["spec"];
        assert_eq!(activation["gatewayRef"]["name"], json!(prefixed("epic")));
        assert_eq!(of("Gateway", &prefixed("epic"))["spec"]["dataAdapterRef"]["name"], json!(prefixed("epic")));
        let url = &of("DataAdapter", &prefixed("epic"))["spec"]["fhirBaseUrl"];
        assert_eq!(url, &json!(format!("https://{hospital}.example.org/api/FHIR/R4")));
        // One app, one key pair: neither is the hospital's.
        assert_eq!(activation["appRef"]["name"], "referrals");
        let pair = &activation["ehrAuthentication"]["system"]["backendAuth"]["keyPair"];
        assert_eq!(pair, &json!({"name": "referrals", "algorithm": "ES384"}));
    }
    let secret = of("App", "referrals")["spec"]["clientSecrets"][0]["secretRef"]["name"].as_str().expect("a name");
    assert!(secret.starts_with("referrals-client-"), "{secret} has no hash");
    assert_eq!(of("Secret", secret)["metadata"]["labels"], json!({"hearthgate.dev/use": "credential"}));
    assert_eq!(fleet.len(), 8);
}

#[tokio::test]
async fn the_fleet_applies_and_passes_the_check() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("fleet").await;
    let told = plane
        .kubectl(&["apply", "--validate=strict", "-n", &namespace, "-k", &root("examples/fleet").display().to_string()])
        .await;
    assert_eq!((told.success, told.stderr.as_str()), (true, ""));

    let built = control_plane::offline("kubectl", &["kustomize", "examples/fleet"]).await.ok();
    let checked =
        assert_cmd::Command::new(env!("CARGO_BIN_EXE_hearthgate")).args(["check", "-"]).write_stdin(built).assert();
    checked.success().stderr("");
}

/// Whether a CEL expression of Flux holds for an object. Flux gives the object's fields as variables; the engine here
/// knows rules about `self`.
fn holds(expression: &str, object: &Value) -> bool {
    let rule = ["status.", "metadata.", "spec."].iter().fold(format!(" {expression}"), |rule, variable| {
        rule.replace(&format!("({variable}"), &format!("(self.{variable}"))
            .replace(&format!(" {variable}"), &format!(" self.{variable}"))
    });
    let schema = json!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "x-kubernetes-validations": [{"rule": rule.trim(), "message": "no"}],
    });
    let compiled = kube::core::cel::compile_schema(&schema);
    assert_eq!(compiled.compilation_errors().len(), 0, "{rule}");
    match kube::core::cel::validate_compiled(&compiled, object, None) {
        Ok(()) => true,
        Err(errors) => {
            // "no", and not a failure to evaluate.
            assert!(errors.iter().all(|error| error.message == "no"), "{errors:?}");
            false
        }
    }
}

#[test]
fn the_expressions_for_flux_agree_with_the_scripts_for_argo_cd() {
    let page = text(&root("docs/argo-cd-and-flux.md"));
    let block = page
        .split("```yaml\n")
        .filter_map(|rest| rest.split("```").next())
        .find(|block| block.contains("healthCheckExprs"))
        .expect("a block of YAML");
    let documents = hearthgate::source::document::parse(block).expect("YAML");
    let expressions = documents.first().expect("a document").value["spec"]["healthCheckExprs"].clone();
    for kind in KINDS {
        let of_kind = expressions
            .as_array()
            .and_then(|all| all.iter().find(|entry| entry["kind"] == kind))
            .unwrap_or_else(|| panic!("no healthCheckExprs for {kind}"));
        for test in health_tests(kind) {
            let mut object = yaml(&customization(kind, &test.input_path));
            if let Some(object) = object.as_object_mut() {
                object.entry("status").or_insert(json!({"observedGeneration": -1}));
            }
            let told = ["current", "failed"].map(|name| holds(of_kind[name].as_str().expect("text"), &object));
            let expected = match test.health_status.status.as_str() {
                "Healthy" | "Suspended" => [true, false],
                "Degraded" => [false, true],
                _ => [false, false],
            };
            assert_eq!(told, expected, "{kind} {}", test.input_path);
        }
    }
}
