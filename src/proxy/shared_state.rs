//! What this replica shares with the others, as one gateway's endpoints see it.

use std::sync::Arc;

use jiff::Timestamp;

use super::Proxy;
use crate::protocol::jwt::Bearer;
use crate::snapshot::Gateway;
use crate::store::{Address, Kind, Records, Sealer, StoreError};

/// What seals for a gateway; `None` while it has no keys.
pub(super) fn sealer(gateway: &Gateway) -> Option<Sealer> {
    let current = gateway.signing.current.as_ref()?;
    let others = gateway.signing.revisions.iter().filter(|key| key.revision != current.revision);
    Some(Sealer::new(&gateway.key.to_string(), &current.keys.sealing, others.map(|key| &key.keys.sealing)))
}

/// A record that does not open was sealed with keys that are gone: what it stood for is gone with them.
pub(super) fn absent_if_unopenable<T>(error: StoreError) -> Result<Option<T>, StoreError> {
    match error {
        StoreError::Unopenable { .. } => Ok(None),
        error => Err(error),
    }
}

impl Proxy {
    /// What the gateway keeps and finds; `None` while it has no keys, and so nothing to seal with.
    pub(super) fn records(&self, gateway: &Gateway) -> Option<Records> {
        let sealer = sealer(gateway)?;
        Some(Records::new(Arc::clone(&self.store), Arc::new(sealer)))
    }

    /// Whether a token, or the session that it belongs to, was revoked. Asks memory only.
    pub(super) fn is_revoked(&self, gateway: &Gateway, bearer: &Bearer, now: Timestamp) -> bool {
        let revocations = self.store.revocations();
        if revocations.is_empty() {
            return false;
        }
        let name = gateway.key.to_string();
        let revoked = |key: &str| revocations.contains(&Address::of(Kind::Revocation, &name, key), now);
        revoked(&bearer.token_id) || bearer.session.as_ref().is_some_and(|session| revoked(&session.id))
    }
}
