//! What rewriting costs: a Bundle of 50 MB in pieces as they come from a connection, against copying it.
//!
//! ```sh
//! cargo bench --bench rewrite
//! ```

#![expect(clippy::unwrap_used, reason = "a bench says no by panicking")]

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hearthgate::proxy::rewrite::Rewriter;
use serde_json::json;

const FROM: &str = "https://ehr.example.org/api/FHIR/R4";
const TO: &str = "https://gate.example.org/default/epic/fhir";
const LENGTH: usize = 50_000_000;

/// Entries of about 1 KB, each with two of the EHR's own URLs.
fn bundle() -> Bytes {
    let coding = json!([{"system": "http://loinc.org", "code": "2339-0", "display": "Glucose"}]);
    let entry = json!({
        "fullUrl": format!("{FROM}/Observation/1"),
        "resource": {
            "resourceType": "Observation", "id": "1", "status": "final",
            "meta": {"versionId": "1", "lastUpdated": "2026-01-01T00:00:00Z"},
            "identifier": [{"system": "urn:oid:1.2.3", "value": "123456"}],
            "category": [{"coding": coding, "text": "Laboratory"}], "code": {"coding": coding, "text": "Glucose"},
            "subject": {"reference": "Patient/1", "display": "Somebody"},
            "encounter": {"reference": format!("{FROM}/Encounter/2")},
            "extension": [{"url": "http://example.org/x", "valueString": "y"}],
            "valueQuantity": {"value": 95.5, "unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/dL"},
        },
        "search": {"mode": "match"},
    });
    let entry = entry.to_string();
    let entries = vec![entry.as_str(); LENGTH / entry.len()];
    format!(r#"{{"resourceType":"Bundle","type":"searchset","entry":[{}]}}"#, entries.join(",")).into()
}

fn rewriting(criterion: &mut Criterion) {
    let bundle = bundle();
    let mut group = criterion.benchmark_group("bundle of 50 MB");
    group.throughput(Throughput::Bytes(u64::try_from(bundle.len()).unwrap()));
    for kibibytes in [16, 64] {
        group.bench_function(format!("rewritten, pieces of {kibibytes} KiB"), |bencher| {
            bencher.iter(|| {
                let mut rewriter = Rewriter::new(FROM, TO);
                for piece in bundle.chunks(kibibytes * 1024) {
                    let mut out = BytesMut::new();
                    black_box(rewriter.push(piece, &mut out).unwrap());
                    black_box(out);
                }
            });
        });
        group.bench_function(format!("copied, pieces of {kibibytes} KiB"), |bencher| {
            bencher.iter(|| {
                for piece in bundle.chunks(kibibytes * 1024) {
                    black_box(BytesMut::from(piece));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, rewriting);
criterion_main!(benches);
