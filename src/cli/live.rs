//! Asking a running installation: a cluster, or the admin listener of a standalone server.
//!
//! Which of the two is asked is decided in one place ([`LiveOptions::place`]), and what either tells is one type,
//! [`LiveStatus`]: no command needs to know where it came from.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::cluster::{ClusterError, Contact};
use super::invocation::is_kubectl_plugin;
use super::progress::while_waiting;
use crate::snapshot::Kind;
use crate::snapshot::live::{LiveObject, LiveStatus};
use crate::source::kubernetes::listing::{self, Listed};
use crate::values::api_failure::ApiFailure;

/// Where a standalone server's admin listener is by default.
const LOCAL_SERVER: &str = "http://127.0.0.1:9090";
/// Names it elsewhere.
const SERVER_VARIABLE: &str = "HEARTHGATE_SERVER";
/// What a pod with a ServiceAccount has.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// How long an API server, or any other, may take to answer a person.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Which cluster, if any.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ClusterChoice {
    /// Ask the cluster of the kubeconfig's current context
    #[arg(long)]
    pub(super) cluster: bool,
    #[command(flatten)]
    pub(super) contact: Contact,
}

/// Where the live state is: in a cluster (--cluster, --context, --kubeconfig or -A; always as a plugin of kubectl, and in a
/// pod), else at a standalone server.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Where to ask")]
pub(super) struct LiveOptions {
    /// Ask a standalone server, by its admin listener [default: HEARTHGATE_SERVER, else http://127.0.0.1:9090, where no
    /// cluster is asked]
    #[arg(long, value_name = "URL", conflicts_with_all = ["cluster", "context", "kubeconfig", "all_namespaces"])]
    server: Option<String>,
    #[command(flatten)]
    choice: ClusterChoice,
    /// Namespace [default: of a cluster the context's, of a server all]
    #[arg(short, long)]
    namespace: Option<String>,
    /// All namespaces of the cluster
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A standalone server, by this URL.
    Server(String),
    /// The API server of a cluster.
    Cluster,
}

/// Why the live state cannot be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum LiveError {
    /// Nobody answers.
    #[error(
        "cannot reach {server}: is `hearthgate serve` running? (--server names its admin listener; --cluster asks the cluster \
         of the kubeconfig)"
    )]
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
    /// There is no cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The API server knows no such kinds.
    #[error("this cluster has no Hearthgate: its definitions are not installed (`hearthgate crds` prints them)")]
    NotInstalled,
    /// The API server says no.
    #[error("cannot read the cluster's objects: {0}")]
    Api(ApiFailure),
    /// It says no to a change.
    #[error("cannot change {object}: {failure}")]
    Change { object: String, failure: ApiFailure },
    /// No object of that name.
    #[error("there is no {what} {name}{elsewhere}{}", among(.known))]
    NotFound { what: String, name: String, known: Vec<String>, elsewhere: &'static str },
    /// Several.
    #[error("{name} is in several namespaces ({}): choose one with -n", .namespaces.join(", "))]
    Ambiguous { name: String, namespaces: Vec<String> },
}

/// Names in a message: enough to find a slip of the pen.
pub(super) fn among(known: &[String]) -> String {
    const MOST: usize = 10;
    match known {
        [] => String::new(),
        [one] => format!("; there is {one}"),
        all if all.len() <= MOST => format!("; there are {}", all.join(", ")),
        all => {
            let first: Vec<&str> = all.iter().take(MOST).map(String::as_str).collect();
            format!("; there are {} and {} more", first.join(", "), all.len() - MOST)
        }
    }
}

impl ClusterChoice {
    /// Whether a person chose a cluster, or nothing else is meant: a plugin of kubectl speaks to what kubectl speaks to,
    /// and a pod with a ServiceAccount to its own cluster.
    pub(super) fn is_cluster(&self) -> bool {
        self.is_given() || is_kubectl_plugin() || is_pod()
    }

    /// Whether a person chose one.
    pub(super) const fn is_given(&self) -> bool {
        self.cluster || self.contact.is_given()
    }

    /// Everything that is in the cluster: of this namespace, else of the context's, or of all.
    pub(super) async fn list(&self, scope: &Scope<'_>) -> Result<Vec<Listed>, LiveError> {
        let (client, own) = self.contact.connect().await?;
        let namespace = match scope {
            Scope::All => None,
            Scope::One(namespace) => Some(*namespace),
            Scope::Own => Some(own.as_str()),
        };
        let listed = Box::pin(tokio::time::timeout(ANSWER_WITHIN, listing::list(&client, namespace)));
        let listed = while_waiting("reading the cluster's objects", listed).await;
        listed
            .unwrap_or(Err(ApiFailure::TimedOut))
            .map_err(|failure| if failure.is_not_found() { LiveError::NotInstalled } else { LiveError::Api(failure) })
    }
}

/// Which namespaces of a cluster are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope<'options> {
    /// That of the context, or of the pod.
    Own,
    /// This one.
    One(&'options str),
    /// All.
    All,
}

fn is_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() && Path::new(SERVICE_ACCOUNT).exists()
}

impl LiveOptions {
    /// What the words of an unfinished line say of it. What is not understood is read over.
    pub(super) fn of_words(words: impl Iterator<Item = String>) -> Self {
        let mut found = Self { server: None, choice: ClusterChoice::default(), namespace: None, all_namespaces: false };
        let (mut kubeconfig, mut context) = (None, None);
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let mut value = || value.clone().or_else(|| words.next_if(|next| !next.starts_with('-')));
            match name.as_str() {
                "--server" => found.server = value(),
                "--cluster" => found.choice.cluster = true,
                "--kubeconfig" => kubeconfig = value().map(Into::into),
                "--context" => context = value(),
                "-n" | "--namespace" => found.namespace = value(),
                "-A" | "--all-namespaces" => found.all_namespaces = true,
                _ => {}
            }
        }
        found.choice.contact = Contact::new(kubeconfig, context);
        found
    }

    /// Who is asked: whoever the command line names, then the server that the environment names, then what is at hand.
    pub(super) fn place(&self) -> Place {
        let environment = || std::env::var(SERVER_VARIABLE).ok().filter(|server| !server.is_empty());
        if let Some(server) = &self.server {
            return Place::Server(server.clone());
        }
        if self.all_namespaces || self.choice.is_given() {
            return Place::Cluster;
        }
        match environment() {
            Some(server) => Place::Server(server),
            None if self.choice.is_cluster() => Place::Cluster,
            None => Place::Server(LOCAL_SERVER.to_owned()),
        }
    }

    /// Options of kubectl for the same cluster; they begin with a space, or are empty.
    pub(super) fn for_kubectl(&self) -> String {
        self.choice.contact.as_options()
    }

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
                Err(LiveError::NotFound { what: what(), name: name.into(), known, elsewhere: self.elsewhere() })
            }
            several => {
                let namespaces = several.iter().map(|live| live.object.key.namespace.clone()).collect();
                Err(LiveError::Ambiguous { name: name.into(), namespaces })
            }
        }
    }

    /// Where else an object may be that is not found.
    pub(super) fn elsewhere(&self) -> &'static str {
        match self.place() {
            Place::Cluster if self.scope() == Scope::Own => {
                " in the namespace of the context (-n names another, -A looks in all)"
            }
            Place::Cluster | Place::Server(_) => "",
        }
    }

    /// The namespace that was asked for.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    fn scope(&self) -> Scope<'_> {
        match &self.namespace {
            Some(namespace) => Scope::One(namespace),
            None if self.all_namespaces => Scope::All,
            None => Scope::Own,
        }
    }

    /// Asks for everything.
    pub(super) async fn status(&self) -> Result<LiveStatus, LiveError> {
        match self.place() {
            Place::Cluster => {
                let objects = self.list().await?.into_iter().map(|listed| listed.live).collect();
                Ok(LiveStatus { objects, ..LiveStatus::default() })
            }
            Place::Server(server) => {
                let response = send(&server, reqwest::Method::GET, "/status").await?;
                response.json().await.map_err(|error| LiveError::Unreadable { server, error })
            }
        }
    }

    /// Asks a cluster for its objects.
    pub(super) async fn list(&self) -> Result<Vec<Listed>, LiveError> {
        self.choice.list(&self.scope()).await
    }

    /// The cluster's API server.
    pub(super) async fn connect(&self) -> Result<kube::Client, LiveError> {
        Ok(self.choice.contact.connect().await?.0)
    }
}

/// Calls the admin listener of a server; an error status is an error.
pub(super) async fn send(server: &str, method: reqwest::Method, path: &str) -> Result<reqwest::Response, LiveError> {
    let unreachable = |error| LiveError::Unreachable { server: server.to_owned(), error };
    let client = client(ANSWER_WITHIN).map_err(unreachable)?;
    let url = format!("{}{path}", server.trim_end_matches('/'));
    let response = client.request(method, url).send().await.map_err(unreachable)?;
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status().as_u16();
    let text = response.text().await.unwrap_or_default();
    Err(LiveError::Refused { server: server.to_owned(), path: path.into(), status, text })
}

/// A client for calls that take no longer than this: no proxies, no redirects.
pub(super) fn client(patience: Duration) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(3))
        .timeout(patience)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> LiveOptions {
        LiveOptions::of_words(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn what_the_line_names_is_asked_and_else_what_is_at_hand() {
        assert_eq!(of("hearthgate pem sy").place(), Place::Server(LOCAL_SERVER.into()));
        assert_eq!(of("hearthgate pem --server http://a:1 sy").place(), Place::Server("http://a:1".into()));
        for line in ["pem --context production sy", "pem --context=production sy", "pem --cluster sy", "pem -A sy"] {
            assert_eq!(of(line).place(), Place::Cluster, "{line}");
        }
    }

    #[test]
    fn of_a_cluster_the_namespace_is_that_of_the_context_unless_the_line_says_otherwise() {
        assert_eq!(of("pem --cluster sy").scope(), Scope::Own);
        assert_eq!(of("pem --cluster -n north sy").scope(), Scope::One("north"));
        assert_eq!(of("pem --cluster --namespace=north sy").scope(), Scope::One("north"));
        assert_eq!(of("pem -A sy").scope(), Scope::All);
        assert_eq!(of("pem --context production").for_kubectl(), " --context production");
    }
}
