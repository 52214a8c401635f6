//! What several integration tests share. Each test binary uses a part of it.
#![allow(dead_code, reason = "each test binary uses a part of the shared support")]

pub mod standalone;
