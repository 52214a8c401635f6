//! Where resources come from.

pub mod document;
pub mod schema;
