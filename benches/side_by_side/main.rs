//! Hearthgate beside its peers, in one run, on the same machine, interleaved: `cargo bench --bench side_by_side`, or with
//! some of the names `fhir`, `tokens`, `assertions`, `first-sight`, `flood`, `hydra` and `streams` behind `--`.
//!
//! Core 0 belongs to the server under test alone; the EHR and the load share core 1. Judged is the CPU time that the
//! server's process spends on a request, which neighbours on the machine disturb least; requests a second and the 99th
//! percentile stand beside it. Each figure is the median of rounds that take turns.
//!
//! Peers: nginx, tuned, proxying the same answers with no checks at all; Ory Hydra, giving tokens by the same grant; and
//! a bare hyper server that does for each request what it takes (the cryptography, or the call to the EHR) and nothing
//! else, which nobody can beat.
//! Needs Debian's `nginx` and `wrk`, and Go to build Hydra once (`scripts/hydra`).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench stops by panicking"
)]

mod bare;
mod ehr;
mod flood;
mod hearthgate;
mod hydra;
mod keys;
mod nginx;
mod process;
mod streams;
mod wrk;

use std::time::Duration;

use ::hearthgate::values::key::Algorithm;
use bare::Work;
use hearthgate::Hearthgate;
use hydra::Strategy;
use keys::Key;
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
fn compare<const SIDES: usize>(sides: [&Side<'_>; SIDES], round: Duration) -> [Result; SIDES] {
    let mut rounds: [Vec<(CpuTime, Measured)>; SIDES] = [const { Vec::new() }; SIDES];
    // The first turn of each warms it up and is not counted.
    for turn in 0..=ROUNDS {
        for (side, rounds) in sides.into_iter().zip(&mut rounds) {
            let before = side.process.cpu_time();
            let measured = side.load.run(round);
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

/// Prints our figures, and of each peer its own and how ours compare with them.
fn print<const PEERS: usize>(what: &str, ours: Result, peers: [(&str, Result); PEERS]) {
    println!("\n{what}");
    let line = |name: &str, side: Result| {
        println!(
            "  {name:<22} {:>10.1} us of CPU a request {:>10.0} a second   p99 {:>8.2} ms",
            side.cpu_microseconds, side.per_second, side.p99_milliseconds
        );
    };
    line("hearthgate", ours);
    for (name, theirs) in peers {
        line(name, theirs);
        println!(
            "  ratio                  {:>10.2} x (by CPU)             {:>10.2} x          {:>8.2} x",
            theirs.cpu_microseconds / ours.cpu_microseconds,
            ours.per_second / theirs.per_second,
            ours.p99_milliseconds / theirs.p99_milliseconds
        );
    }
}

/// Of what is good for one request only, how much is made for a round: more than any machine's core answers in one.
const ASSERTIONS_EACH_ROUND: usize = 12_000;
const TOKENS_EACH_ROUND: usize = 45_000;
/// Signing assertions with RSA takes longer than checking them: shorter rounds.
const SHORT_ROUND: Duration = Duration::from_secs(1);

const NAMES: [&str; 7] = ["fhir", "tokens", "assertions", "first-sight", "flood", "hydra", "streams"];

fn main() {
    if std::env::args().any(|argument| argument == bare::ARGUMENT) {
        return bare::run();
    }
    let asked: Vec<String> = std::env::args().filter(|argument| NAMES.contains(&argument.as_str())).collect();
    let is_asked = |name: &str| asked.is_empty() || asked.iter().any(|own| own == name);

    let ehr = ehr::start();
    let key = Key::make(Algorithm::Rs384);
    let ours = hearthgate::start(ehr, &key);
    let count = if is_asked("assertions") { ASSERTIONS_EACH_ROUND * (ROUNDS + 1) } else { 0 };
    // On all cores, before this process is held to one.
    let assertions = key.assertions(hearthgate::CLIENT_WITH_A_KEY, &ours.token_endpoint(), count);
    process::pin_this_process_to_core_1();

    if is_asked("assertions") {
        tokens_by_assertion(&ours, assertions);
    }
    if is_asked("first-sight") {
        first_sight(&ours);
    }
    if is_asked("flood") {
        flood::good_callers_beside_bad_tokens(&ours);
    }
    if is_asked("fhir") {
        beside_nginx(&ours, ehr);
    }
    if is_asked("tokens") {
        let bare = bare::start(Work::Sign);
        let floor = Side { process: &bare.process, load: Load::get(&bare.url(), None, 64) };
        let [own, floor] = compare([&tokens(&ours), &floor], ROUND);
        print("token by client_credentials, Basic, JWT ES256", own, [("bare hyper, one ES256", floor)]);
    }
    if is_asked("hydra") {
        for (strategy, what) in [(Strategy::Opaque, "Ory Hydra, opaque"), (Strategy::Jwt, "Ory Hydra, JWT RS256")] {
            let hydra = hydra::start(strategy);
            let load = Load::post(&hydra.token_endpoint(), hearthgate::GRANT, 64);
            let peer = Side { process: &hydra.process, load };
            let [own, peer] = compare([&tokens(&ours), &peer], ROUND);
            print("token by client_credentials, Basic", own, [(what, peer)]);
        }
    }
    if is_asked("streams") {
        let stream = streams::memory_of_a_stream(&ours, &ours.token());
        println!("\n1,000 streams of a 50 MB Bundle at once: {stream:.1} KiB each above idle");
    }
}

fn tokens(ours: &Hearthgate) -> Side<'_> {
    Side { process: &ours.process, load: Load::post(&ours.token_endpoint(), hearthgate::GRANT, 64) }
}

fn beside_nginx(ours: &Hearthgate, ehr: std::net::SocketAddr) {
    let nginx = nginx::start(ehr);
    let bare = bare::start_forwarding(ehr);
    let token = ours.token();
    for (what, path, connections) in [
        ("authorised read, 3 KB, 64 connections", "/Patient/1", 64),
        ("authorised search, 50 KB Bundle with links rewritten, 64 connections", "/Observation?code=1", 64),
        ("50 MB Bundle with links rewritten, 4 connections", "/Observation?code=50", 4),
    ] {
        let own = Side { process: &ours.process, load: Load::get(&ours.fhir(path), Some(&token), connections) };
        let peer = Side { process: &nginx.process, load: Load::get(&nginx.fhir(path), None, connections) };
        let floor = Side { process: &bare.process, load: Load::get(&bare.fhir(path), None, connections) };
        let [own, peer, floor] = compare([&own, &peer, &floor], ROUND);
        print(what, own, [("nginx, no checks", peer), ("bare hyper, no checks", floor)]);
    }
}

/// Each assertion is remembered on the disk before its token is given: a figure of this machine's disk, too.
fn tokens_by_assertion(ours: &Hearthgate, assertions: Vec<String>) {
    let bare = bare::start(Work::VerifyAndSign);
    let load = Load::post_once_each(&ours.token_endpoint(), assertions, ASSERTIONS_EACH_ROUND, 64);
    let own = Side { process: &ours.process, load };
    let floor = Side { process: &bare.process, load: Load::get(&bare.url(), None, 64) };
    let [own, floor] = compare([&own, &floor], SHORT_ROUND);
    print("token by an RS384 assertion", own, [("bare, check and sign", floor)]);
}

/// A read with a token that was never seen: checked, judged, forwarded, answered.
fn first_sight(ours: &Hearthgate) {
    let bare = bare::start(Work::Verify);
    let key = ours.key();
    let tokens = key.tokens_like(&ours.token(), TOKENS_EACH_ROUND * (ROUNDS + 1));
    let load = Load::get_once_each(&ours.fhir("/Patient/1"), tokens, TOKENS_EACH_ROUND, 64);
    let own = Side { process: &ours.process, load };
    let floor = Side { process: &bare.process, load: Load::get(&bare.url(), None, 64) };
    let [own, floor] = compare([&own, &floor], ROUND);
    print("read with a token at first sight", own, [("bare hyper, one check", floor)]);
    let check = key.check_microseconds();
    println!(
        "  a check and no server  {check:>10.1} us of CPU, of which the read at first sight is {:.2} x",
        check / own.cpu_microseconds
    );
}
