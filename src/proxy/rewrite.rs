//! The EHR's own URLs in FHIR JSON, moved to the gateway as the body streams: a scanner over bytes, never a parser into
//! values (measured: 200 times slower).
//!
//! Moved are strings that begin with the EHR's base in any of its spellings ([`BaseUrl`]), where FHIR means a place by
//! them: `fullUrl`, `reference`, `location` and `url` (links, attachments, manifests). Canonical URLs and the names of
//! extensions stay: the `url` of a resource and of an extension says what it is, not where it is; so do `system`,
//! `profile` and all else.
//!
//! The links of a Bundle's pages are handed out ([`Pages`]), those of Bundles within the answer too: they are the EHR's
//! own affair, and lead anywhere.
//!
//! What is not changed is not copied: a piece in which nothing changes is passed on as it came.
//!
//! The same the other way round: what clients send back holds the gateway's URLs where they read the EHR's.
//!
//! [`BaseUrl`]: crate::values::base_url::BaseUrl

mod body;
mod scanner;

pub(super) use body::{Rewritten, rewritten};
pub use scanner::Rewriter;

/// No FHIR: the body breaks off here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrewritable {
    /// Deeper nesting than any resource has.
    #[error("the JSON is nested too deeply")]
    TooDeep,
    /// A page's link that cannot be looked at.
    #[error("a link in the Bundle is too long, or no JSON")]
    Link,
}

/// Whose pages a link is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paged {
    /// The answer itself.
    Answer,
    /// The resource in the answer's entry of that number, from 0: of a batch's answer, what the entry of the same number
    /// asked for.
    Entry(usize),
    /// A resource deeper within.
    Within,
}

/// What becomes of the links of a Bundle's pages.
pub trait Pages: Send {
    /// The link in place of this one, by its relation (`next`, `previous`, `self`, …).
    fn place(&self, paged: Paged, relation: &str, url: &str) -> String;
}

#[cfg(test)]
mod tests;
