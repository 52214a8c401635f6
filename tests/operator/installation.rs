//! One installation of Hearthgate in a namespace of a real API server: operator and proxies as processes of the built
//! binary, with tokens of the chart's own ServiceAccounts, and the simulated EHR beside them.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hearthgate::sandbox::{Credential, Handle, Registration, Sandbox, Settings};
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::release::{Component, Release};
use crate::support::control_plane::{ControlPlane, Request};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_hearthgate");
/// Longest wait for something that takes a second on an idle machine, and much longer where calls fail on purpose.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Longest wait for what is promised within a second: the tests share two cores with API servers and each other.
pub const PROMPTLY: Duration = Duration::from_secs(3);
/// The client ID that the quickstart's EHR gave.
pub const EHR_CLIENT_ID: &str = "7b0f6e0e-9d4d-4c55-8a4b-5f4f3b0c9a11";
/// The app's secret in the quickstart.
pub const APP_SECRET: &str = "quickstart-secret-for-tests-only";

/// An installation. It ends with the test.
pub struct Installation<'plane> {
    pub plane: &'plane ControlPlane,
    pub release: Release,
    /// Where its objects are.
    pub namespace: String,
    pub ehr: Handle,
    /// For calls.
    pub client: Client,
    pub proxies: Vec<Process>,
    public_url: String,
    /// Of the first proxy.
    public_port: u16,
    /// What a kubeconfig says stays: a test has changed it.
    keeps_kubeconfigs: bool,
    files: TempDir,
    stop: CancellationToken,
}

/// A process of the built binary.
pub struct Process {
    child: Child,
    log: PathBuf,
    /// The port of its admin listener.
    pub admin: u16,
    /// The port of its public listener; 0: it has none.
    pub public: u16,
    arguments: Vec<String>,
    kubeconfig: PathBuf,
}

impl<'plane> Installation<'plane> {
    /// A namespace with a release of the chart that watches it, this many proxies, the simulated EHR, and nothing else
    /// yet.
    pub async fn prepare(plane: &'plane ControlPlane, proxies: usize) -> Self {
        Self::prepare_with(plane, proxies, &[]).await
    }

    /// The same with values of the chart besides, as `name=value`.
    pub async fn prepare_with(plane: &'plane ControlPlane, proxies: usize, values: &[&str]) -> Self {
        let namespace = plane.namespace("install").await;
        let public_port = free_port();
        let url = format!("http://127.0.0.1:{public_port}");
        let release = Release::install(plane, "hearthgate", namespace.clone(), &url, &[&namespace], values).await;
        Self::of_release(plane, release, namespace, public_port, proxies).await
    }

    /// A release that watches every namespace of its control plane, in a namespace of its own, and another namespace for
    /// objects.
    pub async fn prepare_everywhere(plane: &'plane ControlPlane, proxies: usize) -> Self {
        let public_port = free_port();
        let url = format!("http://127.0.0.1:{public_port}");
        let own = plane.namespace("platform").await;
        let release = Release::install(plane, "hearthgate", own, &url, &[], &[]).await;
        let namespace = plane.namespace("install").await;
        Self::of_release(plane, release, namespace, public_port, proxies).await
    }

    async fn of_release(
        plane: &'plane ControlPlane,
        release: Release,
        namespace: String,
        public_port: u16,
        proxies: usize,
    ) -> Self {
        let settings = Settings { listen: "127.0.0.1:0".parse().unwrap(), ..Settings::default() };
        let sandbox = Sandbox::bind(settings).await.unwrap();
        let (ehr, stop) = (sandbox.handle(), CancellationToken::new());
        tokio::spawn(sandbox.serve(stop.clone()));
        let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let mut installation = Self {
            plane,
            release,
            namespace,
            ehr,
            client,
            proxies: Vec::new(),
            public_url: format!("http://127.0.0.1:{public_port}"),
            public_port,
            keeps_kubeconfigs: false,
            files: tempfile::tempdir().unwrap(),
            stop,
        };
        for _ in 0..proxies {
            installation.add_proxy().await;
        }
        installation
    }

    /// The same with the quickstart applied and one operator: what most tests begin with.
    pub async fn start(plane: &'plane ControlPlane, proxies: usize) -> (Self, Process) {
        let installation = Self::prepare(plane, proxies).await;
        installation.apply(&installation.quickstart()).await;
        let operator = installation.operator().await;
        (installation, operator)
    }

    /// The quickstart, with the addresses of this installation.
    pub fn quickstart(&self) -> String {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart");
        let mut documents = Vec::new();
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                documents.push(fs::read_to_string(path).unwrap());
            }
        }
        documents.join("\n---\n").replace("http://127.0.0.1:8090", self.ehr.base_url())
    }

    /// From now on processes use the kubeconfigs that are there, as a test has changed them.
    pub fn keeps_kubeconfigs(&mut self) {
        self.keeps_kubeconfigs = true;
    }

    /// Where apps and EHRs reach the first proxy.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// Starts one more proxy.
    pub async fn add_proxy(&mut self) {
        self.add_proxy_at("127.0.0.1").await;
    }

    /// The same with its admin listener at this address.
    pub async fn add_proxy_at(&mut self, address: &str) {
        let number = self.proxies.len();
        let (public, admin) = (if number == 0 { self.public_port } else { free_port() }, free_port());
        let mut instead = vec![format!("--listen=127.0.0.1:{public}"), format!("--admin-listen={address}:{admin}")];
        if !self.release.shares_a_store() {
            instead.push(format!("--state={}", self.files.path().join(format!("state-{number}")).display()));
        }
        let mut arguments = self.release.arguments(Component::Proxy, &instead);
        arguments.push("--shutdown-delay=0".into());
        let user = self.release.user(Component::Proxy);
        let proxy = self.process(&user, &format!("proxy-{number}"), arguments, admin, public).await;
        self.proxies.push(proxy);
    }

    /// Starts an operator of the release. Several take turns.
    pub async fn operator(&self) -> Process {
        self.operator_of(&self.release).await
    }

    /// Starts an operator of whichever release, for the proxies of this installation.
    pub async fn operator_of(&self, release: &Release) -> Process {
        let proxies: Vec<String> = self.proxies.iter().map(|proxy| format!("127.0.0.1:{}", proxy.admin)).collect();
        self.operator_with(release, &[format!("--proxies={}", proxies.join(","))], &[]).await
    }

    /// Starts an operator with some options in place of the chart's, and others besides.
    pub async fn operator_with(&self, release: &Release, instead: &[String], more: &[String]) -> Process {
        self.operator_at("127.0.0.1", release, instead, more).await
    }

    /// The same with its admin listener at this address.
    pub async fn operator_at(&self, address: &str, release: &Release, instead: &[String], more: &[String]) -> Process {
        let admin = free_port();
        let instead = [instead, &[format!("--admin-listen={address}:{admin}")]].concat();
        let arguments = [release.arguments(Component::Operator, &instead), more.to_vec()].concat();
        self.process(&release.user(Component::Operator), &format!("operator-{admin}"), arguments, admin, 0).await
    }

    async fn process(&self, user: &str, name: &str, mut arguments: Vec<String>, admin: u16, public: u16) -> Process {
        arguments.push("--log=info,hearthgate=debug".into());
        let log = self.files.path().join(name);
        let kubeconfig =
            if self.keeps_kubeconfigs { self.plane.kubeconfig_path(user) } else { self.plane.kubeconfig(user).await };
        let child = spawn(&arguments, &kubeconfig, &log);
        Process { child, log, admin, public, arguments, kubeconfig }
    }

    /// Applies YAML as a person does.
    pub async fn apply(&self, yaml: &str) {
        self.plane.kubectl_with_input(&["apply", "-n", &self.namespace, "-f", "-"], yaml).await.ok();
    }

    /// kubectl in this namespace.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        let mut all = vec!["-n", &self.namespace];
        all.extend(arguments);
        self.plane.kubectl(&all).await.ok()
    }

    /// Writes a file that ends with the test.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.files.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// An object as JSON; `None`: there is none.
    pub async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let found = self.kubectl(&["get", kind, name, "--ignore-not-found", "-o", "json"]).await;
        (!found.trim().is_empty()).then(|| serde_json::from_str(&found).unwrap())
    }

    /// The activation of the quickstart.
    pub async fn activation(&self) -> Value {
        self.get("activation", "schedule-sync-at-epic").await.unwrap()
    }

    /// Status and reason of a condition of the quickstart's activation; empty where it has none.
    pub async fn condition(&self, name: &str) -> (String, String) {
        let activation = self.activation().await;
        let conditions = activation["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|condition| condition["type"] == name).unwrap_or_default();
        let text = |member: &str| found[member].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"))
    }

    /// Waits until a condition of the quickstart's activation has this status and reason.
    pub async fn wait_for(&self, condition: &str, status: &str, reason: &str) {
        let what = format!("{condition}={status}/{reason}");
        eventually(PATIENCE, &what, || async {
            self.condition(condition).await == (status.to_owned(), reason.to_owned())
        })
        .await;
    }

    /// Waits as scripts do.
    pub async fn wait_ready(&self) {
        self.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "activation/schedule-sync-at-epic"]).await;
    }

    /// Does what the EHR's team does: registers the JWKS URL that the activation shows.
    pub async fn register(&self) {
        let activation = self.activation().await;
        let url = activation["status"]["jwksUrl"].as_str().unwrap().to_owned();
        let credential = Credential::JwksUrl(url);
        let client_id = EHR_CLIENT_ID.to_owned();
        self.ehr.register(Registration::new(client_id, credential)).unwrap();
    }

    /// Has the EHR asked now.
    pub async fn probe(&self) {
        let annotation = format!("hearthgate.dev/probe-requested-at={:?}", Instant::now());
        self.kubectl(&["annotate", "--overwrite", "activation/schedule-sync-at-epic", &annotation]).await;
    }

    /// The whole ladder: waits for the key, registers it, and waits until the activation is ready.
    pub async fn climb(&self) {
        self.wait_for("EHRAuthenticated", "False", "AwaitingRegistration").await;
        self.register().await;
        self.probe().await;
        self.wait_ready().await;
    }

    /// The keys that status shows: revision, thumbprint, state.
    pub async fn keys(&self) -> Vec<(u64, String, String)> {
        let keys = self.activation().await["status"]["keys"].as_array().cloned().unwrap_or_default();
        let key = |key: Value| {
            let text = |member: &str| key[member].as_str().unwrap_or_default().to_owned();
            (key["revision"].as_u64().unwrap_or_default(), text("thumbprint"), text("state"))
        };
        keys.into_iter().map(key).collect()
    }

    /// The names of the key Secrets that are there.
    pub async fn key_secrets(&self) -> Vec<String> {
        let told = self.kubectl(&["get", "secrets", "-l", "hearthgate.dev/use=key-pair", "-o", "name"]).await;
        told.lines().map(str::to_owned).collect()
    }

    /// An app's token and a FHIR read with it, through one proxy.
    pub async fn call(&self, proxy: &Process) -> (StatusCode, String) {
        let app = self.get("smartapp", "schedule-sync").await.unwrap();
        self.call_as(proxy, app["status"]["clientId"].as_str().unwrap()).await
    }

    /// The same without asking the API server for the app's client ID.
    pub async fn call_as(&self, proxy: &Process, client_id: &str) -> (StatusCode, String) {
        match self.token(proxy, client_id).await {
            Ok(token) => self.read(proxy, &token).await,
            Err(refused) => refused,
        }
    }

    /// An access token for the quickstart's app, of one proxy.
    pub async fn token(&self, proxy: &Process, client_id: &str) -> Result<String, (StatusCode, String)> {
        let asked = self.client.post(format!("{}/oauth2/token", self.gateway_at(proxy))).header("Host", self.host());
        let asked = asked.basic_auth(client_id, Some(APP_SECRET));
        let asked = asked.header("Content-Type", "application/x-www-form-urlencoded");
        let answer = asked.body("grant_type=client_credentials").send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        if status != StatusCode::OK {
            return Err((status, text));
        }
        let token: Value = serde_json::from_str(&text).unwrap();
        Ok(token["access_token"].as_str().unwrap().to_owned())
    }

    /// A FHIR read with a token, through one proxy.
    pub async fn read(&self, proxy: &Process, token: &str) -> (StatusCode, String) {
        let read = self.client.get(format!("{}/fhir/Patient?_count=1", self.gateway_at(proxy)));
        let answer = read.header("Host", self.host()).bearer_auth(token).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    fn gateway_at(&self, proxy: &Process) -> String {
        format!("http://127.0.0.1:{}/{}/epic", proxy.public, self.namespace)
    }

    fn host(&self) -> &str {
        self.public_url.trim_start_matches("http://")
    }

    /// What this installation's processes have asked the API server for.
    pub fn requests(&self) -> Vec<Request> {
        let ours = format!("system:serviceaccount:{}:", self.release.namespace);
        self.plane.audit().into_iter().filter(|request| request.user.starts_with(&ours)).collect()
    }

    /// What they have asked it to change, Leases apart.
    pub fn writes(&self) -> Vec<Request> {
        let writes = self.requests().into_iter().filter(Request::is_write);
        writes.filter(|request| request.resource != "leases").collect()
    }
}

impl Drop for Installation<'_> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Process {
    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it without a word (SIGKILL).
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        self.signal("TERM");
        self.child.wait().unwrap()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: &str) {
        Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status().unwrap();
    }

    /// Starts it again as it was.
    pub fn restart(&mut self) {
        self.child = spawn(&self.arguments, &self.kubeconfig, &self.log);
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Whether it has come to lead.
    pub fn leads(&self) -> bool {
        self.log().contains("\"leads\"")
    }

    /// Whether it says that it is ready.
    pub async fn is_ready(&self, client: &Client) -> bool {
        let answer = client.get(format!("http://127.0.0.1:{}/readyz", self.admin)).send().await;
        answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
    }

    /// The time that it has spent on a processor: `/proc` tells it in hundredths of a second.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The name of the program stands in brackets, and may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let hundredths: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(hundredths * 10)
    }

    /// Its resident memory, in KiB.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(60);
            eprintln!("--- {} {}\n{}", self.arguments[0], self.log.display(), lines[from..].join("\n"));
        }
    }
}

fn spawn(arguments: &[String], kubeconfig: &Path, log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log).unwrap();
    // Another build, such as a release that was made before: what is measured need not be what was built with the test.
    let program = std::env::var_os("HEARTHGATE_TEST_PROGRAM").unwrap_or_else(|| BINARY.into());
    let mut command = Command::new(program);
    command.args(arguments).env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until something holds, at most this long. Says how long it took.
pub async fn eventually<Check, Checked>(limit: Duration, what: &str, check: Check) -> Duration
where
    Check: Fn() -> Checked,
    Checked: Future<Output = bool>,
{
    let start = Instant::now();
    while !check().await {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    start.elapsed()
}
