//! What is fuzzed, and what must hold.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use jiff::Timestamp;

use super::{fuzz, outcome};
use crate::protocol::oauth::client_assertion::ClientAssertion;
use crate::protocol::route::route;
use crate::protocol::{path, test_support};
use crate::proxy::http1;
use crate::proxy::rewrite::Rewriter;
use crate::source::document;
use crate::values::scope::ScopeSet;

#[test]
fn paths() {
    let snapshot = test_support::snapshot();
    let seeds = [
        "/default/epic/fhir/Patient/1",
        "/default/epic/oauth2/token",
        "/.well-known/oauth-authorization-server/default/epic",
    ];
    let words = [
        "/", "//", "..", ".", "%2e", "%2F", "%5c", "%25", "%00", ";", "\\", "%", "fhir", "api", "default", "epic", "é",
    ];
    fuzz("paths", &seeds, &words, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return 0 };
        let checked = path::check(text);
        if checked.is_ok() {
            let decoded = percent_encoding::percent_decode_str(text).decode_utf8().expect("ASCII");
            assert_eq!(decoded.matches('/').count(), text.matches('/').count());
            assert!(!decoded.contains(['\\', ';', '%', '\0']));
            assert!(!decoded.split('/').any(|segment| matches!(segment, "." | "..")));
        }
        let routed = route(&snapshot, "gate.example.org", text).map(|endpoint| endpoint.class().as_str());
        assert!(checked.is_ok() || routed.is_err(), "an odd path leads nowhere");
        outcome((format!("{checked:?}"), routed.map_err(|error| error.code().number())))
    });
}

#[test]
fn scopes() {
    let seeds = [
        "system/Patient.rs",
        "patient/*.read user/Observation.cruds?category=x",
        "openid fhirUser offline_access launch/patient",
    ];
    let words = [
        " ",
        "/",
        ".",
        "*",
        "?",
        "&",
        "=",
        "system",
        "user",
        "patient",
        "read",
        "write",
        "cruds",
        "Patient",
        "category=a|b",
        "%20",
    ];
    fuzz("scopes", &seeds, &words, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return 0 };
        let Ok(scopes) = ScopeSet::parse(text) else { return 1 };
        let written = scopes.to_string();
        let read = ScopeSet::parse(&written).expect("what is written can be read");
        let says_all_of = |one: &ScopeSet, other: &ScopeSet| other.iter().all(|scope| one.covers(scope));
        assert!(says_all_of(&read, &scopes) && says_all_of(&scopes, &read), "{written}");
        let shared = scopes.intersect(&scopes);
        assert!(shared.iter().all(|scope| scopes.covers(scope)), "an intersection grants nothing new");
        outcome((scopes.iter().count(), written.len() / 16, scopes.resources().count()))
    });
}

#[test]
fn rewriting() {
    const EHR: &str = "https://ehr.example.org/fhir";
    const OURS: &str = "https://gate.example.org/g/fhir";
    let seeds = [
        r#"{"resourceType":"Bundle","link":[{"relation":"next","url":"https://ehr.example.org/fhir?page=2"}]}"#,
        r#"{"entry":[{"fullUrl":"https:\/\/ehr.example.org\/fhir/Patient/1","resource":{"subject":{"reference":"Patient/1"}}}]}"#,
    ];
    let words = [
        EHR,
        "\"",
        "\\",
        "\\/",
        "\\u002f",
        "http://EHR.example.org:80/fhir",
        ":443",
        ":",
        ",",
        "{",
        "}",
        "[",
        "]",
        "\"url\":",
        "\"reference\":",
        "\"fullUrl\":",
        "\"system\":",
        "https:",
        "//ehr.example.org",
        "/fhir",
        "\u{0}",
        "é",
    ];
    let rewritten = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut rewriter, mut out) = (Rewriter::new(EHR, OURS), BytesMut::new());
        for piece in pieces {
            match rewriter.push(piece, &mut out) {
                Ok(true) => out.extend_from_slice(piece),
                Ok(false) => {}
                Err(_) => return None,
            }
        }
        rewriter.finish(&mut out);
        Some(out.to_vec())
    };
    fuzz("rewriting", &seeds, &words, |input| {
        let whole = rewritten(&mut std::iter::once(input));
        // What is long is skimmed, and two readings of what is no JSON need not agree.
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(input).is_ok();
        if input.len() >= 512 && !is_json {
            return u64::from(whole.is_some());
        }
        for size in [1, 2, 3, 7, 16] {
            assert_eq!(rewritten(&mut input.chunks(size)), whole, "pieces of {size}");
        }
        let Some(whole) = whole else { return 0 };
        let count = |bytes: &[u8]| bytes.windows(OURS.len()).filter(|window| *window == OURS.as_bytes()).count();
        if !input.windows(3).any(|window| window.eq_ignore_ascii_case(b"ehr")) {
            assert_eq!(whole, input, "what names no EHR stays as it is");
        }
        outcome((count(&whole), whole.len().abs_diff(input.len()) / 4))
    });
}

#[test]
fn assertions() {
    // {"alg":"RS384","kid":"k"} . {"iss":"c","sub":"c","aud":"https://a/t","exp":1,"jti":"j"} . a signature
    let seeds = [
        "eyJhbGciOiJSUzM4NCIsImtpZCI6ImsifQ.eyJpc3MiOiJjIiwic3ViIjoiYyIsImF1ZCI6Imh0dHBzOi8vYS90IiwiZXhwIjoxLCJqdGkiOiJqIn0.c2ln",
        "eyJhbGciOiJub25lIn0.e30.",
    ];
    let words = [".", "eyJ", "e30", "bnVsbA", "W10", "\"", "LTE", "MWU5OTk", "=", "_", "-", "eyJhbGciOiJFUzM4NCJ9"];
    let now: Timestamp = "2026-06-10T12:00:00Z".parse().unwrap();
    fuzz("assertions", &seeds, &words, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return 0 };
        match ClientAssertion::parse(text, None) {
            Ok(assertion) => {
                assert!(!assertion.client_id().is_empty(), "an assertion names its client");
                let judged = assertion.judge(&["https://a/t"], now);
                outcome((1, judged.map_err(|refused| refused.to_string())))
            }
            Err(refused) => outcome((2, refused.to_string().len())),
        }
    });
}

#[test]
fn yaml() {
    let seeds = [
        "apiVersion: hearthgate.dev/v1alpha1\nkind: App\nmetadata: {name: a}\nspec:\n  scopes: [system/Patient.rs]\n",
        "a: &a [1, 2]\nb: *a\n---\n- {c: \"d\", e: 'f'}\n- |\n  text\n",
    ];
    let words = [
        ":",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "&a ",
        "*a",
        "<<: ",
        "!!str ",
        "---\n",
        "...\n",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "|\n",
        ">-\n",
        "? ",
        "#",
        "%YAML 1.2\n",
        "0x1f",
        "1e999",
        ".nan",
        "~",
        "no",
        "2026-06-10",
        "\t",
        "\u{feff}",
        "\\u0000",
    ];
    fuzz("yaml", &seeds, &words, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return 0 };
        let began = Instant::now();
        let parsed = document::parse(text);
        assert!(began.elapsed() < Duration::from_secs(2), "4 KiB take long");
        match parsed {
            Ok(documents) => outcome((
                documents.len(),
                documents.iter().map(|found| found.value.to_string().len()).sum::<usize>() / 8,
            )),
            Err(unreadable) => outcome(unreadable.to_string().len()),
        }
    });
}

#[test]
fn heads_of_requests() {
    let seeds = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ];
    let words = [
        "\r\n",
        "\n",
        "\r",
        " ",
        ":",
        "\t",
        "\0",
        "Content-Length",
        "Transfer-Encoding",
        "chunked",
        "Host: b",
        "Upgrade: h2c",
        "0",
        "HTTP/1.0",
    ];
    fuzz("heads of requests", &seeds, &words, |input| {
        let at_once = http1::verdicts_on(input, usize::MAX);
        for size in [1, 3, 16] {
            assert_eq!(http1::verdicts_on(input, size), at_once, "pieces of {size}");
        }
        let refused = at_once.iter().position(|verdict| *verdict != http1::Verdict::Good);
        assert!(refused.is_none_or(|at| at + 1 == at_once.len()), "nothing follows what may be the last");
        outcome(format!("{at_once:?}"))
    });
}
