//! `B/fhir/…`: the token judged, the interaction understood and permitted, then the EHR called and its answer passed on
//! as it streams.

mod answer;
mod bulk;
mod current;
mod error;
mod follow;
mod judged;
mod links;

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, IF_MODIFIED_SINCE, IF_NONE_MATCH};
use http::request::Parts as Head;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use jiff::Timestamp;

pub(super) use answer::pass_on;
pub(super) use error::FhirError;

use super::Proxy;
use super::body::{self, Body};
use super::forward::{Credentials, Draft, EhrBody, Outgoing};
use super::headers::{self, IF_NONE_EXIST};
use super::record::Record;
use super::request_id::RequestId;
use super::rewrite::{Pages, Rewriter, Rewritten, Unrewritable, rewritten};
use super::room::Held;
use crate::outbound::{EPIC_CLIENT_ID, epic_client_id};
use crate::protocol::fhir::{self, Access, Interaction, Parts, Permit};
use crate::protocol::fhir::{constrain, moved_back};
use crate::protocol::jwt::Bearer;
use crate::protocol::{form, media_type};
use crate::snapshot::{Gateway, Snapshot};
use crate::values::base_url::BaseUrl;
use links::{Asked, Links};

/// The form of a search is read whole before anything is decided.
const LONGEST_FORM: usize = 256 * 1024;
/// Batches, and bodies that scopes with limits must be held to, are read whole before the EHR is called.
const LONGEST_JUDGED_BODY: usize = 8 * 1024 * 1024;
/// Bodies of these lengths are held while they are rewritten, so that their length is known before they are sent. Shorter
/// ones are in any case; longer ones go on in chunks.
const HELD_TO_REWRITE: RangeInclusive<u64> = 64 * 1024..=1024 * 1024;
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
        if headers::is_compressed(&head.headers)? {
            return Err(FhirError::Compressed);
        }
        let accept = accept(&head.headers, interaction == Interaction::Read("Binary"))?;

        let Allowed { permit, outgoing, query, form, entries } =
            self.hold(&request, &access(&bearer), (&parts, &interaction), body, &mut sent).await?;
        hold_if_none_exist(&mut sent, gateway, &interaction, if_none_exist.as_deref(), &permit)?;
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
        let query = query.as_deref().map(|query| asked_there(gateway, query));
        let draft = Draft {
            method,
            target: target(gateway.data_adapter.fhir_base.without_slash(), rest, query.as_deref()),
            headers: sent,
            body: outgoing,
        };
        let answer = self.call(&call, draft).await?;
        let links = (is_export || follow::has_pages(&interaction)).then(|| {
            let links = Links::new(gateway, &bearer, Asked::new(&parts, form.as_deref()), now);
            match entries {
                Some(entries) => links.of_batch(entries),
                None => links,
            }
        });
        if is_export && let Some(started) = links.as_ref().and_then(|links| follow::kicked_off(&answer, links)) {
            return Ok(started);
        }
        let mut answer = self.finish(&call, answer, (&permit, &interaction), links).await?;
        if head.method == Method::HEAD && permit.answer.is_some() {
            *answer.body_mut() = body::full(Bytes::new());
        }
        Ok(answer)
    }

    /// Decides on a request, and holds its query and body to the permit.
    async fn hold<'request>(
        &self,
        request: &FhirRequest<'request>,
        access: &Access<'_>,
        (parts, interaction): (&Parts<'request>, &Interaction<'_>),
        body: Body,
        sent: &mut HeaderMap,
    ) -> Result<Allowed<'request>, FhirError> {
        let gateway = request.gateway;
        let decide = |body: Option<&[u8]>| fhir::decide(access, &gateway.operations, interaction, parts, body);
        let read = |body, limit| async move {
            body::read_held(body, limit, self.limits.request_idle, &self.room).await.map_err(FhirError::from)
        };
        let query = parts.query.map(Cow::Borrowed);
        if interaction.has_form() {
            let form = read(body, LONGEST_FORM).await?;
            let text = std::str::from_utf8(form.as_ref()).map_err(|_| FhirError::Form)?;
            let asked_form = Some(text.to_owned());
            let permit = decide(Some(form.as_ref()))?;
            // Without the client's parameters: a charset would have the EHR read other names than were judged.
            sent.insert(CONTENT_TYPE, HeaderValue::from_static(form::MEDIA_TYPE));
            if permit.answer.is_none() {
                let outgoing = Outgoing::Whole(match asked_there(gateway, text) {
                    Cow::Owned(moved) => form.replaced(moved),
                    Cow::Borrowed(_) => form.into_bytes(),
                });
                return Ok(Allowed { permit, outgoing, query, form: asked_form, entries: None });
            }
            let (for_query, for_form) = constrain::search_by_post(query.as_deref(), text, &permit.held_to)?;
            let outgoing = Outgoing::Whole(form.replaced(asked_there(gateway, &for_form).into_owned()));
            return Ok(Allowed { permit, outgoing, query: Some(for_query.into()), form: asked_form, entries: None });
        }
        if *interaction == Interaction::Batch {
            let whole = read(body, LONGEST_JUDGED_BODY).await?;
            let permit = decide(Some(whole.as_ref()))?;
            let entries = Some(Asked::of_entries(whole.as_ref()));
            return Ok(Allowed { permit, outgoing: moved_back_whole(gateway, whole)?, query, form: None, entries });
        }
        let permit = decide(None)?;
        let query = constrain::append(parts.query, &permit.constraints);
        let essence = parts.content_type.map(media_type::essence);
        // A Binary may be any JSON that is no FHIR.
        let is_fhir =
            essence.as_deref().is_some_and(media_type::is_json) && interaction.resource_type() != Some("Binary");
        let is_patch = essence.as_deref() == Some(media_type::JSON_PATCH);
        let outgoing = if permit.judges_body() {
            let whole = read(body, LONGEST_JUDGED_BODY).await?;
            permit.check_body(whole.as_ref(), &[gateway.data_adapter.fhir_base.without_slash(), &gateway.fhir_base])?;
            match (is_fhir, is_patch) {
                (true, _) => moved_back_whole(gateway, whole)?,
                (false, true) => patch_moved_back(gateway, whole)?,
                (false, false) => Outgoing::Whole(whole.into_bytes()),
            }
        } else if is_patch {
            patch_moved_back(gateway, read(body, LONGEST_JUDGED_BODY).await?)?
        } else if is_fhir && body.size_hint().exact().is_some_and(|length| HELD_TO_REWRITE.contains(&length)) {
            moved_back_whole(gateway, read(body, LONGEST_JUDGED_BODY).await?)?
        } else {
            let outgoing = self.outgoing(body).await.map_err(FhirError::Body)?;
            if is_fhir { body_moved_back(gateway, outgoing)? } else { outgoing }
        };
        Ok(Allowed { permit, outgoing, query, form: None, entries: None })
    }

    /// Judges an answer where the permit asks for it, and makes it ours.
    async fn finish(
        &self,
        call: &EhrCall<'_>,
        answer: Response<EhrBody>,
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
    async fn call(&self, call: &EhrCall<'_>, mut draft: Draft) -> Result<Response<EhrBody>, FhirError> {
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

/// A request as it may go on.
struct Allowed<'request> {
    permit: Permit,
    outgoing: Outgoing,
    query: Option<Cow<'request, str>>,
    /// That of a search by POST as the client sent it, to be remembered in links.
    form: Option<String>,
    /// What the entries of a batch asked for.
    entries: Option<Vec<Option<Asked>>>,
}

/// What a token gives.
fn access(bearer: &Bearer) -> Access<'_> {
    Access { scopes: &bearer.scopes, patient: bearer.session.as_ref().and_then(|session| session.patient.as_deref()) }
}

/// Turns the gateway's own places in a FHIR body back into the EHR's: clients write back what they read. Judged was the
/// body as it came; there both bases mean the same.
fn body_moved_back(gateway: &Gateway, outgoing: Outgoing) -> Result<Outgoing, FhirError> {
    Ok(match outgoing {
        Outgoing::Whole(whole) => {
            let moved = rewritten(&whole, back(gateway)).map_err(no_json)?;
            Outgoing::Whole(moved.map_or(whole, Bytes::from))
        }
        Outgoing::Stream(body, ending) => Outgoing::Stream(Rewritten::new(body, back(gateway)).boxed_unsync(), ending),
    })
}

/// The same, of a body that is held.
fn moved_back_whole(gateway: &Gateway, whole: Held) -> Result<Outgoing, FhirError> {
    let moved = rewritten(whole.as_ref(), back(gateway)).map_err(no_json)?;
    Ok(Outgoing::Whole(match moved {
        Some(moved) => whole.replaced(moved),
        None => whole.into_bytes(),
    }))
}

/// The same, of a JSON Patch: its places stand in elements, or are themselves the values of its operations.
fn patch_moved_back(gateway: &Gateway, whole: Held) -> Result<Outgoing, FhirError> {
    let to = gateway.data_adapter.fhir_base.without_slash();
    let text = std::str::from_utf8(whole.as_ref()).ok();
    let moved = text.and_then(|patch| moved_back::json_patch(patch, BaseUrl::new(&gateway.fhir_base), to));
    moved_back_whole(gateway, whole.or_replaced(moved))
}

/// A query or form, asking for our places where the EHR knows them.
fn asked_there<'text>(gateway: &Gateway, text: &'text str) -> Cow<'text, str> {
    let to = gateway.data_adapter.fhir_base.without_slash();
    moved_back::parameters(text, BaseUrl::new(&gateway.fhir_base), to)
}

fn back(gateway: &Gateway) -> Rewriter {
    Rewriter::new(&gateway.fhir_base, gateway.data_adapter.fhir_base.without_slash())
}

fn no_json(error: Unrewritable) -> FhirError {
    fhir::Denial::Json(error.to_string()).into()
}

/// `If-None-Exist` goes with a create only, and is held to what the scopes reach.
fn hold_if_none_exist(
    sent: &mut HeaderMap,
    gateway: &Gateway,
    interaction: &Interaction<'_>,
    given: Option<&str>,
    permit: &Permit,
) -> Result<(), FhirError> {
    sent.remove(IF_NONE_EXIST);
    if matches!(interaction, Interaction::ConditionalCreate(_)) {
        let criteria = constrain::append(given, &permit.if_none_exist);
        let criteria = criteria.and_then(|criteria| HeaderValue::from_str(&asked_there(gateway, &criteria)).ok());
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
