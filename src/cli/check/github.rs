//! Annotations of GitHub Actions (workflow commands): they show up in the lines of a pull request.

use std::fmt::Write as _;

use super::problem::{Problem, Problems, Severity};

pub(super) fn print(problems: &Problems, summary: &str) -> String {
    let mut text = String::new();
    for problem in problems.told() {
        let _ = writeln!(text, "{}", command(problem));
    }
    let _ = writeln!(text, "{summary}");
    text
}

fn command(problem: &Problem) -> String {
    let name = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = problem
        .location
        .as_ref()
        .map(|location| format!("file={},line={},col={},", property(&location.file), location.line, location.column));
    let title = property(&format!("{} {}", problem.code.number(), problem.code.reason()));
    let about = problem.object.as_ref().map(|object| format!("{object}: ")).unwrap_or_default();
    let message = data(&format!("{about}{}\n{}", problem.message, problem.code.remedy()));
    format!("::{name} {}title={title}::{message}", place.unwrap_or_default())
}

/// As the runner unescapes it.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::{data, property};

    #[test]
    fn what_would_end_a_command_or_a_property_is_escaped() {
        assert_eq!(data("100%\r\n::error::x"), "100%25%0D%0A::error::x");
        assert_eq!(property("a,b:c"), "a%2Cb%3Ac");
    }
}
