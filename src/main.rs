//! The `hearthgate` binary: everything that it does is in the library's `cli`.

use std::process::ExitCode;

// Thousands of objects, each edit a new snapshot of them: the allocator of the C library keeps several times what is in
// use.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hearthgate::cli::main()
}
