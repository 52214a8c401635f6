//! What a user's login has led to: authorization codes, refresh tokens, and what they stand for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::issued::{fingerprint, random_text};
use super::people::{Person, Role};
use super::user_scope::{ClinicalScope, UserScope};

/// A code is good for so many seconds (RFC 6749 §4.1.2 advises short lives; FAPI 2.0 says 60).
const CODE_LIFE_SECONDS: i64 = 60;
/// Used codes are remembered so many seconds, so that reuse is recognised.
const CODE_MEMORY_SECONDS: i64 = 3600;
/// More codes or refresh tokens than these push nothing out, but are refused.
const MOST_KEPT: usize = 100_000;

/// Which patient, encounter and so on the app is started with (SMART App Launch 2.2, launch context).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LaunchContext {
    /// Patient ID.
    pub(super) patient: Option<String>,
    /// Encounter ID.
    pub(super) encounter: Option<String>,
    /// References to other resources, each `{"reference": …}`.
    pub(super) fhir_context: Vec<Value>,
    /// Whether the app must show whom it is about.
    pub(super) need_patient_banner: bool,
    pub(super) intent: Option<String>,
}

/// What an access token of a user stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UserSession {
    /// All tokens of one authorization have the same.
    pub(super) family: u64,
    pub(super) client_id: String,
    pub(super) person: &'static Person,
    pub(super) context: LaunchContext,
    /// The granted scopes, as they were written.
    pub(super) scope: String,
    pub(super) scopes: Vec<UserScope>,
    pub(super) nonce: Option<String>,
    /// When the user logged in, in seconds since the epoch.
    pub(super) authenticated: i64,
}

impl UserSession {
    /// Whether a scope that is not about resources was granted.
    pub(super) fn holds(&self, scope: &UserScope) -> bool {
        self.scopes.contains(scope)
    }

    /// The scopes that are about resources.
    pub(super) fn clinical(&self) -> impl Iterator<Item = &ClinicalScope> {
        self.scopes.iter().filter_map(|scope| match scope {
            UserScope::Clinical(clinical) => Some(clinical),
            _ => None,
        })
    }

    /// The patient beyond whom a `user/` scope does not reach; `None` for staff.
    pub(super) fn own_patient(&self) -> Option<&'static str> {
        match self.person.role {
            Role::Practitioner(_) => None,
            Role::Patient(id) => Some(id),
        }
    }

    /// Whether a refresh token comes along.
    pub(super) fn is_renewable(&self) -> bool {
        self.holds(&UserScope::OfflineAccess) || self.holds(&UserScope::OnlineAccess)
    }
}

/// What a code was issued for.
#[derive(Debug, Clone)]
pub(super) struct CodeGrant {
    pub(super) session: UserSession,
    pub(super) redirect_uri: String,
    /// The S256 challenge, where one was sent.
    pub(super) challenge: Option<String>,
}

/// What presenting a code comes to.
#[derive(Debug, Clone)]
pub(super) enum CodeFound {
    /// Used up by this.
    Good(Box<CodeGrant>),
    /// Used before: everything of this family must die.
    UsedBefore(u64),
    Expired,
    /// Issued to another client; not used up.
    OfAnother,
    Unknown,
}

/// What presenting a refresh token comes to.
#[derive(Debug, Clone)]
pub(super) enum RefreshFound {
    /// Used up by this.
    Good(Arc<UserSession>),
    /// Used before: everything of this family must die.
    UsedBefore(u64),
    OfAnother,
    Unknown,
}

#[derive(Debug)]
struct Code {
    grant: CodeGrant,
    expires: i64,
    used: bool,
}

#[derive(Debug)]
struct RefreshToken {
    session: Arc<UserSession>,
    used: bool,
}

/// Codes and refresh tokens, keyed by their SHA-256 so that the values are kept nowhere.
#[derive(Debug, Default)]
pub(super) struct UserSessions {
    inner: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    families: u64,
    codes: HashMap<Vec<u8>, Code>,
    refresh_tokens: HashMap<Vec<u8>, RefreshToken>,
}

impl UserSessions {
    /// A number that no other authorization has.
    pub(super) fn new_family(&self) -> u64 {
        let mut kept = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        kept.families += 1;
        kept.families
    }

    /// Makes a code; `None` without randomness, or when far too many are kept.
    pub(super) fn issue_code(&self, grant: CodeGrant, now: i64) -> Option<String> {
        let value = random_text()?;
        let mut kept = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        kept.codes.retain(|_, code| code.expires + CODE_MEMORY_SECONDS > now);
        if kept.codes.len() >= MOST_KEPT {
            return None;
        }
        kept.codes.insert(fingerprint(&value), Code { grant, expires: now + CODE_LIFE_SECONDS, used: false });
        Some(value)
    }

    /// Uses a code up, unless it is another client's.
    pub(super) fn use_code(&self, value: &str, client_id: &str, now: i64) -> CodeFound {
        let mut kept = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.codes.get_mut(&fingerprint(value)) {
            None => CodeFound::Unknown,
            Some(code) if code.grant.session.client_id != client_id => CodeFound::OfAnother,
            Some(code) if code.used => CodeFound::UsedBefore(code.grant.session.family),
            Some(code) if code.expires <= now => CodeFound::Expired,
            Some(code) => {
                code.used = true;
                CodeFound::Good(Box::new(code.grant.clone()))
            }
        }
    }

    /// Makes a refresh token; `None` without randomness, or when far too many are kept.
    pub(super) fn issue_refresh_token(&self, session: Arc<UserSession>) -> Option<String> {
        let value = random_text()?;
        let mut kept = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.refresh_tokens.len() >= MOST_KEPT {
            return None;
        }
        kept.refresh_tokens.insert(fingerprint(&value), RefreshToken { session, used: false });
        Some(value)
    }

    /// What a refresh token stands for, without using it up.
    pub(super) fn look_at_refresh_token(&self, value: &str, client_id: &str) -> RefreshFound {
        let kept = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.refresh_tokens.get(&fingerprint(value)) {
            None => RefreshFound::Unknown,
            Some(token) if token.session.client_id != client_id => RefreshFound::OfAnother,
            Some(token) if token.used => RefreshFound::UsedBefore(token.session.family),
            Some(token) => RefreshFound::Good(Arc::clone(&token.session)),
        }
    }

    /// Uses a refresh token up; `false` when somebody was quicker.
    pub(super) fn use_refresh_token(&self, value: &str) -> bool {
        let mut kept = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        kept.refresh_tokens.get_mut(&fingerprint(value)).is_some_and(|token| !std::mem::replace(&mut token.used, true))
    }

    /// Forgets the refresh tokens of one authorization.
    pub(super) fn end_family(&self, family: u64) {
        let mut kept = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        kept.refresh_tokens.retain(|_, token| token.session.family != family);
    }

    /// Forgets all refresh tokens, or those of one client; codes that were not used yet too.
    pub(super) fn end(&self, client_id: Option<&str>) {
        let stays = |session: &UserSession| client_id.is_some_and(|wanted| wanted != session.client_id);
        let mut kept = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        kept.refresh_tokens.retain(|_, token| stays(&token.session));
        kept.codes.retain(|_, code| stays(&code.grant.session));
    }
}
