//! Ten thousand odd paths: none of them may reach the EHR, in whatever form.

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

/// The `n`-th odd path below the FHIR base. Numbers choose segments and oddities, so that a failure names its path.
fn odd_path(number: usize) -> String {
    let pick = |from: &'static [&'static str], salt: usize| from[(number / salt + number * 31) % from.len()];
    let oddity = ODDITIES[number % ODDITIES.len()];
    let (first, last) = (pick(SEGMENTS, 3), pick(SEGMENTS, 17));
    // Within a segment a lone dot is an ordinary character.
    let is_dots = matches!(oddity, "." | "..");
    match (number / ODDITIES.len()) % 6 {
        0 => format!("/{first}/{oddity}/{last}"),
        1 if !is_dots => format!("/{first}{oddity}/{last}"),
        2 if !is_dots => format!("/{first}/{oddity}{last}"),
        3 if !is_dots => format!("/{first}/{last}{oddity}"),
        4 => format!("/{oddity}/{first}/{last}"),
        _ => format!("/{first}/{last}/{oddity}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_odd_path_reaches_the_ehr() {
    let setup = Setup::new().await;
    let listening = listening(&setup, Duration::from_secs(5)).await;
    let token = setup.token_at("epic").await;
    let plain = format!("authorization: Bearer {token}\r\nhost: gate.example.org\r\nconnection: close\r\n\r\n");
    let statuses: Vec<(String, String)> = stream::iter(0..10_000)
        .map(|number| {
            let (plain, path, address) = (plain.clone(), odd_path(number), listening.address);
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
