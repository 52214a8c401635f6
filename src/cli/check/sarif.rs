//! SARIF 2.1.0 (OASIS), for code scanning. The official schema judges it in `tests/cli.rs`.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

use super::super::members::members;
use super::problem::{Problem, Problems, Severity, severity};
use crate::values::code::Code;

/// What a path may not hold in a URI (RFC 3986 §3.3).
const NOT_IN_A_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b'\\')
    .add(b':');

pub(super) fn print(problems: &Problems) -> Value {
    let codes: BTreeSet<Code> = problems.iter().map(|problem| problem.code).collect();
    let codes: Vec<Code> = codes.into_iter().collect();
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "hearthgate",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": codes.iter().map(|code| rule(*code)).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": problems.iter().map(|problem| result(problem, &codes)).collect::<Vec<_>>(),
        }],
    })
}

fn rule(code: Code) -> Value {
    let level = severity(code).unwrap_or(Severity::Error).as_str();
    json!({
        "id": code.number(),
        "name": code.reason(),
        "shortDescription": { "text": code.meaning() },
        "help": { "text": code.remedy() },
        "defaultConfiguration": { "level": level },
    })
}

fn result(problem: &Problem, codes: &[Code]) -> Value {
    let about = problem.object.as_ref().map(|object| format!("{object}: ")).unwrap_or_default();
    let physical = problem.location.as_ref().map(|at| {
        json!({
            "artifactLocation": { "uri": uri(&at.file) },
            "region": { "startLine": at.line, "startColumn": at.column },
        })
    });
    let logical = problem.object.as_ref().map(|object| json!([{ "fullyQualifiedName": object.to_string() }]));
    let location = members([("physicalLocation", json!(physical)), ("logicalLocations", json!(logical))]);
    let suppressions = problem.suppressed.as_ref().map(|own| {
        vec![members([
            ("kind", json!("inSource")),
            ("status", json!("accepted")),
            ("justification", json!(own.reason)),
        ])]
    });
    members([
        ("ruleId", json!(problem.code.number())),
        ("ruleIndex", json!(codes.iter().position(|code| *code == problem.code))),
        ("level", json!(problem.severity.as_str())),
        ("message", json!({ "text": format!("{about}{}", problem.message) })),
        // The same finding keeps its alert when lines move.
        ("partialFingerprints", json!({ "hearthgate/v1": fingerprint(problem) })),
        ("locations", json!([location])),
        ("suppressions", json!(suppressions)),
    ])
}

fn uri(file: &str) -> String {
    let path = utf8_percent_encode(file, NOT_IN_A_PATH).to_string();
    if path.starts_with('/') { format!("file://{path}") } else { path }
}

fn fingerprint(problem: &Problem) -> String {
    let object = problem.object.as_ref().map(ToString::to_string).unwrap_or_default();
    let text = format!("{}\n{object}\n{}", problem.code.number(), problem.message);
    let hash = digest(&SHA256, text.as_bytes());
    let half = hash.as_ref().get(..16).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(half)
}
