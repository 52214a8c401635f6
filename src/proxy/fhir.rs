//! `B/fhir/…`: the token judged, the interaction understood and permitted, then the EHR called and its answer passed on
//! as it streams.

mod answer;
mod bulk;
mod current;
mod error;
mod follow;
mod judged;
mod links;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, IF_MODIFIED_SINCE, IF_NONE_MATCH};
use http::request::Parts as Head;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use hyper::body::Incoming;
use jiff::Timestamp;

pub(super) use answer::pass_on;
pub(super) use error::FhirError;

use super::Proxy;
use super::body::{self, Body};
use super::forward::{Credentials, Draft, Outgoing};
use super::headers::{self, IF_NONE_EXIST};
use super::record::Record;
use super::request_id::RequestId;
use super::rewrite::Pages;
use crate::outbound::{EPIC_CLIENT_ID, epic_client_id};
use crate::protocol::fhir::constrain;
use crate::protocol::fhir::{self, Access, Interaction, Parts, Permit};
use crate::protocol::jwt::Bearer;
use crate::protocol::{form, media_type};
use crate::snapshot::{Gateway, Snapshot};
use links::{Asked, Links};

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

        let call = EhrCall { gateway, bearer: &bearer, request_id };
        if let Some(token) = rest.strip_prefix(links::PREFIX) {
            return self.follow(&request, &call, token, record).await;
        }

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

        let access = access(&bearer);
        let decide = |body: Option<&[u8]>| fhir::decide(&access, &gateway.operations, &interaction, &parts, body);
        let bases = [gateway.data_adapter.fhir_base.without_slash(), gateway.fhir_base.as_str()];
        let read = |body, limit| async move {
            body::read_held(body, limit, self.limits.request_idle, &self.room).await.map_err(FhirError::from)
        };
        let mut query = query.map(std::borrow::Cow::Borrowed);
        let mut asked_form = None;
        let (permit, outgoing) = if interaction.has_form() {
            let form = read(body, LONGEST_FORM).await?;
            let text = std::str::from_utf8(form.as_ref()).map_err(|_| FhirError::Form)?;
            asked_form = Some(text.to_owned());
            let permit = decide(Some(form.as_ref()))?;
            // Without the client's parameters: a charset would have the EHR read other names than were judged.
            sent.insert(CONTENT_TYPE, HeaderValue::from_static(form::MEDIA_TYPE));
            if permit.answer.is_none() {
                (permit, Outgoing::Whole(form.into_bytes()))
            } else {
                let (for_query, for_form) = constrain::search_by_post(query.as_deref(), text, &permit.held_to)?;
                query = Some(for_query.into());
                (permit, Outgoing::Whole(form.replaced(for_form)))
            }
        } else if interaction == Interaction::Batch {
            let whole = read(body, LONGEST_JUDGED_BODY).await?;
            (decide(Some(whole.as_ref()))?, Outgoing::Whole(whole.into_bytes()))
        } else {
            let permit = decide(None)?;
            query = constrain::append(head.uri.query(), &permit.constraints);
            let outgoing = if permit.judges_body() {
                let whole = read(body, LONGEST_JUDGED_BODY).await?;
                permit.check_body(whole.as_ref(), &bases)?;
                Outgoing::Whole(whole.into_bytes())
            } else {
                self.outgoing(body).await.map_err(FhirError::Body)?
            };
            (permit, outgoing)
        };
        hold_if_none_exist(&mut sent, &interaction, if_none_exist.as_deref(), &permit)?;
        if matches!(&outgoing, Outgoing::Whole(body) if body.is_empty()) {
            sent.remove(CONTENT_TYPE);
        }
        sent.insert(ACCEPT, accept);

        let is_export = interaction.is_export();
        hold_to_time(&mut sent, is_export);
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
        let links = (is_export || follow::has_pages(&interaction))
            .then(|| Links::new(gateway, &bearer, Asked::new(&parts, asked_form.as_deref()), now));
        if is_export && let Some(started) = links.as_ref().and_then(|links| follow::kicked_off(&answer, links)) {
            return Ok(started);
        }
        let mut answer = self.finish(&call, answer, (&permit, &interaction), links).await?;
        if head.method == Method::HEAD && permit.answer.is_some() {
            *answer.body_mut() = body::full(Bytes::new());
        }
        Ok(answer)
    }

    /// Judges an answer where the permit asks for it, and makes it ours.
    async fn finish(
        &self,
        call: &EhrCall<'_>,
        answer: Response<Incoming>,
        (permit, interaction): (&Permit, &Interaction<'_>),
        links: Option<Links>,
    ) -> Result<Response<Body>, FhirError> {
        let pages = links.map(|links| -> Box<dyn Pages> { Box::new(links) });
        if permit.judges_answer() {
            let answer = judged::judge(call, answer, permit, interaction, &self.room).await?;
            return pass_on(call.gateway, answer, false, pages);
        }
        pass_on(call.gateway, answer, *interaction == Interaction::Read("Binary"), pages)
    }

    /// Calls the EHR with the activation's credentials.
    async fn call(&self, call: &EhrCall<'_>, mut draft: Draft) -> Result<Response<Incoming>, FhirError> {
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

/// What a token gives.
fn access(bearer: &Bearer) -> Access<'_> {
    Access { scopes: &bearer.scopes, patient: bearer.session.as_ref().and_then(|session| session.patient.as_deref()) }
}

/// `If-None-Exist` goes with a create only, and is held to what the scopes reach.
fn hold_if_none_exist(
    sent: &mut HeaderMap,
    interaction: &Interaction<'_>,
    given: Option<&str>,
    permit: &Permit,
) -> Result<(), FhirError> {
    sent.remove(IF_NONE_EXIST);
    if matches!(interaction, Interaction::ConditionalCreate(_)) {
        let criteria = constrain::append(given, &permit.if_none_exist);
        let criteria = criteria.and_then(|criteria| HeaderValue::from_str(&criteria).ok());
        sent.insert(IF_NONE_EXIST, criteria.ok_or(fhir::Denial::Query)?);
    }
    Ok(())
}

/// An export is asked for in no other way than `respond-async`; anything else is answered at once, since the place to
/// ask later would be the EHR's.
fn hold_to_time(sent: &mut HeaderMap, is_export: bool) {
    const PREFER: HeaderName = HeaderName::from_static("prefer");
    const LATER: &str = "respond-async";
    let given: Vec<&str> = sent.get_all(PREFER).iter().filter_map(|value| value.to_str().ok()).collect();
    let others = given.iter().flat_map(|value| value.split(',')).map(str::trim).filter(|preference| {
        !preference.is_empty() && !preference.get(..LATER.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(LATER))
    });
    let kept: Vec<&str> = others.chain(is_export.then_some(LATER)).collect();
    if kept.is_empty() {
        sent.remove(PREFER);
    } else if let Ok(value) = HeaderValue::from_str(&kept.join(", ")) {
        sent.insert(PREFER, value);
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
