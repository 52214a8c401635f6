//! Asking a running installation: the admin listener of a standalone server.

use std::time::Duration;

use clap::Args;

use crate::snapshot::Kind;
use crate::snapshot::live::{LiveObject, LiveStatus};

/// Where the live state is.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Where to ask")]
pub(super) struct LiveOptions {
    /// The admin listener of a standalone server
    #[arg(long, default_value = "http://127.0.0.1:9090", env = "HEARTHGATE_SERVER")]
    server: String,
    /// Namespace [default: all; an ambiguous name asks for it]
    #[arg(short, long)]
    namespace: Option<String>,
}

/// Why the live state cannot be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum LiveError {
    /// Nobody answers.
    #[error("cannot reach {server}: is `hearthgate serve` running? (--server names its admin listener)")]
    Unreachable {
        server: String,
        #[source]
        error: reqwest::Error,
    },
    /// The answer is an error.
    #[error("{server} answered {status} to {path}: {text}")]
    Refused { server: String, path: String, status: u16, text: String },
    /// The answer is something else.
    #[error("{server} gave an answer that is no status of this version of hearthgate")]
    Unreadable {
        server: String,
        #[source]
        error: reqwest::Error,
    },
    /// No object of that name.
    #[error("there is no {what} {name}{}", among(.known))]
    NotFound { what: String, name: String, known: Vec<String> },
    /// Several.
    #[error("{name} is in several namespaces ({}): choose one with -n", .namespaces.join(", "))]
    Ambiguous { name: String, namespaces: Vec<String> },
}

fn among(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!("; there are {}", known.join(", ")) }
}

impl LiveOptions {
    /// The one object of this name, of one of these kinds.
    pub(super) fn find<'status>(
        &self,
        status: &'status LiveStatus,
        kinds: &[Kind],
        name: &str,
    ) -> Result<&'status LiveObject, LiveError> {
        let what = || kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" or ");
        let in_scope = |live: &&LiveObject| {
            kinds.contains(&live.object.kind)
                && self.namespace.as_ref().is_none_or(|namespace| live.object.key.namespace == *namespace)
        };
        let found: Vec<_> =
            status.objects.iter().filter(in_scope).filter(|live| live.object.key.name == name).collect();
        match found.as_slice() {
            [one] => Ok(one),
            [] => {
                let known = status.objects.iter().filter(in_scope).map(|live| live.object.key.name.clone()).collect();
                Err(LiveError::NotFound { what: what(), name: name.into(), known })
            }
            several => {
                let namespaces = several.iter().map(|live| live.object.key.namespace.clone()).collect();
                Err(LiveError::Ambiguous { name: name.into(), namespaces })
            }
        }
    }

    /// The namespace that was asked for.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Asks for everything.
    pub(super) async fn status(&self) -> Result<LiveStatus, LiveError> {
        let response = self.send(reqwest::Method::GET, "/status").await?;
        response.json().await.map_err(|error| LiveError::Unreadable { server: self.server.clone(), error })
    }

    /// Calls the admin listener; an error status is an error.
    pub(super) async fn send(&self, method: reqwest::Method, path: &str) -> Result<reqwest::Response, LiveError> {
        let server = self.server.trim_end_matches('/');
        let unreachable = |error| LiveError::Unreachable { server: self.server.clone(), error };
        let client = client().map_err(unreachable)?;
        let response = client.request(method, format!("{server}{path}")).send().await.map_err(unreachable)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let text = response.text().await.unwrap_or_default();
        Err(LiveError::Refused { server: self.server.clone(), path: path.into(), status, text })
    }
}

/// A client for short calls: no proxies, no redirects.
pub(super) fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(3))
        .timeout(Duration::from_secs(60))
        .build()
}
