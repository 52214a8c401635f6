//! FHIR requests: what is asked for ([`Interaction`]), whether a token's scopes permit it ([`decide`]), and what it must
//! still be held to ([`Permit`]).
//!
//! What is not understood is denied. Everything that can be decided from the request is decided before the EHR is
//! called, so that a refusal says nothing about what exists there.
//!
//! [`judge`] is the whole decision in one call, as `hearthgate why` makes it; the proxy makes the same in two steps
//! ([`understand`], [`decide`]), since it reads a body only where the first step says that it must.

pub mod access;
pub mod answer;
mod batch;
pub mod capability;
pub mod compartment;
mod conditional_reference;
pub mod constrain;
pub mod interaction;
pub mod json;
pub mod moved_back;
pub mod parameters;
pub mod permission;
pub mod permit;
pub mod search;

use std::collections::BTreeSet;

pub use access::{Access, Condition};
pub use interaction::{Interaction, OperationTarget, Parts, understand};
pub use permission::{Need, decide};
pub use permit::Permit;

use crate::values::code::Code;

/// Why a FHIR request is denied. The texts are for the app's developer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// Method and path are no interaction of FHIR R4.
    #[error("this method and path are no FHIR R4 interaction that the gateway understands")]
    NotUnderstood,
    /// A conditional delete, update or patch without criteria would reach every resource of the type.
    #[error("a conditional interaction needs search criteria in its query")]
    NoCriteria,
    /// A parameter that is not understood, or not permitted here.
    #[error("the parameter {name:?} {why}")]
    Parameter {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The query or the form is broken.
    #[error("the query holds a broken percent-encoding, or is not UTF-8")]
    Query,
    /// `_format` asks for something else than JSON.
    #[error("_format asks for a format other than JSON")]
    Format,
    /// The body is not what the interaction takes.
    #[error("this interaction takes a body of type {wanted}")]
    ContentType {
        /// What it takes.
        wanted: &'static str,
    },
    /// The gateway does not list the operation.
    #[error("the gateway does not list the operation {name}")]
    OperationNotAllowed {
        /// Its name, with the `$`.
        name: String,
    },
    /// A batch or transaction cannot be looked into.
    #[error("the batch {0}")]
    NoBatch(&'static str),
    /// An entry of a batch or transaction may not pass, so none of them does.
    #[error("entry {number} ({request}): {denial}")]
    Entry {
        /// From 1.
        number: usize,
        /// Its method and path.
        request: String,
        /// Why.
        denial: Box<Denial>,
    },
    /// A reference with a query that is no search on a type.
    #[error("a reference in the body holds a question mark, and is not Type?criteria")]
    Reference,
    /// A body that must be looked into is not there: only where a request is judged without being sent.
    #[error("whether this may pass depends on its body")]
    BodyWanted,
    /// A body that must be looked into cannot be read.
    #[error("the body is no JSON that has one reading: {0}")]
    Json(String),
    /// Only `patient/` scopes would permit it, and no patient is in context.
    #[error("the token's patient/ scopes are held to the patient in context, and there is none")]
    NoPatient,
    /// It is about another patient than the one in context.
    #[error("the token's patient/ scopes are held to the patient in context; this asks for another")]
    AnotherPatient,
    /// Only `patient/` scopes would permit it, and resources of the type are no patient's.
    #[error("patient/ scopes do not reach {resource_type}: FHIR's Patient compartment does not hold it")]
    OutsideCompartment {
        /// The type.
        resource_type: String,
    },
    /// The scopes that permit it are narrowed, and cannot be held to that here.
    #[error("the token's scopes permit this within limits only, and {0}")]
    Unenforceable(Unenforceable),
    /// The body describes something beyond the scopes.
    #[error("the resource in the body is beyond the token's scopes")]
    BodyBeyondScope,
    /// A patch would change what decides about the scopes, or cannot be looked into.
    #[error("the patch touches an element that the token's scopes are judged by, or is no JSON Patch")]
    PatchBeyondScope,
    /// No scope of the token permits it.
    #[error("the token would need the scope {wanted}")]
    Scope {
        /// A scope that would do.
        wanted: String,
        /// Whether what asks for it is a parameter that reaches into another type.
        parameter: bool,
    },
}

/// Why narrowed scopes (`patient/`, or with a condition such as `?category=…`) cannot be held to their limits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unenforceable {
    /// Several narrowed scopes that one search cannot express.
    #[error("they differ: let the search carry the condition of one of them")]
    SeveralConditions,
    /// A parameter of the client's would hide what is judged.
    #[error("the parameter {0:?} would hide what they are judged by")]
    Hidden(String),
    /// A chain, `_has`, `_list` or conditional reference looks into a type where the scopes are narrowed.
    #[error("a chain, _has, _list or conditional reference looks beyond them")]
    Chain,
    /// A change by search.
    #[error("a conditional change might reach beyond them: search, then change by id")]
    ConditionalChange,
    /// A history of a type or of the system.
    #[error("a history of many resources cannot be held to them")]
    History,
    /// A search of several types.
    #[error("a search across types cannot be held to them: search type by type")]
    SystemSearch,
    /// An operation.
    #[error("an operation cannot be held to them")]
    Operation,
    /// A semicolon in the query.
    #[error("a semicolon in the search may be read in two ways")]
    Semicolon,
    /// An entry of a batch.
    #[error("in a batch nothing is added: let the search carry their conditions, and send changes one by one")]
    InBatch,
    /// The condition of a scope names a parameter that the gateway cannot judge a resource by.
    #[error("the gateway does not know how to judge {0} by their condition")]
    UnknownParameter(String),
}

/// The whole decision on a request: understood, and permitted or not by these scopes at a gateway that lists these
/// operations. `body`: that of a search by POST or of a batch; others are judged by the [`Permit`].
pub fn judge<'request>(
    access: &Access<'_>,
    operations: &BTreeSet<String>,
    parts: &Parts<'request>,
    body: Option<&[u8]>,
) -> Result<(Interaction<'request>, Permit), Denial> {
    let interaction = understand(parts)?;
    let permit = decide(access, operations, &interaction, parts, body)?;
    Ok((interaction, permit))
}

impl Denial {
    /// A scope that would permit it, where one alone would.
    pub fn wanted_scope(&self) -> Option<&str> {
        match self {
            Self::Scope { wanted, .. } => Some(wanted),
            Self::Entry { denial, .. } => denial.wanted_scope(),
            Self::NotUnderstood
            | Self::NoCriteria
            | Self::Parameter { .. }
            | Self::Query
            | Self::Format
            | Self::ContentType { .. }
            | Self::OperationNotAllowed { .. }
            | Self::NoBatch(_)
            | Self::Reference
            | Self::BodyWanted
            | Self::Json(_)
            | Self::NoPatient
            | Self::AnotherPatient
            | Self::OutsideCompartment { .. }
            | Self::Unenforceable(_)
            | Self::BodyBeyondScope
            | Self::PatchBeyondScope => None,
        }
    }

    /// Whether other scopes, or another patient in context, would permit it (RFC 6750 `insufficient_scope`).
    pub fn is_about_scopes(&self) -> bool {
        match self {
            Self::Scope { .. }
            | Self::NoPatient
            | Self::AnotherPatient
            | Self::OutsideCompartment { .. }
            | Self::Unenforceable(_)
            | Self::BodyBeyondScope
            | Self::PatchBeyondScope => true,
            Self::Entry { denial, .. } => denial.is_about_scopes(),
            Self::NotUnderstood
            | Self::NoCriteria
            | Self::Parameter { .. }
            | Self::Query
            | Self::Format
            | Self::ContentType { .. }
            | Self::OperationNotAllowed { .. }
            | Self::NoBatch(_)
            | Self::Reference
            | Self::BodyWanted
            | Self::Json(_) => false,
        }
    }

    /// The code of the refusal.
    pub fn code(&self) -> Code {
        match self {
            Self::NotUnderstood | Self::NoCriteria => Code::InteractionUnknown,
            Self::Parameter { .. } | Self::Query | Self::Reference | Self::Scope { parameter: true, .. } => {
                Code::ParameterRefused
            }
            Self::Format => Code::FormatNotAcceptable,
            Self::ContentType { .. } => Code::ContentTypeRefused,
            Self::OperationNotAllowed { .. } => Code::OperationNotAllowed,
            Self::NoBatch(_) | Self::Json(_) | Self::BodyWanted => Code::BatchRefused,
            Self::Entry { denial, .. } => denial.code(),
            Self::NoPatient => Code::PatientMissing,
            Self::AnotherPatient | Self::OutsideCompartment { .. } => Code::BeyondPatient,
            Self::Unenforceable(_) => Code::ScopeUnenforceable,
            Self::BodyBeyondScope | Self::PatchBeyondScope => Code::BodyBeyondScope,
            Self::Scope { parameter: false, .. } => Code::ScopeInsufficient,
        }
    }
}

#[cfg(test)]
mod answer_tests;
#[cfg(test)]
mod batch_tests;
#[cfg(test)]
mod narrowed_tests;
#[cfg(test)]
mod tests;
