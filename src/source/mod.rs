//! Where resources come from: a directory or a cluster.

pub mod publish;
