//! The authorization server's decisions: one file a grant, and what they share.

pub mod authorization_code;
pub mod authorize;
pub mod callback;
pub mod client_assertion;
pub mod client_authentication;
pub mod client_credentials;
pub mod discovery;
pub mod ehr_launch;
pub mod ehr_refusal;
pub mod error;
pub mod id_token;
pub mod introspection;
pub mod launch_context;
pub mod pkce;
pub mod presented_token;
pub mod redirect;
pub mod refresh_token;
pub mod token_request;
pub mod user_scopes;

pub use error::OAuthError;
