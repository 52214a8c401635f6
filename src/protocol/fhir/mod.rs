//! FHIR requests: what is asked for ([`Interaction`]), what that needs ([`Need`]), and whether a token's scopes permit it.
//!
//! What is not understood is denied. Everything that can be decided from the request is decided before the EHR is
//! called, so that a refusal says nothing about what exists there.

pub mod capability;
pub mod interaction;
pub mod permission;
pub mod search;

pub use interaction::{Interaction, OperationTarget, Parts, understand};
pub use permission::{Need, decide};

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
    /// Batches and transactions are not looked into yet.
    #[error("batches and transactions are not accepted: send their entries one by one")]
    Batch,
    /// No scope of the token permits it.
    #[error("the token would need the scope {wanted}")]
    Scope {
        /// A scope that would do.
        wanted: String,
        /// Whether what asks for it is a parameter that reaches into another type.
        parameter: bool,
    },
}

impl Denial {
    /// The code of the refusal.
    pub const fn code(&self) -> Code {
        match self {
            Self::NotUnderstood | Self::NoCriteria => Code::InteractionUnknown,
            Self::Parameter { .. } | Self::Query | Self::Scope { parameter: true, .. } => Code::ParameterRefused,
            Self::Format => Code::FormatNotAcceptable,
            Self::ContentType { .. } => Code::ContentTypeRefused,
            Self::OperationNotAllowed { .. } => Code::OperationNotAllowed,
            Self::Batch => Code::BatchRefused,
            Self::Scope { parameter: false, .. } => Code::ScopeInsufficient,
        }
    }
}

#[cfg(test)]
mod tests;
