//! What a real API server makes of our resources: the CRDs, the examples, the columns, and every verdict on a document
//! compared with the offline one.

#![expect(clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

mod kubernetes {
    pub mod control_plane;
    pub mod corpus;
    pub mod definitions;
    pub mod parity;
}
mod support;
