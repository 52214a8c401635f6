//! Ory Hydra, as its own Dockerfile builds it, with `SQLite` in memory: tokens by the same grant.
//!
//! Hydra keeps a client's secret as a PBKDF2 hash and derives it anew for every token, which is most of what it spends
//! here. That guards secrets that people chose. Ours are of 16 characters or more and meant to be random: a stolen hash of
//! such a secret cannot be guessed either way, so it is compared in constant time and not stretched.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use super::hearthgate::{CLIENT_ID, GRANT, SECRET};
use super::process::{Process, free_port, wait_for};
use super::wrk::Form;

/// What its access tokens are.
#[derive(Clone, Copy, Debug)]
pub enum Strategy {
    /// Looked up at each introspection.
    Opaque,
    /// Signed with RS256, its default.
    Jwt,
}

/// A running server.
pub struct Hydra {
    pub process: Process,
    port: u16,
    _directory: TempDir,
}

/// Starts it with the same client as ours.
pub fn start(strategy: Strategy) -> Hydra {
    let program = program();
    // Hydra's own store in memory is gone with the first connection that a client breaks off, clients, keys and all.
    let directory = tempfile::tempdir_in("/dev/shm").expect("memory that files can be in");
    let store = format!("sqlite://{}?_fk=true", directory.path().join("store").display());
    let (port, admin) = (free_port(), free_port());
    let strategy = match strategy {
        Strategy::Opaque => "opaque",
        Strategy::Jwt => "jwt",
    };
    let configuration = json!({
        "dsn": store,
        "log": {"level": "error"},
        "sqa": {"opt_out": true},
        "serve": {
            "public": {"host": "127.0.0.1", "port": port, "request_log": {"disable_for_health": true}},
            "admin": {"host": "127.0.0.1", "port": admin},
        },
        "urls": {"self": {"issuer": format!("http://127.0.0.1:{port}")}},
        "secrets": {"system": ["a-secret-of-the-bench-and-nothing-else"]},
        "strategies": {"access_token": strategy},
        "ttl": {"access_token": "1h"},
    });
    let file = directory.path().join("hydra.json");
    fs::write(&file, configuration.to_string()).unwrap();
    let migrated = Command::new(&program).args(["migrate", "sql", "up", "-e", "--yes"]).env("DSN", &store).output();
    let migrated = migrated.expect("Hydra starts");
    assert!(migrated.status.success(), "Hydra makes no store: {}", String::from_utf8_lossy(&migrated.stderr));
    let process = Process::start(Command::new(program).args(["serve", "all", "--dev", "-c"]).arg(&file));
    wait_for(port);
    wait_for(admin);
    let registered = json!({
        "client_id": CLIENT_ID, "client_secret": SECRET, "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "client_secret_basic",
    });
    let admin = format!("http://127.0.0.1:{admin}/admin/clients");
    post(&["-H", "Content-Type: application/json", "-d", &registered.to_string(), &admin]);
    let hydra = Hydra { process, port, _directory: directory };
    // The first token of all waits for its signing key: seconds, and none of the bench's.
    let Form { authorization, body } = GRANT();
    post(&["-H", &format!("Authorization: {authorization}"), "-d", &body, &hydra.token_endpoint()]);
    hydra
}

fn post(arguments: &[&str]) {
    let output = Command::new("curl").arg("-sf").args(arguments).output().expect("curl must be installed");
    assert!(output.status.success(), "Hydra refuses: {}", String::from_utf8_lossy(&output.stdout));
}

impl Hydra {
    pub fn token_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/oauth2/token", self.port)
    }
}

fn program() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/hydra");
    let output = Command::new(script).stderr(Stdio::inherit()).output().expect("scripts/hydra starts");
    assert!(output.status.success(), "there is no Ory Hydra to compare with: see the message above");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
