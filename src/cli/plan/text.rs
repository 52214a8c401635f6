//! A plan for people at a terminal.

use std::fmt::Write as _;

use anstyle::AnsiColor;

use super::super::style::TITLE;
use super::outline::{Section, Sign, sections, summary};
use crate::snapshot::difference::Difference;

/// The plan. Colours are in it; what prints takes them away where nobody would see them.
pub(super) fn print(difference: &Difference, notes: &[String]) -> String {
    let mut text = String::new();
    for section in sections(difference) {
        print_section(&section, &mut text);
    }
    let _ = writeln!(text, "{TITLE}{}{TITLE:#}", summary(difference));
    for note in notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

fn print_section(section: &Section, text: &mut String) {
    let _ = writeln!(text, "{TITLE}{}{TITLE:#}", section.title);
    for item in &section.items {
        let _ = writeln!(text, "  {} {}", painted(item.sign), item.sentence);
        for (sign, detail) in &item.details {
            let mark = sign.map(|sign| format!("{} ", painted(sign))).unwrap_or_default();
            let _ = writeln!(text, "      {mark}{detail}");
        }
    }
    text.push('\n');
}

fn painted(sign: Sign) -> String {
    let (mark, colour) = match sign {
        Sign::More => ("+", AnsiColor::Green),
        Sign::Less => ("-", AnsiColor::Red),
        Sign::Other => ("~", AnsiColor::Yellow),
        Sign::Attention => ("!", AnsiColor::Red),
        Sign::ToDo => ("☐", AnsiColor::Cyan),
    };
    let style = colour.on_default();
    format!("{style}{mark}{style:#}")
}
