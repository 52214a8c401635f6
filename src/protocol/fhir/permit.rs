//! What a permitted request must still be held to: the conditions that only its body, the resource as it stands, or
//! what comes back can show.

use serde_json::Value;

use super::Denial;
use super::access::Condition;
use super::answer::EntryLimit;
use super::constrain;
use super::json;
use crate::values::scope::Constraint;

/// A request may pass under these conditions; the default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permit {
    /// Parameters to be added to the search.
    pub constraints: Vec<Constraint>,
    /// All parameters that hold the search, those too that the client's own search carries: what a search by POST says
    /// in both places.
    pub held_to: Vec<Constraint>,
    /// Parameters to be added to `If-None-Exist`.
    pub if_none_exist: Vec<Constraint>,
    /// What the request's body must be.
    pub body: Option<Condition>,
    /// What the resource at the path must be before it is changed. There being none yet is no offence to an update.
    pub current: Option<Condition>,
    /// Elements that a JSON Patch must leave alone.
    pub unpatchable: Vec<String>,
    /// What comes back must be.
    pub answer: Option<Condition>,
    /// What the answer to each entry of a batch must be, in the order of the entries; empty where nothing is asked of
    /// any of them.
    pub entries: Vec<Option<EntryLimit>>,
}

impl Permit {
    /// Whether the body must be read whole before the EHR is called.
    pub const fn judges_body(&self) -> bool {
        self.body.is_some() || !self.unpatchable.is_empty()
    }

    /// Whether what comes back must be read whole before any of it is passed on.
    pub const fn judges_answer(&self) -> bool {
        self.answer.is_some() || !self.entries.is_empty()
    }

    /// What the request is held to, for a person; `None`: to nothing.
    pub fn limits(&self) -> Option<String> {
        let mut limits = Vec::new();
        let added = constrain::append(None, &self.constraints);
        limits.extend(added.map(|added| format!("with {added} added to the search")));
        let criteria = constrain::append(None, &self.if_none_exist);
        limits.extend(criteria.map(|criteria| format!("with {criteria} added to If-None-Exist")));
        let judged = [
            (self.body.is_some() || !self.unpatchable.is_empty(), "its body"),
            (self.current.is_some(), "the resource as it stands"),
            (self.judges_answer(), "what comes back"),
        ];
        let judged: Vec<&str> = judged.into_iter().filter_map(|(is, name)| is.then_some(name)).collect();
        if !judged.is_empty() {
            limits.push(format!("if {} is within the scopes", judged.join(" and ")));
        }
        (!limits.is_empty()).then(|| limits.join(", "))
    }

    /// Judges the body of a write. `bases`: the FHIR bases that references may begin with.
    pub fn check_body(&self, body: &[u8], bases: &[&str]) -> Result<(), Denial> {
        if self.judges_body() {
            let value = json::parse(body).map_err(|oddity| Denial::Json(oddity.to_string()))?;
            if let Some(condition) = &self.body {
                if !condition.admits(&value, bases) {
                    return Err(Denial::BodyBeyondScope);
                }
                condition.judge_references(&value)?;
            }
            if !self.unpatchable.is_empty() {
                self.check_patch(&value)?;
            }
        }
        Ok(())
    }

    /// A JSON Patch (RFC 6902) that leaves alone what the resource is judged by. A patch in the form of Parameters
    /// (FHIRPath Patch) is not looked into.
    fn check_patch(&self, patch: &Value) -> Result<(), Denial> {
        let operations = patch.as_array().ok_or(Denial::PatchBeyondScope)?;
        for operation in operations {
            let is_test = operation.get("op").and_then(Value::as_str) == Some("test");
            // To test is to ask, and whoever may change a resource may ask of it.
            for name in ["path", "from"] {
                let Some(pointer) = operation.get(name) else { continue };
                let pointer = pointer.as_str().ok_or(Denial::PatchBeyondScope)?;
                let first = pointer.strip_prefix('/').and_then(|rest| rest.split('/').next());
                let first = first.ok_or(Denial::PatchBeyondScope)?.replace("~1", "/").replace("~0", "~");
                if !is_test && self.unpatchable.contains(&first) {
                    return Err(Denial::PatchBeyondScope);
                }
            }
        }
        Ok(())
    }
}
