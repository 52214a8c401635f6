//! What Inferno's suite "SMART App Launch STU2.2" asserts of a server, asserted of the gateway: a file a group of Inferno's,
//! a test named after each of its tests. The app, as Inferno plays it, is in `app.rs`.
//!
//! | Inferno | here |
//! |---|---|
//! | SMART on FHIR Discovery | `discovery` |
//! | Standalone Launch, EHR Launch | `launch` |
//! | OpenID Connect | `openid_connect` |
//! | SMART Token Refresh, without and with scopes | `token_refresh` |
//! | Backend Services | `backend_services` |
//! | Token Introspection | `token_introspection` |
//!
//! Not here: Access Brands, which the gateway does not offer, and TLS versions, which `src/proxy/tests/tls.rs` has.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says no by panicking, and its helpers are part of it"
)]

mod app;
mod backend_services;
mod discovery;
mod launch;
mod openid_connect;
#[path = "../support/mod.rs"]
mod support;
mod token_introspection;
mod token_refresh;
