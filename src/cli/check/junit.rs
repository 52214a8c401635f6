//! JUnit XML: one test case an object, as most systems of continuous integration show them.

use std::collections::BTreeMap;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::problem::{Problem, Problems, Severity};
use crate::source::loaded::Loaded;

/// Name of the test case, and the file it belongs to.
type Case = (String, String);

pub(super) fn print(loaded: &Loaded, problems: &Problems) -> Result<String, quick_junit::SerializeError> {
    let mut cases: BTreeMap<Case, Vec<&Problem>> = BTreeMap::new();
    for object in loaded.objects.keys() {
        let file = loaded.locate(object, "").map(|location| location.file).unwrap_or_default();
        cases.insert((file, object.to_string()), Vec::new());
    }
    for problem in problems.told() {
        let file = problem.location.as_ref().map(|location| location.file.clone()).unwrap_or_default();
        let file = match &problem.object {
            Some(object) => loaded.locate(object, "").map_or(file, |location| location.file),
            None => file,
        };
        let name = problem.object.as_ref().map_or_else(|| file.clone(), ToString::to_string);
        cases.entry((file, name)).or_default().push(problem);
    }
    let mut suite = TestSuite::new("hearthgate check");
    suite.add_test_cases(cases.into_iter().map(|((file, name), found)| case(&file, name, &found)));
    let mut report = Report::new("hearthgate check");
    report.add_test_suite(suite);
    report.to_string()
}

fn case(file: &str, name: String, found: &[&Problem]) -> TestCase {
    let (errors, warnings): (Vec<&Problem>, Vec<&Problem>) =
        found.iter().partition(|problem| problem.severity == Severity::Error);
    let status = match errors.first() {
        None => TestCaseStatus::success(),
        Some(first) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type(first.code.number());
            status.set_message(first.message.clone());
            status.set_description(lines(&errors));
            status
        }
    };
    let mut case = TestCase::new(name, status);
    case.set_classname(file);
    if !warnings.is_empty() {
        case.set_system_out(lines(&warnings));
    }
    case
}

fn lines(problems: &[&Problem]) -> String {
    let lines = problems.iter().map(|problem| {
        let at = problem.location.as_ref().map(|location| format!("{location}: ")).unwrap_or_default();
        let (severity, code) = (problem.severity.as_str(), problem.code);
        format!("{at}{severity} {} {}: {}", code.number(), code.reason(), problem.message)
    });
    lines.collect::<Vec<_>>().join("\n")
}
