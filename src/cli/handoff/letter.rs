//! A message, in the two forms in which people send it.

use std::fmt::Write as _;

/// A message.
pub(super) struct Letter {
    pub(super) subject: String,
    pub(super) opening: String,
    pub(super) parts: Vec<Part>,
}

/// What stands under one heading.
pub(super) struct Part {
    title: &'static str,
    blocks: Vec<Block>,
}

pub(super) enum Block {
    /// A paragraph.
    Text(String),
    /// Names and values; a value may have several lines.
    Facts(Vec<(&'static str, String)>),
    /// One after the other.
    Steps(Vec<String>),
    /// To be copied as it stands.
    Code(String),
}

impl Part {
    pub(super) fn new(title: &'static str, blocks: Vec<Block>) -> Self {
        Self { title, blocks }
    }
}

impl Letter {
    /// Plain text. Certificates and commands begin at the left, so that they can be copied.
    pub(super) fn text(&self) -> String {
        let mut text = format!("Subject: {}\n\n{}\n", self.subject, self.opening);
        for Part { title, blocks } in &self.parts {
            let _ = write!(text, "\n{}\n{}\n", title, "-".repeat(title.chars().count()));
            for (position, block) in blocks.iter().enumerate() {
                if position > 0 {
                    text.push('\n');
                }
                block.text(&mut text);
            }
        }
        text
    }

    /// Markdown, with the subject as its heading.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n{}\n", escaped(&self.subject), escaped(&self.opening));
        for Part { title, blocks } in &self.parts {
            let _ = writeln!(text, "\n## {title}");
            for block in blocks {
                text.push('\n');
                block.markdown(&mut text);
            }
        }
        text
    }
}

impl Block {
    // Writing to a String cannot fail.
    fn text(&self, text: &mut String) {
        match self {
            Self::Text(paragraph) => {
                let _ = writeln!(text, "{paragraph}");
            }
            Self::Facts(facts) => {
                let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
                for (name, value) in facts {
                    for (line, value) in value.lines().enumerate() {
                        let name = if line == 0 { name } else { "" };
                        let _ = writeln!(text, "{name:width$}  {value}");
                    }
                }
            }
            Self::Steps(steps) => match steps.as_slice() {
                [only] => {
                    let _ = writeln!(text, "{only}");
                }
                several => {
                    for (position, step) in several.iter().enumerate() {
                        let _ = writeln!(text, "{}. {step}", position + 1);
                    }
                }
            },
            Self::Code(code) => {
                let _ = writeln!(text, "{code}");
            }
        }
    }

    fn markdown(&self, text: &mut String) {
        match self {
            Self::Text(paragraph) => {
                let _ = writeln!(text, "{}", escaped(paragraph));
            }
            Self::Facts(facts) => {
                text.push_str("| | |\n|---|---|\n");
                for (name, value) in facts {
                    let value: Vec<String> = value.lines().map(cell).collect();
                    let _ = writeln!(text, "| {name} | {} |", value.join("<br>"));
                }
            }
            Self::Steps(steps) => {
                for (position, step) in steps.iter().enumerate() {
                    let _ = writeln!(text, "{}. {}", position + 1, escaped(step));
                }
            }
            Self::Code(code) => {
                let _ = writeln!(text, "~~~\n{code}\n~~~");
            }
        }
    }
}

/// Names come from whoever writes YAML: nothing in them is markup.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut before = ' ';
    for character in text.chars() {
        // Within a word an underscore is one (CommonMark §6.2), and most words with one are to be copied.
        let is_markup = match character {
            '_' => !before.is_alphanumeric(),
            other => matches!(other, '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '#' | '|'),
        };
        if is_markup {
            escaped.push('\\');
        }
        escaped.push(character);
        before = character;
    }
    escaped
}

fn cell(line: &str) -> String {
    if line.starts_with("http://") || line.starts_with("https://") {
        return format!("<{line}>").replace('|', "%7C");
    }
    escaped(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> Letter {
        let facts = vec![("App", "Sync*".to_owned()), ("APIs", "Patient: read\nSlot: search".to_owned())];
        let blocks = vec![Block::Facts(facts), Block::Code("curl -s https://x_y".to_owned())];
        let steps = vec![Block::Steps(vec!["One.".to_owned(), "Two.".to_owned()])];
        Letter {
            subject: "Access of Sync*".to_owned(),
            opening: "Hello".to_owned(),
            parts: vec![Part::new("What", blocks), Part::new("Then", steps)],
        }
    }

    #[test]
    fn as_text_values_stand_below_each_other_and_code_at_the_left() {
        let expected = "Subject: Access of Sync*\n\nHello\n\nWhat\n----\nApp   Sync*\nAPIs  Patient: read\n      Slot: search\n\n\
                        curl -s https://x_y\n\nThen\n----\n1. One.\n2. Two.\n";
        assert_eq!(letter().text(), expected);
    }

    #[test]
    fn as_markdown_nothing_in_a_name_is_markup() {
        let expected = "# Access of Sync\\*\n\nHello\n\n## What\n\n| | |\n|---|---|\n| App | Sync\\* |\n\
                        | APIs | Patient: read<br>Slot: search |\n\n~~~\ncurl -s https://x_y\n~~~\n\n## Then\n\n1. One.\n2. Two.\n";
        assert_eq!(letter().markdown(), expected);
    }
}
