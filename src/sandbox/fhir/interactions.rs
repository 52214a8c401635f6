//! Read, write and history of single resources, and the way to the interactions that have files of their own.

use std::sync::PoisonError;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::call::{Answer, Call, Interaction, checked_id};
use super::outcome::Refusal;
use super::permit::Permit;
use super::store::Store;
use super::{FhirServer, json_patch};

impl FhirServer {
    /// Does what is asked, all of it under one lock, so that nobody sees half a transaction.
    pub(super) fn perform(&self, interaction: &Interaction, call: &Call) -> Result<Answer, Refusal> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        match interaction {
            Interaction::Bundle => self.bundle(&mut store, call),
            single => self.single(&mut store, single, call),
        }
    }

    /// Every interaction but a Bundle.
    pub(super) fn single(&self, store: &mut Store, interaction: &Interaction, call: &Call) -> Result<Answer, Refusal> {
        self.check_permission(store, interaction, call)?;
        match interaction {
            Interaction::Read { kind, id } => read(store, kind, id, call),
            Interaction::VersionRead { kind, id, version } => read_version(store, kind, id, *version),
            Interaction::History { kind, id } => self.history(store, kind, id),
            Interaction::Search { kind } => self.search(store, kind, call),
            Interaction::Create { kind } => self.create(store, kind, call),
            Interaction::Update { kind, id } => self.update(store, kind, id, call),
            Interaction::Patch { kind, id } => self.patch(store, kind, id, call),
            Interaction::Delete { kind, id } => delete(store, kind, id, call),
            Interaction::Capabilities | Interaction::Discovery | Interaction::Bundle => {
                Err(Refusal::not_supported("this is not possible inside a Bundle"))
            }
        }
    }

    /// Whether the caller may touch the resource that the interaction names.
    fn check_permission(&self, store: &Store, interaction: &Interaction, call: &Call) -> Result<(), Refusal> {
        let (kind, letter, id) = match interaction {
            Interaction::Read { kind, id }
            | Interaction::VersionRead { kind, id, .. }
            | Interaction::History { kind, id } => (kind, 'r', id),
            Interaction::Update { kind, id } | Interaction::Patch { kind, id } => (kind, 'u', id),
            Interaction::Delete { kind, id } => (kind, 'd', id),
            // The first two judge what they find and make, the others are about no resource.
            Interaction::Search { .. }
            | Interaction::Create { .. }
            | Interaction::Capabilities
            | Interaction::Discovery
            | Interaction::Bundle => return Ok(()),
        };
        Permit::of(call, &self.base, kind, letter)?.check(store, &self.base, kind, id)
    }

    /// Whether the caller may leave the resource as it is to be written.
    fn check_written(
        &self,
        store: &Store,
        kind: &'static str,
        letter: char,
        resource: &Map<String, Value>,
        call: &Call,
    ) -> Result<(), Refusal> {
        let permit = Permit::of(call, &self.base, kind, letter)?;
        let admitted = permit.admits(store, &self.base, &Value::Object(resource.clone()));
        admitted.then_some(()).ok_or_else(|| Refusal::forbidden(format!("this {kind} is not the patient's in context")))
    }

    fn history(&self, store: &Store, kind: &'static str, id: &str) -> Result<Answer, Refusal> {
        let stored = store.get(kind, id).ok_or_else(|| Refusal::not_found(format!("there is no {kind}/{id}")))?;
        let entries: Vec<Value> = stored
            .versions
            .iter()
            .rev()
            .map(|version| {
                let url = if version.method == "POST" { kind.to_owned() } else { format!("{kind}/{id}") };
                let mut entry = json!({
                    "fullUrl": format!("{}/{kind}/{id}", self.base),
                    "request": { "method": version.method, "url": url },
                    "response": {
                        "status": match (version.method, version.number) {
                            ("DELETE", _) => "204",
                            (_, 1) => "201",
                            _ => "200",
                        },
                        "etag": format!("W/\"{}\"", version.number),
                        "lastModified": version.at.to_string(),
                    },
                });
                if let (Some(resource), Some(entry)) = (&version.resource, entry.as_object_mut()) {
                    entry.insert("resource".to_owned(), resource.as_ref().clone());
                }
                entry
            })
            .collect();
        Ok(Answer::ok(json!({
            "resourceType": "Bundle",
            "type": "history",
            "total": entries.len(),
            "link": [{ "relation": "self", "url": format!("{}/{kind}/{id}/_history", self.base) }],
            "entry": entries,
        })))
    }

    fn create(&self, store: &mut Store, kind: &'static str, call: &Call) -> Result<Answer, Refusal> {
        let resource = resource_of(kind, call)?;
        self.check_written(store, kind, 'c', resource, call)?;
        if let Some(condition) = &call.if_none_exist {
            let parameters: Vec<(String, String)> =
                url::form_urlencoded::parse(condition.as_bytes()).into_owned().collect();
            let permit = Permit::of(call, &self.base, kind, 's')?;
            let mut found = super::search::matches(store, &self.base, kind, &parameters)?;
            found.retain(|resource| permit.admits(store, &self.base, resource));
            match found.as_slice() {
                [] => {}
                [one] => {
                    let id = one.get("id").and_then(Value::as_str).unwrap_or_default();
                    return read(store, kind, id, &Call::default());
                }
                _ => {
                    let text = "If-None-Exist matches several resources";
                    return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, "multiple-matches", text));
                }
            }
        }
        let id = call.assigned_id.clone().unwrap_or_else(Store::fresh_id);
        self.write(store, kind, &id, "POST", resource)
    }

    fn update(&self, store: &mut Store, kind: &'static str, id: &str, call: &Call) -> Result<Answer, Refusal> {
        let resource = resource_of(kind, call)?;
        if resource.get("id").and_then(Value::as_str) != Some(id) {
            return Err(Refusal::invalid(format!("the resource's id must be {id:?}, as in the URL")));
        }
        self.check_written(store, kind, 'u', resource, call)?;
        check_if_match(store, kind, id, call)?;
        self.write(store, kind, id, "PUT", resource)
    }

    fn patch(&self, store: &mut Store, kind: &'static str, id: &str, call: &Call) -> Result<Answer, Refusal> {
        let patch = call.body.as_ref().ok_or_else(|| Refusal::invalid("a patch is needed"))?;
        let (_, current) = store.current(kind, id)?;
        let current = current.as_ref().clone();
        check_if_match(store, kind, id, call)?;
        let patched = json_patch::apply(&current, patch)
            .map_err(|error| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "processing", error.to_string()))?;
        let unchanged = |name: &str| patched.get(name) == current.get(name);
        match patched.as_object() {
            Some(resource) if unchanged("id") && unchanged("resourceType") => {
                self.check_written(store, kind, 'u', resource, call)?;
                self.write(store, kind, id, "PUT", resource)
            }
            _ => Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "processing", "a patch must keep type and id")),
        }
    }

    fn write(
        &self,
        store: &mut Store,
        kind: &'static str,
        id: &str,
        method: &'static str,
        resource: &Map<String, Value>,
    ) -> Result<Answer, Refusal> {
        let existed = store.current(kind, id).is_ok();
        let (number, at, resource) = store.put(kind, id, method, resource, Timestamp::now())?;
        Ok(Answer {
            status: if existed { StatusCode::OK } else { StatusCode::CREATED },
            body: Some(resource.as_ref().clone()),
            version: Some((number, at)),
            location: Some(format!("{}/{kind}/{id}/_history/{number}", self.base)),
        })
    }
}

fn read(store: &Store, kind: &'static str, id: &str, call: &Call) -> Result<Answer, Refusal> {
    let (version, resource) = store.current(kind, id)?;
    let known = call.if_none_match.as_deref().is_some_and(|tags| names_version(tags, version.number));
    let version = Some((version.number, version.at));
    if known {
        return Ok(Answer { status: StatusCode::NOT_MODIFIED, body: None, version, location: None });
    }
    Ok(Answer { version, ..Answer::ok(resource.as_ref().clone()) })
}

fn read_version(store: &Store, kind: &'static str, id: &str, number: u32) -> Result<Answer, Refusal> {
    let version = store
        .get(kind, id)
        .and_then(|stored| stored.versions.iter().find(|version| version.number == number))
        .ok_or_else(|| Refusal::not_found(format!("there is no version {number} of {kind}/{id}")))?;
    match &version.resource {
        Some(resource) => {
            Ok(Answer { version: Some((version.number, version.at)), ..Answer::ok(resource.as_ref().clone()) })
        }
        None => Err(Refusal::new(StatusCode::GONE, "deleted", format!("version {number} is a deletion"))),
    }
}

/// Deleting what is not there succeeds (FHIR R4 §3.1.0.7).
fn delete(store: &mut Store, kind: &'static str, id: &str, call: &Call) -> Result<Answer, Refusal> {
    check_if_match(store, kind, id, call)?;
    if store.current(kind, id).is_ok() {
        store.delete(kind, id, Timestamp::now())?;
    }
    Ok(Answer { status: StatusCode::NO_CONTENT, body: None, version: None, location: None })
}

/// The resource that is to be written: an object of the URL's type with a valid `id` or none.
fn resource_of<'a>(kind: &'static str, call: &'a Call) -> Result<&'a Map<String, Value>, Refusal> {
    let resource = call.body.as_ref().and_then(Value::as_object);
    let resource = resource.ok_or_else(|| Refusal::invalid(format!("a {kind} is needed, as a JSON object")))?;
    let presented = resource.get("resourceType").and_then(Value::as_str).unwrap_or_default();
    if presented != kind {
        return Err(Refusal::invalid(format!("the resourceType is {presented:?}, the URL says {kind}")));
    }
    match resource.get("id") {
        None => {}
        Some(id) => {
            checked_id(id.as_str().ok_or_else(|| Refusal::invalid("the id is not a string"))?)?;
        }
    }
    Ok(resource)
}

/// FHIR R4 §3.1.0.5: another version than the one named is 412.
fn check_if_match(store: &Store, kind: &'static str, id: &str, call: &Call) -> Result<(), Refusal> {
    let Some(tags) = &call.if_match else { return Ok(()) };
    let current = store.current(kind, id).map(|(version, _)| version.number).ok();
    if current.is_some_and(|number| names_version(tags, number)) {
        return Ok(());
    }
    let text = format!("If-Match names {tags}, the version that holds is {current:?}");
    Err(Refusal::new(StatusCode::PRECONDITION_FAILED, "conflict", text))
}

/// Whether a list of entity tags holds `W/"number"`, or is `*`.
fn names_version(tags: &str, number: u32) -> bool {
    let wanted = format!("\"{number}\"");
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == wanted)
}
