//! `B/fhir/…`: the token judged, the interaction understood and permitted, then the EHR called and its answer passed on
//! as it streams.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts as Head;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use jiff::Timestamp;

use super::Proxy;
use super::bearer::{Unauthorized, challenge};
use super::body::{self, Body, BodyError, Watched};
use super::forward::{Credentials, Draft, ForwardError, Outgoing, body_refusal};
use super::headers::{self, HeaderOddity, IF_NONE_EXIST, MovedBase};
use super::record::Record;
use super::refusal::{Refusal, Side};
use super::request_id::RequestId;
use super::rewrite::{Rewriter, Rewritten};
use crate::outbound::{EPIC_CLIENT_ID, epic_client_id};
use crate::protocol::fhir::{self, Denial, Interaction, Parts};
use crate::protocol::jwt::TokenRefused;
use crate::protocol::{form, media_type};
use crate::snapshot::{Gateway, Snapshot};
use crate::values::code::Code;

/// The form of a search is read whole before anything is decided.
const LONGEST_FORM: usize = 256 * 1024;
/// FHIR's media type, asked for by name: Epic answers in XML otherwise.
pub(super) const FHIR_JSON: &str = "application/fhir+json";
const CONTENT_SECURITY_POLICY: HeaderName = HeaderName::from_static("content-security-policy");
const X_CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");

/// Why a FHIR request has no answer of the EHR.
#[derive(Debug, thiserror::Error)]
pub(super) enum FhirError {
    #[error(transparent)]
    Unauthorized(#[from] Unauthorized),
    #[error(transparent)]
    Denied(#[from] Denial),
    #[error(transparent)]
    Header(#[from] HeaderOddity),
    #[error("the gateway answers in JSON only")]
    NotAcceptable,
    #[error("the request's body is compressed")]
    Compressed,
    #[error("{0}")]
    Body(BodyError),
    #[error("the form is not UTF-8")]
    Form,
    #[error(transparent)]
    Forward(#[from] ForwardError),
    #[error("the EHR answered {0} with content that is no FHIR JSON")]
    NotFhir(u16),
    #[error("the EHR answered {status}")]
    Failed { status: u16, retry_after: Option<u32> },
}

impl FhirError {
    pub(super) fn refusal(&self, gateway: &Gateway) -> Refusal {
        let app = |status, code| Refusal::new(status, code, Side::App, self.to_string());
        match self {
            Self::Unauthorized(error) => error.refusal(gateway),
            Self::Denied(denial) => {
                let status = match denial {
                    Denial::Query | Denial::NoCriteria => StatusCode::BAD_REQUEST,
                    Denial::Format => StatusCode::NOT_ACCEPTABLE,
                    Denial::ContentType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    Denial::NotUnderstood
                    | Denial::Parameter { .. }
                    | Denial::OperationNotAllowed { .. }
                    | Denial::Batch
                    | Denial::Scope { .. } => StatusCode::FORBIDDEN,
                };
                let mut refusal = app(status, denial.code());
                if let Denial::Scope { wanted, .. } = denial {
                    refusal.www_authenticate = challenge(gateway, Some("insufficient_scope"), Some(wanted));
                }
                refusal
            }
            Self::Header(_) => app(StatusCode::BAD_REQUEST, Code::HeaderRefused),
            Self::NotAcceptable => app(StatusCode::NOT_ACCEPTABLE, Code::FormatNotAcceptable),
            Self::Compressed => app(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::ContentTypeRefused),
            Self::Body(error) => body_refusal(*error),
            Self::Form => app(StatusCode::BAD_REQUEST, Code::ParameterRefused),
            Self::Forward(ForwardError::SessionOver) => Unauthorized::from(TokenRefused::SessionOver).refusal(gateway),
            Self::Forward(error) => error.refusal(),
            Self::NotFhir(_) => {
                Refusal::new(StatusCode::BAD_GATEWAY, Code::EhrAnswerUnusable, Side::Ehr, self.to_string())
            }
            Self::Failed { status, retry_after } => {
                // What the client did wrong it should see as such; the EHR's own faults are a bad gateway's.
                let status = StatusCode::from_u16(*status)
                    .ok()
                    .filter(|status| status.is_client_error() || *status == StatusCode::SERVICE_UNAVAILABLE);
                let status = status.unwrap_or(StatusCode::BAD_GATEWAY);
                let mut refusal = Refusal::new(status, Code::EhrAnswerUnusable, Side::Ehr, self.to_string());
                refusal.retry_after = *retry_after;
                refusal
            }
        }
    }
}

/// What a FHIR request comes with.
pub(super) struct FhirRequest<'request> {
    pub(super) snapshot: &'request Snapshot,
    pub(super) gateway: &'request Arc<Gateway>,
    /// The path below the FHIR base.
    pub(super) rest: &'request str,
    pub(super) head: &'request Head,
    pub(super) request_id: &'request RequestId,
    pub(super) now: Timestamp,
}

impl Proxy {
    pub(super) async fn fhir(
        &self,
        request: FhirRequest<'_>,
        body: Body,
        record: &mut Record,
    ) -> Result<Response<Body>, FhirError> {
        let FhirRequest { snapshot, gateway, rest, head, request_id, now } = request;
        let query = head.uri.query();
        let bearer = self.bearer(snapshot, gateway, &head.headers, query, now, record).await?;

        let mut sent = headers::of_request(&head.headers);
        let content_type = headers::single(&sent, &CONTENT_TYPE)?.map(str::to_owned);
        let if_none_exist = headers::single(&sent, &IF_NONE_EXIST)?.map(str::to_owned);
        let parts = Parts {
            method: &head.method,
            path: rest,
            query,
            content_type: content_type.as_deref(),
            if_none_exist: if_none_exist.as_deref(),
        };
        let interaction = fhir::understand(&parts)?;
        record.interaction = Some(interaction.name());
        record.resource_type = interaction.resource_type().map(str::to_owned);
        refuse_compressed(&head.headers)?;
        let accept = accept(&head.headers, interaction == Interaction::Read("Binary"))?;

        let outgoing = if interaction.has_form() {
            let form = body::read(body, LONGEST_FORM, self.limits.request_idle).await.map_err(FhirError::Body)?;
            let text = std::str::from_utf8(&form).map_err(|_| FhirError::Form)?;
            fhir::decide(&bearer.scopes, &gateway.operations, &interaction, &parts, Some(text))?;
            // Without the client's parameters: a charset would have the EHR read other names than were judged.
            sent.insert(CONTENT_TYPE, HeaderValue::from_static(form::MEDIA_TYPE));
            Outgoing::Whole(form)
        } else {
            fhir::decide(&bearer.scopes, &gateway.operations, &interaction, &parts, None)?;
            self.outgoing(body).await.map_err(FhirError::Body)?
        };
        if !matches!(interaction, Interaction::ConditionalCreate(_)) {
            sent.remove(IF_NONE_EXIST);
        }
        if matches!(&outgoing, Outgoing::Whole(body) if body.is_empty()) {
            sent.remove(CONTENT_TYPE);
        }
        sent.insert(ACCEPT, accept);

        let activation = &bearer.activation;
        let adapter = &gateway.data_adapter;
        if let Some(client_id) = epic_client_id(adapter, activation.ehr_authentication.client_id()) {
            sent.insert(EPIC_CLIENT_ID, client_id);
        }
        let draft = Draft {
            method: head.method.clone(),
            target: target(adapter.fhir_base.without_slash(), rest, query),
            headers: sent,
            body: outgoing,
        };
        let credentials = match &bearer.session {
            Some(session) => Credentials::Session(activation, session),
            None => Credentials::Activation(activation),
        };
        let answer = self.forward(adapter, &credentials, draft, request_id).await?;
        pass_on(gateway, answer, interaction == Interaction::Read("Binary"))
    }
}

/// The EHR's base, and behind it what the client wrote, letter by letter.
pub(super) fn target(base: &str, rest: &str, query: Option<&str>) -> String {
    let mut target = String::with_capacity(base.len() + rest.len() + query.map_or(0, str::len) + 1);
    target.push_str(base);
    target.push_str(rest);
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    target
}

fn refuse_compressed(headers: &HeaderMap) -> Result<(), FhirError> {
    match headers::single(headers, &CONTENT_ENCODING)? {
        Some(encoding) if !encoding.trim().eq_ignore_ascii_case("identity") => Err(FhirError::Compressed),
        Some(_) | None => Ok(()),
    }
}

/// What the EHR is asked for: FHIR JSON, or, of a Binary, what the client says.
fn accept(headers: &HeaderMap, is_binary: bool) -> Result<HeaderValue, FhirError> {
    let given: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let given = given.join(", ");
    if is_binary && !given.is_empty() {
        return HeaderValue::from_str(&given).map_err(|_| FhirError::NotAcceptable);
    }
    if given.is_empty() || media_type::accepts_json(&given) {
        Ok(HeaderValue::from_static(FHIR_JSON))
    } else {
        Err(FhirError::NotAcceptable)
    }
}

/// Turns an EHR's answer into ours.
pub(super) fn pass_on(
    gateway: &Gateway,
    answer: Response<Incoming>,
    is_binary: bool,
) -> Result<Response<Body>, FhirError> {
    let adapter = &gateway.data_adapter;
    let (head, body) = answer.into_parts();
    let status = head.status;
    let moved = MovedBase {
        from: adapter.fhir_base.without_slash(),
        from_path: adapter.fhir_base.path_without_slash(),
        to: &gateway.fhir_base,
    };
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(media_type::essence);
    let is_json = content_type.as_deref().is_some_and(media_type::is_json);
    let is_empty = body.is_end_stream();
    let is_usable = is_json || is_empty || (is_binary && status.is_success());
    if !is_usable {
        return Err(if status.is_success() {
            FhirError::NotFhir(status.as_u16())
        } else {
            let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            FhirError::Failed { status: status.as_u16(), retry_after }
        });
    }
    let watched = Watched::new(body, None, adapter.timeouts.idle);
    let body = if is_empty {
        body::full(Bytes::new())
    } else if is_json {
        Rewritten::new(watched, Rewriter::new(moved.from, moved.to)).boxed_unsync()
    } else {
        watched.boxed_unsync()
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers::of_response(&head.headers, Some(&moved));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !is_json {
        // A Binary may be a web page; it must not run as one of the gateway's own.
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    }
    Ok(response)
}
