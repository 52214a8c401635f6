//! A finding with the line that it is about, in the manner of compilers: for people.

use annotate_snippets::{Annotation, AnnotationKind, Renderer, Snippet};

use crate::snapshot::resources::Location;

/// Draws in colours; what prints takes them away where nobody would see them (a pipe, `NO_COLOR`).
pub(super) const fn renderer() -> Renderer {
    Renderer::styled()
}

/// The line, with what stands at the column underlined to the end of the line, and what is to be said of it.
pub(super) fn snippet<'text>(
    text: &'text str,
    location: &Location,
    label: Option<&'text str>,
) -> Snippet<'text, Annotation<'text>> {
    let before: usize = text.split_inclusive('\n').take(location.line.saturating_sub(1)).map(str::len).sum();
    let line = text.get(before..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let start = line.char_indices().nth(location.column.saturating_sub(1)).map_or(line.len(), |(index, _)| index);
    let end = line.find(" #").filter(|comment| *comment > start).unwrap_or_else(|| line.trim_end().len()).max(start);
    Snippet::source(text)
        .path(location.file.clone())
        .fold(true)
        .annotation(AnnotationKind::Primary.span(before + start..before + end).label(label))
}
