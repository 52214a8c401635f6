//! Client libraries that others wrote get tokens from the gateway as a backend service with a key does, and read a
//! Patient. `scripts/client-libraries` installs them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says no by panicking, and its helpers are part of it"
)]

mod authlib;
mod launch;
mod openid_client;
#[path = "../support/mod.rs"]
mod support;
