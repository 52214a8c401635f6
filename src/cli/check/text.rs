//! For people: each problem with the lines that it is about.

use annotate_snippets::{Group, Level, Origin, Renderer};

use super::super::excerpt::{renderer, snippet};
use super::problem::{Problem, Problems, Severity};
use crate::source::loaded::Loaded;

pub(super) fn print(loaded: &Loaded, problems: &Problems) {
    let renderer = renderer();
    for problem in problems.told() {
        anstream::println!("{}\n", render(&renderer, loaded, problem));
    }
    for ignored in &loaded.ignored {
        anstream::println!("ignored {}: {}", ignored.location, ignored.what);
    }
    anstream::println!("{}", summary(loaded, problems));
}

fn render(renderer: &Renderer, loaded: &Loaded, problem: &Problem) -> String {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let about = problem.object.as_ref().map(|object| format!("{object}: ")).unwrap_or_default();
    let title = format!("{about}{}", problem.message);
    let id = format!("{} {}", problem.code.number(), problem.code.reason());
    let title = level.primary_title(title).id(id);
    let help = Level::HELP.message(problem.code.remedy());
    let Some(location) = &problem.location else { return renderer.render(&[title.element(help)]) };
    let group: Group<'_> = match loaded.text_of(&location.file) {
        Some(text) => title.element(snippet(text, location, None)),
        None => title.element(Origin::path(location.file.clone()).line(location.line).char_column(location.column)),
    };
    renderer.render(&[group.element(help)])
}

/// The whole in one line.
pub(super) fn summary(loaded: &Loaded, problems: &Problems) -> String {
    let counted = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let (objects, files) = (counted(loaded.objects.len(), "object"), counted(loaded.files().count(), "file"));
    let suppressed = match problems.suppressed() {
        0 => String::new(),
        count => format!(" ({count} suppressed)"),
    };
    match (problems.errors(), problems.warnings()) {
        (0, 0) => format!("✔ no issues: {objects} in {files}{suppressed}"),
        (errors, warnings) => {
            format!("{}, {}: {objects} in {files}{suppressed}", counted(errors, "error"), counted(warnings, "warning"))
        }
    }
}
