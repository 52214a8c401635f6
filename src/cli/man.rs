//! `hearthgate man`: manual pages.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{Outcome, command, print_document};

/// Print the manual page, or write those of all commands into a directory.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate man | man -l -\n  hearthgate man plan | man -l -\n  hearthgate man --directory /usr/local/share/man/man1"
)]
pub(super) struct Man {
    /// The command, such as `plan` or `new app` [default: hearthgate itself]
    command: Vec<String>,
    /// Write the page of every command into this directory
    #[arg(short, long, value_name = "DIR", conflicts_with = "command")]
    directory: Option<PathBuf>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
enum ManError {
    #[error("there is no command {0}: `hearthgate --help` lists them")]
    NoCommand(String),
    #[error("cannot write into {directory}: {error}", directory = .directory.display())]
    Write { directory: PathBuf, error: std::io::Error },
}

impl Man {
    pub(super) fn run(self) -> Outcome {
        let mut whole = command().disable_help_subcommand(true);
        whole.build();
        if let Some(directory) = self.directory {
            let unwritable = |error| ManError::Write { directory: directory.clone(), error };
            std::fs::create_dir_all(&directory).map_err(unwritable)?;
            clap_mangen::generate_to(whole, &directory).map_err(unwritable)?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut page = &whole;
        for name in &self.command {
            page = page.find_subcommand(name).ok_or_else(|| ManError::NoCommand(self.command.join(" ")))?;
        }
        let name = page.get_display_name().unwrap_or("hearthgate").to_owned();
        let mut rendered = Vec::new();
        clap_mangen::Man::new(page.clone()).title(name).render(&mut rendered)?;
        print_document(&rendered)?;
        Ok(ExitCode::SUCCESS)
    }
}
