//! Answers that must be judged before any of them is passed on: the token's scopes reach only part of what the EHR has.
//!
//! A read that leads beyond the scopes is answered as one that leads to nothing: the same status, the same words; within
//! a batch too.

use http::header::CONTENT_TYPE;
use http::response::Parts as Answered;
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;

use super::EhrCall;
use super::answer::unusable;
use super::error::FhirError;
use crate::protocol::fhir::answer::{Instead, Unjudgeable, Verdict, judge_batch};
use crate::protocol::fhir::{Interaction, Permit};
use crate::protocol::media_type;
use crate::proxy::body::{self, Body, BodyError, HoldError};
use crate::proxy::forward::EhrBody;
use crate::proxy::operation_outcome;
use crate::proxy::room::Room;

/// Longer answers cannot be judged: a page of a search is shorter.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;

/// Judges an answer by what the permit asks of it.
pub(super) async fn judge(
    call: &EhrCall<'_>,
    answer: Response<EhrBody>,
    permit: &Permit,
    interaction: &Interaction<'_>,
    room: &Room,
) -> Result<Response<Body>, FhirError> {
    let names_one = interaction.names_one();
    let (mut head, incoming) = answer.into_parts();
    if names_one && matches!(head.status, StatusCode::NOT_FOUND | StatusCode::GONE) {
        return Err(FhirError::NotWithinScope);
    }
    let incoming = incoming.map_err(Into::into).boxed_unsync();
    if !head.status.is_success() {
        return Ok(Response::from_parts(head, incoming));
    }
    let adapter = &call.gateway.data_adapter;
    let read = body::read_held(incoming, LONGEST_ANSWER, adapter.timeouts.idle, room);
    let whole = read.await.map_err(|error| match error {
        HoldError::Body(BodyError::TooLarge) => {
            FhirError::AnswerUnjudged("it is too long; ask for smaller pages with _count")
        }
        HoldError::Body(BodyError::Stalled | BodyError::Broken) => FhirError::AnswerUnjudged("it broke off"),
        HoldError::NoRoom => FhirError::NoRoom,
    })?;
    let beyond = || if names_one { FhirError::NotWithinScope } else { FhirError::AnswerBeyondScope };
    if whole.as_ref().is_empty() {
        // A change may be answered with nothing; a read that shows nothing shows nothing that could be judged.
        let is_fine = !interaction.is_safe();
        return if is_fine { Ok(Response::from_parts(head, body::full(whole.into_bytes()))) } else { Err(beyond()) };
    }
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(media_type::essence);
    if !content_type.as_deref().is_some_and(media_type::is_json) {
        return Err(if names_one { FhirError::NotWithinScope } else { unusable(&head) });
    }
    let bases = [adapter.fhir_base.without_slash(), call.gateway.fhir_base.as_str()];
    let verdict = match &permit.answer {
        Some(condition) => condition.judge(whole.as_ref(), &bases),
        None => judge_entries(call, permit, whole.as_ref(), &bases),
    };
    match verdict? {
        Verdict::Whole => Ok(Response::from_parts(head, body::full(whole.into_bytes()))),
        Verdict::Part(part) => {
            tell_no_version(&mut head);
            Ok(Response::from_parts(head, body::full(whole.replaced(part))))
        }
        Verdict::Beyond => Err(beyond()),
    }
}

fn judge_entries(call: &EhrCall<'_>, permit: &Permit, answer: &[u8], bases: &[&str]) -> Result<Verdict, Unjudgeable> {
    let [absent, beyond] = [FhirError::NotWithinScope, FhirError::AnswerBeyondScope].map(|error| {
        let refusal = error.refusal(call.gateway);
        let outcome = operation_outcome::of(&refusal, call.request_id);
        json!({"response": {"status": refusal.status.to_string(), "outcome": outcome}}).to_string()
    });
    judge_batch(&permit.entries, answer, Instead { absent: &absent, beyond: &beyond }, bases)
}

/// What was cut is another text than the EHR's version of it, and has another length.
fn tell_no_version(head: &mut Answered) {
    use http::header::{CONTENT_LENGTH, ETAG, LAST_MODIFIED};
    for name in [CONTENT_LENGTH, ETAG, LAST_MODIFIED] {
        head.headers.remove(name);
    }
}
