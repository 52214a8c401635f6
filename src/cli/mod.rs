//! The command line: one file a command.
//!
//! Exit codes: 0 all is well; 1 the command ran and found something (a failed check, an object that is not ready);
//! 2 it could not run (wrong arguments, a file or server that cannot be reached).

mod access;
mod audit;
mod check;
mod cluster;
mod completions;
mod connections;
mod console;
mod crds;
mod desk;
mod doctor;
mod env;
mod excerpt;
mod explain;
mod handoff;
mod input;
mod invocation;
mod jwks;
mod keys;
mod known;
mod listener;
mod live;
mod logging;
mod man;
mod members;
mod new;
mod offline;
mod operate;
mod output;
mod pem;
mod plan;
mod platform;
mod probe;
mod progress;
mod proxy;
mod rotate;
mod sandbox;
mod serve;
mod shutdown;
mod status;
mod store;
mod style;
mod tls;
mod token;
mod told;
mod traces;
mod why;

use std::error::Error;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::CompleteEnv;

use crate::values::causes::with_causes;

/// Declarative gateway between apps and EHR systems: SMART on FHIR from git.
///
/// Commit App, Gateway, DataAdapter and Activation YAML; Hearthgate serves it, makes the keys that the EHR must trust,
/// and tells what works and what to do next.
#[derive(Debug, Parser)]
#[command(name = "hearthgate", version, propagate_version = true, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Crds(crds::Crds),
    Serve(serve::Serve),
    Operate(operate::Operate),
    Proxy(proxy::Proxy),
    Sandbox(sandbox::Sandbox),
    Check(check::Check),
    Plan(plan::Plan),
    Why(why::Why),
    Access(access::AccessCommand),
    New(new::New),
    Rotate(rotate::Rotate),
    Explain(explain::Explain),
    Status(status::Status),
    Pem(pem::Pem),
    Jwks(jwks::Jwks),
    Token(token::Token),
    Probe(probe::Probe),
    Handoff(handoff::HandoffCommand),
    Env(env::Env),
    Keys(keys::Keys),
    Doctor(doctor::Doctor),
    Audit(audit::Audit),
    Completions(completions::Completions),
    Man(man::Man),
}

/// What a command comes to: an exit code, or why it could not run.
type Outcome = Result<ExitCode, Box<dyn Error>>;

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    // The one crypto provider. It is only refused where another was installed before, which nobody does.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if invocation::is_kubectl_completion() {
        return completions::print_for_kubectl().map_or(ExitCode::from(2), |()| ExitCode::SUCCESS);
    }
    // Ends the program where a shell asks for candidates.
    CompleteEnv::with_factory(command).var(completions::VARIABLE).complete();
    let matches = command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let outcome = match cli.command {
        Command::Crds(command) => command.run(),
        Command::Serve(command) => command.run(),
        Command::Operate(command) => command.run(),
        Command::Proxy(command) => command.run(),
        Command::Sandbox(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Plan(command) => command.run(),
        Command::Access(command) => command.run(),
        Command::New(command) => command.run(),
        Command::Rotate(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
        Command::Why(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Pem(command) => command.run(),
        Command::Jwks(command) => command.run(),
        Command::Token(command) => command.run(),
        Command::Probe(command) => command.run(),
        Command::Handoff(command) => command.run(),
        Command::Env(command) => command.run(),
        Command::Keys(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Audit(command) => command.run(),
    };
    outcome.unwrap_or_else(|error| {
        anstream::eprintln!("error: {}", with_causes(&*error));
        ExitCode::from(2)
    })
}

/// The whole command line as clap knows it: what help, completions and man pages are made from.
pub fn command() -> clap::Command {
    if invocation::is_kubectl_plugin() { invocation::as_plugin(Cli::command()) } else { Cli::command() }
}

/// Prints what other programs read. One that closes the pipe has read enough.
fn print_document(document: &[u8]) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    match output.write_all(document).and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// Runs a future to its end on a small runtime: for commands that make a few calls and are done.
fn block_on<Output>(future: impl Future<Output = Output>) -> std::io::Result<Output> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}
