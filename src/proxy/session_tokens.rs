//! The EHR's tokens of users' sessions: from the store, remembered while they are good, renewed by one replica at a time.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;
use moka::sync::Cache;
use tokio::sync::Mutex;

use super::session::{EhrSession, Session, after};
use super::shared_state::absent_if_unopenable;
use crate::outbound::{EhrTokenError, EhrTokens, UserGrant};
use crate::snapshot::Activation;
use crate::store::{FamilyId, FirstUse, Kind, Record, Records, Replaced, StoreError};

/// How many sessions are remembered at once; the others are read from the store.
const CAPACITY: u64 = 20_000;
/// How long one is remembered that nobody uses.
const IDLE: Duration = Duration::from_mins(10);
/// How long a replica may take to renew a token before another tries, in seconds.
const CLAIM: i64 = 20;
/// How often the store is asked whether another replica has renewed it.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What goes along with a request of a session.
#[derive(Debug)]
pub(super) struct SessionToken {
    pub(super) header: HeaderValue,
    renew_at: Timestamp,
    ends_at: Timestamp,
    can_renew: bool,
    /// The session's version in the store: names this very token.
    version: u64,
}

impl SessionToken {
    fn is_fresh(&self, now: Timestamp) -> bool {
        now < if self.can_renew { self.renew_at } else { self.ends_at }
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// The session is over, here or at the EHR.
    #[error("the user's session at the EHR is over")]
    Over,
    /// The store does not answer.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The EHR gives no new token, and did not say that the session is over.
    #[error("{error}")]
    Ehr {
        /// What happened.
        error: EhrTokenError,
        /// What was to be renewed.
        session: Box<Session>,
    },
}

/// Remembers the tokens of sessions in use.
pub(super) struct SessionTokens {
    held: Cache<FamilyId, Arc<SessionToken>>,
    /// Who asks for a session's token waits for who asked before.
    asking: Cache<FamilyId, Arc<Mutex<()>>>,
}

impl Default for SessionTokens {
    fn default() -> Self {
        Self {
            held: Cache::builder().max_capacity(CAPACITY).time_to_idle(IDLE).build(),
            asking: Cache::builder().max_capacity(CAPACITY).time_to_idle(IDLE).build(),
        }
    }
}

impl SessionTokens {
    /// The token of a session. `refused` is one that the EHR answered 401 to: it is not given again.
    pub(super) async fn of(
        &self,
        ehr_tokens: &EhrTokens,
        records: &Records,
        activation: &Activation,
        family: FamilyId,
        refused: Option<&SessionToken>,
    ) -> Result<Arc<SessionToken>, SessionError> {
        let refused = refused.map(|token| token.version);
        let good = |token: &Arc<SessionToken>| refused != Some(token.version) && token.is_fresh(Timestamp::now());
        if let Some(held) = self.held.get(&family).filter(good) {
            return Ok(held);
        }
        let turn = self.asking.get_with(family, Arc::default);
        let _turn = turn.lock().await;
        if let Some(held) = self.held.get(&family).filter(good) {
            return Ok(held);
        }
        let renewal = Renewal { ehr_tokens, records, activation, family };
        match renewal.session(refused, Timestamp::now()).await {
            Ok(known) => {
                let token = Arc::new(token(&known)?);
                self.held.insert(family, Arc::clone(&token));
                Ok(token)
            }
            Err(error) => {
                self.held.invalidate(&family);
                Err(error)
            }
        }
    }

    /// The session itself, its tokens renewed if they are over or soon will be.
    pub(super) async fn renewed(
        &self,
        ehr_tokens: &EhrTokens,
        records: &Records,
        activation: &Activation,
        family: FamilyId,
        now: Timestamp,
    ) -> Result<Session, SessionError> {
        Renewal { ehr_tokens, records, activation, family }.session(None, now).await.map(|known| known.content)
    }
}

fn token(known: &Record<Session>) -> Result<SessionToken, SessionError> {
    let ehr = &known.content.ehr;
    let header = ehr.header().ok_or(SessionError::Over)?;
    let can_renew = ehr.refresh_token.is_some();
    Ok(SessionToken { header, renew_at: ehr.renew_at, ends_at: ehr.ends_at, can_renew, version: known.version })
}

struct Renewal<'request> {
    ehr_tokens: &'request EhrTokens,
    records: &'request Records,
    activation: &'request Activation,
    family: FamilyId,
}

impl Renewal<'_> {
    /// The session as it is, or renewed: by us if nobody else is at it, else by them.
    async fn session(&self, refused: Option<u64>, started: Timestamp) -> Result<Record<Session>, SessionError> {
        let give_up = after(started, CLAIM);
        loop {
            let now = Timestamp::now().max(started);
            let known = self.known(now).await?;
            let ehr = &known.content.ehr;
            let is_good = refused != Some(known.version) && now < ehr.ends_at;
            let Some(refresh_token) = &ehr.refresh_token else {
                return if is_good { Ok(known) } else { Err(SessionError::Over) };
            };
            if is_good && now < ehr.renew_at {
                return Ok(known);
            }
            let claim = format!("renew {} {}", self.family, known.version);
            match self.records.use_once(Kind::Claim, &claim, after(now, CLAIM), now).await? {
                FirstUse::First => {
                    let error = match self.renew(&known, refresh_token, now).await {
                        Ok(Some(renewed)) => return Ok(renewed),
                        // Written by somebody else meanwhile: what they wrote is looked at.
                        Ok(None) => continue,
                        Err(error) => error,
                    };
                    // Who comes next tries again, rather than waiting for nobody.
                    self.records.remove(Kind::Claim, &claim).await?;
                    if is_good && matches!(error, SessionError::Ehr { .. }) {
                        return Ok(known);
                    }
                    return Err(error);
                }
                FirstUse::Repeated if is_good => return Ok(known),
                FirstUse::Repeated if now >= give_up => {
                    let session = Box::new(known.content);
                    return Err(SessionError::Ehr { error: EhrTokenError::Interrupted, session });
                }
                FirstUse::Repeated => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    async fn known(&self, now: Timestamp) -> Result<Record<Session>, SessionError> {
        let known = self.records.get::<Session>(Kind::Session, &self.family.to_string(), now).await;
        let known = known.or_else(absent_if_unopenable)?;
        known.filter(|known| known.content.activation == self.activation.uid).ok_or(SessionError::Over)
    }

    /// Renews the EHR's token. `None`: the session was written by somebody else meanwhile.
    async fn renew(
        &self,
        known: &Record<Session>,
        refresh_token: &str,
        now: Timestamp,
    ) -> Result<Option<Record<Session>>, SessionError> {
        let tokens = self.ehr_tokens.of_user(self.activation, UserGrant::Refresh(refresh_token)).await;
        let tokens = tokens.map_err(|error| match error {
            EhrTokenError::Refused { error: Some(word), .. } if word == "invalid_grant" => SessionError::Over,
            error => SessionError::Ehr { error, session: Box::new(known.content.clone()) },
        })?;
        let ehr = EhrSession::new(&tokens, Some(&known.content.ehr), Timestamp::now().max(now));
        let key = self.family.to_string();
        let mut version = known.version;
        let mut until = known.until;
        let mut content = Session { ehr: ehr.clone(), ..known.content.clone() };
        loop {
            match self.records.replace(Kind::Session, &key, version, &content, until, now).await? {
                Replaced::Replaced => {
                    return Ok(Some(Record { content, version: version.saturating_add(1), until }));
                }
                Replaced::Absent => return Err(SessionError::Over),
                // Most likely its life was made longer. The token that we got must not be lost: the old one is spent.
                Replaced::Changed => {
                    let other = self.known(now).await?;
                    if other.content.ehr.ends_at > known.content.ehr.ends_at {
                        return Ok(None);
                    }
                    (version, until) = (other.version, other.until);
                    content = Session { ehr: ehr.clone(), ..other.content };
                }
            }
        }
    }
}
