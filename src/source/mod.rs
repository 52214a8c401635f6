//! Where resources come from.

pub mod document;
