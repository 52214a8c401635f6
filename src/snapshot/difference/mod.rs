//! What a change does: two compilations compared, in the words of those who must live with it.
//!
//! Not what differs in the text, which `git diff` shows, but what follows: who gains or loses access, which keys will be
//! made, which tokens die, which URLs that an EHR or an app knows move, and what a person must do at an EHR.

mod access;
mod ehr;
mod faults;
mod keys;
mod objects;
#[cfg(test)]
mod tests;
mod tokens;
mod urls;

use jiff::Timestamp;
use serde::Serialize;

pub use access::{AccessChange, Effect, Window};
pub use ehr::Step;
pub use faults::FaultChange;
pub use keys::KeyToMake;
pub use objects::{FieldChange, ObjectChange};
pub use tokens::DeadTokens;
pub use urls::{MovedUrl, UrlKind, WhoKnows};

use super::Compiled;

/// How a thing came to differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
    /// It is another one.
    Changed,
}

/// Everything that a change does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Who gains or loses access.
    pub access: Vec<AccessChange>,
    /// Keys that will be made.
    pub keys: Vec<KeyToMake>,
    /// Tokens that are refused from then on.
    pub tokens: Vec<DeadTokens>,
    /// URLs that somebody outside knows, and that move.
    pub urls: Vec<MovedUrl>,
    /// What a person must do at an EHR.
    pub steps: Vec<Step>,
    /// Faults that come or go.
    pub faults: Vec<FaultChange>,
    /// The objects, field by field.
    pub objects: Vec<ObjectChange>,
}

impl Difference {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Compares two compilations at a moment.
pub fn difference(old: &Compiled<'_>, new: &Compiled<'_>, now: Timestamp) -> Difference {
    let keys = keys::to_make(old, new);
    let urls = urls::moved(old, new);
    Difference {
        access: access::changes(old, new, now),
        tokens: tokens::dead(old, new, now),
        steps: ehr::steps(old, new, &keys, &urls),
        faults: faults::changes(old, new),
        objects: objects::changes(old, new),
        keys,
        urls,
    }
}
