//! Why a page is not shown.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::frame::Plain;
use super::respond::html;

/// Why a page is not shown.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The address leads nowhere.
    #[error("There is no such page.")]
    NoPage,
    /// The environment has no object, or does not exist.
    #[error("There is no environment {0}, or nothing is in it.")]
    NoEnvironment(String),
    /// The object does not exist.
    #[error("There is no {kind} {name} in environment {namespace}. It may have been removed from git since.")]
    NoObject {
        /// Its kind.
        kind: &'static str,
        /// Its environment.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The activation has no certificate.
    #[error("Activation {0} has no certificate: its method has no key, or the key is not made yet.")]
    NoCertificate(String),
    /// The person may not see the environment.
    #[error(
        "{person} may not read the activations of environment {namespace}, or there is no such environment. Whoever manages \
         the cluster can grant it: the ClusterRole view is enough."
    )]
    NotPermitted {
        /// Who asks.
        person: String,
        /// For which environment.
        namespace: String,
    },
    /// What a form sent cannot be read.
    #[error("The form cannot be read: {0}")]
    Form(String),
    /// A template failed, which it cannot.
    #[error("This page cannot be shown.")]
    Template(#[from] askama::Error),
}

impl PageError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoPage | Self::NoEnvironment(_) | Self::NoObject { .. } | Self::NoCertificate(_) => {
                StatusCode::NOT_FOUND
            }
            Self::NotPermitted { .. } => StatusCode::FORBIDDEN,
            Self::Form(_) => StatusCode::BAD_REQUEST,
            Self::Template(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        if let Self::Template(error) = &self {
            tracing::error!(%error, "a page of the console cannot be rendered");
        }
        let status = self.status();
        let title = if status == StatusCode::NOT_FOUND { "Not here" } else { "Not possible" };
        let page = Plain { title, message: self.to_string() };
        match html(&page) {
            Ok(response) => (status, response).into_response(),
            Err(_) => (status, self.to_string()).into_response(),
        }
    }
}
