//! Making key pairs, and the stores that keep them.
