//! The Helm chart and the Dockerfile: rendered by a real Helm, judged and installed by a real API server.
//!
//! Regenerate the chart's copies of the CRDs with `UPDATE=1 cargo test --test charts`.

#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod charts {
    pub mod dockerfile;
    pub mod install;
    pub mod monitoring;
    pub mod render;
    pub mod roles;
    pub mod values;
}
mod support;
