//! A real Valkey (or Redis) for tests.
#![allow(dead_code, reason = "each test binary uses a part of the shared support")]
#![allow(clippy::expect_used, reason = "a test says no by panicking, and its helpers are part of it")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hearthgate::store::RedisStore;

/// A real server, in a directory of its own; killed with the test.
pub struct Valkey {
    process: Child,
    directory: PathBuf,
    port: u16,
    options: Vec<String>,
}

impl Valkey {
    /// Starts it on a free port and waits until it listens.
    pub fn start(directory: &Path, options: &[&str]) -> Self {
        let port = free_port();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let process = run_server(directory, port, &options);
        Self { process, directory: directory.to_owned(), port, options }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn store(&self) -> RedisStore {
        RedisStore::open(&self.url(), None).unwrap()
    }

    /// A connection that goes around the store.
    pub fn raw(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again where it was.
    pub fn restart(&mut self) {
        self.process = run_server(&self.directory, self.port, &self.options);
    }

    /// Makes it hang (`STOP`) or go on (`CONT`), as a server does whose machine is paused.
    pub fn signal(&self, signal: &str) {
        let killed = Command::new("kill").arg(format!("-{signal}")).arg(self.process.id().to_string()).status();
        assert!(killed.unwrap().success());
    }
}

impl Drop for Valkey {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn run_server(directory: &Path, port: u16, options: &Vec<String>) -> Child {
    let arguments = |command: &mut Command| {
        command
            .args(["--bind", "127.0.0.1", "--daemonize", "no", "--save", "", "--dir"])
            .arg(directory)
            .args(["--port", &port.to_string()])
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    };
    let process = ["valkey-server", "redis-server"]
        .into_iter()
        .find_map(|program| arguments(&mut Command::new(program)).ok())
        .expect("neither valkey-server nor redis-server is installed: scripts/test installs what the tests need");
    let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    let begun = Instant::now();
    while !listens() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the server does not listen on port {port}");
        std::thread::sleep(Duration::from_millis(10));
    }
    process
}
