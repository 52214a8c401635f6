//! How a command finds the API server, and what it may be asked there.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use clap::Args;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config};
use secrecy::{ExposeSecret as _, SecretString};

use crate::api::common::GROUP;
use crate::console::{Access, Person};
use crate::proxy::admin::Guard;
use crate::values::api_failure::ApiFailure;

/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(3);
/// The API server says at least once a minute, by a bookmark, that a watch is alive; longer silence is a dead connection.
const SILENCE: Duration = Duration::from_secs(90);
/// The audience of tokens that are made for nothing but asking a replica.
const AUDIENCE: &str = "hearthgate.dev";
/// How long a verdict on a token is remembered.
const REMEMBERED: Duration = Duration::from_secs(30);
/// Verdicts that are remembered at once.
const REMEMBERED_AT_MOST: usize = 1000;

/// Which cluster.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Contact {
    /// A kubeconfig [default: $KUBECONFIG, else ~/.kube/config, else the pod's ServiceAccount]
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig [default: its current one]
    #[arg(long)]
    context: Option<String>,
}

/// Options about the cluster that a server works in.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct ClusterOptions {
    #[command(flatten)]
    contact: Contact,
    /// A namespace to watch; repeatable [default: all]
    #[arg(short, long, env = "HEARTHGATE_NAMESPACE", value_delimiter = ',')]
    namespace: Vec<String>,
}

/// A cluster that can be asked.
pub(super) struct Cluster {
    /// Speaks to its API server.
    pub(super) client: Client,
    /// The pod's namespace, else the context's.
    pub(super) own_namespace: String,
    /// The namespaces to watch; none: all.
    pub(super) namespaces: BTreeSet<String>,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClusterError {
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig cannot be used")]
    Kubeconfig(#[from] KubeconfigError),
    /// There is neither a kubeconfig nor a ServiceAccount.
    #[error("no cluster: there is no kubeconfig, and this is no pod with a ServiceAccount")]
    NoCluster(#[from] kube::config::InferConfigError),
    /// No client can be made of it.
    #[error("the configuration of the cluster cannot be used")]
    Client(#[from] kube::Error),
}

impl Contact {
    /// The same, as the words of a command line say it.
    pub(super) fn new(kubeconfig: Option<PathBuf>, context: Option<String>) -> Self {
        Self { kubeconfig, context }
    }

    /// Whether a person named a cluster.
    pub(super) const fn is_given(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }

    /// The kubeconfig and context that were named, as options for kubectl; it begins with a space, or is empty.
    pub(super) fn as_options(&self) -> String {
        let kubeconfig = self.kubeconfig.as_ref().map(|path| format!(" --kubeconfig {}", path.display()));
        let context = self.context.as_ref().map(|name| format!(" --context {name}"));
        kubeconfig.into_iter().chain(context).collect()
    }

    /// How to speak to the cluster, and the namespace that the context (or the pod) is in. Nothing is asked of it yet.
    pub(super) async fn connect(&self) -> Result<(Client, String), ClusterError> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let (kubeconfig, mut config) = match (&self.kubeconfig, &self.context) {
            (None, None) => (Kubeconfig::read().ok(), Config::infer().await?),
            (path, _) => {
                let kubeconfig = path.as_ref().map_or_else(Kubeconfig::read, Kubeconfig::read_from)?;
                (Some(kubeconfig.clone()), Config::from_custom_kubeconfig(kubeconfig, &options).await?)
            }
        };
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = Some(SILENCE);
        // Or the time that a connection was idle before would count.
        config.reset_reader_on_write = true;
        // It would hide for minutes that an API server is busy; everything that asks here asks again by itself.
        config.default_retry = false;
        // Proxy environment variables are for people's other tools; what the kubeconfig says is meant for this.
        if !kubeconfig.is_some_and(|kubeconfig| names_proxy(&kubeconfig, self.context.as_deref())) {
            config.proxy_url = None;
        }
        let own_namespace = config.default_namespace.clone();
        Ok((Client::try_from(config)?, own_namespace))
    }
}

/// Whether a kubeconfig has its cluster reached through a proxy (`proxy-url`).
fn names_proxy(kubeconfig: &Kubeconfig, context: Option<&str>) -> bool {
    let named = || {
        let context = context.or(kubeconfig.current_context.as_deref())?;
        let context = kubeconfig.contexts.iter().find(|own| own.name == context)?.context.as_ref()?;
        let cluster = kubeconfig.clusters.iter().find(|own| own.name == context.cluster)?.cluster.as_ref()?;
        cluster.proxy_url.as_ref().filter(|url| !url.is_empty())
    };
    named().is_some()
}

impl ClusterOptions {
    /// Finds the cluster. Nothing is asked of it yet.
    pub(super) async fn connect(&self) -> Result<Cluster, ClusterError> {
        let (client, own_namespace) = self.contact.connect().await?;
        Ok(Cluster { client, own_namespace, namespaces: self.namespace.iter().cloned().collect() })
    }
}

impl ClusterOptions {
    /// Whether a namespace is among those that were named.
    pub(super) fn covers(&self, namespace: &str) -> bool {
        self.namespace.is_empty() || self.namespace.iter().any(|named| named == namespace)
    }
}

impl Cluster {
    /// Lets in whoever shows a token that the API server knows: one that was made for this (a projected token of the
    /// audience `hearthgate.dev`), or a person's.
    pub(super) fn guard(&self) -> Guard {
        let reviewer = self.reviewer();
        Arc::new(move |token| {
            let reviewer = Arc::clone(&reviewer);
            Box::pin(async move { reviewer.person(&token).await.is_some() })
        })
    }

    /// Tells the console who a token's owner is, and which namespaces' activations it may list.
    pub(super) fn access(&self) -> Access {
        let (reviewer, asker) = (self.reviewer(), self.reviewer());
        Access {
            authenticate: Arc::new(move |token| {
                let reviewer = Arc::clone(&reviewer);
                Box::pin(async move { reviewer.person(&token).await })
            }),
            may_read: Arc::new(move |person, namespace| {
                let asker = Arc::clone(&asker);
                Box::pin(async move { asker.may_read(person, namespace).await })
            }),
        }
    }

    fn reviewer(&self) -> Arc<Reviewer> {
        Arc::new(Reviewer {
            tokens: Api::all(self.client.clone()),
            accesses: Api::all(self.client.clone()),
            people: Remembered::default(),
            permissions: Remembered::default(),
        })
    }
}

/// Answers of the API server, for a short while.
struct Remembered<Question, Answer>(Mutex<HashMap<Question, (Answer, Instant)>>);

impl<Question, Answer> Default for Remembered<Question, Answer> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Question: Eq + Hash, Answer: Clone> Remembered<Question, Answer> {
    fn answer(&self, question: &Question) -> Option<Answer> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(question).filter(|(_, at)| at.elapsed() < REMEMBERED).map(|(answer, _)| answer.clone())
    }

    fn remember(&self, question: Question, answer: Answer) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= REMEMBERED_AT_MOST {
            answers.clear();
        }
        answers.insert(question, (answer, Instant::now()));
    }
}

/// Asks the API server about tokens and people.
struct Reviewer {
    tokens: Api<TokenReview>,
    accesses: Api<SubjectAccessReview>,
    /// By the token's hash: never the token itself.
    people: Remembered<Vec<u8>, Option<Person>>,
    permissions: Remembered<(Person, String), bool>,
}

impl Reviewer {
    /// The owner of a token. `None`: the API server does not know it, or cannot be asked.
    async fn person(&self, token: &SecretString) -> Option<Person> {
        let hash = digest(&SHA256, token.expose_secret().as_bytes()).as_ref().to_vec();
        if let Some(known) = self.people.answer(&hash) {
            return known;
        }
        let mut verdict = Ok(None);
        for audiences in [Some(vec![AUDIENCE.to_owned()]), None] {
            verdict = self.review(token, audiences).await;
            if matches!(verdict, Ok(Some(_))) {
                break;
            }
        }
        match verdict {
            Ok(person) => {
                self.people.remember(hash, person.clone());
                person
            }
            Err(failure) => {
                tracing::warn!("a token cannot be judged: {failure}");
                None
            }
        }
    }

    async fn review(&self, token: &SecretString, audiences: Option<Vec<String>>) -> Result<Option<Person>, ApiFailure> {
        let spec = TokenReviewSpec { token: Some(token.expose_secret().to_owned()), audiences };
        let review = TokenReview { spec, ..TokenReview::default() };
        let status = self.tokens.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
        let is_known = status.authenticated.unwrap_or_default();
        Ok(status.user.filter(|_| is_known).map(|user| Person {
            name: user.username.unwrap_or_default(),
            uid: user.uid,
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        }))
    }

    /// Whether a person may list the activations of a namespace. A question that cannot be asked is a no.
    async fn may_read(&self, person: Person, namespace: String) -> bool {
        let question = (person, namespace);
        if let Some(known) = self.permissions.answer(&question) {
            return known;
        }
        let (person, namespace) = &question;
        let spec = SubjectAccessReviewSpec {
            user: Some(person.name.clone()),
            uid: person.uid.clone(),
            groups: Some(person.groups.clone()),
            extra: Some(person.extra.clone()),
            resource_attributes: Some(ResourceAttributes {
                group: Some(GROUP.to_owned()),
                resource: Some("activations".to_owned()),
                verb: Some("list".to_owned()),
                namespace: Some(namespace.clone()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        match self.accesses.create(&PostParams::default(), &review).await.map_err(ApiFailure::from) {
            Ok(reviewed) => {
                let is_allowed = reviewed.status.is_some_and(|status| status.allowed);
                self.permissions.remember(question, is_allowed);
                is_allowed
            }
            Err(failure) => {
                tracing::warn!("what a person may see cannot be judged: {failure}");
                false
            }
        }
    }
}
