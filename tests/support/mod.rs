//! What several integration tests share. Each test binary uses a part of it.
#![allow(dead_code, reason = "each test binary uses a part of the shared support")]
#![expect(clippy::allow_attributes, reason = "in some binary every part is used, and an expectation would fail there")]

pub mod standalone;
