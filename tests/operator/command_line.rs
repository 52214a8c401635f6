//! The command line against a cluster, as people have it: with kubectl's own configuration, and with no permission to
//! read Secrets.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use reqwest::StatusCode;
use serde_json::Value;

use super::installation::{APP_SECRET, BINARY, Installation};
use crate::support::control_plane::ControlPlane;

/// Somebody at a desk.
struct Person {
    /// As the API server knows them.
    user: String,
    kubeconfig: PathBuf,
    namespace: String,
    /// Where their kubectl finds plugins.
    plugins: tempfile::TempDir,
    /// Where kubectl is.
    programs: PathBuf,
}

/// What a command came to.
struct Came {
    code: i32,
    out: String,
    err: String,
}

impl Person {
    /// May list our four kinds, and patch what is changed by hand: no Secret, and no ConfigMap.
    async fn at(installation: &Installation<'_>) -> Self {
        let kinds = "smartapps.hearthgate.dev,fhirgateways.hearthgate.dev,dataadapters.hearthgate.dev,activations.hearthgate.dev";
        installation.kubectl(&["create", "serviceaccount", "person"]).await;
        installation
            .kubectl(&["create", "role", "person", "--verb=get,list,patch", &format!("--resource={kinds}")])
            .await;
        let account = format!("--serviceaccount={}:person", installation.namespace);
        installation.kubectl(&["create", "rolebinding", "person", "--role=person", &account]).await;
        let user = format!("system:serviceaccount:{}:person", installation.namespace);
        let plugins = tempfile::tempdir().unwrap();
        for name in ["kubectl-hearthgate", "kubectl_complete-hearthgate"] {
            std::os::unix::fs::symlink(BINARY, plugins.path().join(name)).unwrap();
        }
        Self {
            kubeconfig: installation.plane.kubeconfig(&user).await,
            user,
            namespace: installation.namespace.clone(),
            plugins,
            programs: installation.plane.programs().to_owned(),
        }
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> Came {
        let path = std::env::var("PATH").unwrap();
        let output: Output = Command::new(program)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("PATH", format!("{}:{path}", self.plugins.path().display()))
            .env_remove("HEARTHGATE_SERVER")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        Came {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// `hearthgate …` in the cluster of the kubeconfig.
    fn hearthgate(&self, arguments: &[&str]) -> Came {
        self.run(Path::new(BINARY), &[arguments, &["--context", "test"]].concat())
    }

    /// `kubectl hearthgate …`, in the namespace of the person.
    fn plugin(&self, arguments: &[&str]) -> Came {
        let all = [&["hearthgate"], arguments].concat();
        self.run(&self.programs.join("kubectl"), &all)
    }

    /// The names that a shell offers.
    fn completed(&self, words: &[&str]) -> Vec<String> {
        let output = Command::new(BINARY)
            .arg("--")
            .args(words)
            .env("HEARTHGATE_COMPLETE", "bash")
            .env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string())
            .env("_CLAP_IFS", "\n")
            .env("KUBECONFIG", &self.kubeconfig)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Came {
    /// What it printed, where it ended with this exit code.
    #[track_caller]
    fn with(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self.out
    }

    /// The same as JSON.
    #[track_caller]
    fn json(self, code: i32) -> Value {
        serde_json::from_str(&self.with(code)).unwrap()
    }
}

// The simulated EHR must answer while a command runs.
#[tokio::test(flavor = "multi_thread")]
async fn without_reading_a_secret_a_person_climbs_the_ladder_and_looks_around() {
    let plane = ControlPlane::shared().await;
    let (installation, _operator) = Installation::start(plane, 1).await;
    let person = Person::at(&installation).await;
    installation.wait_for("EHRAuthenticated", "False", "AwaitingRegistration").await;
    let status = installation.activation().await["status"].clone();

    let told = person.plugin(&["status"]).with(1);
    for part in ["✗ Activation", "schedule-sync-at-epic", "root cause", "AwaitingRegistration", "next step"] {
        assert!(told.contains(part), "{part:?} is missing in\n{told}");
    }
    let pem = person.hearthgate(&["pem", "schedule-sync-at-epic"]).with(0);
    assert_eq!(pem, status["certificatePem"].as_str().unwrap());
    let url = person.hearthgate(&["jwks", "schedule-sync-at-epic", "--url"]).with(0);
    assert_eq!(url.trim(), status["jwksUrl"].as_str().unwrap());
    let set = person.hearthgate(&["jwks", "schedule-sync-at-epic"]).json(0);
    assert_eq!(set["keys"][0]["kid"], status["keys"][0]["kid"]);

    let refused = person.hearthgate(&["probe", "schedule-sync-at-epic"]).with(1);
    assert!(refused.contains("AwaitingRegistration") && refused.contains("next: "), "{refused}");
    installation.register().await;
    let accepted = person.hearthgate(&["probe", "schedule-sync-at-epic", "--wait", "60"]).with(0);
    assert!(accepted.contains("the EHR accepted a token request"), "{accepted}");
    installation.wait_ready().await;
    let asked_again = person.hearthgate(&["probe", "schedule-sync-at-epic"]).with(0);
    assert!(asked_again.contains("the EHR accepted a token request"), "a probe of what works comes to an end too");

    let all = person.hearthgate(&["status", "-o", "json"]).json(0);
    let kinds: Vec<&str> =
        all["objects"].as_array().unwrap().iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["DataAdapter", "Gateway", "App", "Activation"]);
    let everywhere = person.hearthgate(&["status", "-A"]);
    assert!(everywhere.err.contains("403 Forbidden"), "{}", everywhere.err);

    let secret = installation.file("secret", APP_SECRET);
    let secret = secret.to_str().unwrap();
    let token = person.hearthgate(&["token", "schedule-sync", "--secret-file", secret]).with(0);
    let (status, text) = installation.read(&installation.proxies[0], token.trim()).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let without = person.hearthgate(&["token", "schedule-sync"]);
    assert_eq!(without.code, 2);
    let line = format!("kubectl --context test get secret schedule-sync-client -n {}", person.namespace);
    assert!(without.err.contains(&line), "{}", without.err);

    assert_eq!(person.completed(&["hearthgate", "pem", "--context", "test", "sched"]), ["schedule-sync-at-epic"]);
    let of_secrets = plane.audit().into_iter().filter(|request| request.user == person.user);
    let read: Vec<_> = of_secrets.filter(|request| ["secrets", "configmaps"].contains(&&*request.resource)).collect();
    assert_eq!(read, []);
}

#[tokio::test]
async fn what_would_be_decided_and_what_a_change_does_is_told_of_a_cluster_too() {
    let plane = ControlPlane::shared().await;
    let (installation, _operator) = Installation::start(plane, 1).await;
    let person = Person::at(&installation).await;
    installation.wait_for("EHRAuthenticated", "False", "AwaitingRegistration").await;

    let permitted = person.hearthgate(&["why", "schedule-sync", "epic", "GET Patient/1"]).with(0);
    assert!(
        permitted.contains("permitted") && permitted.contains("is not ready (AwaitingRegistration)"),
        "{permitted}"
    );
    assert!(permitted.contains(&format!("App {}/schedule-sync", person.namespace)), "{permitted}");
    let denied = person.plugin(&["why", "schedule-sync", "epic", "PUT Patient/1", "-o", "json"]).json(1);
    assert_eq!(denied["code"], "HG7008");
    let matrix = person.hearthgate(&["access", "-o", "json"]).json(0);
    assert_eq!(matrix["access"][0]["app"], "schedule-sync");
    assert_eq!(matrix["access"][0]["state"], "in effect", "{matrix:#}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.yaml");
    let quickstart = installation.quickstart();
    std::fs::write(&file, &quickstart).unwrap();
    let path = folder.path().to_str().unwrap();
    let nothing = format!(
        "Nothing changes.\nnote: compared was namespace {}, which NEW names; -A sees what it names no more, too\n",
        person.namespace
    );
    assert_eq!(person.plugin(&["plan", path]).with(0), nothing);
    std::fs::write(&file, quickstart.replace("    - system/Slot.rs\n", "")).unwrap();
    let changed = person.hearthgate(&["plan", path, "-o", "json"]).json(1);
    assert_eq!(changed["access"][0]["lost"], serde_json::json!(["system/Slot.rs"]), "{changed:#}");
    assert_eq!(changed["objects"].as_array().unwrap().len(), 1, "{changed:#}");
    assert_eq!(changed["urls"], serde_json::json!([]), "the public URL is the cluster's");
    let elsewhere = person.hearthgate(&["plan", path, "-n", "default"]);
    assert!(elsewhere.err.contains("403 Forbidden"), "objects without a namespace go where -n says: {}", elsewhere.err);

    let printed = person.hearthgate(&["rotate", "schedule-sync-at-epic"]).with(0);
    let merged = r#"{"spec":{"ehrAuthentication":{"system":{"backendAuth":{"keyPair":{"revision":2}}}}}}"#;
    let expected = format!(
        "kubectl --context test patch activations.hearthgate.dev schedule-sync-at-epic -n {} --type merge -p '{merged}'\n",
        person.namespace
    );
    assert_eq!(printed, expected);
    person.plugin(&["rotate", "schedule-sync-at-epic", "--write"]).with(0);
    let spec = installation.activation().await["spec"].clone();
    assert_eq!(spec["ehrAuthentication"]["system"]["backendAuth"]["keyPair"]["revision"], 2);
    installation.kubectl(&["label", "activation/schedule-sync-at-epic", "argocd.argoproj.io/instance=fleet"]).await;
    let kept = person.hearthgate(&["rotate", "schedule-sync-at-epic", "--write"]);
    assert!(kept.code == 2 && kept.err.contains("Argo CD deploys"), "{}", kept.err);
}

#[tokio::test]
async fn the_plugin_speaks_as_kubectl_does() {
    let plane = ControlPlane::shared().await;
    let installation = Installation::prepare(plane, 0).await;
    let person = Person::at(&installation).await;
    let help = person.plugin(&["status", "--help"]).with(0);
    assert!(help.contains("Usage: kubectl hearthgate status"), "{help}");
    assert!(help.contains("  kubectl hearthgate status epic -o json"), "{help}");
    let nothing = person.plugin(&["status"]).with(0);
    assert_eq!(nothing, "nothing is there yet in the namespace of the context (-n names another, -A looks in all)\n");
    let missing = person.plugin(&["pem", "nowhere"]);
    assert_eq!(missing.code, 2);
    let told = "there is no Activation nowhere in the namespace of the context (-n names another, -A looks in all)";
    assert!(missing.err.contains(told), "{}", missing.err);
    installation.apply(&installation.quickstart()).await;
    let completed = person.run(Path::new(&person.plugins.path().join("kubectl_complete-hearthgate")), &["pem", "sch"]);
    assert_eq!(completed.with(0), "schedule-sync-at-epic\tActivation\n:4\n");
    let wrong = person.plugin(&["stauts"]);
    assert!(wrong.err.contains("Usage: kubectl hearthgate"), "{}", wrong.err);
}
