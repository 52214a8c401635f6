//! The store: the same assertions on both implementations, and what each must survive by itself. Valkey is the real one.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says no by panicking, and its helpers are part of it"
)]

mod conformance;
mod embedded;
mod sealing;
mod secrecy;
mod support;
mod valkey;
#[path = "../support/valkey.rs"]
mod valkey_server;
