//! Load by `wrk`: one thread, connections kept open.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

/// What to ask for, and how.
pub struct Load {
    url: String,
    connections: usize,
    /// Lua that makes a request of another form than a plain GET.
    script: tempfile::NamedTempFile,
}

/// What one round came to.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub requests: f64,
    pub per_second: f64,
    pub p99_milliseconds: f64,
}

/// A form post of a client with Basic authentication.
pub struct Form {
    pub authorization: String,
    pub body: String,
}

impl Load {
    pub fn get(url: &str, token: Option<&str>, connections: usize) -> Self {
        let header = token.map(|token| format!("wrk.headers[\"Authorization\"] = \"Bearer {token}\"\n"));
        Self::new(url, connections, &header.unwrap_or_default())
    }

    pub fn post(url: &str, form: impl Fn() -> Form, connections: usize) -> Self {
        let Form { authorization, body } = form();
        let mut script = String::from("wrk.method = \"POST\"\n");
        let _ = writeln!(script, "wrk.headers[\"Authorization\"] = \"{authorization}\"");
        let _ = writeln!(script, "wrk.headers[\"Content-Type\"] = \"application/x-www-form-urlencoded\"");
        let _ = writeln!(script, "wrk.body = \"{body}\"");
        Self::new(url, connections, &script)
    }

    fn new(url: &str, connections: usize, script: &str) -> Self {
        let file = tempfile::Builder::new().suffix(".lua").tempfile().unwrap();
        // Two lines that are easy to read again; any answer but 2xx spoils the round.
        let report = "done = function(summary, latency)\n  local errors = summary.errors\n  io.write(string.format(\"measured %d %f %f %d\\n\", summary.requests, summary.requests * 1e6 / summary.duration, latency:percentile(99) / 1000, errors.connect + errors.read + errors.write + errors.status + errors.timeout))\nend\n";
        std::fs::write(file.path(), format!("{script}{report}")).unwrap();
        Self { url: url.to_owned(), connections, script: file }
    }

    /// Runs a round on core 1.
    pub fn run(&self, time: Duration) -> Measured {
        let output = Command::new("taskset")
            .args(["-c", "1", "wrk", "-t1", "--timeout", "20s", "-c", &self.connections.to_string()])
            .args(["-d", &format!("{}s", time.as_secs()), "-s"])
            .arg(self.script.path())
            .arg(&self.url)
            .output()
            .expect("wrk must be installed: apt-get install wrk");
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.strip_prefix("measured "));
        let line = line.unwrap_or_else(|| panic!("{} answered no load: {text}", self.url));
        let numbers: Vec<f64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        assert!(numbers[3] == 0.0, "{} requests to {} went wrong: {text}", numbers[3], self.url);
        Measured { requests: numbers[0], per_second: numbers[1], p99_milliseconds: numbers[2] }
    }
}
