//! The field's words as types.

pub mod api_failure;
pub mod base_url;
pub mod causes;
pub mod code;
pub mod key;
pub mod pace;
pub mod scope;
pub mod secret;
pub mod url;
