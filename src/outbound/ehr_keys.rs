//! Whose id_tokens an EHR's users have, and the keys that they are checked with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::discovery::{Discovery, JsonError, read_json};
use super::{Clock, EhrClient, EhrTokenError};
use crate::snapshot::DataAdapter;
use crate::values::url::EndpointUrl;

/// How long a document is believed.
const FRESH: Duration = Duration::from_secs(3600);

/// A key set that lacks a key is read again at most that often.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// The adapter's UID, and the URL.
type Place = (String, String);

/// When it was read, and what it said.
type Known = (Duration, Arc<Value>);

/// The documents of EHRs about their id_tokens, remembered for an hour.
pub(super) struct EhrKeys {
    client: EhrClient,
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<Place, Known>>,
}

/// Whose id_tokens an EHR's users have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Issuer {
    pub(super) issuer: String,
    pub(super) jwks_uri: String,
}

impl EhrKeys {
    pub(super) fn new(client: EhrClient, clock: Arc<dyn Clock>) -> Self {
        Self { client, clock, known: Mutex::default() }
    }

    /// The issuer: as the SMART configuration says, else its OpenID discovery document, which lies below the issuer, or,
    /// before SMART 2.0, below the FHIR base.
    pub(super) async fn issuer(
        &self,
        adapter: &DataAdapter,
        client_id: &str,
        discovery: &Discovery,
    ) -> Result<Issuer, EhrTokenError> {
        let told = match discovery.of(adapter, Some(client_id)).await {
            Ok(told) => Some(told),
            // An EHR without a SMART configuration may have the other document.
            Err(EhrTokenError::UnusableAnswer { .. }) => None,
            Err(error) => return Err(error),
        };
        let issuer = told.as_ref().and_then(|told| told.issuer.clone());
        if let Some(told) = &told
            && let (Some(issuer), Some(jwks_uri)) = (&issuer, &told.jwks_uri)
        {
            return Ok(Issuer { issuer: issuer.clone(), jwks_uri: jwks_uri.as_str().to_owned() });
        }
        let below = issuer.as_deref().unwrap_or(adapter.fhir_base.as_str()).trim_end_matches('/');
        let document = self.document(adapter, &format!("{below}/.well-known/openid-configuration"), FRESH).await?;
        let text = |member: &str| {
            let text = document.get(member).and_then(Value::as_str);
            text.map(str::to_owned).ok_or_else(|| unusable(format!("its OpenID configuration names no {member}")))
        };
        let found = Issuer { issuer: text("issuer")?, jwks_uri: text("jwks_uri")? };
        if issuer.is_some_and(|issuer| issuer != found.issuer) {
            return Err(unusable("its OpenID configuration is another issuer's".to_owned()));
        }
        Ok(found)
    }

    /// The key set. `renewed`: it lacked a key, and may be read again.
    pub(super) async fn key_set(
        &self,
        adapter: &DataAdapter,
        jwks_uri: &str,
        renewed: bool,
    ) -> Result<Arc<Value>, EhrTokenError> {
        self.document(adapter, jwks_uri, if renewed { READ_AGAIN } else { FRESH }).await
    }

    async fn document(&self, adapter: &DataAdapter, url: &str, fresh: Duration) -> Result<Arc<Value>, EhrTokenError> {
        let place = (adapter.uid.clone(), url.to_owned());
        let now = self.clock.elapsed();
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((since, document)) = known.get(&place)
                && now.saturating_sub(*since) < fresh
            {
                return Ok(Arc::clone(document));
            }
        }
        let checked = EndpointUrl::parse(url).map_err(|error| unusable(format!("{url:?} {error}")))?;
        self.client
            .addresses()
            .judge_literal(&checked)
            .map_err(|refusal| EhrTokenError::AddressNotAllowed { reason: refusal.to_string() })?;
        let document = read_json(&self.client, adapter, checked.as_str(), None).await.map_err(|error| match error {
            JsonError::Failed(error) => error,
            JsonError::Unusable(reason) => unusable(reason),
        })?;
        let document = Arc::new(document);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (since, _)| now.saturating_sub(*since) < FRESH);
        known.insert(place, (now, Arc::clone(&document)));
        Ok(document)
    }
}

fn unusable(reason: String) -> EhrTokenError {
    EhrTokenError::UnusableAnswer { reason }
}
