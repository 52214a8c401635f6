//! Hearthgate: a declarative gateway between apps and EHR systems.
//!
//! YAML (from a directory or a cluster) becomes [`snapshot::Resources`](snapshot); one pure function compiles them into
//! a [`snapshot`] that is served and reports that are told. The map, and the only way that arrows may point
//! (`tests/architecture.rs` holds them):
//!
//! ```text
//! values ◄─ api ◄─ snapshot ◄─ protocol ◄─ outbound ◄─ { control, proxy, console }
//! values ◄─ { store, keys }            (used from outbound upward)
//!           snapshot ◄─ source
//! sandbox (imports nothing of ours)
//! { source, control, proxy, console, sandbox } ◄─ cli ◄─ main
//! ```
//!
//! `values`, `api`, `snapshot` and `protocol` are pure: no I/O, no clock, no random source; time and randomness are
//! arguments.

pub mod api;
pub mod cli;
pub mod console;
pub mod control;
pub mod keys;
pub mod outbound;
pub mod protocol;
pub mod proxy;
pub mod sandbox;
pub mod snapshot;
pub mod source;
pub mod store;
pub mod values;
