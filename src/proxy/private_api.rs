//! `B/api/…`: an EHR's private APIs through the adapter's External auth, for apps that hold `private-api`.

use std::sync::Arc;

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts as Head;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use jiff::Timestamp;

use super::Proxy;
use super::bearer::{Unauthorized, challenge};
use super::body::{Body, BodyError, Watched};
use super::fhir::target;
use super::forward::{Credentials, Draft, ForwardError, body_refusal};
use super::headers::{self, HeaderOddity};
use super::record::Record;
use super::refusal::{Refusal, Side};
use super::request_id::RequestId;
use crate::protocol::private_api::{self, PrivateApiRefused};
use crate::snapshot::{Gateway, Snapshot};
use crate::values::code::Code;

/// Why a request to the private APIs has no answer of the EHR.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrivateApiError {
    #[error(transparent)]
    Unauthorized(#[from] Unauthorized),
    #[error(transparent)]
    Refused(#[from] PrivateApiRefused),
    #[error(transparent)]
    Header(#[from] HeaderOddity),
    #[error("the request's body is compressed")]
    Compressed,
    #[error("{0}")]
    Body(BodyError),
    #[error(transparent)]
    Forward(#[from] ForwardError),
}

impl PrivateApiError {
    pub(super) fn refusal(&self, gateway: &Gateway) -> Refusal {
        match self {
            Self::Unauthorized(error) => error.refusal(gateway),
            Self::Refused(refused) => {
                let code = match refused {
                    PrivateApiRefused::Scope => Code::ScopeInsufficient,
                    PrivateApiRefused::NoPrivateApi | PrivateApiRefused::NoRoute => Code::PrivateApiRefused,
                };
                let mut refusal = Refusal::new(StatusCode::FORBIDDEN, code, Side::App, self.to_string());
                if *refused == PrivateApiRefused::Scope {
                    refusal.www_authenticate = challenge(gateway, Some("insufficient_scope"), Some("private-api"));
                }
                refusal
            }
            Self::Header(_) => Refusal::new(StatusCode::BAD_REQUEST, Code::HeaderRefused, Side::App, self.to_string()),
            Self::Compressed => {
                let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
                Refusal::new(status, Code::ContentTypeRefused, Side::App, self.to_string())
            }
            Self::Body(error) => body_refusal(*error),
            Self::Forward(error) => error.refusal(),
        }
    }
}

/// What a request to the private APIs comes with.
pub(super) struct PrivateApiRequest<'request> {
    pub(super) snapshot: &'request Snapshot,
    pub(super) gateway: &'request Arc<Gateway>,
    /// The path below `B/api`.
    pub(super) rest: &'request str,
    pub(super) head: &'request Head,
    pub(super) request_id: &'request RequestId,
    pub(super) now: Timestamp,
}

impl Proxy {
    pub(super) async fn private_api(
        &self,
        request: PrivateApiRequest<'_>,
        body: Body,
        record: &mut Record,
    ) -> Result<Response<Body>, PrivateApiError> {
        let PrivateApiRequest { snapshot, gateway, rest, head, request_id, now } = request;
        let query = head.uri.query();
        let bearer = self.bearer(snapshot, gateway, &head.headers, query, now, record).await?;
        let adapter = &gateway.data_adapter;
        let external = private_api::decide(adapter.external_auth.as_ref(), &bearer.scopes, &head.method, rest)?;
        // As on /fhir: what is not looked into here is not sent on in a form that others may read otherwise.
        headers::single(&head.headers, &CONTENT_TYPE)?;
        if headers::is_compressed(&head.headers)? {
            return Err(PrivateApiError::Compressed);
        }
        let mut sent = headers::of_request(&head.headers);
        for value in head.headers.get_all(ACCEPT) {
            sent.append(ACCEPT, value.clone());
        }
        let (name, client_id) = &external.client_id_header;
        sent.insert(name, client_id.clone());
        let draft = Draft {
            method: head.method.clone(),
            target: target(external.api_endpoint.without_slash(), rest, query),
            headers: sent,
            body: self.outgoing(body).await.map_err(PrivateApiError::Body)?,
        };
        let credentials = Credentials::Fixed { activation: &bearer.activation, authorization: &external.authorization };
        let answer = self.forward(adapter, &credentials, draft, request_id).await?;
        let (answered, body) = answer.into_parts();
        let mut response = Response::new(Watched::new(body, None, adapter.timeouts.idle).boxed_unsync());
        *response.status_mut() = answered.status;
        *response.headers_mut() = headers::of_response(&answered.headers, None);
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        headers.insert("content-security-policy", HeaderValue::from_static("sandbox"));
        Ok(response)
    }
}
