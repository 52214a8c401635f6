//! Who a client is, wherever one authenticates: at the token endpoint, to introspect and to revoke.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;

use super::Proxy;
use super::record::Record;
use crate::protocol::oauth::OAuthError;
use crate::protocol::oauth::client_assertion::{AssertionRefused, ClientAssertion, Unproven};
use crate::protocol::oauth::client_authentication::{self, Credential, Scheme};
use crate::protocol::oauth::token_request::ClientParameters;
use crate::snapshot::{App, Gateway, Snapshot};
use crate::store::{FirstUse, Kind};
use crate::values::key::{JwkSet, KeyNotFound};

/// Where a request comes from, and where it came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requester<'request> {
    pub(super) headers: &'request HeaderMap,
    /// The URL of the endpoint that it came to: an assertion may be meant for it.
    pub(super) endpoint: &'request str,
    pub(super) peer: IpAddr,
    pub(super) now: Timestamp,
}

impl Proxy {
    /// The app that the request proves to be from. A public client proves nothing: its ID is all that it has, and what it
    /// may do with that is the caller's to decide.
    pub(super) async fn authenticate_client(
        &self,
        snapshot: &Snapshot,
        gateway: &Gateway,
        parameters: &ClientParameters,
        from: Requester<'_>,
        record: &mut Record,
    ) -> Result<Arc<App>, OAuthError> {
        let authorization = from.headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
        let credential = Credential::read(authorization, parameters)?;
        let client_id = credential.claimed_client_id().unwrap_or_default();
        record.note_claimed_client_id(Some(client_id));
        let authenticated = match &credential {
            Credential::Secret(pairs) => client_authentication::by_secret(snapshot, pairs),
            Credential::ClientId(client_id) => client_authentication::by_client_id(snapshot, client_id),
            Credential::Assertion(assertion) => self.by_assertion(snapshot, gateway, assertion, from, record).await,
        };
        let app = authenticated.map_err(|error| {
            let too_many = matches!(error, OAuthError::ClientAuthenticationFailed(_))
                && self.throttle.failed(client_id, from.peer, Instant::now());
            if too_many { OAuthError::TooManyFailures } else { error }
        })?;
        record.app = Some(app.key.clone());
        record.client_id = Some(app.client_id.clone());
        Ok(app)
    }

    /// The cheap checks first; the store, which remembers, last: what is wrong anyway spends no `jti`.
    async fn by_assertion(
        &self,
        snapshot: &Snapshot,
        gateway: &Gateway,
        assertion: &ClientAssertion,
        from: Requester<'_>,
        record: &mut Record,
    ) -> Result<Arc<App>, OAuthError> {
        let ourselves = [gateway.token_endpoint.as_str(), gateway.issuer.as_str(), from.endpoint];
        assertion.judge(&ourselves, from.now).map_err(OAuthError::AssertionRefused)?;
        let mut unproven = |cause: Unproven| {
            record.cause = Some(cause.to_string());
            OAuthError::ClientAuthenticationFailed(Scheme::Assertion)
        };
        let app = assertion.app(snapshot).map_err(&mut unproven)?;
        if !self.throttle.may_check(&app.client_id, from.peer, Instant::now()) {
            return Err(OAuthError::TooManyFailures);
        }
        self.check_signature(app, assertion).await.map_err(unproven)?;

        let records = self.records(gateway).ok_or(OAuthError::SigningUnready)?;
        match records.use_once(Kind::Assertion, &assertion.once(), assertion.until(), from.now).await {
            Ok(FirstUse::First) => Ok(Arc::clone(app)),
            Ok(FirstUse::Repeated) => Err(OAuthError::AssertionRefused(AssertionRefused::Replayed)),
            Err(error) => {
                record.cause = Some(error.to_string());
                Err(OAuthError::StoreAway)
            }
        }
    }

    /// With the app's keys: those in its registration, or those at its URL, which are fetched again where they don't have
    /// the one that signed.
    async fn check_signature(&self, app: &App, assertion: &ClientAssertion) -> Result<(), Unproven> {
        if let Some(keys) = &app.inline_keys {
            return assertion.verify(keys);
        }
        let url = app.jwks_uri.as_ref().ok_or(Unproven::WithoutKeys)?;
        let keys: Arc<JwkSet> = self.app_keys.of(url).await.map_err(|_| Unproven::KeySetAway)?;
        match assertion.verify(&keys) {
            Err(unknown @ Unproven::Key(KeyNotFound::Unknown)) => match self.app_keys.newer_than(&keys, url).await {
                Some(newer) => assertion.verify(&newer),
                None => Err(unknown),
            },
            decided => decided,
        }
    }
}
