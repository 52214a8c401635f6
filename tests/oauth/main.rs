//! The authorization server as two replicas of the proxy serve it, on one real Valkey.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says no by panicking, and its helpers are part of it"
)]

mod installation;
mod outage;
mod replicas;
#[path = "../support/valkey.rs"]
mod valkey;
