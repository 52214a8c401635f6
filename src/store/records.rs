//! One gateway's records: typed contents in, sealed ones to the store.

use std::sync::Arc;

use jiff::Timestamp;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::family::{FamilySecret, PresentedToken};
use super::{
    Address, Family, FamilyId, FamilyStart, FirstUse, Kind, Replaced, RotateFamily, Rotated, Rotation, SealProblem,
    Sealed, Sealer, Store, StoreError, Taken,
};

/// What the endpoints of one gateway keep and find. Cheap to clone; make a new one when the gateway's keys change.
#[derive(Clone, Debug)]
pub struct Records {
    store: Arc<dyn Store>,
    sealer: Arc<Sealer>,
}

/// A content, and the version to [`replace`](Records::replace) it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<T> {
    /// What is kept.
    pub content: T,
    /// How often it was written.
    pub version: u64,
    /// When it expires.
    pub until: Timestamp,
}

/// What [`Records::take`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Take<T> {
    /// It is the caller's, and nobody else's.
    First(T),
    /// Somebody took it before: what was issued for it is to be revoked.
    Again(T),
    /// There is no such record, or it expired.
    Absent,
}

#[derive(Serialize)]
struct FamilyContent<'a, T> {
    secret: &'a FamilySecret,
    content: &'a T,
}

#[derive(Deserialize)]
struct OwnedFamilyContent<T> {
    secret: FamilySecret,
    content: T,
}

impl Records {
    /// The records of the sealer's gateway.
    pub fn new(store: Arc<dyn Store>, sealer: Arc<Sealer>) -> Self {
        Self { store, sealer }
    }

    /// See [`Store::use_once`].
    pub async fn use_once(
        &self,
        kind: Kind,
        key: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<FirstUse, StoreError> {
        self.store.use_once(self.sealer.address(kind, key), until, now).await
    }

    /// See [`Store::put`].
    pub async fn put<T: Serialize + Sync>(
        &self,
        kind: Kind,
        key: &str,
        content: &T,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.store.put(self.seal(self.sealer.address(kind, key), content, until)?, now).await
    }

    /// See [`Store::get`].
    pub async fn get<T: DeserializeOwned>(
        &self,
        kind: Kind,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<Record<T>>, StoreError> {
        let Some(stored) = self.store.get(self.sealer.address(kind, key), now).await? else { return Ok(None) };
        let content = self.open(&stored.record)?;
        // The store's own idea of the expiry is not sealed; the record's is.
        let until = stored.record.until();
        Ok((now < until).then_some(Record { content, version: stored.version, until }))
    }

    /// See [`Store::replace`].
    pub async fn replace<T: Serialize + Sync>(
        &self,
        kind: Kind,
        key: &str,
        version: u64,
        content: &T,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Replaced, StoreError> {
        self.store.replace(version, self.seal(self.sealer.address(kind, key), content, until)?, now).await
    }

    /// See [`Store::remove`].
    pub async fn remove(&self, kind: Kind, key: &str) -> Result<(), StoreError> {
        self.store.remove(self.sealer.address(kind, key)).await
    }

    /// See [`Store::take`].
    pub async fn take<T: DeserializeOwned>(
        &self,
        kind: Kind,
        key: &str,
        remember_until: Timestamp,
        now: Timestamp,
    ) -> Result<Take<T>, StoreError> {
        match self.store.take(self.sealer.address(kind, key), remember_until, now).await? {
            Taken::First(sealed) => {
                let content = self.open(&sealed)?;
                Ok(if now < sealed.until() { Take::First(content) } else { Take::Absent })
            }
            Taken::Again(sealed) => Ok(Take::Again(self.open(&sealed)?)),
            Taken::Absent => Ok(Take::Absent),
        }
    }

    /// See [`Store::count`].
    pub async fn count(&self, kind: Kind, key: &str, until: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        self.store.count(self.sealer.address(kind, key), until, now).await
    }

    /// Begins a family and gives its first refresh token; `None` if it was ended before it began.
    pub async fn start_family<T: Serialize + Sync>(
        &self,
        id: FamilyId,
        content: &T,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<SecretString>, StoreError> {
        let secret = FamilySecret::random()?;
        let sealed = self.seal(self.family_address(id), &FamilyContent { secret: &secret, content }, until)?;
        Ok(match self.store.start_family(sealed, now).await? {
            FamilyStart::Started => Some(secret.token(id, 1)),
            FamilyStart::Refused => None,
        })
    }

    /// What a refresh token stands for; `None` if it is not ours, or its family ended. Changes nothing: look whether
    /// the token is this client's, then [`rotate`](Self::rotate) it.
    pub async fn family<T: DeserializeOwned>(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Option<Family<T>>, StoreError> {
        let Some(presented) = PresentedToken::parse(token) else { return Ok(None) };
        let Some(stored) = self.store.get(self.family_address(presented.id), now).await? else { return Ok(None) };
        let OwnedFamilyContent { secret, content } = self.open(&stored.record)?;
        let until = stored.record.until();
        let genuine = presented.is_proven_by(&secret) && presented.generation <= stored.version && now < until;
        Ok(genuine.then_some(Family {
            id: presented.id,
            content,
            until,
            generation: presented.generation,
            latest: presented.generation == stored.version,
            secret,
        }))
    }

    /// Spends a refresh token for the next one. The family then lives until `until`.
    ///
    /// If it was spent before, the family ends, and its access tokens are revoked until `revoked_until` (when the last
    /// of them would expire).
    pub async fn rotate<T: Serialize + Sync>(
        &self,
        family: &Family<T>,
        until: Timestamp,
        revoked_until: Timestamp,
        now: Timestamp,
    ) -> Result<Rotated, StoreError> {
        let content = FamilyContent { secret: &family.secret, content: &family.content };
        let next = self.seal(self.family_address(family.id), &content, until)?;
        let step = RotateFamily { presented: family.generation, next, revoked_until };
        Ok(match self.store.rotate_family(step, now).await? {
            Rotation::Rotated => Rotated::Next(family.secret.token(family.id, family.generation.saturating_add(1))),
            Rotation::Reused => Rotated::Reused,
            Rotation::Unknown => Rotated::Ended,
        })
    }

    /// Ends a family, begun or not, and revokes its access tokens until `until` (when the last of them would expire).
    pub async fn end_family(&self, id: FamilyId, until: Timestamp, now: Timestamp) -> Result<(), StoreError> {
        self.store.end_family(self.family_address(id), until, now).await
    }

    /// Revokes the access token with this `jti` until its `exp`.
    pub async fn revoke(&self, token_id: &str, until: Timestamp, now: Timestamp) -> Result<(), StoreError> {
        self.store.revoke(self.sealer.address(Kind::Revocation, token_id), until, now).await
    }

    /// Whether the access token with this `jti`, or all of its family, is revoked. Asks memory only.
    pub fn is_revoked(&self, token_id: &str, family: Option<FamilyId>, now: Timestamp) -> bool {
        let revoked = |address: Address| self.store.revocations().contains(&address, now);
        revoked(self.sealer.address(Kind::Revocation, token_id))
            || family.is_some_and(|id| revoked(self.family_address(id).revocation()))
    }

    /// The store behind it.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn family_address(&self, id: FamilyId) -> Address {
        self.sealer.address(Kind::Family, &id.to_string())
    }

    fn seal<T: Serialize>(&self, address: Address, content: &T, until: Timestamp) -> Result<Sealed, StoreError> {
        let json = serde_json::to_vec(content).map_err(|_| StoreError::Unwritable { kind: address.kind() })?;
        self.sealer.seal(address, &Zeroizing::new(json), until)
    }

    fn open<T: DeserializeOwned>(&self, sealed: &Sealed) -> Result<T, StoreError> {
        let json = self.sealer.open(sealed)?;
        serde_json::from_slice(&json)
            .map_err(|_| StoreError::Unopenable { address: sealed.address(), problem: SealProblem::Content })
    }
}
