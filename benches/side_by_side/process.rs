//! Servers of their own process, pinned to a core, whose CPU time and memory can be read.

use std::fs;
use std::ops::Sub;
use std::process::{Child, Command, Stdio};

/// CPU time that a process has spent, in clock ticks of 10 ms.
#[derive(Clone, Copy, Debug)]
pub struct CpuTime(u64);

/// Linux's `USER_HZ`, the same on every architecture that Rust's tier 1 knows.
const TICKS_A_SECOND: f64 = 100.0;

impl CpuTime {
    /// What a process has spent so far.
    fn of(pid: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // Behind the name, which may hold spaces: user time is the 12th field from there, system time the 13th.
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        Self(fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap())
    }

    /// What this process has spent so far.
    pub fn of_this_process() -> Self {
        Self::of(std::process::id())
    }

    #[expect(clippy::cast_precision_loss, reason = "a bench runs for minutes, not for ages")]
    pub fn microseconds(self) -> f64 {
        self.0 as f64 * 1e6 / TICKS_A_SECOND
    }
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self(self.0 - earlier.0)
    }
}

/// A server under test, alone on core 0. It ends with the bench.
pub struct Process {
    child: Child,
    /// The processes that do the work: the child, or its workers.
    workers: Vec<u32>,
}

impl Process {
    /// Starts it on core 0.
    pub fn start(command: &mut Command) -> Self {
        let program = command.get_program().to_owned();
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", "0"]).arg(&program).args(command.get_args()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = pinned.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let workers = vec![child.id()];
        Self { child, workers }
    }

    /// Counts what its own children do besides: nginx works in those.
    pub fn with_children(mut self) -> Self {
        let own = self.child.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
        self.workers.extend(children.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
        self
    }

    /// What it has spent so far.
    pub fn cpu_time(&self) -> CpuTime {
        CpuTime(self.workers.iter().map(|pid| CpuTime::of(*pid).0).sum())
    }

    /// Resident memory in KiB.
    pub fn memory(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// The EHR and the load stay away from the server under test.
pub fn pin_this_process_to_core_1() {
    let own = std::process::id().to_string();
    let done = Command::new("taskset").args(["-a", "-c", "-p", "1", &own]).stdout(Stdio::null()).status();
    assert!(done.is_ok_and(|status| status.success()), "cannot pin this process: is taskset (util-linux) installed?");
}

/// Waits until somebody listens there.
pub fn wait_for(port: u16) {
    let start = std::time::Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed().as_secs() < 20, "nobody listens on port {port}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
