//! A plan as a comment on a pull request (GitHub and GitLab).

use std::fmt::Write as _;

use super::outline::{Item, Section, Sign, sections, summary};
use crate::snapshot::difference::Difference;

/// Found again by a workflow, so that the comment is replaced and not repeated.
const MARK: &str = "<!-- hearthgate plan -->";
/// More are only counted: a comment has its limit (65,536 characters at GitHub).
const MOST_ITEMS: usize = 150;

pub(super) fn print(difference: &Difference, notes: &[String]) -> String {
    let mut text = format!("{MARK}\n## Hearthgate: what this change does\n\n**{}**\n\n", escaped(&summary(difference)));
    for section in sections(difference) {
        print_section(&section, &mut text);
    }
    for note in notes {
        let _ = writeln!(text, "_{}_\n", escaped(note));
    }
    text
}

fn print_section(section: &Section, text: &mut String) {
    if section.folded {
        let _ = writeln!(text, "<details><summary>{} ({})</summary>\n", section.title, section.items.len());
    } else {
        let _ = writeln!(text, "### {}\n", section.title);
    }
    for item in section.items.iter().take(MOST_ITEMS) {
        print_item(item, text);
    }
    if section.items.len() > MOST_ITEMS {
        let _ = writeln!(text, "- … and {} more", section.items.len() - MOST_ITEMS);
    }
    text.push('\n');
    if section.folded {
        text.push_str("</details>\n\n");
    }
}

fn print_item(item: &Item, text: &mut String) {
    let _ = writeln!(text, "- {} {}", mark(item.sign), escaped(&item.sentence));
    for (sign, detail) in &item.details {
        let sign = sign.map(|sign| format!("{} ", mark(sign))).unwrap_or_default();
        let _ = writeln!(text, "  - {sign}{}", code(detail));
    }
}

const fn mark(sign: Sign) -> &'static str {
    match sign {
        Sign::More => "**+**",
        Sign::Less => "**−**",
        Sign::Other => "**~**",
        Sign::Attention => "⚠️",
        Sign::ToDo => "[ ]",
    }
}

/// Names and messages come from YAML that anybody may propose: they stay text.
fn escaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '@' | '~' | '!' | '&' => {
                result.push('\\');
                result.push(character);
            }
            '\n' | '\r' => result.push(' '),
            other => result.push(other),
        }
    }
    result
}

/// A code span; a backtick in it would end it.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'").replace(['\n', '\r'], " "))
}
