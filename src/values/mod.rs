//! The field's words as types.

pub mod key;
pub mod secret;
