//! Load by `wrk`: one thread, connections kept open.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::NamedTempFile;

/// What to ask for, and how.
pub struct Load {
    url: String,
    connections: usize,
    /// Lua that makes a request of another form than a plain GET.
    script: NamedTempFile,
    /// Every answer is to be a refusal.
    is_refused: bool,
    once: Option<Once>,
}

/// What is good for one request each.
struct Once {
    /// Where the script reads the round's.
    file: NamedTempFile,
    left: RefCell<Vec<String>>,
    each_round: usize,
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

const FORM: &str = "wrk.method = \"POST\"\nwrk.headers[\"Content-Type\"] = \"application/x-www-form-urlencoded\"\n";

impl Load {
    pub fn get(url: &str, token: Option<&str>, connections: usize) -> Self {
        let header = token.map(|token| format!("wrk.headers[\"Authorization\"] = \"Bearer {token}\"\n"));
        Self::new(url, connections, &header.unwrap_or_default())
    }

    pub fn post(url: &str, form: impl Fn() -> Form, connections: usize) -> Self {
        let Form { authorization, body } = form();
        let mut script = String::from(FORM);
        let _ = writeln!(script, "wrk.headers[\"Authorization\"] = \"{authorization}\"");
        let _ = writeln!(script, "wrk.body = \"{body}\"");
        Self::new(url, connections, &script)
    }

    /// A GET with each of these tokens, so many of them a round.
    pub fn get_once_each(url: &str, tokens: Vec<String>, each_round: usize, connections: usize) -> Self {
        let ask = "wrk.headers[\"Authorization\"] = \"Bearer \" .. line\n  return wrk.format()";
        Self::once_each(url, "", ask, tokens, each_round, connections)
    }

    /// A form post of each of these bodies, so many of them a round.
    pub fn post_once_each(url: &str, bodies: Vec<String>, each_round: usize, connections: usize) -> Self {
        Self::once_each(url, FORM, "return wrk.format(nil, nil, nil, line)", bodies, each_round, connections)
    }

    /// The same, of which every request is to be refused.
    pub fn refused(self) -> Self {
        Self { is_refused: true, ..self }
    }

    fn once_each(
        url: &str,
        before: &str,
        ask: &str,
        lines: Vec<String>,
        each_round: usize,
        connections: usize,
    ) -> Self {
        let file = NamedTempFile::new().unwrap();
        let path = file.path().display();
        // Without a line left, what is asked for is refused, which spoils the round and is seen.
        let script = format!(
            "{before}local lines = io.open(\"{path}\")\nfunction request()\n  local line = lines:read(\"*l\") or \"none-left\"\n  {ask}\nend\n"
        );
        let once = Once { file, left: RefCell::new(lines), each_round };
        Self { once: Some(once), ..Self::new(url, connections, &script) }
    }

    fn new(url: &str, connections: usize, script: &str) -> Self {
        let file = tempfile::Builder::new().suffix(".lua").tempfile().unwrap();
        // Two lines that are easy to read again.
        let report = "done = function(summary, latency)\n  local errors = summary.errors\n  io.write(string.format(\"measured %d %f %f %d %d\\n\", summary.requests, summary.requests * 1e6 / summary.duration, latency:percentile(99) / 1000, errors.connect + errors.read + errors.write + errors.timeout, errors.status))\nend\n";
        std::fs::write(file.path(), format!("{script}{report}")).unwrap();
        Self { url: url.to_owned(), connections, script: file, is_refused: false, once: None }
    }

    /// Runs a round on core 1.
    pub fn run(&self, time: Duration) -> Measured {
        self.begin(time, 0).end(self)
    }

    /// Begins a round on core 1, as nice as that to whatever else is there.
    pub fn begin(&self, time: Duration, niceness: u8) -> Round {
        if let Some(once) = &self.once {
            once.refill();
        }
        let child = Command::new("nice")
            .args(["-n", &niceness.to_string(), "taskset", "-c", "1"])
            .args(["wrk", "-t1", "--timeout", "20s", "-c", &self.connections.to_string()])
            .args(["-d", &format!("{}s", time.as_secs()), "-s"])
            .arg(self.script.path())
            .arg(&self.url)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nice and taskset (util-linux) start");
        Round(child)
    }
}

/// A round that runs.
pub struct Round(Child);

impl Round {
    /// Waits for its end.
    pub fn end(self, load: &Load) -> Measured {
        let output = self.0.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.strip_prefix("measured "));
        let line = line.unwrap_or_else(|| {
            let told = String::from_utf8_lossy(&output.stderr);
            panic!("{} answered no load (apt-get install wrk?): {text}{told}", load.url)
        });
        let numbers: Vec<f64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        let [requests, per_second, p99_milliseconds, failed, refused] = numbers[..] else { panic!("{line}") };
        let expected = if load.is_refused { requests } else { 0.0 };
        assert!(
            failed == 0.0 && (refused - expected).abs() < f64::EPSILON,
            "of {requests} requests to {} {failed} failed and {refused} were refused, and not {expected}",
            load.url
        );
        Measured { requests, per_second, p99_milliseconds }
    }
}

impl Once {
    /// Lays out what the next round takes.
    fn refill(&self) {
        let mut left = self.left.borrow_mut();
        assert!(left.len() >= self.each_round, "too few were made beforehand");
        let keep = left.len() - self.each_round;
        let mut file = std::io::BufWriter::new(std::fs::File::create(self.file.path()).unwrap());
        for line in left.drain(keep..) {
            writeln!(file, "{line}").unwrap();
        }
        file.flush().unwrap();
    }
}
