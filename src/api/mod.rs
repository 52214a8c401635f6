//! The four resources, as they stand in git and in a cluster: one file a kind.
