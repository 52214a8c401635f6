//! The `hearthgate` binary: everything that it does is in the library's `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hearthgate::cli::main()
}
