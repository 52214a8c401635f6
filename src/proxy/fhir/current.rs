//! Before a change within narrowed scopes: the resource as it stands must be within them, and the change is bound to that
//! very version.

use bytes::Bytes;
use http::header::{ACCEPT, ETAG, IF_MATCH};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::error::FhirError;
use super::{EhrCall, target};
use crate::protocol::fhir::answer::Unjudgeable;
use crate::protocol::fhir::{Condition, json};
use crate::proxy::Proxy;
use crate::proxy::body;
use crate::proxy::forward::{Draft, Outgoing};

/// Longer resources cannot be judged.
const LONGEST_RESOURCE: usize = 8 * 1024 * 1024;

impl Proxy {
    /// Reads the resource at a path and judges it. Returns its version as `If-Match` names it, where the EHR tells one.
    /// None there, or one beyond the scopes, is the same refusal; so nothing is created under an ID of the client's.
    pub(super) async fn current_version(
        &self,
        call: &EhrCall<'_>,
        rest: &str,
        condition: &Condition,
        sent: &HeaderMap,
    ) -> Result<Option<HeaderValue>, FhirError> {
        let adapter = &call.gateway.data_adapter;
        let mut headers = HeaderMap::new();
        if let Some(accept) = sent.get(ACCEPT) {
            headers.insert(ACCEPT, accept.clone());
        }
        let draft = Draft {
            method: Method::GET,
            target: target(adapter.fhir_base.without_slash(), rest, None),
            headers,
            body: Outgoing::Whole(Bytes::new()),
        };
        let (head, incoming) = self.call(call, draft).await?.into_parts();
        if matches!(head.status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Err(FhirError::NotWithinScope);
        }
        if head.status != StatusCode::OK {
            return Err(super::answer::unusable(&head));
        }
        let incoming = incoming.map_err(Into::into).boxed_unsync();
        let whole = body::read(incoming, LONGEST_RESOURCE, adapter.timeouts.idle)
            .await
            .map_err(|_| FhirError::AnswerUnjudged("it is too long, or broke off"))?;
        let value = json::parse(&whole).map_err(Unjudgeable::from)?;
        if !condition.admits(&value, &[adapter.fhir_base.without_slash(), &call.gateway.fhir_base]) {
            return Err(FhirError::NotWithinScope);
        }
        let version = value.pointer("/meta/versionId").and_then(Value::as_str);
        let by_version = version.and_then(|version| HeaderValue::from_str(&format!("W/\"{version}\"")).ok());
        Ok(head.headers.get(ETAG).cloned().or(by_version))
    }
}

/// Binds a change to the version that was judged. Who asks for another one is told now: it was not judged.
pub(super) fn hold_to_version(sent: &mut HeaderMap, judged: Option<HeaderValue>) -> Result<(), FhirError> {
    let Some(judged) = judged else { return Ok(()) };
    if sent.get(IF_MATCH).is_some_and(|asked| *asked != judged) {
        return Err(FhirError::VersionConflict);
    }
    sent.insert(IF_MATCH, judged);
    Ok(())
}
