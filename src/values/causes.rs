//! An error in one line: HTTP clients and TLS stacks say who was told on the outside, and what happened innermost.

use std::error::Error;

/// The error with its causes, outermost first, each said once.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
