//! Batches and transactions (FHIR R4 §3.1.0.11): each entry judged as if it came alone. One that may not pass, and none
//! of them reaches the EHR.

use std::collections::BTreeSet;

use http::Method;
use serde_json::Value;

use super::access::Access;
use super::answer::EntryLimit;
use super::permit::Permit;
use super::{Denial, Interaction, Parts, Unenforceable, conditional_reference, decide, json, understand};
use crate::protocol::path;

/// More entries than that are no honest batch.
const MOST_ENTRIES: usize = 10_000;

/// Decides on a whole Bundle.
///
/// Entries under narrowed scopes pass where nothing must be added to them and nothing be looked at first: searches that
/// carry their conditions themselves, creates, and, in a batch, reads. What comes back is judged entry by entry.
pub(super) fn decide_all(access: &Access<'_>, operations: &BTreeSet<String>, body: &[u8]) -> Result<Permit, Denial> {
    let bundle = json::parse(body).map_err(|oddity| Denial::Json(oddity.to_string()))?;
    let text = |name: &str| bundle.get(name).and_then(Value::as_str);
    if text("resourceType") != Some("Bundle") || !matches!(text("type"), Some("batch" | "transaction")) {
        return Err(Denial::NoBatch("is no Bundle of type batch or transaction"));
    }
    let entries = match bundle.get("entry") {
        None => return Ok(Permit::default()),
        Some(Value::Array(entries)) if entries.len() <= MOST_ENTRIES => entries,
        Some(Value::Array(_)) => return Err(Denial::NoBatch("has too many entries")),
        Some(_) => return Err(Denial::NoBatch("has entries that are no list")),
    };
    let is_transaction = text("type") == Some("transaction");
    let mut limits = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let judged = judge_entry(access, operations, entry, is_transaction).map_err(|denial| Denial::Entry {
            number: index + 1,
            request: name_of(entry),
            denial: Box::new(denial),
        })?;
        limits.push(judged);
    }
    let entries = if limits.iter().all(Option::is_none) { Vec::new() } else { limits };
    Ok(Permit { entries, ..Permit::default() })
}

/// `GET Patient/1`, without its query: that may name people.
fn name_of(entry: &Value) -> String {
    let text = |name: &str| entry.pointer(name).and_then(Value::as_str).unwrap_or("?");
    let url = text("/request/url").split('?').next().unwrap_or_default();
    format!("{} {url}", text("/request/method")).chars().take(200).collect()
}

fn judge_entry(
    access: &Access<'_>,
    operations: &BTreeSet<String>,
    entry: &Value,
    is_transaction: bool,
) -> Result<Option<EntryLimit>, Denial> {
    let request =
        entry.get("request").and_then(Value::as_object).ok_or(Denial::NoBatch("has an entry without a request"))?;
    let text = |name: &str| match request.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(Denial::NoBatch("has an entry whose request holds something that is no text")),
    };
    let method = text("method")?.ok_or(Denial::NoBatch("has an entry without a method"))?;
    let method = match method {
        "GET" => Method::GET,
        "HEAD" => Method::HEAD,
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "PATCH" => Method::PATCH,
        "DELETE" => Method::DELETE,
        _ => return Err(Denial::NotUnderstood),
    };
    let url = text("url")?.ok_or(Denial::NoBatch("has an entry without a URL"))?;
    let (relative, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    // An absolute URL, or one from the root, might lead the EHR elsewhere.
    let rest = format!("/{relative}");
    if relative.starts_with('/') || path::check(&rest).is_err() || url.contains('#') {
        return Err(Denial::NoBatch("has an entry whose URL is not relative to the FHIR base"));
    }
    let parts = Parts {
        method: &method,
        path: if relative.is_empty() { "" } else { &rest },
        query,
        content_type: Some("application/fhir+json"),
        if_none_exist: text("ifNoneExist")?,
    };
    text("ifMatch")?;
    let interaction = understand(&parts)?;
    if interaction.has_form() || interaction == Interaction::Batch {
        return Err(Denial::NoBatch("has an entry that is a search by POST, or a batch itself"));
    }
    let permit = decide_one(access, operations, &interaction, &parts)?;
    if let Some(resource) = entry.get("resource") {
        judge_resource(access, &interaction, &parts, resource)?;
        if permit.body.as_ref().is_some_and(|condition| !condition.admits(resource, &[])) {
            return Err(Denial::BodyBeyondScope);
        }
    } else if permit.body.is_some() {
        return Err(Denial::NoBatch("has an entry that writes, without a resource"));
    }
    let (names_one, is_safe) = (interaction.names_one(), interaction.is_safe());
    let limit = permit.answer.map(|condition| EntryLimit { condition, names_one, is_safe });
    let is_conditional = ["ifNoneMatch", "ifModifiedSince"].iter().any(|name| request.contains_key(*name));
    // One that is not there fails a whole transaction, and one that has not changed shows nothing to judge: either tells
    // whether there is one.
    if limit.is_some() && names_one && (is_transaction || is_conditional) {
        return Err(Denial::Unenforceable(Unenforceable::InBatch));
    }
    Ok(limit)
}

fn decide_one(
    access: &Access<'_>,
    operations: &BTreeSet<String>,
    interaction: &Interaction<'_>,
    parts: &Parts<'_>,
) -> Result<Permit, Denial> {
    let permit = decide(access, operations, interaction, parts, None)?;
    let needs_more = !permit.constraints.is_empty()
        || !permit.if_none_exist.is_empty()
        || permit.current.is_some()
        || !permit.unpatchable.is_empty();
    if needs_more { Err(Denial::Unenforceable(Unenforceable::InBatch)) } else { Ok(permit) }
}

/// What an entry writes must be what its URL says: a server that went by the resource would do something else than was
/// judged.
fn judge_resource(
    access: &Access<'_>,
    interaction: &Interaction<'_>,
    parts: &Parts<'_>,
    resource: &Value,
) -> Result<(), Denial> {
    let is_type = resource.get("resourceType").and_then(Value::as_str) == interaction.resource_type();
    let fits = match interaction {
        Interaction::Create(_) | Interaction::ConditionalCreate(_) | Interaction::ConditionalUpdate(_) => is_type,
        Interaction::Update(_) => is_type && resource.get("id").and_then(Value::as_str) == parts.id(),
        // The patch itself: a Binary or Parameters.
        Interaction::Patch(_) | Interaction::ConditionalPatch(_) | Interaction::Operation { .. } => true,
        Interaction::Capabilities
        | Interaction::Read(_)
        | Interaction::VersionRead(_)
        | Interaction::HistoryInstance(_)
        | Interaction::HistoryType(_)
        | Interaction::HistorySystem
        | Interaction::SearchType(_)
        | Interaction::SearchTypeByPost(_)
        | Interaction::SearchSystem
        | Interaction::SearchSystemByPost
        | Interaction::SearchCompartment(_)
        | Interaction::Delete(_)
        | Interaction::ConditionalDelete(_)
        | Interaction::Batch => false,
    };
    if !fits {
        return Err(Denial::NoBatch("has an entry whose resource is not what its URL says"));
    }
    conditional_reference::judge(access, resource)
}
