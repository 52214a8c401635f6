//! Good callers while somebody floods the gateway with tokens whose signatures do not hold.

use std::time::Duration;

use super::hearthgate::Hearthgate;
use super::keys::spoilt;
use super::wrk::Load;
use super::{ROUND, ROUNDS, median};

/// Connections of those who are welcome, and of those who are not.
const GOOD: usize = 16;
const BAD: usize = 64;
/// The flood begins before the good callers do and ends after them.
const AROUND: Duration = Duration::from_secs(2);

/// The good callers' answers with and without a flood, in turns. Load and EHR share a core: the flood gives way there to
/// those who are measured.
pub fn good_callers_beside_bad_tokens(ours: &Hearthgate) {
    let token = ours.token();
    let good = Load::get(&ours.fhir("/Patient/1"), Some(&token), GOOD);
    let flood = Load::get(&ours.fhir("/Patient/1"), Some(&spoilt(&token)), BAD).refused();
    let (mut alone, mut flooded, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    good.run(ROUND);
    for _ in 0..ROUNDS {
        alone.push(good.run(ROUND));
        let running = flood.begin(ROUND + AROUND, 10);
        std::thread::sleep(AROUND / 2);
        flooded.push(good.run(ROUND));
        refused.push(running.end(&flood).per_second);
    }
    println!("\nauthorised read, 3 KB, {GOOD} connections, beside {BAD} that send bad tokens");
    let p99 = |rounds: &[super::Measured]| median(rounds.iter().map(|round| round.p99_milliseconds).collect());
    let rate = |rounds: &[super::Measured]| median(rounds.iter().map(|round| round.per_second).collect());
    for (name, rounds) in [("alone", &alone), ("flooded", &flooded)] {
        println!("  {name:<22} {:>10.0} a second   p99 {:>8.2} ms", rate(rounds), p99(rounds));
    }
    println!("  bad tokens refused     {:>10.0} a second", median(refused));
    println!(
        "  ratio                  {:>10.2} x          {:>8.2} x",
        rate(&flooded) / rate(&alone),
        p99(&flooded) / p99(&alone)
    );
}
