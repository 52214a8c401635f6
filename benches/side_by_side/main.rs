//! Hearthgate beside its peers, in one run, on the same machine, interleaved: `cargo bench --bench side_by_side`.
//!
//! Core 0 belongs to the server under test alone; the EHR and the load share core 1. Judged is the CPU time that the
//! server's process spends on a request, which neighbours on the machine disturb least; requests a second and the 99th
//! percentile stand beside it. Each figure is the median of rounds that take turns.
//!
//! Peers: nginx, tuned, proxying the same answers with no checks at all; Ory Hydra, giving tokens by the same grant; and
//! a bare hyper server that answers each request with one ES256 signature, which no token endpoint can beat. Needs
//! Debian's `nginx` and `wrk`, and Go to build Hydra once (`scripts/hydra`).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench stops by panicking"
)]

mod bare;
mod ehr;
mod hearthgate;
mod hydra;
mod nginx;
mod process;
mod streams;
mod wrk;

use std::time::Duration;

use hydra::Strategy;
use process::{CpuTime, Process};
use wrk::{Load, Measured};

/// How long a round lasts, and how many each side gets.
const ROUND: Duration = Duration::from_secs(3);
const ROUNDS: usize = 5;

/// One side of a comparison.
struct Side<'a> {
    process: &'a Process,
    load: Load,
}

/// What one side came to: medians of its rounds.
#[derive(Clone, Copy, Debug)]
struct Result {
    cpu_microseconds: f64,
    per_second: f64,
    p99_milliseconds: f64,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Lets the sides take turns.
fn compare(ours: &Side<'_>, peer: &Side<'_>) -> [Result; 2] {
    let mut rounds: [Vec<(CpuTime, Measured)>; 2] = [Vec::new(), Vec::new()];
    // The first turn of each warms it up and is not counted.
    for turn in 0..=ROUNDS {
        for (side, rounds) in [ours, peer].into_iter().zip(&mut rounds) {
            let before = side.process.cpu_time();
            let measured = side.load.run(ROUND);
            let spent = side.process.cpu_time() - before;
            if turn > 0 {
                rounds.push((spent, measured));
            }
        }
    }
    rounds.map(|rounds| Result {
        cpu_microseconds: median(rounds.iter().map(|(cpu, done)| cpu.microseconds() / done.requests).collect()),
        per_second: median(rounds.iter().map(|(_, done)| done.per_second).collect()),
        p99_milliseconds: median(rounds.iter().map(|(_, done)| done.p99_milliseconds).collect()),
    })
}

fn print(what: &str, peer: &str, [ours, theirs]: [Result; 2]) {
    println!("\n{what}");
    for (name, side) in [("hearthgate", ours), (peer, theirs)] {
        println!(
            "  {name:<22} {:>10.1} us of CPU a request {:>10.0} a second   p99 {:>8.2} ms",
            side.cpu_microseconds, side.per_second, side.p99_milliseconds
        );
    }
    println!(
        "  ratio                  {:>10.2} x (by CPU)             {:>10.2} x          {:>8.2} x",
        theirs.cpu_microseconds / ours.cpu_microseconds,
        ours.per_second / theirs.per_second,
        ours.p99_milliseconds / theirs.p99_milliseconds
    );
}

fn main() {
    if std::env::args().any(|argument| argument == bare::ARGUMENT) {
        return bare::run();
    }
    process::pin_this_process_to_core_1();
    let ehr = ehr::start();
    let ours = hearthgate::start(ehr);
    let nginx = nginx::start(ehr);
    let bare = bare::start();
    let token = ours.token();

    let read = |path: &str, connections| {
        [
            Side { process: &ours.process, load: Load::get(&ours.fhir(path), Some(&token), connections) },
            Side { process: &nginx.process, load: Load::get(&nginx.fhir(path), None, connections) },
        ]
    };
    for (what, path, connections) in [
        ("authorised read, 3 KB, 64 connections", "/Patient/1", 64),
        ("authorised search, 50 KB Bundle with links rewritten, 64 connections", "/Observation?code=1", 64),
        ("50 MB Bundle with links rewritten, 4 connections", "/Observation?code=50", 4),
    ] {
        let [ours, peer] = read(path, connections);
        print(what, "nginx, no checks", compare(&ours, &peer));
    }

    let tokens = Side { process: &ours.process, load: Load::post(&ours.token_endpoint(), hearthgate::GRANT, 64) };
    let floor = Side { process: &bare.process, load: Load::get(&bare.url(), None, 64) };
    print("token by client_credentials, Basic, JWT ES256", "bare hyper, one ES256", compare(&tokens, &floor));

    for (strategy, what) in [(Strategy::Opaque, "Ory Hydra, opaque"), (Strategy::Jwt, "Ory Hydra, JWT RS256")] {
        let hydra = hydra::start(strategy);
        let load = Load::post(&hydra.token_endpoint(), hearthgate::GRANT, 64);
        let peer = Side { process: &hydra.process, load };
        print("token by client_credentials, Basic", what, compare(&tokens, &peer));
    }

    let stream = streams::memory_of_a_stream(&ours, &token);
    println!("\n1,000 streams of a 50 MB Bundle at once: {stream:.1} KiB each above idle");
}
