//! Compiling a whole platform, which every change does: to be held against parsing the same YAML.
//!
//! Goals: compiling takes at most a quarter of parsing; ten times the activations take at most twelve times as long.

#![expect(clippy::expect_used, reason = "a bench stops by panicking")]

#[path = "../tests/support/scale.rs"]
mod scale;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hearthgate::snapshot::{Published, compile};
use scale::Fleet;

fn activations(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("activations");
    group.sample_size(20);
    for size in [1_000, 10_000] {
        let fleet = Fleet::of(size);
        let (resources, platform) = (fleet.resources(), Fleet::platform());
        // The first compilation parses keys, which are remembered: an edit among thousands does not pay for them.
        drop(compile(&resources, &platform));
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::new("compile", size), |bencher| {
            bencher.iter(|| compile(black_box(&resources), &platform));
        });
        group.bench_function(BenchmarkId::new("compile and digests", size), |bencher| {
            bencher.iter(|| {
                let (snapshot, reports) = compile(black_box(&resources), &platform);
                Published { snapshot: Arc::new(snapshot), reports, rejections: Vec::new() }.digests().len()
            });
        });
        group.bench_function(BenchmarkId::new("parse", size), |bencher| {
            bencher.iter(|| black_box(&fleet).parse());
        });
    }
    group.finish();
}

criterion_group!(benches, activations);
criterion_main!(benches);
