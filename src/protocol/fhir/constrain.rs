//! Holding a search to what scopes reach: the parameters that it must carry besides the client's own.

use std::borrow::Cow;
use std::collections::BTreeSet;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::access::Alternative;
use super::compartment;
use super::{Denial, Unenforceable};
use crate::protocol::form;
use crate::values::scope::Constraint;

/// What needs no encoding in a query's value; the comma stays, since it separates alternatives.
pub(super) const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b',');

/// A parameter's name may hold a modifier and chains.
const ENCODED_NAME: &AsciiSet = &ENCODED.remove(b':');

/// Parameters that would hide from view what a resource is judged by.
const HIDING: [&str; 3] = ["_elements", "_summary", "_count"];

/// The parameters that hold a search.
pub(super) struct Held {
    /// All of them.
    pub(super) wanted: Vec<Constraint>,
    /// Those that the client's own search does not carry.
    pub(super) added: Vec<Constraint>,
}

/// The parameters that a search on a type must carry so that it finds only what one of the alternatives admits.
///
/// Several alternatives can be asked in one search only if they differ in one parameter's value (which then are joined
/// by commas); otherwise the client's own search must carry one of them.
pub(super) fn parameters(
    resource_type: &str,
    alternatives: &[Alternative],
    client: &[(String, String)],
    patient_by_path: bool,
) -> Result<Held, Denial> {
    refuse_hiding(client)?;
    let mut choices = Vec::with_capacity(alternatives.len());
    for alternative in alternatives {
        choices.push(of_alternative(resource_type, alternative, patient_by_path)?);
    }
    let wanted = joined(&choices)
        .or_else(|| choices.iter().find(|choice| carried(choice, client)).cloned())
        .ok_or(Denial::Unenforceable(Unenforceable::SeveralConditions))?;
    let patient = alternatives.iter().find_map(|alternative| alternative.patient.as_deref());
    let main = compartment::main_parameter(resource_type);
    let mut added = Vec::new();
    for constraint in wanted.iter().cloned() {
        // A chain through the parameter is another question, with needs of its own.
        let is_given = |name: &str| base(name) == constraint.name && !name.contains('.');
        let given: Vec<&(String, String)> = client.iter().filter(|(name, _)| is_given(name)).collect();
        let is_patient = patient.is_some() && main == Some(constraint.name.as_str());
        match given.as_slice() {
            // The client's own, where it asks for no more than the constraint does.
            [(name, value)] if *name == constraint.name && is_within(value, &constraint, is_patient) => {}
            [] => added.push(constraint),
            // Of several patients a vendor may take the first, the last or any: none but ours may stand there.
            [..] if is_patient => return Err(Denial::AnotherPatient),
            [..] => added.push(constraint),
        }
    }
    Ok(Held { wanted, added })
}

/// The name without modifier and chain.
fn base(name: &str) -> &str {
    name.split([':', '.']).next().unwrap_or_default()
}

pub(super) fn refuse_hiding(client: &[(String, String)]) -> Result<(), Denial> {
    for (name, value) in client {
        let hides = match name.as_str() {
            "_elements" | "_contained" | "_containedType" => true,
            "_summary" => !matches!(value.as_str(), "" | "false" | "true" | "data"),
            // A count alone tells of what cannot be judged.
            "_count" => value.trim().parse::<u64>().is_ok_and(|count| count == 0),
            _ => false,
        };
        if hides || (HIDING.contains(&base(name)) && name.contains(':')) {
            return Err(Denial::Unenforceable(Unenforceable::Hidden(name.chars().take(64).collect())));
        }
    }
    Ok(())
}

fn of_alternative(
    resource_type: &str,
    alternative: &Alternative,
    patient_by_path: bool,
) -> Result<Vec<Constraint>, Denial> {
    let mut constraints = alternative.constraints.clone();
    if let Some(patient) = alternative.patient.as_ref().filter(|_| !patient_by_path) {
        let name = compartment::main_parameter(resource_type)
            .ok_or(Denial::OutsideCompartment { resource_type: resource_type.to_owned() })?;
        let value = match name {
            "patient" | "_id" => patient.clone(),
            _ => format!("Patient/{patient}"),
        };
        constraints.push(Constraint { name: name.to_owned(), value });
    }
    constraints.sort();
    constraints.dedup();
    Ok(constraints)
}

/// One set of parameters for all choices, where they differ in one value only.
fn joined(choices: &[Vec<Constraint>]) -> Option<Vec<Constraint>> {
    let (first, rest) = choices.split_first()?;
    if rest.is_empty() {
        return Some(first.clone());
    }
    let same_names = rest.iter().all(|choice| {
        choice.len() == first.len() && choice.iter().zip(first).all(|(one, other)| one.name == other.name)
    });
    let names: BTreeSet<&str> = first.iter().map(|constraint| constraint.name.as_str()).collect();
    if !same_names || names.len() != first.len() {
        return None;
    }
    let mut result = Vec::with_capacity(first.len());
    let mut differing = 0;
    for (index, constraint) in first.iter().enumerate() {
        let mut values: Vec<&str> =
            choices.iter().filter_map(|choice| Some(choice.get(index)?.value.as_str())).collect();
        values.sort_unstable();
        values.dedup();
        differing += usize::from(values.len() > 1);
        result.push(Constraint { name: constraint.name.clone(), value: values.join(",") });
    }
    (differing <= 1).then_some(result)
}

/// Whether the client's search carries a choice's conditions; whose patient it is, is added anyway.
fn carried(choice: &[Constraint], client: &[(String, String)]) -> bool {
    choice.iter().filter(|constraint| !matches!(constraint.name.as_str(), "patient" | "_id")).all(|constraint| {
        let mut given = client.iter().filter(|(name, _)| base(name) == constraint.name);
        matches!((given.next(), given.next()), (Some((name, value)), None)
            if *name == constraint.name && is_within(value, constraint, false))
    })
}

/// Whether a value of the client's asks for no more than the constraint.
fn is_within(value: &str, constraint: &Constraint, is_patient: bool) -> bool {
    if is_patient {
        let id = constraint.value.trim_start_matches("Patient/");
        return value == id || value.strip_prefix("Patient/") == Some(id);
    }
    let permitted: BTreeSet<&str> = constraint.value.split(',').collect();
    !value.is_empty() && value.split(',').all(|value| permitted.contains(value))
}

/// The pairs of a query or form, decoded.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, Denial> {
    form::pairs(text.as_bytes())
        .map(|pair| pair.map(|(name, value)| (name.into_owned(), value.into_owned())).map_err(|_| Denial::Query))
        .collect()
}

/// A search by POST, made anew: the client's parameters of both places stand in the form, and what holds the search stands
/// in both. So it is held where an EHR reads only the query, where it reads only the form, and where it reads both
/// (fhir.epic.com, February 2026: of the query only `_format` is read; before, the form was not). Returns query and form.
pub fn search_by_post(query: Option<&str>, form: &str, held_to: &[Constraint]) -> Result<(String, String), Denial> {
    let is_format = |name: &str| matches!(name, "_format" | "_pretty");
    let mut for_query: Vec<(String, String)> = Vec::new();
    let mut for_form: Vec<(String, String)> = Vec::new();
    for (name, value) in pairs(query.unwrap_or_default())? {
        if is_format(&name) { for_query.push((name, value)) } else { for_form.push((name, value)) }
    }
    for pair in pairs(form)? {
        if !for_form.contains(&pair) {
            for_form.push(pair);
        }
    }
    for constraint in held_to {
        let pair = (constraint.name.clone(), constraint.value.clone());
        if !for_form.iter().any(|(name, _)| *name == constraint.name) || !for_form.contains(&pair) {
            for_form.push(pair.clone());
        }
        for_query.push(pair);
    }
    let written = |pairs: &[(String, String)]| {
        let written = pairs.iter().map(|(name, value)| {
            format!("{}={}", utf8_percent_encode(name, ENCODED_NAME), utf8_percent_encode(value, ENCODED))
        });
        written.collect::<Vec<_>>().join("&")
    };
    Ok((written(&for_query), written(&for_form)))
}

/// A query or form with these parameters behind it; what the client wrote stays letter by letter.
pub fn append<'text>(text: Option<&'text str>, added: &[Constraint]) -> Option<Cow<'text, str>> {
    if added.is_empty() {
        return text.map(Cow::Borrowed);
    }
    let mut result = text.unwrap_or_default().to_owned();
    for constraint in added {
        if !result.is_empty() && !result.ends_with('&') {
            result.push('&');
        }
        result.push_str(&constraint.name);
        result.push('=');
        result.extend(utf8_percent_encode(&constraint.value, ENCODED));
    }
    Some(Cow::Owned(result))
}
