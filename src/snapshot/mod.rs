//! Resources compiled into what is served (the Snapshot) and what is told (the Reports).

pub mod key_pair;
pub mod resources;
