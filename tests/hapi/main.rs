//! The gateway in front of a FHIR server that others wrote: HAPI FHIR, with a clinic's synthetic records. `scripts/hapi`
//! builds it.
//!
//! What HAPI answers directly, judged by a plain rule of these tests, is what the gateway must let through: no more, no
//! less. HAPI's log says what reached it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says no by panicking, and its helpers are part of it"
)]

mod clinic;
mod forms;
mod hapi;
mod patient;
mod search;
#[path = "../support/mod.rs"]
mod support;
mod writes;
