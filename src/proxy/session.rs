//! A user's session: what the EHR gave for the user, kept sealed in the store for as long as tokens of ours may use it.

use std::fmt;

use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::outbound::UserTokens;
use crate::protocol::oauth::authorization_code::Grant;
use crate::protocol::oauth::authorize::Asked;
use crate::protocol::oauth::id_token::User;
use crate::protocol::oauth::launch_context::LaunchContext;
use crate::snapshot::Gateway;
use crate::store::{FamilyId, Kind, Records, StoreError};

/// How long a refresh token that nobody uses stays good, in seconds: of `offline_access` and of `online_access`.
const OFFLINE: i64 = 90 * 24 * 3600;
const ONLINE: i64 = 12 * 3600;

/// A session.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Session {
    /// UID of the activation.
    pub(super) activation: String,
    /// The user; `None` where the EHR does not tell.
    pub(super) user: Option<User>,
    /// The launch's context.
    pub(super) context: LaunchContext,
    /// The EHR's tokens.
    pub(super) ehr: EhrSession,
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Session").field("activation", &self.activation).finish_non_exhaustive()
    }
}

/// The EHR's tokens of a session.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct EhrSession {
    access_token: Zeroizing<String>,
    pub(super) refresh_token: Option<Zeroizing<String>>,
    /// When the access token is renewed, if it can be.
    pub(super) renew_at: Timestamp,
    /// When the access token ends.
    pub(super) ends_at: Timestamp,
}

/// What a code stands for.
#[derive(Serialize, Deserialize)]
pub(super) struct Code {
    /// Names the session from now on.
    pub(super) family: FamilyId,
    pub(super) asked: Asked,
    pub(super) grant: Grant,
    pub(super) session: Session,
}

impl EhrSession {
    /// What the EHR gave at `now`. One that gives no new refresh token means the old one to go on (RFC 6749 §6).
    pub(super) fn new(tokens: &UserTokens, before: Option<&Self>, now: Timestamp) -> Self {
        let lifetime = SignedDuration::try_from(tokens.lifetime).unwrap_or_default();
        // Not used to the last moment: what is sent then arrives later.
        let margin = (lifetime / 10).min(SignedDuration::from_secs(5));
        let after = |duration: SignedDuration| now.saturating_add(duration).unwrap_or(now);
        Self {
            access_token: tokens.access_token.clone(),
            refresh_token: tokens.refresh_token.clone().or_else(|| before?.refresh_token.clone()),
            renew_at: after(lifetime / 5 * 4),
            ends_at: after(lifetime - margin),
        }
    }

    /// The header for FHIR calls; `None` if no header can hold the token.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let mut header = HeaderValue::from_str(&Zeroizing::new(format!("Bearer {}", *self.access_token))).ok()?;
        header.set_sensitive(true);
        Some(header)
    }

    /// When a refresh token of ours ends that is given out now: with the EHR's session, if that cannot be kept up.
    pub(super) fn family_until(&self, is_offline: bool, now: Timestamp) -> Timestamp {
        if self.refresh_token.is_none() {
            return self.ends_at;
        }
        after(now, if is_offline { OFFLINE } else { ONLINE })
    }
}

pub(super) fn after(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(now)
}

/// When the last access token ends that was issued until now.
pub(super) fn access_until(gateway: &Gateway, now: Timestamp) -> Timestamp {
    after(now, i64::try_from(gateway.access_token_lifetime.as_secs()).unwrap_or(3600).saturating_add(1))
}

/// Ends a session: its refresh tokens, its access tokens on all replicas, and what we hold of the EHR.
pub(super) async fn end(
    records: &Records,
    gateway: &Gateway,
    family: FamilyId,
    now: Timestamp,
) -> Result<(), StoreError> {
    // A request may take its time, and what it ends may have been issued meanwhile.
    let now = Timestamp::now().max(now);
    records.end_family(family, access_until(gateway, now), now).await?;
    records.remove(Kind::Session, &family.to_string()).await
}
