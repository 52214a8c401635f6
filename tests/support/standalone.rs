//! A standalone server under test: the built binary, a copy of an example, ports of its own, the simulated EHR beside it.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for something that takes milliseconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_hearthgate");

fn client() -> reqwest::ClientBuilder {
    Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none())
}

/// A running server. It ends with the test.
pub struct Standalone {
    /// The served directory.
    pub directory: TempDir,
    /// For calls.
    pub client: Client,
    child: Child,
    ports: Ports,
    arguments: Vec<String>,
}

#[derive(Clone, Copy)]
struct Ports {
    public: u16,
    admin: u16,
    sandbox: u16,
}

/// What an answer was.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    /// The answer to a request, read whole.
    pub async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        Self { status: response.status(), headers: response.headers().clone(), text: response.text().await.unwrap() }
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {:?}", self.text))
    }
}

impl Ports {
    /// Three ports that nobody listens on. Nobody else asks for them in the moment until the server does.
    fn free() -> Self {
        let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let port = |index: usize| listeners[index].local_addr().unwrap().port();
        Self { public: port(0), admin: port(1), sandbox: port(2) }
    }
}

impl Standalone {
    /// Serves a copy of `examples/<example>` with the simulated EHR, and waits until it is ready.
    pub async fn start(example: &str) -> Self {
        Self::start_with(example, &[]).await
    }

    /// The same with more arguments.
    pub async fn start_with(example: &str, arguments: &[&str]) -> Self {
        let server = Self::launch(example, arguments);
        server.wait_ready().await;
        server
    }

    /// The same, not waiting for anything.
    pub fn launch(example: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ports = Ports::free();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example);
        if !example.is_empty() {
            for entry in fs::read_dir(&source).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "yaml") {
                    let text = fs::read_to_string(&path)
                        .unwrap()
                        .replace("127.0.0.1:8090", &format!("127.0.0.1:{}", ports.sandbox));
                    fs::write(directory.path().join(path.file_name().unwrap()), text).unwrap();
                }
            }
        }
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        // Refused where an earlier test of this binary has installed it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = client().build().unwrap();
        // Last of all: whatever fails above leaves no process behind.
        let child = spawn(directory.path(), ports, &arguments);
        Self { directory, client, child, ports, arguments }
    }

    /// Calls on new connections from now on: where tests share the server, none outlives the test that opened it.
    pub fn keep_no_connections(&mut self) {
        self.client = client().pool_max_idle_per_host(0).build().unwrap();
    }

    /// Ends the server without a word (SIGKILL), and starts it again on the same directory and ports.
    pub async fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.directory.path(), self.ports, &self.arguments);
        self.wait_ready().await;
    }

    /// Asks it to end (SIGTERM) and says how it did.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        self.child.wait().unwrap()
    }

    pub async fn wait_ready(&self) {
        self.eventually("the server is ready", || async {
            let answer = self.client.get(self.admin("/readyz")).send().await;
            answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
        })
        .await;
    }

    /// Waits until something holds; fails with its description when it does not come.
    pub async fn eventually<Check, Checked>(&self, what: &str, check: Check)
    where
        Check: Fn() -> Checked,
        Checked: Future<Output = bool>,
    {
        self.within(PATIENCE, what, check).await;
    }

    /// Waits until something holds, at most this long. Says how long it took.
    pub async fn within<Check, Checked>(&self, limit: Duration, what: &str, check: Check) -> Duration
    where
        Check: Fn() -> Checked,
        Checked: Future<Output = bool>,
    {
        let start = Instant::now();
        while !check().await {
            assert!(start.elapsed() < limit, "not within {limit:?}: {what}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        start.elapsed()
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(log_path(self.directory.path())).unwrap_or_default()
    }

    /// What the server has printed so far.
    pub fn printed(&self) -> String {
        fs::read_to_string(printed_path(self.directory.path())).unwrap_or_default()
    }

    /// A URL of the public listener.
    pub fn public(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports.public)
    }

    /// A URL of the admin listener.
    pub fn admin(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports.admin)
    }

    /// A URL of the simulated EHR.
    pub fn sandbox(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports.sandbox)
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.directory.path().join(".hearthgate")
    }

    /// Writes a file as an editor does: beside it, then renamed over it.
    pub fn write(&self, file: &str, text: &str) {
        let temporary = self.directory.path().join(format!(".{file}.tmp"));
        fs::write(&temporary, text).unwrap();
        fs::rename(temporary, self.directory.path().join(file)).unwrap();
    }

    /// Changes a file by replacing some text in it.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.directory.path().join(file)).unwrap();
        assert!(text.contains(from), "{file} does not contain {from:?}");
        self.write(file, &text.replace(from, to));
    }

    /// Sends a request and reads the answer whole.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        Answer::of(request).await
    }

    /// GET with a token.
    pub async fn get(&self, url: &str, token: &str) -> Answer {
        self.send(self.client.get(url).bearer_auth(token)).await
    }

    /// Asks a token endpoint with Basic, as RFC 6749 prefers.
    pub async fn token_answer(&self, gateway: &str, client_id: &str, secret: &str, form: &str) -> Answer {
        let request = self
            .client
            .post(self.public(&format!("/default/{gateway}/oauth2/token")))
            .basic_auth(client_id, Some(secret))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form.to_owned());
        self.send(request).await
    }

    /// An access token with all scopes that may be granted.
    pub async fn token(&self, gateway: &str, app: &str, secret: &str) -> String {
        let client_id = self.client_id(app).await;
        let answer = self.token_answer(gateway, &client_id, secret, "grant_type=client_credentials").await;
        assert_eq!(answer.status, StatusCode::OK, "{}\n{}", answer.text, self.log());
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// What `/status` tells of an object.
    pub async fn object(&self, kind: &str, name: &str) -> Option<Value> {
        let status = self.send(self.client.get(self.admin("/status"))).await.json();
        status["objects"].as_array().unwrap().iter().find(|one| one["kind"] == kind && one["name"] == name).cloned()
    }

    /// One condition of an object: status, reason and message.
    pub async fn condition(&self, kind: &str, name: &str, condition: &str) -> Option<(String, String, String)> {
        let object = self.object(kind, name).await?;
        let conditions = object["status"]["conditions"].as_array()?.clone();
        let found = conditions.into_iter().find(|one| one["type"] == condition)?;
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        Some((text("status"), text("reason"), text("message")))
    }

    /// Waits until a condition has this status and reason.
    pub async fn wait_condition(&self, kind: &str, name: &str, condition: &str, status: &str, reason: &str) {
        self.eventually(&format!("{kind} {name} {condition}={status}/{reason}"), || async {
            let found = self.condition(kind, name, condition).await;
            found.is_some_and(|(found_status, found_reason, _)| found_status == status && found_reason == reason)
        })
        .await;
    }

    /// An app's client ID, as status tells it.
    pub async fn client_id(&self, app: &str) -> String {
        self.object("App", app).await.unwrap()["status"]["clientId"].as_str().unwrap().to_owned()
    }

    /// What reached the simulated EHR at paths that contain this text.
    pub async fn ehr_log(&self, path: &str) -> Vec<Value> {
        let log = self.send(self.client.get(self.sandbox("/sandbox/log"))).await.json();
        let entries = log.as_array().unwrap().iter();
        entries.filter(|entry| entry["path"].as_str().unwrap().contains(path)).cloned().collect()
    }

    /// Runs another command of the binary against this server.
    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new(BINARY).args(arguments).env("HEARTHGATE_SERVER", self.admin("")).output().unwrap()
    }
}

fn spawn(directory: &Path, ports: Ports, arguments: &[String]) -> Child {
    let log = fs::File::options().create(true).append(true).open(log_path(directory)).unwrap();
    let printed = fs::File::options().create(true).append(true).open(printed_path(directory)).unwrap();
    Command::new(BINARY)
        .arg("serve")
        .arg(directory)
        .args(["--sandbox", "--sandbox-listen", &format!("127.0.0.1:{}", ports.sandbox)])
        .args(["--listen", &format!("127.0.0.1:{}", ports.public)])
        .args(["--admin-listen", &format!("127.0.0.1:{}", ports.admin)])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(printed)
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Logs stand beside the YAML, hidden: the server does not read them.
fn log_path(directory: &Path) -> PathBuf {
    directory.join(".log")
}

fn printed_path(directory: &Path) -> PathBuf {
    directory.join(".printed")
}

impl Drop for Standalone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let mut log = String::new();
            if let Ok(mut file) = fs::File::open(log_path(self.directory.path())) {
                let _ = file.read_to_string(&mut log);
            }
            eprintln!("--- the server's log\n{log}");
        }
    }
}
