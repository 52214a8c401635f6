//! The colours of states, on a terminal.

use anstyle::{AnsiColor, Style};

/// What is in order.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// What is not.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
/// What is on its way, or doubtful.
pub(super) const BUSY: Style = AnsiColor::Yellow.on_default();
/// A heading.
pub(super) const TITLE: Style = Style::new().bold();
