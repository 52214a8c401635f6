//! A real kube-apiserver and etcd for one test binary: fresh, isolated, on free ports, gone when the test is gone.
//!
//! A fake client answers what its author believed. Admission, CEL, server-side apply, RBAC, watches and audit are only
//! as the API server does them, so the tests ask the API server. The programs come from `KUBEBUILDER_ASSETS` (the
//! convention of envtest), else `scripts/control-plane` builds them once into `target/control-plane/`.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::built::built;
use super::guarded::{Guarded, PROXY_VARIABLES, free_port, tail};

/// Member of `system:masters`: everything is allowed.
pub const ADMIN: &str = "admin";
/// Authenticated, and nothing else.
pub const NOBODY: &str = "nobody";

/// How long a program may take to become ready on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(90);

/// A running etcd and kube-apiserver.
pub struct ControlPlane {
    // Dropped in this order: the API server before the etcd that it talks to, and the directory last.
    apiserver: Mutex<Option<Guarded>>,
    etcd: Guarded,
    etcd_port: u16,
    port: u16,
    programs: PathBuf,
    directory: TempDir,
}

/// One request, as the API server's audit log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asked, such as `system:serviceaccount:hearthgate:hearthgate-operator`.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// The resource, with its subresource: `activations/status`.
    pub resource: String,
    /// Empty for cluster-scoped resources.
    pub namespace: String,
    /// Empty where the request names no object (lists; creates with a generated name).
    pub name: String,
    /// The status code of the answer.
    pub code: u64,
}

impl Request {
    /// Whether it asked for a change. Dry runs count: an idle operator makes none either.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

/// What a program said.
#[derive(Clone, Debug)]
pub struct Told {
    /// Whether it exited with 0.
    pub success: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Told {
    /// The standard output; panics with the standard error where the program failed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.success, "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// The standard error; panics where the program did not fail.
    #[track_caller]
    pub fn refused(self) -> String {
        assert!(!self.success, "expected a refusal, got:\n{}", self.stdout);
        self.stderr
    }
}

impl ControlPlane {
    /// Starts a control plane of one's own: for tests that stop it, or count its requests.
    pub async fn start() -> Self {
        let programs = programs().await;
        // A port that was free a moment ago may be taken by now.
        for attempt in 1.. {
            match Self::attempt(&programs).await {
                Ok(started) => return started,
                Err(reason) if attempt == 3 => panic!("{reason}"),
                Err(_) => {}
            }
        }
        unreachable!("the loop returns or panics")
    }

    /// The control plane that all tests of this binary share: with CRDs installed, each test in its own namespace.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        SHARED
            .get_or_init(|| async {
                let plane = Self::start().await;
                plane.install_crds().await;
                plane
            })
            .await
    }

    async fn attempt(programs: &Path) -> Result<Self, String> {
        let directory = tempfile::Builder::new().prefix("hearthgate-control-plane-").tempdir().expect("a directory");
        let (etcd_port, peer_port, port) = (free_port(), free_port(), free_port());
        let peers = format!("http://127.0.0.1:{peer_port}");
        let clients = format!("http://127.0.0.1:{etcd_port}");
        let etcd = Guarded::start(
            Command::new(programs.join("etcd"))
                .arg("--data-dir")
                .arg(directory.path().join("etcd"))
                .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
                .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
                .args(["--initial-cluster", &format!("default={peers}")])
                // Nothing here outlives the machine, so nothing needs to reach its disk.
                .args(["--unsafe-no-fsync", "--log-level", "warn"]),
            &directory.path().join("etcd.log"),
            Some(directory.path()),
        );
        prepare(directory.path());
        let plane =
            Self { apiserver: Mutex::new(None), etcd, etcd_port, port, programs: programs.to_owned(), directory };
        plane.launch().await?;
        Ok(plane)
    }

    async fn launch(&self) -> Result<(), String> {
        let path = |name: &str| self.directory.path().join(name);
        let mut started = Guarded::start(
            Command::new(self.programs.join("kube-apiserver"))
                .arg(format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port))
                .args([
                    "--bind-address=127.0.0.1",
                    "--advertise-address=127.0.0.1",
                    "--service-cluster-ip-range=10.0.0.0/24",
                ])
                .arg(format!("--secure-port={}", self.port))
                .arg(format!("--cert-dir={}", path("certificates").display()))
                .args(["--authorization-mode=RBAC", "--service-account-issuer=https://kubernetes.default.svc"])
                .arg(format!("--token-auth-file={}", path("tokens.csv").display()))
                .arg(format!("--service-account-key-file={}", path("service-account-public.pem").display()))
                .arg(format!("--service-account-signing-key-file={}", path("service-account.pem").display()))
                // No controller makes the ServiceAccounts `default` here, and no pod ever runs.
                .arg("--disable-admission-plugins=ServiceAccount")
                // It would write Endpoints for a loopback address, which the API server itself refuses.
                .arg("--endpoint-reconciler-type=none")
                .arg(format!("--audit-policy-file={}", path("audit-policy.yaml").display()))
                .arg(format!("--audit-log-path={}", path("audit.log").display())),
            &path("apiserver.log"),
            None,
        );
        let certificate = path("certificates").join("apiserver.crt");
        let since = Instant::now();
        loop {
            if ready(&certificate, self.port).await {
                break;
            }
            if started.has_ended() || since.elapsed() > START_WITHIN {
                return Err(format!(
                    "the API server did not become ready:\n{}\n{}",
                    tail(&path("etcd.log")),
                    tail(&path("apiserver.log"))
                ));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        *self.running() = Some(started);
        Ok(())
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Guarded>> {
        self.apiserver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the API server; etcd and its data stay.
    pub fn stop_apiserver(&self) {
        drop(self.running().take());
    }

    /// Starts the API server again, at the same port and with the same data.
    pub async fn start_apiserver(&self) {
        self.launch().await.unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// The URL of the API server.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Installs the four CRDs and waits until they are served.
    pub async fn install_crds(&self) {
        let crds = hearthgate::api::crd::to_yaml().expect("the CRDs as YAML");
        self.kubectl_with_input(&["apply", "--server-side", "-f", "-"], &crds).await.ok();
        let mut wait = vec!["wait".to_owned(), "--for=condition=Established".into(), "--timeout=60s".into()];
        wait.extend(
            hearthgate::api::crd::definitions()
                .iter()
                .map(|definition| format!("crd/{}.{}", definition.spec.names.plural, definition.spec.group)),
        );
        self.kubectl(&wait).await.ok();
    }

    /// A namespace that no other test has, its name beginning with `prefix`.
    pub async fn namespace(&self, prefix: &str) -> String {
        let created = self
            .kubectl_with_input(
                &["create", "-f", "-", "-o", "jsonpath={.metadata.name}"],
                &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": format!("{prefix}-")}})
                    .to_string(),
            )
            .await;
        created.ok()
    }

    /// Path of a kubeconfig for a user: [`ADMIN`], [`NOBODY`], or `system:serviceaccount:<namespace>:<name>` (which
    /// must exist: it gets a real token, valid for a day).
    pub async fn kubeconfig(&self, user: &str) -> PathBuf {
        let token = match user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':')) {
            Some((namespace, name)) => {
                let told = self.kubectl(&["create", "token", name, "-n", namespace, "--duration=24h"]).await;
                told.ok().trim().to_owned()
            }
            None => static_token(user),
        };
        self.write_kubeconfig(user, &token)
    }

    /// The directory of kubectl and the others.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// Where [`Self::kubeconfig`] writes.
    pub fn kubeconfig_path(&self, user: &str) -> PathBuf {
        self.directory.path().join(format!("kubeconfig-{}", user.replace(':', "-")))
    }

    fn write_kubeconfig(&self, user: &str, token: &str) -> PathBuf {
        let path = self.kubeconfig_path(user);
        let certificate = self.directory.path().join("certificates/apiserver.crt");
        // As in a pod: a ServiceAccount's own namespace is the one that it asks in.
        let own = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
        let namespace = own.map_or("default", |(namespace, _)| namespace);
        let content = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": self.url(),
                "certificate-authority-data": STANDARD.encode(fs::read(certificate).expect("a certificate")),
            }}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {
                "cluster": "test", "user": user, "namespace": namespace,
            }}],
        });
        // Written aside and moved: tests run side by side, and nobody may find half a file.
        let aside = tempfile::NamedTempFile::new_in(self.directory.path()).expect("a file");
        fs::write(aside.path(), content.to_string()).expect("a kubeconfig");
        aside.persist(&path).expect("a kubeconfig");
        path
    }

    /// A client for a user (see [`Self::kubeconfig`]), bound to the calling test's runtime.
    pub async fn client(&self, user: &str) -> kube::Client {
        // The second of two tests finds it installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let kubeconfig = kube::config::Kubeconfig::read_from(self.kubeconfig(user).await).expect("a kubeconfig");
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default())
            .await
            .expect("a configuration");
        config.proxy_url = None;
        kube::Client::try_from(config).expect("a client")
    }

    /// Runs kubectl as [`ADMIN`].
    pub async fn kubectl<A: AsRef<str>>(&self, arguments: &[A]) -> Told {
        self.run("kubectl", ADMIN, arguments, None).await
    }

    /// Runs kubectl as [`ADMIN`], with `input` at its standard input.
    pub async fn kubectl_with_input<A: AsRef<str>>(&self, arguments: &[A], input: &str) -> Told {
        self.run("kubectl", ADMIN, arguments, Some(input)).await
    }

    /// Runs kubectl as some user (see [`Self::kubeconfig`]).
    pub async fn kubectl_as<A: AsRef<str>>(&self, user: &str, arguments: &[A]) -> Told {
        self.kubeconfig(user).await;
        self.run("kubectl", user, arguments, None).await
    }

    /// Runs Helm as [`ADMIN`].
    pub async fn helm<A: AsRef<str>>(&self, arguments: &[A]) -> Told {
        self.run("helm", ADMIN, arguments, None).await
    }

    async fn run<A: AsRef<str>>(&self, program: &str, user: &str, arguments: &[A], input: Option<&str>) -> Told {
        let kubeconfig = match user {
            ADMIN | NOBODY => self.write_kubeconfig(user, &static_token(user)),
            other => self.directory.path().join(format!("kubeconfig-{}", other.replace(':', "-"))),
        };
        let path = program_path(&self.programs, program);
        let mut command = tool(&path, self.directory.path());
        command.args(arguments.iter().map(AsRef::as_ref)).env("KUBECONFIG", kubeconfig);
        told(command, input).await
    }

    /// Every request that the API server answered so far, its own and long-running ones left out until they end.
    pub fn audit(&self) -> Vec<Request> {
        let log = fs::read_to_string(self.directory.path().join("audit.log")).unwrap_or_default();
        // The last line may be half written.
        let complete = log.rsplit_once('\n').map_or("", |(complete, _)| complete);
        complete.lines().map(|line| request(&serde_json::from_str(line).expect("a line of JSON"))).collect()
    }

    /// Every request for a change that the API server answered so far, its own left out.
    pub fn audit_writes(&self) -> Vec<Request> {
        self.audit().into_iter().filter(Request::is_write).collect()
    }

    /// The keys in etcd whose name or value holds `needle`, Secrets left out: where a secret must never be found.
    pub async fn etcd_grep(&self, needle: &str) -> Vec<String> {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let mut found = Vec::new();
        let mut from = vec![0];
        loop {
            let page: Value = client
                .post(format!("http://127.0.0.1:{}/v3/kv/range", self.etcd_port))
                // A range_end of one zero byte means: to the last key.
                .json(&json!({"key": STANDARD.encode(&from), "range_end": STANDARD.encode([0]), "limit": 200}))
                .send()
                .await
                .expect("etcd answers")
                .json()
                .await
                .expect("JSON");
            let bytes = |value: &Value| STANDARD.decode(value.as_str().unwrap_or_default()).expect("Base64");
            let entries = page["kvs"].as_array().cloned().unwrap_or_default();
            for entry in &entries {
                let key = String::from_utf8_lossy(&bytes(&entry["key"])).into_owned();
                let holds = bytes(&entry["value"]).windows(needle.len()).any(|window| window == needle.as_bytes());
                if !key.starts_with("/registry/secrets/") && (holds || key.contains(needle)) {
                    found.push(key);
                }
            }
            match entries.last() {
                Some(last) if page["more"] == json!(true) => {
                    from = bytes(&last["key"]);
                    from.push(0);
                }
                _ => return found,
            }
        }
    }
}

/// Runs a program to its end.
async fn told(mut command: Command, input: Option<&str>) -> Told {
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.map(str::to_owned);
    let output = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
        if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
            // A program that refuses early does not read to the end.
            let _ = pipe.write_all(input.as_bytes());
        }
        child.wait_with_output().expect("it ends")
    })
    .await
    .expect("it ends");
    Told {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A command that keeps its caches in `home` and calls no proxy.
fn tool(path: &Path, home: &Path) -> Command {
    let mut command = Command::new(path);
    command.env("HOME", home).env("HELM_CACHE_HOME", home).env("HELM_CONFIG_HOME", home).env("HELM_DATA_HOME", home);
    for variable in PROXY_VARIABLES {
        command.env_remove(variable);
    }
    command
}

/// Runs kubectl or Helm without any cluster in sight.
pub async fn offline<A: AsRef<str>>(program: &str, arguments: &[A]) -> Told {
    let path = program_path(&programs().await, program);
    let home = tempfile::tempdir().expect("a directory");
    let mut command = tool(&path, home.path());
    command.args(arguments.iter().map(AsRef::as_ref)).env("KUBECONFIG", home.path().join("none"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    told(command, None).await
}

/// Helm is no part of envtest's directory; where it is missing there, any Helm will do.
fn program_path(programs: &Path, program: &str) -> PathBuf {
    let path = programs.join(program);
    if program == "helm" && !path.exists() { "helm".into() } else { path }
}

/// The directory with the programs; builds them where nobody has.
async fn programs() -> PathBuf {
    static PROGRAMS: OnceCell<PathBuf> = OnceCell::const_new();
    let build = || built("control-plane", "control plane");
    PROGRAMS.get_or_init(|| async { tokio::task::spawn_blocking(build).await.expect("it ends") }).await.clone()
}

/// The files that the API server is told to read.
fn prepare(directory: &Path) {
    let write = |name: &str, content: String| fs::write(directory.join(name), content).expect("a file");
    let tokens =
        format!("{},{ADMIN},{ADMIN},system:masters\n{},{NOBODY},{NOBODY}\n", static_token(ADMIN), static_token(NOBODY));
    write("tokens.csv", tokens);
    let key = rcgen::KeyPair::generate().expect("a key");
    write("service-account.pem", key.serialize_pem());
    write("service-account-public.pem", key.public_key_pem());
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [{"level": "None", "users": ["system:apiserver"]}, {"level": "Metadata"}],
    });
    write("audit-policy.yaml", policy.to_string());
}

/// The token of a user who is known by name: the port is open to this machine only, and for minutes.
fn static_token(user: &str) -> String {
    format!("{user}-of-a-test")
}

async fn ready(certificate: &Path, port: u16) -> bool {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Ok(pem) = fs::read(certificate) else { return false };
    let Ok(roots) = reqwest::Certificate::from_pem_bundle(&pem) else { return false };
    let client = reqwest::Client::builder().no_proxy().tls_certs_only(roots).build().expect("a client");
    // By the token: `/readyz` is open to all only once the built-in roles are there.
    let asked = client.get(format!("https://127.0.0.1:{port}/readyz")).bearer_auth(static_token(ADMIN));
    matches!(asked.send().await, Ok(answer) if answer.status().is_success())
}

fn request(event: &Value) -> Request {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (resource, subresource) = (text("/objectRef/resource"), text("/objectRef/subresource"));
    Request {
        user: text("/user/username"),
        verb: text("/verb"),
        resource: if subresource.is_empty() { resource } else { format!("{resource}/{subresource}") },
        namespace: text("/objectRef/namespace"),
        name: text("/objectRef/name"),
        code: event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default(),
    }
}
