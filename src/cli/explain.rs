//! `hearthgate explain CODE`: what a code means and what to do.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::{Outcome, completions};
use crate::values::code::Code;

/// Say what a code or reason means and what to do about it.
///
/// Codes stand in conditions, refusals, logs and the output of `check`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate explain HG4001\n  hearthgate explain AwaitingRegistration\n  hearthgate explain --all"
)]
pub(super) struct Explain {
    /// The code (`HG4001`) or the reason (`AwaitingRegistration`).
    #[arg(required_unless_present = "all", add = ArgValueCandidates::new(completions::codes))]
    code: Option<String>,
    /// All codes, as a Markdown table.
    #[arg(long, conflicts_with = "code")]
    all: bool,
}

impl Explain {
    pub(super) fn run(self) -> Outcome {
        if let Some(code) = self.code {
            for code in meant_by(&code)? {
                print!("{}", describe(code));
            }
        } else {
            print!("{}", table());
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The code of that number, or all codes of that reason (some reasons stand in two conditions).
fn meant_by(text: &str) -> Result<Vec<Code>, crate::values::code::UnknownCode> {
    let by_reason: Vec<_> = Code::ALL.iter().copied().filter(|code| code.reason() == text).collect();
    if by_reason.is_empty() { text.parse().map(|code| vec![code]) } else { Ok(by_reason) }
}

fn describe(code: Code) -> String {
    format!(
        "{} {} ({})\n\n  {}\n\n  What to do: {}\n\n",
        code.number(),
        code.reason(),
        code.group().title(),
        code.meaning(),
        code.remedy()
    )
}

/// Every code as a Markdown table, as the documentation holds it.
pub(super) fn table() -> String {
    let mut table = String::from("| code | reason | where | meaning | what to do |\n|---|---|---|---|---|\n");
    for code in Code::ALL {
        let cells = [code.number(), code.reason(), code.group().title(), code.meaning(), code.remedy()];
        let _ = writeln!(table, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
    }
    table
}
