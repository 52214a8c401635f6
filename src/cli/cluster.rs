//! How a command finds the API server, and what it may be asked there.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use clap::Args;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config};
use secrecy::{ExposeSecret as _, SecretString};

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

/// Options about the cluster.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct ClusterOptions {
    /// A kubeconfig [default: $KUBECONFIG, else ~/.kube/config, else the pod's ServiceAccount]
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig [default: its current one]
    #[arg(long)]
    context: Option<String>,
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

impl ClusterOptions {
    /// Finds the cluster. Nothing is asked of it yet.
    pub(super) async fn connect(&self) -> Result<Cluster, ClusterError> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let mut config = match (&self.kubeconfig, &self.context) {
            (Some(path), _) => Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?,
            (None, Some(_)) => Config::from_kubeconfig(&options).await?,
            (None, None) => Config::infer().await?,
        };
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = Some(SILENCE);
        // Or the time that a connection was idle before would count.
        config.reset_reader_on_write = true;
        // It would hide for minutes that an API server is busy; everything that asks here asks again by itself.
        config.default_retry = false;
        // Proxy environment variables are for people's tools.
        config.proxy_url = None;
        let own_namespace = config.default_namespace.clone();
        let client = Client::try_from(config)?;
        Ok(Cluster { client, own_namespace, namespaces: self.namespace.iter().cloned().collect() })
    }
}

impl Cluster {
    /// Lets in whoever shows a token that the API server knows: one that was made for this (a projected token of the
    /// audience `hearthgate.dev`), or a person's.
    pub(super) fn guard(&self) -> Guard {
        let reviewer = Arc::new(Reviewer { reviews: Api::all(self.client.clone()), verdicts: Mutex::default() });
        Arc::new(move |token| {
            let reviewer = Arc::clone(&reviewer);
            Box::pin(async move { reviewer.knows(&token).await })
        })
    }
}

/// Asks the API server about tokens.
struct Reviewer {
    reviews: Api<TokenReview>,
    /// By the token's hash: never the token itself.
    verdicts: Mutex<HashMap<Vec<u8>, (bool, Instant)>>,
}

impl Reviewer {
    async fn knows(&self, token: &SecretString) -> bool {
        let hash = digest(&SHA256, token.expose_secret().as_bytes()).as_ref().to_vec();
        if let Some((verdict, at)) = self.verdicts().get(&hash)
            && at.elapsed() < REMEMBERED
        {
            return *verdict;
        }
        let mut verdict = Ok(false);
        for audiences in [Some(vec![AUDIENCE.to_owned()]), None] {
            verdict = self.review(token, audiences).await;
            if matches!(verdict, Ok(true)) {
                break;
            }
        }
        match verdict {
            Ok(verdict) => {
                let mut verdicts = self.verdicts();
                if verdicts.len() >= REMEMBERED_AT_MOST {
                    verdicts.clear();
                }
                verdicts.insert(hash, (verdict, Instant::now()));
                verdict
            }
            Err(failure) => {
                tracing::warn!("a token cannot be judged: {failure}");
                false
            }
        }
    }

    async fn review(&self, token: &SecretString, audiences: Option<Vec<String>>) -> Result<bool, ApiFailure> {
        let spec = TokenReviewSpec { token: Some(token.expose_secret().to_owned()), audiences };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviewed = self.reviews.create(&PostParams::default(), &review).await?;
        Ok(reviewed.status.and_then(|status| status.authenticated).unwrap_or_default())
    }

    fn verdicts(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<u8>, (bool, Instant)>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
