//! The authorization server's decisions: one file a grant, and what they share.

pub mod client_assertion;
pub mod client_authentication;
pub mod client_credentials;
pub mod discovery;
pub mod error;
pub mod token_request;

pub use error::OAuthError;
