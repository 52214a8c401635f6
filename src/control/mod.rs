//! The control plane: keys, probes, proof and status, the same for a cluster and a directory.
pub mod lease;
