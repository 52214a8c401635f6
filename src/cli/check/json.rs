//! For programs.

use serde_json::{Value, json};

use super::problem::{Problem, Problems};
use crate::source::loaded::Loaded;

pub(super) fn print(loaded: &Loaded, problems: &Problems) {
    let document = json!({
        "problems": problems.iter().map(problem).collect::<Vec<_>>(),
        "ignored": loaded.ignored.iter().map(|ignored| json!({
            "file": ignored.location.file,
            "line": ignored.location.line,
            "column": ignored.location.column,
            "what": ignored.what,
        })).collect::<Vec<_>>(),
        "summary": {
            "errors": problems.errors(),
            "warnings": problems.warnings(),
            "suppressed": problems.suppressed(),
            "objects": loaded.objects.len(),
            "files": loaded.files().count(),
        },
    });
    println!("{document:#}");
}

fn problem(problem: &Problem) -> Value {
    let object = problem.object.as_ref();
    let location = problem.location.as_ref();
    json!({
        "code": problem.code.number(),
        "reason": problem.code.reason(),
        "severity": problem.severity.as_str(),
        "message": problem.message,
        "kind": object.map(|object| object.kind.as_str()),
        "namespace": object.map(|object| &object.key.namespace),
        "name": object.map(|object| &object.key.name),
        "file": location.map(|location| &location.file),
        "line": location.map(|location| location.line),
        "column": location.map(|location| location.column),
        "suppressed": problem.suppressed.is_some(),
        "suppressedBecause": problem.suppressed.as_ref().and_then(|own| own.reason.as_deref()),
    })
}
