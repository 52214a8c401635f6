//! How an answer is printed, where it is text or JSON.

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Output {
    Text,
    Json,
}
