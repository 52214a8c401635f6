//! The field's words as types.

pub mod code;
pub mod scope;
pub mod secret;
pub mod url;
