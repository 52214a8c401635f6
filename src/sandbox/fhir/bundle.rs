//! `POST` of a Bundle on the base: batch and transaction (FHIR R4 §3.1.0.11).

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::FhirServer;
use super::call::{Answer, Call, Interaction};
use super::outcome::Refusal;
use super::store::Store;

const MOST_ENTRIES: usize = 1000;

/// An entry, understood.
struct Entry {
    method: Method,
    interaction: Interaction,
    call: Call,
}

impl FhirServer {
    /// Does all entries: of a batch each for itself, of a transaction all or none.
    pub(super) fn bundle(&self, store: &mut Store, call: &Call) -> Result<Answer, Refusal> {
        let bundle = call.body.as_ref().unwrap_or(&Value::Null);
        if bundle.get("resourceType").and_then(Value::as_str) != Some("Bundle") {
            return Err(Refusal::invalid("a Bundle is needed"));
        }
        let entries = match bundle.get("entry") {
            None => &[],
            Some(Value::Array(entries)) if entries.len() <= MOST_ENTRIES => entries.as_slice(),
            Some(_) => return Err(Refusal::invalid("entry must be an array of at most 1000")),
        };
        match bundle.get("type").and_then(Value::as_str) {
            Some("batch") => {
                let answers: Vec<Value> = entries
                    .iter()
                    .map(|entry| {
                        let entry = self.read_entry(entry, call, &HashMap::new());
                        told(entry.and_then(|entry| self.single(store, &entry.interaction, &entry.call)))
                    })
                    .collect();
                Ok(Answer::ok(json!({ "resourceType": "Bundle", "type": "batch-response", "entry": answers })))
            }
            Some("transaction") => {
                let before = store.clone();
                let answers = self.transaction(store, entries, call).inspect_err(|_| *store = before)?;
                Ok(Answer::ok(json!({ "resourceType": "Bundle", "type": "transaction-response", "entry": answers })))
            }
            other => Err(Refusal::invalid(format!("a Bundle of type {other:?} is neither batch nor transaction"))),
        }
    }

    fn transaction(&self, store: &mut Store, entries: &[Value], call: &Call) -> Result<Vec<Value>, Refusal> {
        let promised = promised_names(entries);
        let mut read = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            let mut understood = self.read_entry(entry, call, &promised).map_err(|refusal| at(index, &refusal))?;
            if understood.call.if_none_exist.is_some() {
                return Err(at(index, &Refusal::not_supported("ifNoneExist in a transaction is not supported")));
            }
            let name = entry.get("fullUrl").and_then(Value::as_str).and_then(|url| promised.get(url));
            if let (Interaction::Create { .. }, Some(name)) = (&understood.interaction, name) {
                understood.call.assigned_id = name.split_once('/').map(|(_, id)| id.to_owned());
            }
            read.push((index, understood));
        }
        // FHIR R4 §3.1.0.11.2: deletes, creates, updates and patches, reads.
        read.sort_by_key(|(_, entry)| match entry.method {
            Method::DELETE => 0,
            Method::POST => 1,
            Method::PUT | Method::PATCH => 2,
            _ => 3,
        });
        let mut answers = vec![Value::Null; entries.len()];
        for (index, entry) in &read {
            let answer = self.single(store, &entry.interaction, &entry.call).map_err(|refusal| at(*index, &refusal))?;
            if let Some(place) = answers.get_mut(*index) {
                *place = told(Ok(answer));
            }
        }
        Ok(answers)
    }

    fn read_entry(&self, entry: &Value, outer: &Call, promised: &HashMap<String, String>) -> Result<Entry, Refusal> {
        let text = |name: &str| entry.pointer(name).and_then(Value::as_str);
        let method = text("/request/method").unwrap_or_default();
        let method = match method {
            "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" => {
                Method::from_bytes(method.as_bytes()).map_err(|_| Refusal::invalid("the method is not one"))?
            }
            other => return Err(Refusal::invalid(format!("request.method is {other:?}"))),
        };
        let url = text("/request/url").ok_or_else(|| Refusal::invalid("request.url is missing"))?;
        let url = url.strip_prefix(&self.base).unwrap_or(url).trim_start_matches('/');
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let interaction = Interaction::parse(&method, path)?;
        let mut body = entry.get("resource").cloned();
        if let Some(body) = &mut body {
            keep_promises(body, promised);
        }
        if matches!(interaction, Interaction::Patch { .. }) {
            body = body.as_ref().and_then(patch_in);
        }
        let owned = |name: &str| text(name).map(ToOwned::to_owned);
        Ok(Entry {
            method,
            interaction,
            call: Call {
                parameters: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
                body,
                if_match: owned("/request/ifMatch"),
                if_none_match: owned("/request/ifNoneMatch"),
                if_none_exist: owned("/request/ifNoneExist"),
                prefer: outer.prefer.clone(),
                assigned_id: None,
                client_id: outer.client_id.clone(),
                session: outer.session.clone(),
            },
        })
    }
}

/// For each entry that creates: its temporary `fullUrl`, and the name that the resource will have.
fn promised_names(entries: &[Value]) -> HashMap<String, String> {
    entries
        .iter()
        .filter(|entry| entry.pointer("/request/method").and_then(Value::as_str) == Some("POST"))
        .filter_map(|entry| {
            let url = entry.get("fullUrl")?.as_str()?;
            let kind = entry.pointer("/resource/resourceType")?.as_str()?;
            url.starts_with("urn:").then(|| (url.to_owned(), format!("{kind}/{}", Store::fresh_id())))
        })
        .collect()
}

/// Replaces temporary references by the promised names.
fn keep_promises(value: &mut Value, promised: &HashMap<String, String>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| keep_promises(item, promised)),
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                match member.as_str().filter(|_| name == "reference").and_then(|url| promised.get(url)) {
                    Some(promise) => *member = json!(promise),
                    None => keep_promises(member, promised),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A JSON Patch travels in a Bundle as a Binary (FHIR R4 §3.1.0.9.1).
fn patch_in(binary: &Value) -> Option<Value> {
    let media_type = binary.get("contentType")?.as_str()?;
    let bytes = STANDARD.decode(binary.get("data")?.as_str()?).ok()?;
    if media_type == "application/json-patch+json" { serde_json::from_slice(&bytes).ok() } else { None }
}

/// A refusal that says which entry it is about.
fn at(index: usize, refusal: &Refusal) -> Refusal {
    Refusal::new(refusal.status, "processing", format!("entry {index}: {refusal}"))
}

/// An entry of the answering Bundle.
fn told(answer: Result<Answer, Refusal>) -> Value {
    let answer = match answer {
        Ok(answer) => answer,
        Err(refusal) => {
            return json!({ "response": { "status": status_line(refusal.status), "outcome": refusal.outcome() } });
        }
    };
    let mut response = Map::new();
    response.insert("status".to_owned(), json!(status_line(answer.status)));
    if let Some(location) = &answer.location {
        response.insert("location".to_owned(), json!(location));
    }
    if let Some((number, at)) = answer.version {
        response.insert("etag".to_owned(), json!(format!("W/\"{number}\"")));
        response.insert("lastModified".to_owned(), json!(at.to_string()));
    }
    let mut entry = Map::new();
    if let Some(resource) = answer.body {
        entry.insert("resource".to_owned(), resource);
    }
    entry.insert("response".to_owned(), Value::Object(response));
    Value::Object(entry)
}

fn status_line(status: StatusCode) -> String {
    format!("{} {}", status.as_str(), status.canonical_reason().unwrap_or_default()).trim_end().to_owned()
}
