//! Decisions: what a request asks for, and whether it may. Pure: the snapshot, the request's parts, the time and every
//! random value are arguments, so that `hearthgate why` and the proxy cannot disagree.

pub mod bearer;
pub mod fhir;
pub mod form;
pub mod jwt;
pub mod media_type;
pub mod oauth;
pub mod path;
pub mod private_api;
pub mod route;
#[cfg(test)]
pub(crate) mod test_support;
pub mod why;
