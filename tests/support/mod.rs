//! What several integration tests share. Each test binary uses a part of it.
#![allow(dead_code, reason = "each test binary uses a part of the shared support")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, its helpers too"
)]

pub mod backup;
pub mod built;
pub mod chart;
pub mod clinic;
pub mod control_plane;
pub mod guarded;
pub mod rules;
pub mod shared;
pub mod standalone;
pub mod user;
pub mod valkey;
