//! `B/fhir/metadata`: the EHR's CapabilityStatement, open to all as FHIR asks.

use std::sync::Arc;

use http::header::ACCEPT;
use http::request::Parts as Head;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use jiff::Timestamp;

use super::Proxy;
use super::body::{self, Body, BodyError};
use super::fhir::{FHIR_JSON, FhirError, pass_on, target};
use super::forward::{Credentials, Draft, Outgoing};
use super::refusal::{Refusal, Side};
use super::request_id::RequestId;
use crate::outbound::{EPIC_CLIENT_ID, epic_client_id};
use crate::protocol::bearer::{BearerError, holds_token};
use crate::protocol::fhir::capability::{self, NoCapabilityStatement};
use crate::protocol::media_type::accepts_json;
use crate::snapshot::{Gateway, Snapshot};
use crate::values::code::Code;

/// Epic's is about 1 MiB. Short enough to be read whole, and it holds no decimals that parsing could change.
const LONGEST_STATEMENT: usize = 16 * 1024 * 1024;

/// Why there is no CapabilityStatement.
#[derive(Debug, thiserror::Error)]
pub(super) enum MetadataError {
    #[error("the gateway or its adapter is suspended")]
    Suspended,
    #[error(transparent)]
    Fhir(#[from] FhirError),
    #[error("the EHR's CapabilityStatement cannot be read: {0}")]
    Body(BodyError),
    #[error("the EHR's metadata is no CapabilityStatement")]
    NoStatement,
}

impl MetadataError {
    pub(super) fn refusal(&self, gateway: &Gateway) -> Refusal {
        match self {
            Self::Suspended => Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                Code::ActivationSuspended,
                Side::Gateway,
                self.to_string(),
            ),
            Self::Fhir(error) => error.refusal(gateway),
            Self::Body(_) | Self::NoStatement => {
                Refusal::new(StatusCode::BAD_GATEWAY, Code::EhrAnswerUnusable, Side::Ehr, self.to_string())
            }
        }
    }
}

impl Proxy {
    /// The query is not passed on: nothing in it could change a statement of JSON, and anybody may call this.
    pub(super) async fn metadata(
        &self,
        snapshot: &Snapshot,
        gateway: &Arc<Gateway>,
        head: &Head,
        request_id: &RequestId,
        now: Timestamp,
    ) -> Result<Response<Body>, MetadataError> {
        let adapter = &gateway.data_adapter;
        if gateway.suspend || adapter.suspend {
            return Err(MetadataError::Suspended);
        }
        if head.uri.query().is_some_and(holds_token) {
            return Err(FhirError::Unauthorized(BearerError::InQuery.into()).into());
        }
        let accept = head.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
        if accept.is_some_and(|accept| !accept.trim().is_empty() && !accepts_json(accept)) {
            return Err(FhirError::NotAcceptable.into());
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(FHIR_JSON));
        if let Some(client_id) = epic_client_id(adapter, first_client_id(snapshot, gateway, now)) {
            headers.insert(EPIC_CLIENT_ID, client_id);
        }
        let draft = Draft {
            method: head.method.clone(),
            target: target(adapter.fhir_base.without_slash(), "/metadata", None),
            headers,
            body: Outgoing::Whole(bytes::Bytes::new()),
        };
        let answer = self.forward(adapter, &Credentials::Open, draft, request_id).await.map_err(FhirError::from)?;
        let answer = pass_on(gateway, answer, false, None)?;
        if answer.status() != StatusCode::OK || head.method == Method::HEAD {
            return Ok(answer);
        }
        let (answered, body) = answer.into_parts();
        let whole = body::read(body, LONGEST_STATEMENT, adapter.timeouts.idle).await.map_err(MetadataError::Body)?;
        let mut statement = serde_json::from_slice(&whole).map_err(|_| MetadataError::NoStatement)?;
        capability::secure(&mut statement, snapshot, gateway)
            .map_err(|NoCapabilityStatement| MetadataError::NoStatement)?;
        Ok(Response::from_parts(answered, body::full(statement.to_string())))
    }
}

/// Epic's statement depends on the client; of several, the first live activation's by name stands for the gateway.
fn first_client_id<'snapshot>(
    snapshot: &'snapshot Snapshot,
    gateway: &Gateway,
    now: Timestamp,
) -> Option<&'snapshot str> {
    snapshot
        .activations
        .values()
        .filter(|activation| activation.gateway.key == gateway.key && activation.live_at(now).is_ok())
        .find_map(|activation| activation.ehr_authentication.client_id())
}
