//! What comes back under narrowed scopes: a resource, a Bundle of results, or the answer to a batch, entry by entry.
//!
//! One entry at a time is read into values; what passes, passes as the EHR wrote it, letter by letter.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeSet;

use serde_json::Value;
use serde_json::value::RawValue;

use super::access::Condition;
use super::json::{self, Members};

/// What becomes of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes as it is.
    Whole,
    /// This much of it passes.
    Part(String),
    /// It holds something beyond the scopes that nobody would have asked for.
    Beyond,
}

/// Why an answer cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum Unjudgeable {
    /// It is broken, or a name stands twice in an object.
    #[error("it is no JSON that has one reading")]
    Json(#[from] serde_json::Error),
    /// A batch's answer that does not go with its entries.
    #[error("it does not answer the batch entry by entry")]
    Entries,
}

/// What the answer to one entry of a batch must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryLimit {
    /// What the resource in it must be.
    pub condition: Condition,
    /// Whether the entry names one resource by its ID, so that its answer tells whether there is one.
    pub names_one: bool,
    /// Whether it changes nothing: then an answer without a resource shows nothing that could be judged.
    pub is_safe: bool,
}

/// What stands in place of an entry's answer: whole entries, as JSON.
#[derive(Clone, Copy, Debug)]
pub struct Instead<'text> {
    /// There is nothing within the scopes.
    pub absent: &'text str,
    /// It holds something beyond the scopes.
    pub beyond: &'text str,
}

/// What was seen of one entry of results.
enum Seen {
    /// Within the scopes, or an OperationOutcome.
    Admitted,
    /// Without a resource: a deletion in a history.
    Empty,
    /// A Provenance, which may stay where all that it is about does.
    Follows { targets: Vec<(String, String)>, is_included: bool },
    /// Beyond the scopes.
    Foreign { is_included: bool },
}

impl Condition {
    /// Judges an answer. `bases` are the FHIR bases that its references may begin with.
    ///
    /// Of a Bundle of results, what only came along (`search.mode` `include`) and is beyond the scopes is taken out. A
    /// match beyond them is taken out where the path alone held the question to the patient; elsewhere the EHR has
    /// ignored what held the search, and nothing of its answer passes.
    pub fn judge(&self, answer: &[u8], bases: &[&str]) -> Result<Verdict, Unjudgeable> {
        let members = Members::parse(answer)?;
        let kind = members.text("resourceType");
        if kind.as_deref() == Some("Bundle") && is_of_results(&members) {
            return self.judge_results(&members, bases);
        }
        let value = json::parse(answer)?;
        let is_admitted = kind.as_deref() == Some("OperationOutcome") || self.admits(&value, bases);
        Ok(if is_admitted { Verdict::Whole } else { Verdict::Beyond })
    }

    fn judge_results(&self, bundle: &Members<'_>, bases: &[&str]) -> Result<Verdict, Unjudgeable> {
        let entries = bundle.list("entry")?;
        for (_, member) in bundle.iter().filter(|(name, _)| *name != "entry") {
            json::parse(member.get().as_bytes())?;
        }
        let mut admitted = BTreeSet::new();
        let mut seen = Vec::with_capacity(entries.len());
        for entry in &entries {
            seen.push(self.look_at(&json::parse(entry.get().as_bytes())?, bases, &mut admitted));
        }
        let (mut kept, mut lost_a_match) = (Vec::with_capacity(entries.len()), false);
        for (entry, seen) in entries.iter().zip(seen) {
            let is_included = match seen {
                Seen::Empty if admitted.is_empty() => return Ok(Verdict::Beyond),
                Seen::Admitted | Seen::Empty => None,
                Seen::Follows { targets, .. } if targets.iter().all(|target| admitted.contains(target)) => None,
                Seen::Follows { is_included, .. } | Seen::Foreign { is_included } => Some(is_included),
            };
            match is_included {
                None => kept.push(entry.get()),
                Some(true) => {}
                Some(false) if self.sifts() => lost_a_match = true,
                Some(false) => return Ok(Verdict::Beyond),
            }
        }
        if kept.len() == entries.len() {
            return Ok(Verdict::Whole);
        }
        // The count would tell of what was taken out; FHIR has no empty lists.
        let remaining = bundle.iter().filter(|(name, _)| match *name {
            "total" => !lost_a_match,
            "entry" => !kept.is_empty(),
            _ => true,
        });
        Ok(Verdict::Part(with_member(remaining, "entry", &list(&kept))))
    }

    fn look_at(&self, entry: &Value, bases: &[&str], admitted: &mut BTreeSet<(String, String)>) -> Seen {
        let Some(resource) = entry.get("resource") else { return Seen::Empty };
        let text = |name: &str| resource.get(name).and_then(Value::as_str);
        let is_included = entry.pointer("/search/mode").and_then(Value::as_str) == Some("include");
        if text("resourceType") == Some("OperationOutcome") {
            return Seen::Admitted;
        }
        if self.admits(resource, bases) {
            if let (Some(kind), Some(id)) = (text("resourceType"), text("id")) {
                admitted.insert((kind.to_owned(), id.to_owned()));
            }
            return Seen::Admitted;
        }
        self.provenance_targets(resource, bases)
            .map_or(Seen::Foreign { is_included }, |targets| Seen::Follows { targets, is_included })
    }
}

/// Judges the answer to a batch or transaction by the limits of its entries, in their order (FHIR R4 §3.1.0.11.2: the
/// answer's entries are in the order of the request's).
pub fn judge_batch(
    limits: &[Option<EntryLimit>],
    answer: &[u8],
    instead: Instead<'_>,
    bases: &[&str],
) -> Result<Verdict, Unjudgeable> {
    let bundle = Members::parse(answer)?;
    match (bundle.text("resourceType").as_deref(), bundle.text("type").as_deref()) {
        (Some("Bundle"), Some("batch-response" | "transaction-response")) => {}
        (Some("OperationOutcome"), _) => return Ok(Verdict::Whole),
        _ => return Ok(Verdict::Beyond),
    }
    let entries = bundle.list("entry")?;
    if entries.len() != limits.len() {
        return Err(Unjudgeable::Entries);
    }
    let mut is_whole = true;
    let mut judged = Vec::with_capacity(entries.len());
    for (entry, limit) in entries.iter().zip(limits) {
        let becomes = match limit {
            Some(limit) => limit.judge(entry, instead, bases)?,
            None => None,
        };
        is_whole &= becomes.is_none();
        judged.push(becomes.unwrap_or(Cow::Borrowed(entry.get())));
    }
    if is_whole {
        return Ok(Verdict::Whole);
    }
    Ok(Verdict::Part(with_member(bundle.iter(), "entry", &list(&judged))))
}

impl EntryLimit {
    /// What becomes of an entry's answer; `None`: it stays as it is.
    fn judge<'text>(
        &self,
        entry: &RawValue,
        instead: Instead<'text>,
        bases: &[&str],
    ) -> Result<Option<Cow<'text, str>>, Unjudgeable> {
        let members = Members::parse(entry.get().as_bytes())?;
        let response = members.get("response").map(|response| json::parse(response.get().as_bytes())).transpose()?;
        let status = response.as_ref().and_then(|response| response.get("status")?.as_str()?.get(..3));
        let beyond = || Some(Cow::Borrowed(if self.names_one { instead.absent } else { instead.beyond }));
        if self.names_one && matches!(status, Some("404" | "410")) {
            return Ok(Some(Cow::Borrowed(instead.absent)));
        }
        if !status.is_some_and(|status| status.starts_with('2')) {
            return Ok(if members.get("resource").is_some() { beyond() } else { None });
        }
        let Some(resource) = members.get("resource") else {
            return Ok(if self.is_safe { beyond() } else { None });
        };
        Ok(match self.condition.judge(resource.get().as_bytes(), bases)? {
            Verdict::Whole => None,
            Verdict::Part(part) => Some(Cow::Owned(with_member(members.iter(), "resource", &part))),
            Verdict::Beyond => beyond(),
        })
    }
}

/// Whether a Bundle holds results; a document, message or collection is a resource by itself.
fn is_of_results(bundle: &Members<'_>) -> bool {
    matches!(bundle.text("type").as_deref(), Some("searchset" | "history"))
}

/// An object of these members, with another value for one of them.
fn with_member<'text>(
    members: impl Iterator<Item = (&'text str, &'text RawValue)>,
    changed: &str,
    value: &str,
) -> String {
    let written = |(name, member): (&str, &RawValue)| {
        format!("{}:{}", Value::from(name), if name == changed { value } else { member.get() })
    };
    let members: Vec<String> = members.map(written).collect();
    format!("{{{}}}", members.join(","))
}

fn list(items: &[impl Borrow<str>]) -> String {
    format!("[{}]", items.join(","))
}
