//! `B/launch/<app>`: the EHR starts an app. Its `launch` is kept, and the app is started with one of ours.

use std::sync::Arc;

use http::request::Parts as Head;
use http::{Response, StatusCode};
use jiff::Timestamp;

use super::Proxy;
use super::authorize::launch_key;
use super::body::Body;
use super::browser::{self, random_text};
use super::record::Record;
use super::refusal::{Refusal, Side};
use super::request_id::RequestId;
use super::session;
use crate::protocol::oauth::authorize::user_of;
use crate::protocol::oauth::ehr_launch::{self, LaunchFault};
use crate::snapshot::{Activation, Gateway, Snapshot};
use crate::store::{Kind, StoreError};
use crate::values::code::Code;

/// How long an app may take to ask for authorization, in seconds. A page that is reloaded asks again.
const PATIENCE: i64 = 10 * 60;

/// Why no app is started.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaunchError {
    #[error(transparent)]
    Fault(#[from] LaunchFault),
    #[error("the gateway's own keys are not there yet")]
    SigningUnready,
    #[error("the state that this needs cannot be reached now")]
    Store(#[from] StoreError),
}

impl LaunchError {
    fn refusal(&self) -> Refusal {
        let (status, code, side) = match self {
            Self::Fault(fault @ LaunchFault::App) => (StatusCode::NOT_FOUND, fault.code(), Side::Ehr),
            Self::Fault(fault @ (LaunchFault::Malformed | LaunchFault::Issuer)) => {
                (StatusCode::BAD_REQUEST, fault.code(), Side::Ehr)
            }
            Self::Fault(fault @ LaunchFault::NotLive(_)) => (StatusCode::FORBIDDEN, fault.code(), Side::Gateway),
            Self::SigningUnready => (StatusCode::SERVICE_UNAVAILABLE, Code::GatewaySigningUnready, Side::Gateway),
            Self::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, Code::StoreAway, Side::Gateway),
        };
        Refusal::new(status, code, side, self.to_string())
    }
}

impl Proxy {
    /// Answers the request that the EHR sent the browser here with.
    pub(super) async fn launch(
        &self,
        snapshot: &Snapshot,
        gateway: &Arc<Gateway>,
        (app, head): (&str, &Head),
        (request_id, now): (&RequestId, Timestamp),
        record: &mut Record,
    ) -> Response<Body> {
        match self.start(snapshot, gateway, (app, head), now, record).await {
            Ok(response) => response,
            Err(error) => {
                if let LaunchError::Store(error) = &error {
                    tracing::error!(gateway = %gateway.key, %error, "a launch could not be kept");
                }
                let refusal = error.refusal();
                record.code = Some(refusal.code);
                browser::page(&refusal, request_id)
            }
        }
    }

    async fn start(
        &self,
        snapshot: &Snapshot,
        gateway: &Arc<Gateway>,
        (app, head): (&str, &Head),
        now: Timestamp,
        record: &mut Record,
    ) -> Result<Response<Body>, LaunchError> {
        let query = head.uri.query().unwrap_or_default();
        let issuer = |activation: &Activation| {
            let client_id = user_of(activation).map(|user| user.client_id.as_str());
            self.ehr_tokens.discovery().known(&gateway.data_adapter, client_id)?.issuer.clone()
        };
        let (activation, kept, launch_uri) = ehr_launch::decide(snapshot, gateway, app, query, issuer, now)?;
        record.app = Some(activation.app.key.clone());
        record.client_id = Some(activation.app.client_id.clone());
        let records = self.records(gateway).ok_or(LaunchError::SigningUnready)?;
        let launch = random_text()?;
        records.put(Kind::Launch, &launch_key(&launch), &kept, session::after(now, PATIENCE), now).await?;
        Ok(browser::redirect(&ehr_launch::start(gateway, &launch_uri, &launch)))
    }
}
