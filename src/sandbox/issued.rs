//! The access tokens that this EHR issued, and the assertions that it has used up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::user_session::UserSession;

/// An assertion is remembered this much longer than its `exp`, in seconds.
const REPLAY_MARGIN_SECONDS: i64 = 10;
/// Expired things are swept out when so many were added since the last time.
const SWEEP_AFTER: usize = 256;

/// A live access token, as the rest of the sandbox speaks of it: never by its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    /// `token-1`, `token-2`, … in the order of issue: what the log shows.
    pub(super) token_id: String,
    pub(super) client_id: String,
    /// Whose it is; `None` where the client has it for itself.
    pub(super) session: Option<Arc<UserSession>>,
    /// Seconds since the epoch.
    expires: i64,
}

/// What looking up a token found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lookup {
    Live(Grant),
    Expired(Grant),
    Unknown,
}

/// Every token, keyed by its SHA-256 so that the values are kept nowhere.
#[derive(Debug, Default)]
pub(super) struct IssuedTokens {
    inner: Mutex<Tokens>,
}

#[derive(Debug, Default)]
struct Tokens {
    issued: u64,
    since_sweep: usize,
    by_digest: HashMap<Vec<u8>, Grant>,
}

impl IssuedTokens {
    /// Makes an opaque token of 256 random bits; its value and what it stands for. `None` without randomness.
    pub(super) fn issue(
        &self,
        client_id: &str,
        session: Option<Arc<UserSession>>,
        now: i64,
        lifetime_seconds: u32,
    ) -> Option<(String, Grant)> {
        let value = random_text()?;
        let mut tokens = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.issued += 1;
        tokens.since_sweep += 1;
        if tokens.since_sweep >= SWEEP_AFTER {
            tokens.since_sweep = 0;
            // Kept for a while after their end, so that the log can tell "expired" from "never heard of".
            tokens.by_digest.retain(|_, grant| grant.expires + 3600 > now);
        }
        let grant = Grant {
            token_id: format!("token-{}", tokens.issued),
            client_id: client_id.to_owned(),
            session,
            expires: now + i64::from(lifetime_seconds),
        };
        tokens.by_digest.insert(fingerprint(&value), grant.clone());
        Some((value, grant))
    }

    /// What a presented token stands for at `now`.
    pub(super) fn look_up(&self, value: &str, now: i64) -> Lookup {
        let tokens = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match tokens.by_digest.get(&fingerprint(value)) {
            Some(grant) if grant.expires > now => Lookup::Live(grant.clone()),
            Some(grant) => Lookup::Expired(grant.clone()),
            None => Lookup::Unknown,
        }
    }

    /// Ends every token's life at `now`, as time would.
    pub(super) fn expire(&self, now: i64) {
        let mut tokens = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for grant in tokens.by_digest.values_mut() {
            grant.expires = grant.expires.min(now);
        }
    }

    /// Forgets the tokens of one authorization.
    pub(super) fn revoke_family(&self, family: u64) {
        let mut tokens = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.by_digest.retain(|_, grant| grant.session.as_ref().is_none_or(|session| session.family != family));
    }

    /// Forgets every token, or those of one client: what an EHR's restart or a revocation does.
    pub(super) fn revoke(&self, client_id: Option<&str>) {
        let mut tokens = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.by_digest.retain(|_, grant| client_id.is_some_and(|wanted| wanted != grant.client_id));
    }
}

/// Remembers which `jti` each client has used, until the assertions that carried them have expired.
#[derive(Debug, Default)]
pub(super) struct UsedAssertions {
    inner: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    since_sweep: usize,
    expires: HashMap<(String, String), i64>,
}

impl UsedAssertions {
    /// Uses an assertion up; `false` when this client has used the `jti` before.
    pub(super) fn use_up(&self, client_id: &str, jti: &str, expires: i64, now: i64) -> bool {
        let mut used = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        used.since_sweep += 1;
        if used.since_sweep >= SWEEP_AFTER {
            used.since_sweep = 0;
            used.expires.retain(|_, end| end.saturating_add(REPLAY_MARGIN_SECONDS) > now);
        }
        used.expires.insert((client_id.to_owned(), jti.to_owned()), expires).is_none()
    }
}

/// 256 random bits as base64url; `None` when the system gives none.
pub(super) fn random_text() -> Option<String> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// SHA-256 of a secret value: what is kept instead of it.
pub(super) fn fingerprint(value: &str) -> Vec<u8> {
    digest(&SHA256, value.as_bytes()).as_ref().to_vec()
}
