//! The two grants that have a user behind them: an authorization code for the first tokens, a refresh token for the next.

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::Proxy;
use super::body::Body;
use super::session::{self, Session};
use super::shared_state::absent_if_unopenable;
use super::token::{TokenResponse, access_token, unsigned};
use crate::protocol::jwt::{self, Subject};
use crate::protocol::oauth::authorization_code::{self, Grant};
use crate::protocol::oauth::error::GrantFault;
use crate::protocol::oauth::token_request::TokenRequest;
use crate::protocol::oauth::{OAuthError, id_token, refresh_token};
use crate::snapshot::{Activation, App, Gateway, Snapshot};
use crate::store::{FamilyId, Kind, Records, Replaced, Rotated, StoreError, Take};
use crate::values::scope::{Scope, ScopeSet, Word};

/// How long a spent code is remembered, in seconds: as long as an access token that was issued for it may live.
const REMEMBERED: i64 = 3600;

/// How often a session is written anew when others write it at the same time.
const ATTEMPTS: u32 = 8;

impl Proxy {
    /// A code for tokens (RFC 6749 §4.1.3). Whatever is wrong with what came along, the code is spent.
    pub(super) async fn authorization_code(
        &self,
        snapshot: &Snapshot,
        gateway: &Gateway,
        app: &App,
        request: &TokenRequest,
        now: Timestamp,
    ) -> Result<http::Response<Body>, OAuthError> {
        let code = request.code.as_ref().ok_or(OAuthError::ParameterMissing("code"))?;
        let records = self.records(gateway).ok_or(OAuthError::SigningUnready)?;
        let remember = session::after(now, REMEMBERED);
        let taken = records.take::<session::Code>(Kind::Code, code.expose_secret(), remember, now).await;
        let kept = match taken.map_err(|error| unkept(gateway, &error))? {
            Take::First(kept) => kept,
            Take::Again(kept) => {
                // Two have the code: whoever came first is not believed any more (RFC 6749 §4.1.2).
                session::end(&records, gateway, kept.family, now).await.map_err(|error| unkept(gateway, &error))?;
                return Err(GrantFault::Unknown.into());
            }
            Take::Absent => return Err(GrantFault::Unknown.into()),
        };
        authorization_code::judge(&kept.asked, app, request)?;
        let (activation, scopes) = authorization_code::standing(snapshot, gateway, app, &kept.grant, now)?;
        let session::Code { family, asked, grant, session } = kept;
        let keeper = Keeper { records: &records, gateway, family, now };
        let refresh_token = keeper.begin(&grant, &session).await?;
        let issued = keeper.issue(&activation, &session, &scopes)?;
        let id_token = match &session.user {
            Some(user) => id_token::issue(gateway, user, &app.client_id, asked.nonce.as_deref(), &scopes, now)
                .map_err(|error| unsigned(gateway, &error))?,
            None => None,
        };
        let mut response = TokenResponse::of(&issued, &scopes);
        response.refresh_token = refresh_token.as_ref().map(ExposeSecret::expose_secret);
        response.id_token = id_token.as_deref();
        response.context = session.context.within(&scopes);
        Ok(response.into_response())
    }

    /// A refresh token for the next tokens (RFC 6749 §6). One that was spent before ends its session (RFC 9700 §4.14).
    pub(super) async fn refresh_token(
        &self,
        snapshot: &Snapshot,
        gateway: &Gateway,
        app: &App,
        request: &TokenRequest,
        now: Timestamp,
    ) -> Result<http::Response<Body>, OAuthError> {
        let token = request.refresh_token.as_ref().ok_or(OAuthError::ParameterMissing("refresh_token"))?;
        let records = self.records(gateway).ok_or(OAuthError::SigningUnready)?;
        let family = records.family::<Grant>(token.expose_secret(), now).await;
        let family = family.or_else(absent_if_unopenable).map_err(|error| unkept(gateway, &error))?;
        let family = family.ok_or(GrantFault::Unknown)?;
        let keeper = Keeper { records: &records, gateway, family: family.id, now };
        if family.latest {
            let (activation, within) = authorization_code::standing(snapshot, gateway, app, &family.content, now)?;
            let scopes = refresh_token::judge(&family.content, app, request.scope.as_deref(), &within)?;
            let session = self.living_session(&activation, &keeper).await?;
            let until = keeper.family_until(&family.content, &session);
            keeper.extend(until).await?;
            let rotated = records.rotate(&family, until, session::access_until(gateway, now), now).await;
            if let Rotated::Next(next) = rotated.map_err(|error| unkept(gateway, &error))? {
                let issued = keeper.issue(&activation, &session, &scopes)?;
                let mut response = TokenResponse::of(&issued, &scopes);
                response.refresh_token = Some(next.expose_secret());
                response.context = session.context.within(&scopes);
                return Ok(response.into_response());
            }
        } else if family.content.client_id != app.client_id {
            return Err(GrantFault::Unknown.into());
        }
        // Spent before, by whom nobody knows.
        session::end(&records, gateway, family.id, now).await.map_err(|error| unkept(gateway, &error))?;
        Err(GrantFault::Unknown.into())
    }

    /// The session of a refresh token, if it still lives at the EHR.
    async fn living_session(&self, activation: &Activation, keeper: &Keeper<'_>) -> Result<Session, OAuthError> {
        use super::session_tokens::SessionError;
        let Keeper { records, gateway, family, now } = keeper;
        match self.session_tokens.renewed(&self.ehr_tokens, records, activation, *family, *now).await {
            Ok(session) => Ok(session),
            Err(SessionError::Over) => {
                session::end(records, gateway, *family, *now).await.map_err(|error| unkept(gateway, &error))?;
                Err(GrantFault::SessionOver.into())
            }
            Err(SessionError::Store(error)) => Err(unkept(gateway, &error)),
            // An EHR that is away for a moment ends nobody's session: its own calls will say so.
            Err(SessionError::Ehr { session, .. }) => Ok(*session),
        }
    }
}

/// Keeps one session while tokens of it are issued.
struct Keeper<'request> {
    records: &'request Records,
    gateway: &'request Gateway,
    family: FamilyId,
    now: Timestamp,
}

impl Keeper<'_> {
    /// Keeps a new session, and begins its refresh tokens where they were granted.
    async fn begin(&self, grant: &Grant, session: &Session) -> Result<Option<SecretString>, OAuthError> {
        let granted = ScopeSet::parse(&grant.scope).unwrap_or_default();
        let refreshes =
            [Word::OfflineAccess, Word::OnlineAccess].into_iter().any(|word| granted.covers(&Scope::Word(word)));
        let access_until = session::access_until(self.gateway, self.now);
        let family_until = self.family_until(grant, session);
        let until = if refreshes { family_until.max(access_until) } else { access_until };
        let kept = self.records.put(Kind::Session, &self.family.to_string(), session, until, self.now).await;
        kept.map_err(|error| unkept(self.gateway, &error))?;
        if !refreshes {
            return Ok(None);
        }
        let started = self.records.start_family(self.family, grant, family_until, self.now).await;
        let token = started.map_err(|error| unkept(self.gateway, &error))?;
        if token.is_none() {
            // Ended before it began: the code came a second time meanwhile. Whoever was first is answered as if it had
            // come a moment later, with an access token that is revoked already.
            let removed = self.records.remove(Kind::Session, &self.family.to_string()).await;
            removed.map_err(|error| unkept(self.gateway, &error))?;
        }
        Ok(token)
    }

    fn family_until(&self, grant: &Grant, session: &Session) -> Timestamp {
        let granted = ScopeSet::parse(&grant.scope).unwrap_or_default();
        session.ehr.family_until(granted.covers(&Scope::Word(Word::OfflineAccess)), self.now)
    }

    /// Keeps the session at least as long as the refresh token that is given out now.
    async fn extend(&self, until: Timestamp) -> Result<(), OAuthError> {
        let until = until.max(session::access_until(self.gateway, self.now));
        let key = self.family.to_string();
        for _ in 0..ATTEMPTS {
            let known = self.records.get::<Session>(Kind::Session, &key, self.now).await;
            let known = known.map_err(|error| unkept(self.gateway, &error))?.ok_or(GrantFault::SessionOver)?;
            let (version, session) = (known.version, &known.content);
            let replaced = self.records.replace(Kind::Session, &key, version, session, until, self.now).await;
            match replaced.map_err(|error| unkept(self.gateway, &error))? {
                Replaced::Replaced => return Ok(()),
                Replaced::Changed => {}
                Replaced::Absent => return Err(GrantFault::SessionOver.into()),
            }
        }
        Err(OAuthError::StoreAway)
    }

    fn issue(
        &self,
        activation: &Activation,
        session: &Session,
        scopes: &ScopeSet,
    ) -> Result<jwt::IssuedToken, OAuthError> {
        // Where the EHR does not say who the user is, nobody is named: the client is all that is known.
        let sub = session.user.as_ref().map_or_else(|| activation.app.client_id.clone(), |user| user.sub.clone());
        let session = jwt::Session { id: self.family.to_string(), patient: session.context.patient.clone() };
        access_token(activation, Subject::User { sub, session }, scopes, self.now)
    }
}

/// What the store could not do.
fn unkept(gateway: &Gateway, error: &StoreError) -> OAuthError {
    if matches!(error, StoreError::Unopenable { .. }) {
        return GrantFault::Unknown.into();
    }
    tracing::error!(gateway = %gateway.key, %error, "a grant could not be looked at");
    OAuthError::StoreAway
}
