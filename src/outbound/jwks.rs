//! Apps' public keys, fetched from their `jwksUri`.
//!
//! What a stranger sends makes us call here, so every call is bounded: a set is fetched once for all who wait for it, and
//! begun once a second at most; for a `kid` that the set does not have, only so often ([`BETWEEN_RENEWALS`]).
//! A set is kept as long as its `Cache-Control` says and never longer (SMART App Launch 2.2, "Asymmetric
//! authentication"), whether or not the app's server is there.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AGE, CACHE_CONTROL, EXPIRES};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::Empty;
use serde_json::Value;

use super::client::{CallError, ReadError, read_short};
use super::{Clock, EhrClient};
use crate::snapshot::data_adapter::Timeouts;
use crate::values::key::JwkSet;
use crate::values::url::EndpointUrl;

/// Longest key set that is read, in bytes.
const LONGEST: usize = 64 * 1024;

/// A key server is near its app; one that is slow must not hold up token requests.
const TIMEOUTS: Timeouts =
    Timeouts { connect: Duration::from_secs(3), request: Duration::from_secs(5), idle: Duration::from_secs(5) };

/// How long a set without `Cache-Control` and `Expires` is kept.
const UNSAID: Duration = Duration::from_secs(300);

/// No set is kept longer: a key that its app took away must go.
const LONGEST_KEPT: Duration = Duration::from_secs(3600);

/// Fetches of one set begin that far apart. Whoever comes in between waits, and shares the next one.
const BETWEEN_FETCHES: Duration = Duration::from_secs(1);

/// A `kid` that a set does not have makes us fetch it that long after the last time, not sooner.
pub const BETWEEN_RENEWALS: Duration = Duration::from_secs(10);

/// A set that nobody asked for so long is forgotten: its app may be gone.
const UNUSED: Duration = Duration::from_secs(7200);

/// Why a key set cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// The URL cannot be called as it is written.
    #[error("the URL cannot be called as written")]
    Url,
    /// There is no answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Another status than 200. Redirects are not followed: where keys are is written in the registration.
    #[error("it answered {0} instead of 200")]
    Status(u16),
    /// The answer did not come to its end.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No JWK Set.
    #[error("the answer is no JWK Set (a JSON object with keys)")]
    NotAKeySet,
}

/// What is known of one set, and the turn to fetch it.
#[derive(Default)]
struct Place {
    known: Mutex<Known>,
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Clone, Default)]
struct Known {
    keys: Option<Arc<JwkSet>>,
    /// They are not used from then on.
    fresh_until: Duration,
    /// When the last fetch began: whoever asks may go away before it ends.
    began: Option<Duration>,
    /// What came of the last one that ended, and when that began.
    outcome: Option<(Duration, Result<Arc<JwkSet>, KeySetError>)>,
    used: Duration,
}

/// Fetches and keeps key sets. A clone shares what is kept.
#[derive(Clone)]
pub struct AppKeys {
    client: EhrClient,
    clock: Arc<dyn Clock>,
    places: Arc<Mutex<HashMap<EndpointUrl, Arc<Place>>>>,
}

impl AppKeys {
    /// Nothing is known yet.
    pub fn new(client: EhrClient, clock: Arc<dyn Clock>) -> Self {
        Self { client, clock, places: Arc::default() }
    }

    /// The set at this URL.
    pub async fn of(&self, url: &EndpointUrl) -> Result<Arc<JwkSet>, KeySetError> {
        let asked = self.clock.elapsed();
        let place = self.place(url, asked);
        if let Some(keys) = place.fresh(asked) {
            return Ok(keys);
        }
        let _turn = place.fetching.lock().await;
        let Known { began, outcome, .. } = place.known().clone();
        // Somebody fetched it while we waited for our turn, so it is as new as we could ask for.
        if let Some((began, outcome)) = outcome
            && began >= asked
        {
            return outcome;
        }
        if let Some(began) = began {
            let since = self.clock.elapsed().saturating_sub(began);
            tokio::time::sleep(BETWEEN_FETCHES.saturating_sub(since)).await;
        }
        self.fetch_into(&place, url).await
    }

    /// A newer set than this one, for a `kid` that this one does not have; `None` where there is none to be had now.
    pub async fn newer_than(&self, seen: &Arc<JwkSet>, url: &EndpointUrl) -> Option<Arc<JwkSet>> {
        let place = self.place(url, self.clock.elapsed());
        let _turn = place.fetching.lock().await;
        let now = self.clock.elapsed();
        if let Some(keys) = place.fresh(now)
            && !Arc::ptr_eq(&keys, seen)
        {
            return Some(keys);
        }
        let began = place.known().began;
        if began.is_some_and(|began| now.saturating_sub(began) < BETWEEN_RENEWALS) {
            return None;
        }
        self.fetch_into(&place, url).await.ok()
    }

    async fn fetch_into(&self, place: &Place, url: &EndpointUrl) -> Result<Arc<JwkSet>, KeySetError> {
        let began = self.clock.elapsed();
        place.known().began = Some(began);
        let fetched = self.fetch(url).await;
        let mut known = place.known();
        let outcome = match fetched {
            Ok((keys, lifetime)) => {
                let keys = Arc::new(keys);
                known.keys = Some(Arc::clone(&keys));
                // From when it was asked for: an answer is no fresher for having been long on its way.
                known.fresh_until = began.saturating_add(lifetime);
                Ok(keys)
            }
            Err(error) => {
                tracing::warn!(%url, %error, "an app's key set could not be fetched");
                Err(error)
            }
        };
        known.outcome = Some((began, outcome.clone()));
        outcome
    }

    async fn fetch(&self, url: &EndpointUrl) -> Result<(JwkSet, Duration), KeySetError> {
        let mut request = Request::get(url.as_str()).body(Empty::<Bytes>::new()).map_err(|_| KeySetError::Url)?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/jwk-set+json, application/json"));
        let response = self.client.send_elsewhere(TIMEOUTS, request).await?;
        if response.status() != StatusCode::OK {
            return Err(KeySetError::Status(response.status().as_u16()));
        }
        let lifetime = lifetime(response.headers());
        let body = read_short(response.into_body(), LONGEST, TIMEOUTS.idle).await?;
        let document: Value = serde_json::from_slice(&body).map_err(|_| KeySetError::NotAKeySet)?;
        if !document.get("keys").is_some_and(Value::is_array) {
            return Err(KeySetError::NotAKeySet);
        }
        Ok((JwkSet::of(&document), lifetime))
    }

    fn place(&self, url: &EndpointUrl, now: Duration) -> Arc<Place> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(url) {
            place.known().used = now;
            return Arc::clone(place);
        }
        places.retain(|_, place| now.saturating_sub(place.known().used) < UNUSED);
        let place = Arc::new(Place::default());
        place.known().used = now;
        places.insert(url.clone(), Arc::clone(&place));
        place
    }
}

impl fmt::Debug for AppKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AppKeys")
    }
}

impl Place {
    fn fresh(&self, now: Duration) -> Option<Arc<JwkSet>> {
        let known = self.known();
        known.keys.clone().filter(|_| now < known.fresh_until)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long an answer may be kept (RFC 9111 §4.2, §5.2.2). What cannot be read is not kept.
fn lifetime(headers: &HeaderMap) -> Duration {
    let text = |value: &HeaderValue| value.to_str().unwrap_or("no-store").to_ascii_lowercase();
    let directives: Vec<String> = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .flat_map(|value| text(value).split(',').map(|directive| directive.trim().to_owned()).collect::<Vec<_>>())
        .collect();
    let named = |name: &str| directives.iter().any(|directive| directive.split('=').next() == Some(name));
    if named("no-store") || named("no-cache") {
        return Duration::ZERO;
    }
    let ages = directives.iter().filter_map(|directive| directive.strip_prefix("max-age="));
    let shortest = ages.map(|age| age.trim_matches('"').parse::<u64>().unwrap_or(0)).min();
    let said = match shortest {
        Some(seconds) => Duration::from_secs(seconds),
        // Dates are not read: a set that names one is taken to be over.
        None if headers.contains_key(EXPIRES) => Duration::ZERO,
        None => UNSAID,
    };
    let age = headers.get(AGE).map_or(Some(0), |age| age.to_str().ok()?.trim().parse().ok());
    said.min(LONGEST_KEPT).saturating_sub(age.map_or(Duration::MAX, Duration::from_secs))
}

#[cfg(test)]
mod tests;
