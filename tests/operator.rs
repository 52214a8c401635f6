//! The operator and the proxy against a real API server: the ladder that a person climbs, and what must never happen to a
//! key on the way.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, its helpers too, and tells what it measured"
)]

mod operator {
    pub mod command_line;
    pub mod console;
    pub mod crowd;
    pub mod doctor;
    pub mod edits;
    pub mod faults;
    pub mod front;
    pub mod installation;
    pub mod keys;
    pub mod kills;
    pub mod ladder;
    pub mod namespaces;
    pub mod outages;
    pub mod release;
    pub mod replicas;
    pub mod sessions;
}
mod support;
