//! Fuzzing: whatever bytes come, what reads them answers, never panics, and keeps its promise.
//!
//! `scripts/fuzz` runs each target for a minute; as part of all tests each runs for a moment. Inputs are mutated from
//! seeds by the target's own words. A target tells what came of an input as a number, and an input that came to
//! something new is mutated on: a poor man's coverage, which needs no instrumented build of everything.

mod targets;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// How long each target runs, in seconds.
const SECONDS: &str = "FUZZ_SECONDS";
/// Where the random numbers begin, to see a failure again.
const SEED: &str = "FUZZ_SEED";

const MOMENT: Duration = Duration::from_millis(500);
const LONGEST_INPUT: usize = 4096;
/// Inputs that are mutated on.
const POOL: usize = 4096;

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn pick<'of, T>(&mut self, of: &'of [T]) -> &'of T {
        &of[self.below(of.len())]
    }
}

/// What an input came to, as one number.
fn outcome(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// Runs a target. `words`: what its inputs are made of. `target` panics where a promise is broken.
fn fuzz(name: &str, seeds: &[&str], words: &[&str], target: impl Fn(&[u8]) -> u64) {
    let time = std::env::var(SECONDS).ok().and_then(|text| text.parse().ok()).map_or(MOMENT, Duration::from_secs);
    let seed = std::env::var(SEED).ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| outcome((name, std::process::id(), jiff::Timestamp::now().as_nanosecond())));
    let mut random = Random(seed);
    let mut pool: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    let mut outcomes = HashSet::new();
    let (began, mut runs) = (Instant::now(), 0_u64);
    while began.elapsed() < time {
        let mut input = random.pick(&pool).clone();
        for _ in 0..=random.below(4) {
            mutate(&mut input, &pool, words, &mut random);
        }
        input.truncate(LONGEST_INPUT);
        runs += 1;
        let Ok(came_to) = catch_unwind(AssertUnwindSafe(|| target(&input))) else {
            panic!("{name} failed with {SEED}={seed}, run {runs}: {:?}", String::from_utf8_lossy(&input));
        };
        if outcomes.insert(came_to) && pool.len() < POOL {
            pool.push(input);
        }
    }
    println!("{name}: {runs} runs, {} outcomes, {SEED}={seed}", outcomes.len());
    assert!(outcomes.len() > 1, "{name} comes to one outcome whatever the input: the target looks at nothing");
}

fn mutate(input: &mut Vec<u8>, pool: &[Vec<u8>], words: &[&str], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let insert = |input: &mut Vec<u8>, bytes: &[u8]| drop(input.splice(at..at, bytes.iter().copied()));
    match random.below(9) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 => {
            let byte = u8::try_from(random.below(256)).unwrap();
            insert(input, &[byte]);
        }
        2 if at < input.len() => drop(input.remove(at)),
        3 => {
            let end = at + random.below(input.len() - at + 1);
            input.drain(at..end);
        }
        4 => {
            let end = at + random.below((input.len() - at).min(64) + 1);
            let part = input[at..end].to_vec();
            insert(input, &part.repeat(1 + random.below(3)));
        }
        5 => {
            let other = random.pick(pool);
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => insert(input, random.pick(words).as_bytes()),
    }
}
