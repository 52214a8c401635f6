//! Requests hidden in requests: whatever is sent, the EHR must never see the second one.

use std::time::Duration;

use super::listening::{listening, raw};
use super::*;

/// How a message may claim two lengths, or one that is no length. `CL` and `TE` are filled in.
const LENGTHS: &[&str] = &[
    "CL\r\nTE\r\n",
    "TE\r\nCL\r\n",
    "TE\r\nTE\r\nCL\r\n",
    "CL\r\nCL\r\nTE\r\n",
    "CL\r\nContent-Length: 0\r\n",
    "Content-Length: 0\r\nCL\r\n",
    "CL\r\nX: y\r\nTE\r\n",
    "CL\nTE\n",
    "CL\r\n TE\r\n",
    "X: y\r\n TE\r\nCL\r\n",
    "X: y\rTE\r\nCL\r\n",
    "CL\r\nConnection: Transfer-Encoding\r\nTE\r\n",
    "CL\r\nConnection: Content-Length\r\nTE\r\n",
    "CL\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nTE\r\nCL\r\n",
];

const LENGTH_HEADERS: &[&str] = &["Content-Length: N", "content-length:N", "Content-Length:\tN ", "Content-Length: +N"];

const ENCODING_HEADERS: &[&str] = &[
    "Transfer-Encoding: chunked",
    "transfer-encoding:chunked",
    "Transfer-Encoding: CHUNKED",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: \u{b}chunked",
    "Transfer-Encoding:\tchunked",
];

/// Bodies that end early for a reader of chunks, or early for a reader of lengths. `SECOND` is the hidden request.
const BODIES: &[&str] = &["0\r\n\r\nSECOND", "1\r\nx\r\n0\r\n\r\nSECOND", "SECOND"];

fn variants(token: &str) -> Vec<String> {
    let second = format!(
        "GET /default/epic/fhir/Patient/second HTTP/1.1\r\nHost: gate.example.org\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let mut variants = Vec::new();
    for lengths in LENGTHS {
        for length in LENGTH_HEADERS {
            for encoding in ENCODING_HEADERS.iter().take(if lengths.contains("TE") { usize::MAX } else { 1 }) {
                for body in BODIES {
                    let body = body.replace("SECOND", &second);
                    let cut = body.len() - second.len();
                    let length = length.replace('N', &cut.to_string());
                    let headers = lengths.replace("CL", &length).replace("TE", encoding);
                    variants.push(format!(
                        "POST /default/epic/fhir/Appointment HTTP/1.1\r\nHost: gate.example.org\r\n\
                         Authorization: Bearer {token}\r\nContent-Type: application/fhir+json\r\n{headers}\r\n{body}"
                    ));
                }
            }
        }
    }
    variants
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_hidden_in_another_never_reaches_the_ehr() {
    let setup = Setup::new().await;
    let listening = listening(&setup, Duration::from_secs(5)).await;
    let token = setup.token_at("epic").await;
    let variants = variants(&token);
    assert!(variants.len() >= 300, "{}", variants.len());
    for variant in &variants {
        let before = setup.ehr.reached().len();
        let answer = raw(listening.address, variant).await;
        let reached = setup.ehr.reached().split_off(before);
        assert!(reached.is_empty(), "{variant:?}\nreached the EHR as {reached:?}");
        let statuses = answer.lines().filter(|line| line.starts_with("HTTP/1.1 ")).count();
        assert!(statuses <= 1 && (answer.is_empty() || answer.starts_with("HTTP/1.1 400")), "{variant:?}: {answer}");
    }
}

#[tokio::test]
async fn nothing_follows_a_chunked_request_or_an_offer_to_change_the_protocol() {
    let setup = Setup::new().await;
    let listening = listening(&setup, Duration::from_secs(5)).await;
    let token = setup.token_at("epic").await;
    let second = "GET /default/epic/oauth2/jwks HTTP/1.1\r\nHost: gate.example.org\r\nConnection: close\r\n\r\n";
    for (method, headers, body) in [
        ("POST", "Content-Type: application/fhir+json\r\nTransfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
        ("GET", "Upgrade: h2c\r\nConnection: Upgrade\r\n", ""),
    ] {
        let first = format!(
            "{method} /default/epic/fhir/Appointment HTTP/1.1\r\nHost: gate.example.org\r\nAuthorization: Bearer {token}\r\n{headers}\r\n{body}"
        );
        let answer = raw(listening.address, format!("{first}{second}")).await;
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 1, "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    assert_eq!(setup.ehr.reached().len(), 2);
    let plain = "GET /default/epic/oauth2/jwks HTTP/1.1\r\nHost: gate.example.org\r\n\r\n";
    let answer = raw(listening.address, format!("{plain}{plain}{second}")).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "plain requests share a connection: {answer}");
}

#[tokio::test]
async fn two_hosts_are_not_chosen_between() {
    let setup = Setup::new().await;
    let listening = listening(&setup, Duration::from_secs(5)).await;
    for (target, host, status) in [
        ("http://gate.example.org/default/epic/oauth2/jwks", "gate.example.org", "200"),
        ("http://gate.example.org/default/epic/oauth2/jwks", "other.example.org", "400"),
        ("http://user@gate.example.org/default/epic/oauth2/jwks", "gate.example.org", "400"),
        ("http://user@gate.example.org/default/epic/oauth2/jwks", "user@gate.example.org", "400"),
        ("/default/epic/oauth2/jwks", "user@gate.example.org", "400"),
        ("//gate.example.org/default/epic/oauth2/jwks", "gate.example.org", "400"),
        ("gopher://gate.example.org/default/epic/oauth2/jwks", "gate.example.org", "400"),
        ("default/epic/oauth2/jwks", "gate.example.org", "400"),
    ] {
        let answer =
            raw(listening.address, format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{target} {host}: {answer}");
    }
}
