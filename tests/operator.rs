//! The operator and the proxy against a real API server: the ladder that a person climbs, and what must never happen to a
//! key on the way.

mod operator {
    pub mod crowd;
    pub mod faults;
    pub mod installation;
    pub mod keys;
    pub mod ladder;
    pub mod outages;
}
mod support;
