//! Bulk Data (HL7 Bulk Data Access 2.0): the start of an export, its state, its manifest and its files, through the
//! gateway. Nothing is kept about jobs: their URLs are sealed in ours, for the client that started them.

use http::header::{CACHE_CONTROL, CONTENT_LOCATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Map, Value};

use super::answer::{pass_on, unusable};
use super::error::FhirError;
use super::links::{Leads, Links};
use crate::protocol::fhir::Access;
use crate::protocol::fhir::access::Reach;
use crate::protocol::media_type;
use crate::proxy::body::{self, Body, Watched};
use crate::proxy::forward::EhrBody;
use crate::proxy::headers;
use crate::proxy::rewrite::{Rewriter, Rewritten};
use crate::snapshot::Gateway;
use crate::values::scope::Permissions;

/// The media type of files.
pub(super) const NDJSON: &str = "application/fhir+ndjson";
/// A manifest names files, thousands at most.
const LONGEST_MANIFEST: usize = 16 * 1024 * 1024;
const X_CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");

fn answer(status: StatusCode, headers: HeaderMap, content: Body) -> Response<Body> {
    let mut answer = Response::new(content);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// 202: the export has begun.
pub(super) fn accepted(told: &HeaderMap, links: &Links) -> Response<Body> {
    let mut headers = headers::of_response(told, None);
    headers.remove(CONTENT_TYPE);
    let place = told.get(CONTENT_LOCATION).and_then(|value| value.to_str().ok());
    let place = links.seal(Leads::Status, place.unwrap_or_default());
    if let Ok(place) = HeaderValue::from_str(&place) {
        headers.insert(CONTENT_LOCATION, place);
    }
    answer(StatusCode::ACCEPTED, headers, body::full(""))
}

/// What became of the wish to end an export.
pub(super) fn deleted(told: StatusCode) -> Response<Body> {
    let status = match told {
        StatusCode::NOT_FOUND | StatusCode::GONE => StatusCode::NOT_FOUND,
        status if status.is_success() => StatusCode::ACCEPTED,
        _ => StatusCode::BAD_GATEWAY,
    };
    answer(status, HeaderMap::new(), body::full(""))
}

/// The state of an export: still running, or its manifest.
pub(super) async fn status(
    gateway: &Gateway,
    told: Response<EhrBody>,
    access: &Access<'_>,
    links: &Links,
) -> Result<Response<Body>, FhirError> {
    if told.status() == StatusCode::ACCEPTED {
        let mut headers = headers::of_response(told.headers(), None);
        headers.remove(CONTENT_TYPE);
        return Ok(answer(StatusCode::ACCEPTED, headers, body::full("")));
    }
    if told.status() != StatusCode::OK {
        return pass_on(gateway, told, false, None);
    }
    let (head, incoming) = told.into_parts();
    let incoming = incoming.map_err(Into::into).boxed_unsync();
    let whole = body::read(incoming, LONGEST_MANIFEST, gateway.data_adapter.timeouts.idle)
        .await
        .map_err(|_| FhirError::AnswerUnjudged("the manifest is too long, or broke off"))?;
    let mut manifest: Value = serde_json::from_slice(&whole).map_err(|_| unusable(&head))?;
    rewrite_manifest(&mut manifest, access, links);
    let mut headers = headers::of_response(&head.headers, None);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(answer(StatusCode::OK, headers, body::full(manifest.to_string())))
}

/// The lists of a manifest that name files (`outcome`: Bulk Data 4).
const FILES: [&str; 4] = ["output", "error", "deleted", "outcome"];

/// Files of types that the token does not reach are left out; every other URL becomes a link of ours, which needs our
/// token whatever the file needs at the EHR.
///
/// One case is the EHR's alone: all files lie elsewhere, and their URLs are all that it takes (`requiresAccessToken` is
/// `false`, as with a cloud's signed URLs). Their clients fetch them there, without any token, so the URLs stay to the
/// letter: a signature holds for no other. Where only some files do, they are refused with a link that leads nowhere: the
/// flag is the whole manifest's, and with `true` a client would carry our token to a foreign host.
fn rewrite_manifest(manifest: &mut Value, access: &Access<'_>, links: &Links) {
    let Some(members) = manifest.as_object_mut() else { return };
    if let Some(Value::Array(files)) = members.get_mut("output") {
        files.retain(|file| may_have(access, file.get("type").and_then(Value::as_str)));
    }
    let needs_token = members.get("requiresAccessToken").and_then(Value::as_bool).unwrap_or(true);
    let stay = !needs_token && lie_elsewhere(members, links);
    let leads = if needs_token { Leads::File } else { Leads::OpenFile };
    for (name, member) in members.iter_mut() {
        match (name.as_str(), member) {
            (name, Value::Array(files)) if FILES.contains(&name) && !stay => {
                for file in files.iter_mut() {
                    rewrite_url(file, |url| links.seal(leads, url));
                }
            }
            ("link", Value::Array(pages)) => {
                for page in pages.iter_mut() {
                    rewrite_url(page, |url| links.seal(Leads::Status, url));
                }
            }
            ("request", Value::String(request)) => *request = links.moved(request),
            _ => {}
        }
    }
    members.insert("requiresAccessToken".into(), (!stay).into());
}

/// Whether there are files, and all of them on other hosts than the EHR's, over TLS: whoever sees the URL has the file.
fn lie_elsewhere(members: &Map<String, Value>, links: &Links) -> bool {
    let lists = FILES.iter().filter_map(|name| members.get(*name)?.as_array());
    let mut urls = lists.flatten().map(|file| file.get("url").and_then(Value::as_str)).peekable();
    urls.peek().is_some()
        && urls.all(|url| url.is_some_and(|url| url.starts_with("https://") && links.at_the_ehr(url).is_none()))
}

fn rewrite_url(entry: &mut Value, seal: impl Fn(&str) -> String) {
    if let Some(Value::String(url)) = entry.get_mut("url") {
        *url = seal(url);
    }
}

fn may_have(access: &Access<'_>, resource_type: Option<&str>) -> bool {
    let reaches = |permission| access.reach(resource_type, permission) == Ok(Reach::Everything);
    resource_type == Some("OperationOutcome") || (reaches(Permissions::READ) && reaches(Permissions::SEARCH))
}

/// A file, line by line of FHIR JSON, rewritten as it streams.
pub(super) fn file(gateway: &Gateway, told: Response<EhrBody>) -> Result<Response<Body>, FhirError> {
    let (head, incoming) = told.into_parts();
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(media_type::essence);
    let is_lines = matches!(
        content_type.as_deref(),
        Some(
            "application/fhir+ndjson"
                | "application/ndjson"
                | "application/x-ndjson"
                | "ndjson"
                | "text/plain"
                | "application/octet-stream"
                | "binary/octet-stream"
        )
    );
    if head.status != StatusCode::OK || !(is_lines || content_type.as_deref().is_some_and(media_type::is_json)) {
        return Err(unusable(&head));
    }
    let adapter = &gateway.data_adapter;
    let rewriter = Rewriter::new(adapter.fhir_base.without_slash(), &gateway.fhir_base);
    let content = Rewritten::new(Watched::new(incoming, None, adapter.timeouts.idle), rewriter).boxed_unsync();
    let mut headers = headers::of_response(&head.headers, None);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(answer(StatusCode::OK, headers, content))
}
