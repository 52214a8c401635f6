//! Programs that tests start: they end with the test, however that ends.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What a program must not see: the servers of tests are here, whatever proxy the machine uses.
pub const PROXY_VARIABLES: [&str; 8] =
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"];

/// A program that ends with this value, or with this process, however that ends.
pub struct Guarded {
    shell: Child,
}

/// The program runs as this shell's child, which kills it once the pipe at its standard input closes: on drop, and also
/// when the test was killed and could not say goodbye.
const WATCHDOG: &str = r#"
remove=$1; shift
exec 3<&0
"$@" </dev/null 3<&- &
program=$!
(
    while read -r _ <&3; do :; done
    kill -KILL "$program" 2>/dev/null
    # A moment for the others that still write there.
    [ -z "$remove" ] || { sleep 0.5; rm -rf -- "$remove"; }
) &
wait "$program"
"#;

impl Guarded {
    /// Starts a program. `remove`: a directory that the watchdog removes at the end.
    pub fn start(command: &Command, log: &Path, remove: Option<&Path>) -> Self {
        let log = File::options().create(true).append(true).open(log).expect("a log");
        let mut shell = Command::new("sh");
        shell
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(remove.unwrap_or_else(|| Path::new("")))
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            // Ctrl-C is for the test; these follow when it is gone.
            .process_group(0);
        for variable in PROXY_VARIABLES {
            shell.env_remove(variable);
        }
        Self { shell: shell.spawn().expect("sh starts") }
    }

    pub fn has_ended(&mut self) -> bool {
        matches!(self.shell.try_wait(), Ok(Some(_)))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Until the program is gone: its port and files are free then.
        let _ = self.shell.wait();
    }
}

/// A free port outside the range from which outgoing connections take theirs: while an API server is stopped, nobody
/// else is given its port.
pub fn free_port() -> u16 {
    use std::hash::{BuildHasher, RandomState};
    loop {
        let port = 20_000 + u16::try_from(RandomState::new().hash_one(0) % 12_000).expect("below 12000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
}
