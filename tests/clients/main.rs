//! Client libraries that others wrote get tokens from the gateway, each kind of client as its library does it, and read
//! a Patient. `scripts/client-libraries` installs them. In a browser they lead through the pages of the simulated EHR.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says no by panicking, and its helpers are part of it"
)]

#[path = "../support/browser.rs"]
mod browser;
mod fhirclient;
mod launch;
mod pages;
mod server_apps;
#[path = "../support/mod.rs"]
mod support;
