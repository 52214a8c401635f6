//! Ten thousand odd paths: none of them may reach the EHR, in whatever form.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};

use super::listening::{listening, raw};
use super::*;

const SEGMENTS: &[&str] =
    &["Patient", "Patient/1", "Observation", "Appointment/1/_history", "$everything", "metadata", "_search", "a", "1"];

/// Each of them makes a path odd, wherever it stands in a segment of its own or within one.
const ODDITIES: &[&str] = &[
    "..",
    ".",
    "%2e%2e",
    "%2E",
    ".%2e",
    "%2F",
    "%2f..%2f",
    "%5C",
    "%5c",
    "\\",
    ";",
    ";jsessionid=1",
    "..;",
    "%00",
    "\0",
    "%252e%252e",
    "%252F",
    "%25",
    "%",
    "%2",
    "%zz",
    "%c0%ae",
    "%e2%80%8b",
    "%3b",
    "%0d%0a",
    "%0a",
    "%09",
    "%7f",
    "\t",
    "\u{1}",
    "ä",
    "\u{ff0e}\u{ff0e}",
    "//",
    "\"",
    "<",
    ">",
    "^",
    "`",
    "{",
    "|",
    "}",
];

/// Ways to put an oddity into a path.
const SHAPES: usize = 6;

/// The odd path of this number, below the FHIR base; a failure names it.
fn odd_path(number: usize) -> Option<String> {
    let (number, oddity) = (number / ODDITIES.len(), ODDITIES[number % ODDITIES.len()]);
    let (number, shape) = (number / SHAPES, number % SHAPES);
    let (first, last) = (SEGMENTS[number / SEGMENTS.len()], SEGMENTS[number % SEGMENTS.len()]);
    // Within a segment a lone dot is an ordinary character.
    let is_dots = matches!(oddity, "." | "..");
    match shape {
        0 => Some(format!("/{first}/{oddity}/{last}")),
        1 => Some(format!("/{oddity}/{first}/{last}")),
        2 => Some(format!("/{first}/{last}/{oddity}")),
        _ if is_dots => None,
        3 => Some(format!("/{first}{oddity}/{last}")),
        4 => Some(format!("/{first}/{oddity}{last}")),
        _ => Some(format!("/{first}/{last}{oddity}")),
    }
}

/// Ten thousand different ones. The stride has no divisor in common with their number, so that it meets each once, and
/// of every kind alike.
fn odd_paths() -> BTreeSet<String> {
    let all = ODDITIES.len() * SHAPES * SEGMENTS.len() * SEGMENTS.len();
    let mut paths = BTreeSet::new();
    for path in (0..all).filter_map(|number| odd_path(number * 7919 % all)) {
        if paths.len() < 10_000 {
            paths.insert(path);
        }
    }
    assert_eq!(paths.len(), 10_000);
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn no_odd_path_reaches_the_ehr() {
    let setup = Setup::new().await;
    let listening = listening(&setup, Duration::from_secs(5)).await;
    let token = setup.token_at("epic").await;
    let plain = format!("authorization: Bearer {token}\r\nhost: gate.example.org\r\nconnection: close\r\n\r\n");
    let statuses: Vec<(String, String)> = stream::iter(odd_paths())
        .map(|path| {
            let (plain, address) = (plain.clone(), listening.address);
            async move {
                let answer = raw(address, format!("GET /default/epic/fhir{path} HTTP/1.1\r\n{plain}")).await;
                (path, answer)
            }
        })
        .buffer_unordered(16)
        .collect()
        .await;
    for (path, answer) in statuses {
        // A cut-off encoding and the letter behind it may make a sane character: no interaction, and not odd.
        let refused = ["HTTP/1.1 400", "HTTP/1.1 403"].iter().any(|status| answer.starts_with(status));
        assert!(refused, "{path:?}: {answer}");
    }
    let reached = setup.ehr.reached();
    assert!(reached.is_empty(), "{:?}", reached.iter().map(|reached| &reached.target).collect::<Vec<_>>());
}
