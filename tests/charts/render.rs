//! What Helm makes of the chart.

use std::fs;
use std::path::{Path, PathBuf};

use hearthgate::api::crd;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use crate::support::chart::{self, CHART, arguments, objects, of};
use crate::support::control_plane::{ControlPlane, Told};

/// The namespace that charts are rendered for where no cluster looks.
pub const NAMESPACE: &str = "gateway";

/// Renders the chart, as release `hearthgate`.
pub async fn template(arguments: &[&str]) -> Told {
    chart::template("hearthgate", NAMESPACE, arguments).await
}

/// The objects that the chart comes to.
pub async fn rendered(arguments: &[&str]) -> Vec<Value> {
    objects(&template(arguments).await.ok())
}

/// The values files that stand for ways to run it.
pub fn values_files() -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(format!("{CHART}/ci")).expect("ci/").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[test]
fn the_crds_of_the_chart_are_ours() {
    let directory = Path::new(CHART).join("files/crds");
    for (name, expected) in crd::files().expect("the definitions") {
        let path = directory.join(&name);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &expected).expect("it can be written");
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == expected, "{name} is stale: run `UPDATE=1 cargo test --test charts`");
    }
    assert_eq!(fs::read_dir(directory).expect("crds/").count(), crd::definitions().len());
}

#[tokio::test]
async fn the_crds_are_rendered_whole_and_kept_at_uninstall() {
    let base = ["--set", "publicUrl=https://fhir.example.org"];
    let crds = |objects: Vec<Value>| -> Vec<Value> {
        objects.into_iter().filter(|object| object["kind"] == "CustomResourceDefinition").collect()
    };
    for (keep, annotations) in [("true", json!({"helm.sh/resource-policy": "keep"})), ("false", json!({}))] {
        let keep = format!("crds.keep={keep}");
        let found = crds(rendered(&[&base[..], &["--set", &keep]].concat()).await);
        for definition in crd::definitions() {
            let name = definition.metadata.name.clone().expect("a name");
            let mut found = of(&found, "CustomResourceDefinition", &name).clone();
            assert_eq!(found["metadata"]["annotations"], annotations, "{name}");
            let metadata = found["metadata"].as_object_mut().expect("metadata");
            metadata.remove("annotations");
            metadata.remove("labels");
            // As types: JSON knows 1 and 1.0, a schema's minimum only one of them.
            let found: CustomResourceDefinition = serde_json::from_value(found).expect("a definition");
            assert!(found == definition, "{name} is not rendered as it is");
        }
    }
    assert_eq!(crds(rendered(&[&base[..], &["--set", "crds.enabled=false"]].concat()).await), Vec::<Value>::new());
}

#[tokio::test]
async fn the_command_lines_say_what_the_values_say() {
    let alone = rendered(&["--set", "publicUrl=https://fhir.example.org"]).await;
    assert_eq!(
        arguments(&alone, "hearthgate-operator"),
        [
            "operate",
            "--proxies=gateway/hearthgate-proxy-admin",
            "--admin-listen=0.0.0.0:9090",
            "--public-url=https://fhir.example.org",
        ]
    );
    assert_eq!(
        arguments(&alone, "hearthgate-proxy"),
        [
            "proxy",
            "--listen=0.0.0.0:8080",
            "--admin-listen=0.0.0.0:9090",
            "--public-url=https://fhir.example.org",
            "--state=/var/lib/hearthgate",
        ]
    );
    let full = rendered(&[
        "--set",
        "publicUrl=https://fhir.example.org,store.url=redis://valkey:6379,keys.create=false",
        "--set-json",
        r#"namespaces=["a","b"]"#,
        "--set-json",
        r#"allowAddress=["10.0.0.0/8"]"#,
        "--set-json",
        r#"allowPublicHosts={"fhir.a.example.org":"a"}"#,
        "--set-json",
        r#"operator.extraArgs=["--x"]"#,
    ])
    .await;
    let shared = [
        "--admin-listen=0.0.0.0:9090",
        "--public-url=https://fhir.example.org",
        "--namespace=a",
        "--namespace=b",
        "--allow-address=10.0.0.0/8",
        "--allow-public-host=fhir.a.example.org=a",
    ];
    assert_eq!(
        arguments(&full, "hearthgate-operator"),
        [&["operate", "--proxies=gateway/hearthgate-proxy-admin"], &shared[..], &["--no-new-keys", "--x"]].concat()
    );
    assert_eq!(
        arguments(&full, "hearthgate-proxy"),
        [&["proxy", "--listen=0.0.0.0:8080"], &shared[..], &["--store=redis://valkey:6379"]].concat()
    );
}

#[tokio::test]
async fn the_binary_understands_both_command_lines() {
    // What a pod has mounted from its Secret.
    let mounted = tempfile::tempdir().expect("a directory");
    let certificate = rcgen::generate_simple_self_signed(["fhir.example.org".to_owned()]).expect("a certificate");
    fs::write(mounted.path().join("tls.crt"), certificate.cert.pem()).expect("it is written");
    fs::write(mounted.path().join("tls.key"), certificate.signing_key.serialize_pem()).expect("it is written");
    let here = |argument: String| argument.replace("/etc/hearthgate/tls", &mounted.path().display().to_string());
    for (values, component) in values_files().into_iter().flat_map(|file| [(file.clone(), "operator"), (file, "proxy")])
    {
        let unset = format!("{component}.extraArgs=null");
        let objects = rendered(&["--values", &values.display().to_string(), "--set", &unset]).await;
        let name = objects
            .iter()
            .find(|object| {
                object["kind"] == "Deployment"
                    && object["metadata"]["labels"]["app.kubernetes.io/component"] == component
            })
            .and_then(|deployment| deployment["metadata"]["name"].as_str())
            .expect("a Deployment of the component");
        // Far enough to know every option, and no further.
        let told = assert_cmd::Command::new(env!("CARGO_BIN_EXE_hearthgate"))
            .args(arguments(&objects, name).into_iter().map(here))
            .arg("--kubeconfig=/nowhere/kubeconfig")
            .output()
            .expect("it starts");
        let stderr = String::from_utf8_lossy(&told.stderr);
        assert!(stderr.contains("kubeconfig cannot be used"), "{component} with {}: {stderr}", values.display());
    }
}

#[tokio::test]
async fn the_operator_asks_the_proxies_with_a_token_that_is_good_for_nothing_else() {
    let objects = rendered(&["--set", "publicUrl=https://fhir.example.org"]).await;
    let pod = &of(&objects, "Deployment", "hearthgate-operator")["spec"]["template"]["spec"];
    let mounted = json!({"name": "proxies-token", "mountPath": "/var/run/secrets/hearthgate.dev", "readOnly": true});
    assert!(pod["containers"][0]["volumeMounts"].as_array().expect("mounts").contains(&mounted));
    let token = json!({"audience": "hearthgate.dev", "expirationSeconds": 3600, "path": "token"});
    let volume = json!({"name": "proxies-token", "projected": {"sources": [{"serviceAccountToken": token}]}});
    assert!(pod["volumes"].as_array().expect("volumes").contains(&volume));
}

#[tokio::test]
async fn a_store_url_with_a_password_stays_in_its_secret() {
    let objects = rendered(&["--values", &format!("{CHART}/ci/secret-store-values.yaml")]).await;
    assert!(arguments(&objects, "hearthgate-proxy").contains(&"--store=$(HEARTHGATE_STORE_URL)".to_owned()));
    let container = &of(&objects, "Deployment", "hearthgate-proxy")["spec"]["template"]["spec"]["containers"][0];
    let from = json!({"name": "HEARTHGATE_STORE_URL", "valueFrom": {"secretKeyRef": {"name": "valkey", "key": "url"}}});
    assert!(container["env"].as_array().expect("env").contains(&from));
}

#[tokio::test]
async fn the_state_of_a_lone_proxy_has_one_writer() {
    let alone = rendered(&["--set", "publicUrl=https://fhir.example.org"]).await;
    let proxy = &of(&alone, "Deployment", "hearthgate-proxy")["spec"];
    assert_eq!((&proxy["replicas"], &proxy["strategy"]), (&json!(1), &json!({"type": "Recreate"})));
    assert_eq!(
        of(&alone, "PersistentVolumeClaim", "hearthgate-state")["spec"]["accessModes"],
        json!(["ReadWriteOnce"])
    );

    let shared = rendered(&["--values", &format!("{CHART}/ci/shared-store-values.yaml")]).await;
    let proxy = &of(&shared, "Deployment", "hearthgate-proxy")["spec"];
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}});
    assert_eq!((&proxy["replicas"], &proxy["strategy"]), (&json!(3), &rolling));
    assert!(shared.iter().all(|object| object["kind"] != "PersistentVolumeClaim"));
    assert_eq!(of(&shared, "PodDisruptionBudget", "hearthgate-proxy")["spec"]["maxUnavailable"], 1);
}

#[tokio::test]
async fn every_container_is_locked_up() {
    for values in values_files() {
        let objects = rendered(&["--values", &values.display().to_string()]).await;
        let pods: Vec<&Value> = objects
            .iter()
            .filter_map(|object| match object["kind"].as_str() {
                Some("Deployment") => Some(&object["spec"]["template"]["spec"]),
                Some("Pod") => Some(&object["spec"]),
                _ => None,
            })
            .collect();
        assert_eq!(pods.len(), 3, "operator, proxy, test");
        for pod in pods {
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            assert_eq!(pod["securityContext"]["seccompProfile"], json!({"type": "RuntimeDefault"}));
            for container in pod["containers"].as_array().expect("containers") {
                let locked = json!({
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                });
                assert_eq!(container["securityContext"], locked);
                assert!(container["resources"]["limits"]["memory"].is_string(), "{container}");
            }
        }
    }
}

#[tokio::test]
async fn services_budgets_and_policies_select_the_pods_that_they_mean() {
    let objects = rendered(&["--values", &format!("{CHART}/ci/shared-store-values.yaml")]).await;
    for component in ["operator", "proxy"] {
        let name = format!("hearthgate-{component}");
        let template = &of(&objects, "Deployment", &name)["spec"]["template"];
        let labels = &template["metadata"]["labels"];
        assert_eq!(&of(&objects, "Deployment", &name)["spec"]["selector"]["matchLabels"], labels);
        assert_eq!(&of(&objects, "Service", &name)["spec"]["selector"], labels);
        assert_eq!(&of(&objects, "PodDisruptionBudget", &name)["spec"]["selector"]["matchLabels"], labels);
        assert_eq!(&of(&objects, "NetworkPolicy", &name)["spec"]["podSelector"]["matchLabels"], labels);
        for spread in template["spec"]["topologySpreadConstraints"].as_array().expect("constraints") {
            assert_eq!(&spread["labelSelector"]["matchLabels"], labels);
        }
        let probes = &template["spec"]["containers"][0];
        for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
            assert_eq!(probes[probe]["httpGet"], json!({"path": path, "port": "admin"}));
        }
    }
    // The operator finds replicas by the port `admin`; the public Service has none that leads there.
    let ports = |name: &str| of(&objects, "Service", name)["spec"]["ports"].clone();
    assert_eq!(ports("hearthgate-proxy-admin"), json!([{"name": "admin", "port": 9090, "targetPort": "admin"}]));
    assert_eq!(ports("hearthgate-proxy"), json!([{"name": "http", "port": 80, "targetPort": "http"}]));
}

#[tokio::test]
async fn the_admin_ports_are_not_for_everyone() {
    let objects = rendered(&["--values", &format!("{CHART}/ci/everything-values.yaml")]).await;
    let monitoring = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}});
    let admin = json!({
        "ports": [{"protocol": "TCP", "port": "admin"}],
        "from": [{"podSelector": {}}, monitoring],
    });
    let public = json!({"ports": [{"protocol": "TCP", "port": "http"}]});
    let policy = |name: &str| &of(&objects, "NetworkPolicy", name)["spec"];
    assert_eq!(policy("gate-operator")["ingress"], json!([admin]));
    assert_eq!(policy("gate-proxy")["ingress"], json!([public, admin]));
    assert_eq!(policy("gate-proxy")["policyTypes"], json!(["Ingress", "Egress"]));
}

#[tokio::test]
async fn an_api_server_takes_every_rendered_object_under_restricted_pod_security() {
    let plane = ControlPlane::shared().await;
    for values in values_files() {
        let namespace = plane.namespace("chart").await;
        for mode in ["enforce", "warn"] {
            let label = format!("pod-security.kubernetes.io/{mode}=restricted");
            plane.kubectl(&["label", "namespace", &namespace, &label]).await.ok();
        }
        let watched = format!("namespaces=[\"{namespace}\"]");
        for scope in [&[][..], &["--set-json", &watched]] {
            let values = values.display().to_string();
            let told = chart::template("hearthgate", &namespace, &[&["-f", &values], scope].concat()).await;
            // The Prometheus operator's kinds are not known here; the CRDs are asked for in a test of their own.
            let known = ["ServiceMonitor", "PrometheusRule", "CustomResourceDefinition"];
            let objects: Vec<_> = objects(&told.ok())
                .into_iter()
                .filter(|object| !known.iter().any(|kind| object["kind"] == *kind))
                .collect();
            let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
            let apply = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
            let told = plane.kubectl_with_input(&apply, &list).await;
            assert_eq!((told.success, told.stderr.as_str()), (true, ""), "{values} {scope:?}");
        }
    }
}

#[tokio::test]
async fn the_service_monitor_asks_for_metrics_where_they_are() {
    let objects = rendered(&["--values", &format!("{CHART}/ci/everything-values.yaml")]).await;
    let monitor = of(&objects, "ServiceMonitor", "gate");
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(monitor["spec"]["endpoints"], json!([{"port": "admin", "path": "/metrics", "interval": "30s"}]));
    let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().expect("labels");
    let selected: Vec<_> = objects
        .iter()
        .filter(|object| object["kind"] == "Service")
        .filter(|object| wanted.iter().all(|(key, value)| &object["metadata"]["labels"][key] == value))
        .filter(|object| object["spec"]["ports"][0]["name"] == "admin")
        .map(|object| object["metadata"]["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(selected, ["gate-operator", "gate-proxy-admin"]);
}
