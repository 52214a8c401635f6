//! From the start of the process to `/readyz`, as a person sees it who starts the quickstart again: keys and state are
//! there. Beside it what starting any process of this binary takes.
//!
//! ```sh
//! cargo bench --bench start
//! ```
//!
//! Goal: ready within 150 ms.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench says no by panicking")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often each is measured, in turns.
const ROUNDS: usize = 21;
/// A start that takes longer has failed.
const LONGEST: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_micros(500);

/// Ends with the bench.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn hearthgate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearthgate"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The quickstart, whose EHR listens on this port.
fn lay_out(directory: &Path, ehr: u16) {
    let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart");
    for entry in fs::read_dir(quickstart).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = fs::read_to_string(&path).unwrap().replace("127.0.0.1:8090", &format!("127.0.0.1:{ehr}"));
            fs::write(directory.join(path.file_name().unwrap()), text).unwrap();
        }
    }
}

fn is_ready(admin: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", admin)) else { return false };
    let mut answer = String::new();
    let asked = stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.starts_with("HTTP/1.1 200")
}

/// How long it takes until the quickstart is ready.
fn start(directory: &Path, ehr: u16) -> Duration {
    let (public, admin) = (free_port(), free_port());
    let address = |port: u16| format!("127.0.0.1:{port}");
    let mut command = hearthgate();
    command.arg("serve").arg(directory).args(["--sandbox", "--sandbox-listen", &address(ehr)]);
    command.args(["--listen", &address(public), "--admin-listen", &address(admin), "--log", "warn"]);
    let started = Instant::now();
    let _server = Server(command.spawn().unwrap());
    while !is_ready(admin) {
        assert!(started.elapsed() < LONGEST, "the quickstart is not ready within {LONGEST:?}");
        std::thread::sleep(LOOK_AGAIN);
    }
    started.elapsed()
}

/// How long a process takes that does nothing.
fn bare_start() -> Duration {
    let started = Instant::now();
    assert!(hearthgate().arg("--version").status().unwrap().success());
    started.elapsed()
}

fn print(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1000.0;
    println!(
        "  {what:<34} {:>8.1} ms (median) {:>8.1} ms (slowest of {ROUNDS})",
        milliseconds(took[took.len() / 2]),
        milliseconds(took[took.len() - 1])
    );
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let ehr = free_port();
    lay_out(directory.path(), ehr);
    let first = start(directory.path(), ehr);
    let (mut bare, mut ready) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(bare_start());
        ready.push(start(directory.path(), ehr));
    }
    println!("\nstart of the standalone quickstart");
    print("process alone (--version)", bare);
    print("process to ready, keys there", ready);
    println!("  {:<34} {:>8.1} ms", "the first of all, keys being made", first.as_secs_f64() * 1000.0);
}
