//! What one replica tells at its `/programmed`, asked for by long polls.
//!
//! A request names what is known (`If-None-Match`, RFC 9110 §13.1.2) and how long the replica may wait for something
//! else (`Prefer: wait`, RFC 7240 §4.3), so a change is heard at once, and no change costs next to nothing.

use std::path::PathBuf;
use std::time::Duration;

use http::header::{ETAG, IF_NONE_MATCH};
use http::{HeaderName, HeaderValue, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::outbound::programmed::Programmed;
use crate::values::causes::with_causes;

/// How long a replica may hold its answer back, in seconds.
const WAIT_SECONDS: u32 = 20;
/// How long an answer may take beyond that.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two questions to a replica that answers at once or not at all.
const PAUSE: Duration = Duration::from_millis(500);
/// After how long without an answer a replica counts as one that tells nothing.
const SILENT: Duration = Duration::from_secs(3);
/// More than that is no answer of ours, in bytes.
const LARGEST_ANSWER: u64 = 64 << 20;
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// What proves to a replica who asks.
#[derive(Clone, Debug)]
pub enum Token {
    /// Nothing: a listener on loopback asks for nothing.
    None,
    /// The token in this file, read anew for each question: it is replaced while we run.
    File(PathBuf),
    /// This token.
    Given(SecretString),
}

/// What was heard of a replica.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) address: String,
    /// `None`: it does not answer.
    pub(super) programmed: Option<Programmed>,
}

/// Why a replica tells nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// It cannot be reached, or stopped in the middle.
    #[error("does not answer: {0}")]
    Unreachable(#[from] reqwest::Error),
    /// It answers with an error.
    #[error("answers {0}: may this operator ask it?")]
    Refused(StatusCode),
    /// It answers with something else.
    #[error("answers with something that is no answer of this version: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// It answers without end.
    #[error("answers with more than {LARGEST_ANSWER} bytes")]
    TooLarge,
}

/// Asks one replica, again and again.
pub(super) struct Poller {
    address: String,
    token: Token,
    known: Option<HeaderValue>,
}

impl Poller {
    pub(super) fn new(address: String, token: Token) -> Self {
        Self { address, token, known: None }
    }

    /// Asks until nobody listens.
    pub(super) async fn run(mut self, tell: mpsc::Sender<Heard>) {
        let client = match client() {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%error, "replicas of the proxy cannot be asked");
                return;
            }
        };
        let mut answered = Instant::now();
        let mut failed = false;
        loop {
            let began = Instant::now();
            let heard = match self.ask(&client).await {
                Ok(programmed) => {
                    answered = Instant::now();
                    if std::mem::take(&mut failed) {
                        tracing::info!(replica = self.address, "answers again");
                    }
                    programmed.map(Some)
                }
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        tracing::warn!(replica = self.address, "{}", with_causes(&error));
                    }
                    self.known = None;
                    (answered.elapsed() >= SILENT).then_some(None)
                }
            };
            if let Some(programmed) = heard
                && tell.send(Heard { address: self.address.clone(), programmed }).await.is_err()
            {
                return;
            }
            sleep(PAUSE.saturating_sub(began.elapsed())).await;
        }
    }

    /// Asks once. `None`: it serves what it served before.
    async fn ask(&mut self, client: &reqwest::Client) -> Result<Option<Programmed>, ReplicaError> {
        let mut request =
            client.get(format!("http://{}/programmed", self.address)).header(PREFER, format!("wait={WAIT_SECONDS}"));
        if let Some(known) = &self.known {
            request = request.header(IF_NONE_MATCH, known);
        }
        if let Some(token) = self.token.read().await {
            request = request.bearer_auth(token.expose_secret());
        }
        let mut response = request.send().await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        if response.status() != StatusCode::OK {
            return Err(ReplicaError::Refused(response.status()));
        }
        let tag = response.headers().get(ETAG).cloned();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if (body.len() + chunk.len()) as u64 > LARGEST_ANSWER {
                return Err(ReplicaError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let programmed = serde_json::from_slice(&body)?;
        self.known = tag;
        Ok(Some(programmed))
    }
}

impl Token {
    async fn read(&self) -> Option<SecretString> {
        match self {
            Self::None => None,
            Self::Given(token) => Some(token.clone()),
            Self::File(path) => match tokio::fs::read_to_string(path).await {
                Ok(token) => Some(SecretString::from(token.trim().to_owned())),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "the token for the proxies cannot be read");
                    None
                }
            },
        }
    }
}

/// No proxies, no redirects: the token goes to the replica and nowhere else.
fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(2))
        .timeout(Duration::from_secs(u64::from(WAIT_SECONDS)) + PATIENCE)
        .build()
}
