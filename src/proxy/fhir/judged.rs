//! Answers that must be judged before any of them is passed on: the token's scopes reach only part of what the EHR has.
//!
//! A read that leads beyond the scopes is answered as one that leads to nothing: the same status, the same words.

use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;

use super::answer::unusable;
use super::error::FhirError;
use crate::protocol::fhir::{Condition, Interaction, json};
use crate::protocol::media_type;
use crate::proxy::body::{self, Body};
use crate::proxy::forward::EhrBody;
use crate::snapshot::Gateway;

/// Longer answers cannot be judged: a page of a search is shorter.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;

/// Judges an answer.
pub(super) async fn judge(
    gateway: &Gateway,
    answer: Response<EhrBody>,
    condition: &Condition,
    interaction: &Interaction<'_>,
) -> Result<Response<Body>, FhirError> {
    let is_of_one = is_of_one(interaction);
    let (head, incoming) = answer.into_parts();
    if is_of_one && matches!(head.status, StatusCode::NOT_FOUND | StatusCode::GONE) {
        return Err(FhirError::NotWithinScope);
    }
    let incoming = incoming.map_err(Into::into).boxed_unsync();
    if !head.status.is_success() {
        return Ok(Response::from_parts(head, incoming));
    }
    let adapter = &gateway.data_adapter;
    let whole = body::read(incoming, LONGEST_ANSWER, adapter.timeouts.idle).await.map_err(|error| match error {
        body::BodyError::TooLarge => FhirError::AnswerUnjudged("it is too long; ask for smaller pages with _count"),
        body::BodyError::Stalled | body::BodyError::Broken => FhirError::AnswerUnjudged("it broke off"),
    })?;
    let beyond = || if is_of_one { FhirError::NotWithinScope } else { FhirError::AnswerBeyondScope };
    if whole.is_empty() {
        // A change may be answered with nothing; a read that shows nothing shows nothing that could be judged.
        return if interaction.is_safe() { Err(beyond()) } else { Ok(Response::from_parts(head, body::full(whole))) };
    }
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(media_type::essence);
    if !content_type.as_deref().is_some_and(media_type::is_json) {
        return Err(if is_of_one { FhirError::NotWithinScope } else { unusable(&head) });
    }
    let value = json::parse(&whole).map_err(|_| FhirError::AnswerUnjudged("it is no JSON that has one reading"))?;
    if condition.admits_answer(&value, &[adapter.fhir_base.without_slash(), &gateway.fhir_base]) {
        Ok(Response::from_parts(head, body::full(whole)))
    } else {
        Err(beyond())
    }
}

/// Whether the request names one resource by its ID, so that its answer would tell whether it exists.
const fn is_of_one(interaction: &Interaction<'_>) -> bool {
    match interaction {
        Interaction::Read(_)
        | Interaction::VersionRead(_)
        | Interaction::HistoryInstance(_)
        | Interaction::Update(_)
        | Interaction::Patch(_)
        | Interaction::Delete(_) => true,
        Interaction::Capabilities
        | Interaction::HistoryType(_)
        | Interaction::HistorySystem
        | Interaction::SearchType(_)
        | Interaction::SearchTypeByPost(_)
        | Interaction::SearchSystem
        | Interaction::SearchSystemByPost
        | Interaction::SearchCompartment(_)
        | Interaction::Create(_)
        | Interaction::ConditionalCreate(_)
        | Interaction::ConditionalUpdate(_)
        | Interaction::ConditionalPatch(_)
        | Interaction::ConditionalDelete(_)
        | Interaction::Batch
        | Interaction::Operation { .. } => false,
    }
}
