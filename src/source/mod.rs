//! Where resources come from: a directory or a cluster.

pub mod document;
pub mod kubernetes;
pub mod publish;
pub mod schema;
