//! Compiling a whole platform, which every change does, beside parsing the same YAML: in turns, on one thread.
//!
//! ```sh
//! cargo bench --bench compile
//! ```
//!
//! Goals: compiling takes at most a quarter of parsing; ten times the activations take at most twelve times as long.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a bench stops by panicking")]

#[path = "../tests/support/scale.rs"]
mod scale;

use std::hint::black_box;
use std::time::{Duration, Instant};

use hearthgate::snapshot::{Published, compile};
use scale::Fleet;

/// How often each is measured, in turns.
const ROUNDS: usize = 15;

/// Medians.
struct Took {
    parse: Duration,
    compile: Duration,
    with_digests: Duration,
}

fn time<Output>(act: impl FnOnce() -> Output) -> Duration {
    let start = Instant::now();
    let output = black_box(act());
    let took = start.elapsed();
    // What it takes to free it all is not what is waited for.
    drop(output);
    took
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[took.len() / 2]
}

fn measure(size: usize) -> Took {
    let fleet = Fleet::of(size);
    let (resources, platform) = (fleet.resources(), Fleet::platform());
    // The first compilation parses keys, which are remembered: an edit among thousands does not pay for them.
    drop(compile(&resources, &platform));
    let [mut parse, mut plain, mut with_digests] = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        parse.push(time(|| black_box(&fleet).parse()));
        plain.push(time(|| compile(black_box(&resources), &platform)));
        with_digests.push(time(|| {
            let (snapshot, reports) = compile(black_box(&resources), &platform);
            let published = Published::new(snapshot, reports, Vec::new());
            published.digests();
            published
        }));
    }
    Took { parse: median(parse), compile: median(plain), with_digests: median(with_digests) }
}

fn main() {
    println!("\n  activations   parse, ms   compile, ms   with digests, ms   compile to parse");
    let sizes = [1_000, 10_000];
    let took = sizes.map(measure);
    let milliseconds = |took: Duration| took.as_secs_f64() * 1000.0;
    for (size, took) in sizes.iter().zip(&took) {
        println!(
            "  {size:>11}   {:>9.1}   {:>11.1}   {:>16.1}   {:>14.2} x",
            milliseconds(took.parse),
            milliseconds(took.compile),
            milliseconds(took.with_digests),
            milliseconds(took.compile) / milliseconds(took.parse)
        );
    }
    println!(
        "  compiling ten times as many takes {:.1} x as long",
        milliseconds(took[1].compile) / milliseconds(took[0].compile)
    );
}
