//! Tokens of EHRs: cached, asked for once however many wait, renewed before they end.
//!
//! A token is kept by activation and by everything that it depends on ([`Activation::credential_digest`]), so a changed
//! secret or key never meets an old token. From 80 % of its life on, the first request that uses it has it renewed in
//! the background, while it goes on being served. What an EHR refuses is remembered for [`REFUSAL_REMEMBERED`] at most.

mod error;
mod request;
mod response;
mod user;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http::{HeaderValue, Request};
use http_body_util::Full;
use secrecy::ExposeSecret as _;
use uuid::Uuid;
use zeroize::Zeroizing;

pub use self::error::EhrTokenError;
pub use self::request::UserGrant;
pub use self::user::{IdentityError, UserTokens};
use super::client::read_short;
use super::clock::clock_skew;
use super::discovery::Discovery;
use super::ehr_keys::EhrKeys;
use super::outcome::{EhrAnswer, EhrOutcome, EhrOutcomes};
use super::{CallError, Clock, EhrClient, retry};
use crate::snapshot::activation::{BackendAuth, TokenUrl};
use crate::snapshot::key_pair::KeyRevision;
use crate::snapshot::{Activation, EhrAuthentication};
use crate::values::key::Thumbprint;
use crate::values::url::EndpointUrl;

/// How long a refusal, or an EHR that is away, is remembered: so long at most a request gets an old answer, unless the
/// EHR itself asks for a longer pause (`Retry-After`).
pub const REFUSAL_REMEMBERED: Duration = Duration::from_secs(5);

/// What nobody has used for so long is dropped.
const IDLE: Duration = Duration::from_secs(3600);

/// How often the idle are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// What goes along with a request to the EHR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EhrAuthorization {
    /// The `Authorization` header, marked sensitive; `None`: none is needed.
    pub header: Option<HeaderValue>,
    /// What the EHR granted, in its own words, where it told.
    pub scope: Option<Arc<str>>,
    /// Names this very token, so that exactly it can be forgotten. 0: it is no token.
    serial: u64,
    /// Whether it was held already.
    was_held: bool,
}

/// Gives each request the token that it needs. A clone shares the cache.
#[derive(Clone)]
pub struct EhrTokens {
    shared: Arc<Sharing>,
}

struct Sharing {
    client: EhrClient,
    clock: Arc<dyn Clock>,
    discovery: Discovery,
    keys: EhrKeys,
    outcomes: Arc<EhrOutcomes>,
    serial: AtomicU64,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    /// By the activation's UID, then by the digest of its credentials. During a swap two digests are in use at once.
    by_activation: HashMap<String, Vec<(CredentialDigest, Arc<Slot>)>>,
    swept: Duration,
}

type CredentialDigest = [u8; 32];

/// A question that is under way, for everybody who waits for it.
type Flight = Shared<BoxFuture<'static, Result<EhrAuthorization, EhrTokenError>>>;

#[derive(Default)]
struct Slot {
    state: Mutex<SlotState>,
}

#[derive(Default)]
struct SlotState {
    used: Duration,
    held: Option<Held>,
    refused: Option<(Duration, EhrTokenError)>,
    flight: Option<Flight>,
}

#[derive(Clone)]
struct Held {
    authorization: EhrAuthorization,
    asked_at: Duration,
    renew_at: Duration,
    ends_at: Duration,
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EhrTokens {
    /// No token is known yet. What the EHRs say is recorded in `outcomes`.
    pub fn new(client: EhrClient, clock: Arc<dyn Clock>, outcomes: Arc<EhrOutcomes>) -> Self {
        let discovery = Discovery::new(client.clone(), Arc::clone(&clock));
        let keys = EhrKeys::new(client.clone(), Arc::clone(&clock));
        Self {
            shared: Arc::new(Sharing {
                client,
                clock,
                discovery,
                keys,
                outcomes,
                serial: AtomicU64::new(0),
                slots: Mutex::default(),
            }),
        }
    }

    /// What the EHRs last said.
    pub fn outcomes(&self) -> &Arc<EhrOutcomes> {
        &self.shared.outcomes
    }

    /// The SMART configurations of EHRs.
    pub fn discovery(&self) -> &Discovery {
        &self.shared.discovery
    }

    /// What a request of this activation needs at its EHR. Asks the EHR only if no token is held; however many callers
    /// wait, it is asked once, and goes on being asked if they all give up.
    pub async fn authorization(&self, activation: &Arc<Activation>) -> Result<EhrAuthorization, EhrTokenError> {
        match &activation.ehr_authentication {
            EhrAuthentication::None => return Ok(EhrAuthorization::constant(None)),
            EhrAuthentication::Basic(header) => {
                return request::sensitive(header.expose_secret())
                    .map(|header| EhrAuthorization::constant(Some(header)));
            }
            EhrAuthentication::User(_) => return Err(EhrTokenError::NeedsUser),
            EhrAuthentication::BackendAuth(_) | EhrAuthentication::ClientCredentials(_) => {}
        }
        let slot = self.slot(activation);
        let now = self.shared.clock.elapsed();
        let flight = {
            let mut state = slot.state();
            state.used = now;
            let refused = state.refusal(now);
            match &state.held {
                Some(held) if now < held.ends_at => {
                    let authorization = EhrAuthorization { was_held: true, ..held.authorization.clone() };
                    if now >= held.renew_at && refused.is_none() {
                        drop(self.flight(&mut state, &slot, activation));
                    }
                    return Ok(authorization);
                }
                Some(_) | None => {}
            }
            if let Some(error) = refused {
                return Err(error);
            }
            self.flight(&mut state, &slot, activation)
        };
        flight.await
    }

    /// How long ago the tokens that are held were asked for, by the activation's UID.
    pub fn ages(&self) -> HashMap<String, Duration> {
        let now = self.shared.clock.elapsed();
        let slots = self.shared.slots();
        let ages = slots.by_activation.iter().filter_map(|(uid, slots)| {
            let held =
                slots.iter().filter_map(|(_, slot)| slot.state().held.as_ref().map(|held| held.asked_at)).max()?;
            Some((uid.clone(), now.saturating_sub(held)))
        });
        ages.collect()
    }

    /// Drops exactly the token that was used: the EHR answered 401 to it. A newer one stays.
    pub fn forget(&self, activation: &Activation, used: &EhrAuthorization) {
        let slots = self.shared.slots();
        let Some(of_activation) = slots.by_activation.get(&activation.uid) else { return };
        for (_, slot) in of_activation {
            let mut state = slot.state();
            if state.held.as_ref().is_some_and(|held| held.authorization.serial == used.serial) {
                state.held = None;
            }
        }
    }

    /// Asks the EHR now, whatever is held or remembered; what it gives is held from then on.
    pub async fn ask(&self, activation: &Arc<Activation>) -> Result<EhrAuthorization, EhrTokenError> {
        match &activation.ehr_authentication {
            EhrAuthentication::None | EhrAuthentication::Basic(_) | EhrAuthentication::User(_) => {
                self.authorization(activation).await
            }
            EhrAuthentication::BackendAuth(_) | EhrAuthentication::ClientCredentials(_) => {
                let slot = self.slot(activation);
                let flight = self.flight(&mut slot.state(), &slot, activation);
                flight.await
            }
        }
    }

    /// Proves one particular key with a real token request. The token is thrown away and the outcome is the caller's:
    /// requests go on with the key that signs, whatever comes of it.
    pub async fn prove(&self, activation: &Activation, key: &KeyRevision) -> Result<(), EhrTokenError> {
        let EhrAuthentication::BackendAuth(auth) = &activation.ehr_authentication else {
            return self.prove_for_users(activation, key).await;
        };
        let shared = &self.shared;
        let request = shared.signed_request(activation, auth, key).await?;
        shared.exchange(activation, request).await.answer.map(drop)
    }

    fn slot(&self, activation: &Activation) -> Arc<Slot> {
        let now = self.shared.clock.elapsed();
        let mut slots = self.shared.slots();
        let known = slots.by_activation.get(&activation.uid).and_then(|slots| {
            slots.iter().find(|(digest, _)| *digest == activation.credential_digest).map(|(_, slot)| Arc::clone(slot))
        });
        if let Some(slot) = known {
            return slot;
        }
        slots.sweep(now);
        let slot = Arc::new(Slot::default());
        slot.state().used = now;
        let of_activation = slots.by_activation.entry(activation.uid.clone()).or_default();
        of_activation.push((activation.credential_digest, Arc::clone(&slot)));
        slot
    }

    /// The question that is under way, or a new one. It is a task of its own: callers that give up don't end it.
    fn flight(&self, state: &mut SlotState, slot: &Arc<Slot>, activation: &Arc<Activation>) -> Flight {
        if let Some(flight) = &state.flight {
            return flight.clone();
        }
        let (shared, slot, activation) = (Arc::clone(&self.shared), Arc::clone(slot), Arc::clone(activation));
        let task = tokio::spawn(async move {
            let crash = Crash { slot: &slot, landed: false };
            let result = shared.fetch(&activation).await;
            crash.averted_by(&result, &shared);
            result.map(|held| held.authorization)
        });
        let flight = async move { task.await.unwrap_or(Err(EhrTokenError::Interrupted)) }.boxed().shared();
        state.flight = Some(flight.clone());
        flight
    }
}

/// Ends the flight if the task that asks is aborted or panics: else everybody would wait for it for ever.
struct Crash<'slot> {
    slot: &'slot Slot,
    landed: bool,
}

impl Crash<'_> {
    fn averted_by(mut self, result: &Result<Held, EhrTokenError>, shared: &Sharing) {
        self.slot.land(result, shared);
        // From here on the slot's flight may be another one.
        self.landed = true;
    }
}

impl Drop for Crash<'_> {
    fn drop(&mut self) {
        if !self.landed {
            self.slot.state().flight = None;
        }
    }
}

impl Slot {
    fn land(&self, result: &Result<Held, EhrTokenError>, shared: &Sharing) {
        let mut state = self.state();
        state.flight = None;
        match result {
            Ok(held) => {
                state.held = Some(held.clone());
                state.refused = None;
            }
            Err(error) => state.refused = Some((shared.clock.elapsed(), error.clone())),
        }
    }
}

impl SlotState {
    fn refusal(&self, now: Duration) -> Option<EhrTokenError> {
        let (since, error) = self.refused.as_ref()?;
        let remembered = error.retry_after().unwrap_or_default().max(REFUSAL_REMEMBERED);
        (now.saturating_sub(*since) < remembered).then(|| error.clone())
    }
}

impl Slots {
    fn sweep(&mut self, now: Duration) {
        if now.saturating_sub(self.swept) < SWEEP_EVERY {
            return;
        }
        self.swept = now;
        self.by_activation.retain(|_, slots| {
            slots.retain(|(_, slot)| now.saturating_sub(slot.state().used) < IDLE);
            !slots.is_empty()
        });
    }
}

/// An answer, and what it told about the EHR's clock.
struct Exchanged {
    answer: Result<response::Granted, EhrTokenError>,
    clock_skew_seconds: Option<i64>,
    /// The connection broke before there was an answer.
    broke_off: bool,
}

impl Exchanged {
    fn failed(error: EhrTokenError) -> Self {
        Self { answer: Err(error), clock_skew_seconds: None, broke_off: false }
    }
}

impl Sharing {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the EHR and records what it said.
    async fn fetch(&self, activation: &Activation) -> Result<Held, EhrTokenError> {
        let started = self.clock.elapsed();
        let (mut exchanged, mut key) = self.question(activation).await;
        if exchanged.broke_off {
            // Most likely a pooled connection that the EHR had closed. Asking twice does no harm: the assertion is new.
            (exchanged, key) = self.question(activation).await;
        }
        self.record(activation, &exchanged, key);
        let granted = exchanged.answer.inspect_err(|error| {
            let (description, clock_skew_seconds) = error.for_the_log();
            let activation = &activation.key;
            tracing::warn!(%activation, %error, description, clock_skew_seconds, "no token of the EHR");
        })?;
        self.hold(&granted, started)
    }

    /// Records what the EHR said, if it said anything.
    fn record(&self, activation: &Activation, exchanged: &Exchanged, key: Option<Thumbprint>) {
        let answer = match &exchanged.answer {
            Ok(_) => Some(EhrAnswer::Accepted),
            Err(error) => EhrAnswer::of(error),
        };
        let Some(answer) = answer else { return };
        let outcome = EhrOutcome {
            credential_digest: activation.credential_digest,
            key,
            at: self.clock.now(),
            answer,
            clock_skew_seconds: exchanged.clock_skew_seconds,
        };
        self.outcomes.record(activation, outcome);
    }

    async fn question(&self, activation: &Activation) -> (Exchanged, Option<Thumbprint>) {
        match self.request(activation).await {
            Ok((request, key)) => (self.exchange(activation, request).await, key),
            Err(error) => (Exchanged::failed(error), None),
        }
    }

    fn hold(&self, granted: &response::Granted, started: Duration) -> Result<Held, EhrTokenError> {
        let header = request::sensitive(&Zeroizing::new(format!("Bearer {}", *granted.access_token)))?;
        let serial = self.serial.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        // Between 72 and 80 %, so that tokens that were fetched together are not renewed together.
        let jitter = f64::from(Uuid::new_v4().as_fields().1) / f64::from(u16::MAX);
        let renew_after = granted.lifetime.mul_f64(0.72 + 0.08 * jitter);
        // Not used to the last moment: what is sent then arrives later.
        let margin = (granted.lifetime / 10).min(Duration::from_secs(5));
        Ok(Held {
            authorization: EhrAuthorization {
                header: Some(header),
                scope: granted.scope.as_deref().map(Arc::from),
                serial,
                was_held: false,
            },
            asked_at: started,
            renew_at: started.saturating_add(renew_after),
            ends_at: started.saturating_add(granted.lifetime.saturating_sub(margin)),
        })
    }

    async fn request(
        &self,
        activation: &Activation,
    ) -> Result<(Request<Full<Bytes>>, Option<Thumbprint>), EhrTokenError> {
        let adapter = &activation.gateway.data_adapter;
        match &activation.ehr_authentication {
            EhrAuthentication::BackendAuth(auth) => {
                let key = auth.signing.as_ref().ok_or(EhrTokenError::KeyUnready)?;
                Ok((self.signed_request(activation, auth, key).await?, Some(key.thumbprint)))
            }
            EhrAuthentication::ClientCredentials(auth) => {
                let token_url = self.token_url(activation, &auth.token_url).await?;
                Ok((request::shared_secret(adapter, auth, &token_url)?, None))
            }
            EhrAuthentication::Basic(_) | EhrAuthentication::None | EhrAuthentication::User(_) => {
                Err(EhrTokenError::NeedsUser)
            }
        }
    }

    async fn signed_request(
        &self,
        activation: &Activation,
        auth: &BackendAuth,
        key: &KeyRevision,
    ) -> Result<Request<Full<Bytes>>, EhrTokenError> {
        if auth.client_id.is_none() {
            return Err(EhrTokenError::ClientIdMissing);
        }
        let token_url = self.token_url(activation, &auth.token_url).await?;
        request::backend(&activation.gateway.data_adapter, auth, key, &token_url, self.clock.now())
    }

    async fn token_url(&self, activation: &Activation, url: &TokenUrl) -> Result<EndpointUrl, EhrTokenError> {
        match url {
            TokenUrl::Given(url) => Ok(url.clone()),
            TokenUrl::Discovered => {
                let client_id = activation.ehr_authentication.client_id();
                let found = self.discovery.of(&activation.gateway.data_adapter, client_id).await?;
                Ok(found.token_endpoint.clone())
            }
        }
    }

    async fn exchange(&self, activation: &Activation, request: Request<Full<Bytes>>) -> Exchanged {
        let adapter = &activation.gateway.data_adapter;
        let response = match self.client.send(adapter, request).await {
            Ok(response) => response,
            Err(error) => {
                let broke_off = matches!(error, CallError::Broken(_));
                return Exchanged { broke_off, ..Exchanged::failed(error.into()) };
            }
        };
        let (head, body) = response.into_parts();
        let clock_skew_seconds = clock_skew(&head.headers, self.clock.now());
        let mut answer = match read_short(body, response::LONGEST, adapter.timeouts.idle).await {
            Ok(body) => response::read(head.status, &Zeroizing::new(Vec::from(body)), clock_skew_seconds),
            Err(error) => Err(error.into()),
        };
        if let Err(EhrTokenError::Unavailable { retry_after, .. }) = &mut answer {
            *retry_after = retry::retry_after(&head.headers, self.clock.now());
        }
        Exchanged { answer, clock_skew_seconds, broke_off: false }
    }
}

impl EhrAuthorization {
    /// What stays the same until the configuration changes: no token, and so nothing to forget.
    fn constant(header: Option<HeaderValue>) -> Self {
        Self { header, scope: None, serial: 0, was_held: true }
    }

    /// Whether no question to the EHR was needed; `None`: it is no token.
    pub const fn was_held(&self) -> Option<bool> {
        if self.serial == 0 { None } else { Some(self.was_held) }
    }
}

impl fmt::Debug for EhrTokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EhrTokens").field("client", &self.shared.client).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
