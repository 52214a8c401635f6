//! `B/fhir/…`: the token judged, the interaction understood and permitted, then the EHR called and its answer passed on
//! as it streams.

mod answer;
mod current;
mod error;
mod judged;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, IF_MODIFIED_SINCE, IF_NONE_MATCH};
use http::request::Parts as Head;
use http::{HeaderMap, HeaderValue, Method, Response};
use jiff::Timestamp;

pub(super) use answer::pass_on;
pub(super) use error::FhirError;

use super::Proxy;
use super::body::{self, Body};
use super::forward::{Credentials, Draft, Outgoing};
use super::headers::{self, IF_NONE_EXIST};
use super::record::Record;
use super::request_id::RequestId;
use crate::outbound::{EPIC_CLIENT_ID, epic_client_id};
use crate::protocol::fhir::constrain;
use crate::protocol::fhir::{self, Access, Interaction, Parts};
use crate::protocol::jwt::Bearer;
use crate::protocol::{form, media_type};
use crate::snapshot::{Gateway, Snapshot};

/// The form of a search is read whole before anything is decided.
const LONGEST_FORM: usize = 256 * 1024;
/// Batches, and bodies that scopes with limits must be held to, are read whole before the EHR is called.
const LONGEST_JUDGED_BODY: usize = 8 * 1024 * 1024;
/// FHIR's media type, asked for by name: Epic answers in XML otherwise.
pub(super) const FHIR_JSON: &str = "application/fhir+json";

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

        let access = Access {
            scopes: &bearer.scopes,
            patient: bearer.session.as_ref().and_then(|session| session.patient.as_deref()),
        };
        let decide = |body: Option<&[u8]>| fhir::decide(&access, &gateway.operations, &interaction, &parts, body);
        let bases = [gateway.data_adapter.fhir_base.without_slash(), gateway.fhir_base.as_str()];
        let read = |body, limit| async move {
            body::read(body, limit, self.limits.request_idle).await.map_err(FhirError::Body)
        };
        let mut query = query.map(std::borrow::Cow::Borrowed);
        let (permit, outgoing) = if interaction.has_form() {
            let form = read(body, LONGEST_FORM).await?;
            let text = std::str::from_utf8(&form).map_err(|_| FhirError::Form)?;
            let permit = decide(Some(&form))?;
            // Without the client's parameters: a charset would have the EHR read other names than were judged.
            sent.insert(CONTENT_TYPE, HeaderValue::from_static(form::MEDIA_TYPE));
            if permit.answer.is_none() {
                (permit, Outgoing::Whole(form))
            } else {
                let (for_query, for_form) = constrain::search_by_post(query.as_deref(), text, &permit.held_to)?;
                query = Some(for_query.into());
                (permit, Outgoing::Whole(for_form.into()))
            }
        } else if interaction == Interaction::Batch {
            let whole = read(body, LONGEST_JUDGED_BODY).await?;
            (decide(Some(&whole))?, Outgoing::Whole(whole))
        } else {
            let permit = decide(None)?;
            query = constrain::append(head.uri.query(), &permit.constraints);
            let outgoing = if permit.judges_body() {
                let whole = read(body, LONGEST_JUDGED_BODY).await?;
                permit.check_body(&whole, &bases)?;
                Outgoing::Whole(whole)
            } else {
                self.outgoing(body).await.map_err(FhirError::Body)?
            };
            (permit, outgoing)
        };
        if matches!(interaction, Interaction::ConditionalCreate(_)) {
            let criteria = constrain::append(if_none_exist.as_deref(), &permit.if_none_exist);
            let criteria = criteria.and_then(|criteria| HeaderValue::from_str(&criteria).ok());
            sent.insert(IF_NONE_EXIST, criteria.ok_or(fhir::Denial::Query)?);
        } else {
            sent.remove(IF_NONE_EXIST);
        }
        if matches!(&outgoing, Outgoing::Whole(body) if body.is_empty()) {
            sent.remove(CONTENT_TYPE);
        }
        sent.insert(ACCEPT, accept);

        let call = EhrCall { gateway, bearer: &bearer, request_id };
        if let Some(condition) = &permit.current {
            let if_match = self.current_version(&call, rest, condition, &sent).await?;
            current::hold_to_version(&mut sent, if_match)?;
        }
        let mut method = head.method.clone();
        if permit.answer.is_some() {
            // A body is what can be judged: there is none to HEAD, and none to what the client has already.
            sent.remove(IF_NONE_MATCH);
            sent.remove(IF_MODIFIED_SINCE);
            if method == Method::HEAD {
                method = Method::GET;
            }
        }
        let draft = Draft {
            method,
            target: target(gateway.data_adapter.fhir_base.without_slash(), rest, query.as_deref()),
            headers: sent,
            body: outgoing,
        };
        let answer = self.call(&call, draft).await?;
        let is_binary = interaction == Interaction::Read("Binary");
        match &permit.answer {
            None => pass_on(gateway, answer, is_binary),
            Some(condition) => {
                let answer = judged::judge(gateway, answer, condition, &interaction).await?;
                let mut answer = pass_on(gateway, answer, false)?;
                if head.method == Method::HEAD {
                    *answer.body_mut() = body::full(Bytes::new());
                }
                Ok(answer)
            }
        }
    }

    /// Calls the EHR with the activation's credentials.
    async fn call(&self, call: &EhrCall<'_>, mut draft: Draft) -> Result<Response<hyper::body::Incoming>, FhirError> {
        let adapter = &call.gateway.data_adapter;
        let activation = &call.bearer.activation;
        if let Some(client_id) = epic_client_id(adapter, activation.ehr_authentication.client_id()) {
            draft.headers.insert(EPIC_CLIENT_ID, client_id);
        }
        let credentials = match &call.bearer.session {
            Some(session) => Credentials::Session(activation, session),
            None => Credentials::Activation(activation),
        };
        Ok(self.forward(adapter, &credentials, draft, call.request_id).await?)
    }
}

/// For whom the EHR is called.
struct EhrCall<'request> {
    gateway: &'request Arc<Gateway>,
    bearer: &'request Bearer,
    request_id: &'request RequestId,
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
