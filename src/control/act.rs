//! Executes what was planned, and says what came of it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};

use super::findings::{Asked, Examined, Findings, KeyTrouble, Probed};
use super::plan::{Action, adapter_subject};
use super::sink::Sink;
use crate::keys::secret::{gateway_secret, pair_secret};
use crate::keys::{Created, KeySecret, KeyStoreError, make};
use crate::outbound::probe::{self, Capabilities, KeySetProblem, ProbeFailure};
use crate::outbound::{Clock, EhrAnswer, EhrClient, EhrOutcome, EhrTokens};
use crate::protocol::oauth::ehr_refusal::{Discovered, KeySet};
use crate::snapshot::{Activation, DataAdapter, ObjectKey, Published, Snapshot};
use crate::values::key::{GatewayIdentity, GatewayKeys, PairIdentity, ParsedKeyPair, Thumbprint};
use crate::values::url::{AddressPolicy, EndpointUrl};

/// How many questions to the world outside may be under way at once.
const QUESTIONS_AT_ONCE: usize = 32;

/// How many keys are made at once: one, or of many cores a quarter.
fn generated_at_once() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (cores / 4).max(1)
}

/// How long the EHR's SMART configuration may take when the reason of a refusal is looked for.
const EXAMINATION_PATIENCE: Duration = Duration::from_secs(10);

/// Carries out actions. A clone shares everything.
#[derive(Clone)]
pub struct Actor {
    sink: Arc<dyn Sink>,
    client: EhrClient,
    tokens: EhrTokens,
    clock: Arc<dyn Clock>,
    /// Keys under way: while one is being made, another is asked for and kept.
    making: Arc<Semaphore>,
    /// Making keys is heavy, and requests are being served meanwhile.
    generating: Arc<Semaphore>,
    asking: Arc<Semaphore>,
}

/// What came of an action.
#[derive(Debug)]
pub enum Done {
    /// The key is kept and delivered; it is compiled soon.
    KeyKept(ObjectKey, Timestamp),
    /// The key could not be made, read or adopted; without a message: it was looked for and is not there.
    KeyTrouble(ObjectKey, Timestamp, Option<String>),
    /// The EHR was asked; what it said stands among the outcomes.
    Asked,
    /// What the EHR said to a key that does not sign yet: by the activation's UID.
    Proved(String, EhrOutcome),
    /// What speaks for one reason or another of a refusal: by the activation's UID.
    Examined(String, Examined),
    /// What a CapabilityStatement told: by the adapter's UID.
    Adapter(String, Answer<Capabilities>),
    /// Whether a launch URI answers: by the app's UID.
    Launch(String, Answer<()>),
    /// Whether an app is healthy: by its UID.
    Health(String, Answer<()>),
    /// What it was about is gone, or changed so that there is nothing to do any more.
    Obsolete,
}

/// What a probe found.
#[derive(Debug)]
pub struct Answer<T> {
    subject: String,
    at: Timestamp,
    result: Result<T, ProbeFailure>,
}

impl Done {
    /// Adds what came of it to what is known.
    pub fn tell(self, findings: &mut Findings) {
        fn probed<T>(before: Option<&Probed<T>>, answer: Answer<T>) -> Probed<T> {
            Probed::after(before, answer.subject, answer.at, answer.result)
        }
        match self {
            Self::KeyKept(secret, at) => {
                findings.keys.insert(secret, KeyTrouble { at, attempts: 1, message: None });
            }
            Self::KeyTrouble(secret, at, message) => {
                let attempts = findings.keys.get(&secret).map_or(0, |trouble| trouble.attempts).saturating_add(1);
                findings.keys.insert(secret, KeyTrouble { at, attempts, message });
            }
            Self::Proved(uid, outcome) => {
                let Some(key) = outcome.key else { return };
                let proofs = findings.proofs.entry(uid).or_default();
                let after = Asked::after(proofs.get(&key), outcome);
                proofs.insert(key, after);
            }
            Self::Examined(uid, examined) => {
                findings.examined.insert(uid, examined);
            }
            Self::Adapter(uid, answer) => {
                let after = probed(findings.adapters.get(&uid), answer);
                findings.adapters.insert(uid, after);
            }
            Self::Launch(uid, answer) => {
                let after = probed(findings.launches.get(&uid), answer);
                findings.launches.insert(uid, after);
            }
            Self::Health(uid, answer) => {
                let after = probed(findings.health.get(&uid), answer);
                findings.health.insert(uid, after);
            }
            Self::Asked | Self::Obsolete => {}
        }
    }
}

/// Why a key is not there. For people: holds names, never content.
#[derive(Debug, thiserror::Error)]
enum KeyFailure {
    #[error("{0}")]
    Store(#[from] KeyStoreError),
    #[error("{0}")]
    Make(#[from] make::MakeError),
    #[error("{0}")]
    Foreign(String),
    #[error("interrupted")]
    Interrupted,
}

impl Actor {
    /// Acts through this sink, and asks through these.
    pub fn new(sink: Arc<dyn Sink>, client: EhrClient, tokens: EhrTokens, clock: Arc<dyn Clock>) -> Self {
        let at_once = generated_at_once();
        let turns = |count| Arc::new(Semaphore::new(count));
        let (making, generating, asking) = (turns(at_once + 1), turns(at_once), turns(QUESTIONS_AT_ONCE));
        Self { sink, client, tokens, clock, making, generating, asking }
    }

    /// Carries out one action when its turn comes, against what is compiled by then.
    ///
    /// Thousands may wait for their turn: meanwhile each holds neither a snapshot of its own nor the room to work in.
    pub async fn perform(&self, action: Action, newest: watch::Receiver<Option<Arc<Published>>>) -> Done {
        let turns = match action {
            Action::CreatePairKey { .. } | Action::CreateGatewayKey { .. } => &self.making,
            Action::LookForKey(_)
            | Action::AskEhr(_)
            | Action::ProveKey(..)
            | Action::Examine(_)
            | Action::ProbeAdapter(_)
            | Action::ProbeLaunch(_)
            | Action::ProbeHealth(_) => &self.asking,
        };
        let _turn = turns.acquire().await;
        let published = newest.borrow().clone();
        let Some(published) = published else { return Done::Obsolete };
        Box::pin(self.act(action, &published.snapshot)).await
    }

    async fn act(&self, action: Action, snapshot: &Snapshot) -> Done {
        match action {
            Action::CreatePairKey { namespace, identity, common_name } => {
                let secret = ObjectKey::new(namespace.clone(), identity.secret_name());
                let result = self.create_pair_key(&namespace, identity, common_name).await;
                self.key_done(secret, result)
            }
            Action::CreateGatewayKey { namespace, identity } => {
                let secret = ObjectKey::new(namespace.clone(), identity.secret_name());
                let result = self.create_gateway_key(&namespace, &identity).await;
                self.key_done(secret, result)
            }
            Action::LookForKey(secret) => self.look_for_key(secret).await,
            Action::AskEhr(key) => {
                let Some(activation) = snapshot.activations.get(&key) else { return Done::Obsolete };
                // The outcome is among the outcomes; the token waits for its first request.
                let _ = self.tokens.ask(activation).await;
                Done::Asked
            }
            Action::ProveKey(key, thumbprint) => match snapshot.activations.get(&key) {
                Some(activation) => self.prove(activation, thumbprint).await,
                None => Done::Obsolete,
            },
            Action::Examine(key) => match snapshot.activations.get(&key) {
                Some(activation) => self.examine(activation).await,
                None => Done::Obsolete,
            },
            Action::ProbeAdapter(key) => match snapshot.data_adapters.get(&key) {
                Some(adapter) => self.probe_adapter(adapter, snapshot).await,
                None => Done::Obsolete,
            },
            Action::ProbeLaunch(key) => {
                let app = snapshot.apps.get(&key);
                let Some((app, uri)) = app.and_then(|app| Some((app, app.launch_uri.as_ref()?))) else {
                    return Done::Obsolete;
                };
                let result = probe::launch_uri(&self.client, uri).await;
                Done::Launch(app.uid.clone(), self.answer(uri.as_str(), result))
            }
            Action::ProbeHealth(key) => {
                let app = snapshot.apps.get(&key);
                let Some((app, uri)) = app.and_then(|app| Some((app, app.health_uri.as_ref()?))) else {
                    return Done::Obsolete;
                };
                let result = probe::health_uri(&self.client, uri).await;
                Done::Health(app.uid.clone(), self.answer(uri.as_str(), result))
            }
        }
    }

    fn answer<T>(&self, subject: &str, result: Result<T, ProbeFailure>) -> Answer<T> {
        Answer { subject: subject.to_owned(), at: self.clock.now(), result }
    }

    fn key_done(&self, secret: ObjectKey, result: Result<KeySecret, KeyFailure>) -> Done {
        match result {
            Ok(key) => {
                self.sink.deliver(&key);
                Done::KeyKept(secret, self.clock.now())
            }
            Err(error) => {
                tracing::error!(%secret, %error, "a key could not be made");
                Done::KeyTrouble(secret, self.clock.now(), Some(error.to_string()))
            }
        }
    }

    /// What is there is adopted if it is ours, and told if not; only where nothing is, a key is made.
    async fn create_pair_key(
        &self,
        namespace: &str,
        identity: PairIdentity,
        common_name: String,
    ) -> Result<KeySecret, KeyFailure> {
        let store = self.sink.key_store();
        if let Some(existing) = store.get(namespace, &identity.secret_name()).await? {
            return self.adopt_pair(&identity, existing);
        }
        let (kind, now) = (identity.kind, self.clock.now());
        let material = self.generate(move || make::make_pair(kind, &common_name, now)).await?;
        let secret = pair_secret(namespace, &identity, material);
        match store.create(&secret).await? {
            Created::New => {
                let thumbprint = thumbprint_of(&secret);
                tracing::info!(
                    namespace, secret = secret.name, app = identity.app, kind = %identity.kind, thumbprint,
                    "made a key pair"
                );
                Ok(secret)
            }
            Created::AlreadyExists(existing) => self.adopt_pair(&identity, *existing),
        }
    }

    async fn generate<Made: Send + 'static>(
        &self,
        make: impl FnOnce() -> Result<Made, make::MakeError> + Send + 'static,
    ) -> Result<Made, KeyFailure> {
        let _turn = self.generating.acquire().await;
        let material = tokio::task::spawn_blocking(make).await;
        Ok(material.map_err(|_| KeyFailure::Interrupted)??)
    }

    /// A Secret of the key's name. A foreign one is delivered all the same: the compiler tells whose it is.
    fn adopt_pair(&self, identity: &PairIdentity, existing: KeySecret) -> Result<KeySecret, KeyFailure> {
        let foreign = |reason: String| KeyFailure::Foreign(format!("Secret {} {reason}", existing.name));
        let verdict = match ParsedKeyPair::from_data(&existing.data) {
            Ok(parsed) => {
                identity.may_adopt(&existing.annotations, &parsed).map_err(|reason| foreign(reason.to_string()))
            }
            Err(error) => Err(foreign(format!("holds no usable key pair: {error}"))),
        };
        if let Err(error) = verdict {
            self.sink.deliver(&existing);
            return Err(error);
        }
        tracing::info!(
            namespace = existing.namespace,
            secret = existing.name,
            thumbprint = thumbprint_of(&existing),
            "adopted a key pair that was there"
        );
        Ok(existing)
    }

    async fn create_gateway_key(&self, namespace: &str, identity: &GatewayIdentity) -> Result<KeySecret, KeyFailure> {
        let store = self.sink.key_store();
        if let Some(existing) = store.get(namespace, &identity.secret_name()).await? {
            return adopt_gateway(identity, existing);
        }
        let secret = gateway_secret(namespace, identity, self.generate(make::make_gateway_keys).await?);
        match store.create(&secret).await? {
            Created::New => {
                tracing::info!(
                    namespace,
                    secret = secret.name,
                    gateway = identity.gateway,
                    "made a gateway's signing keys"
                );
                Ok(secret)
            }
            Created::AlreadyExists(existing) => adopt_gateway(identity, *existing),
        }
    }

    async fn look_for_key(&self, secret: ObjectKey) -> Done {
        match self.sink.key_store().get(&secret.namespace, &secret.name).await {
            Ok(Some(found)) => {
                self.sink.deliver(&found);
                // Found is not yet in order: the compiler looks at it next. Should it still be missed then, it is
                // looked for again after a while.
                Done::KeyTrouble(secret, self.clock.now(), None)
            }
            Ok(None) => Done::KeyTrouble(secret, self.clock.now(), None),
            Err(error) => Done::KeyTrouble(secret, self.clock.now(), Some(error.to_string())),
        }
    }

    async fn prove(&self, activation: &Activation, thumbprint: Thumbprint) -> Done {
        let pair = activation.ehr_authentication.key_pair().map(|(pair, _)| pair);
        let key = pair.and_then(|pair| pair.revisions.iter().find(|own| own.thumbprint == thumbprint));
        let Some(key) = key else { return Done::Obsolete };
        let answer = match self.tokens.prove(activation, key).await {
            Ok(()) => EhrAnswer::Accepted,
            Err(error) => match EhrAnswer::of(&error) {
                Some(answer) => answer,
                None => EhrAnswer::Away { message: error.to_string() },
            },
        };
        tracing::info!(
            activation = %activation.key, key = %thumbprint, accepted = answer == EhrAnswer::Accepted,
            "asked the EHR for a token with a key that does not sign yet"
        );
        let outcome = EhrOutcome {
            credential_digest: activation.credential_digest,
            key: Some(thumbprint),
            at: self.clock.now(),
            answer,
            clock_skew_seconds: None,
        };
        Done::Proved(activation.uid.clone(), outcome)
    }

    /// Looks at what may be the reason of a refusal: what the EHR says of itself, and whether it can fetch our public key.
    async fn examine(&self, activation: &Activation) -> Done {
        let auth = &activation.ehr_authentication;
        let adapter = &activation.gateway.data_adapter;
        let looked =
            tokio::time::timeout(EXAMINATION_PATIENCE, self.tokens.discovery().anew(adapter, auth.client_id()));
        let discovered = looked.await.ok().and_then(Result::ok).map(|found| Discovered {
            token_endpoint: found.token_endpoint.as_str().to_owned(),
            signing_algorithms: found.signing_algorithms.clone(),
            auth_methods: found.auth_methods.clone(),
        });
        let key_set = match auth.key_pair() {
            Some((pair, Some(signing))) => self.key_set(adapter, &pair.jwks_url, &signing.thumbprint).await,
            Some((_, None)) | None => KeySet::Unknown,
        };
        let credential_digest = activation.credential_digest;
        Done::Examined(
            activation.uid.clone(),
            Examined { credential_digest, at: self.clock.now(), discovered, key_set },
        )
    }

    async fn key_set(&self, adapter: &DataAdapter, url: &str, kid: &Thumbprint) -> KeySet {
        let Ok(url) = EndpointUrl::parse(url) else { return KeySet::Unknown };
        // Nothing is opened in it: what it lets through is on the public internet, or a name.
        let internet = AddressPolicy::default();
        if internet.judge_literal(&url).is_err() && internet.judge_literal(&adapter.fhir_base).is_ok() {
            return KeySet::OutOfReach;
        }
        match probe::key_set(&self.client, &url, &kid.to_string()).await {
            Ok(()) => KeySet::Holds,
            Err(KeySetProblem::Unreached(reason)) => KeySet::Unreached(reason),
            Err(KeySetProblem::Wrong(what)) => KeySet::Wrong(what),
        }
    }

    /// On its own account an adapter has no client ID; its first live activation's, by name, goes along.
    async fn probe_adapter(&self, adapter: &DataAdapter, snapshot: &Snapshot) -> Done {
        let now = self.clock.now();
        let client_id = snapshot
            .activations
            .values()
            .filter(|activation| activation.gateway.data_adapter.uid == adapter.uid && activation.live_at(now).is_ok())
            .find_map(|activation| activation.ehr_authentication.client_id());
        let result = probe::capabilities(&self.client, adapter, client_id).await;
        Done::Adapter(adapter.uid.clone(), self.answer(&adapter_subject(adapter), result))
    }
}

fn adopt_gateway(identity: &GatewayIdentity, existing: KeySecret) -> Result<KeySecret, KeyFailure> {
    let foreign = |reason: String| KeyFailure::Foreign(format!("Secret {} {reason}", existing.name));
    identity.may_adopt(&existing.annotations).map_err(|reason| foreign(reason.to_string()))?;
    GatewayKeys::from_data(&existing.data).map_err(|error| foreign(format!("holds no usable keys: {error}")))?;
    Ok(existing)
}

fn thumbprint_of(secret: &KeySecret) -> String {
    ParsedKeyPair::from_data(&secret.data).map(|parsed| parsed.thumbprint().to_string()).unwrap_or_default()
}
