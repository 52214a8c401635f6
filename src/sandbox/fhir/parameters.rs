//! The search parameters of each type, and whether a resource meets one.

use serde_json::Value;

use super::date::{self, Range};
use super::outcome::Refusal;

/// The sort of a parameter (FHIR R4 §3.1.1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Token,
    Text,
    Date,
    /// A reference, to one type only where it is named.
    Reference(Option<&'static str>),
}

impl Sort {
    /// Its name in a CapabilityStatement.
    pub(super) fn name(self) -> &'static str {
        match self {
            Sort::Token => "token",
            Sort::Text => "string",
            Sort::Date => "date",
            Sort::Reference(_) => "reference",
        }
    }
}

/// One search parameter of one type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter {
    /// The type; empty for the parameters of all types.
    kind: &'static str,
    pub(super) name: &'static str,
    pub(super) sort: Sort,
    /// Where the values are: member names joined with dots, arrays gone through.
    paths: &'static [&'static str],
}

const fn parameter(kind: &'static str, name: &'static str, sort: Sort, paths: &'static [&'static str]) -> Parameter {
    Parameter { kind, name, sort, paths }
}

const PATIENT: Sort = Sort::Reference(Some("Patient"));
const PRACTITIONER: Sort = Sort::Reference(Some("Practitioner"));
const ANY: Sort = Sort::Reference(None);

const PARAMETERS: [Parameter; 52] = [
    parameter("", "_id", Sort::Token, &["id"]),
    parameter("", "_lastUpdated", Sort::Date, &["meta.lastUpdated"]),
    parameter("Appointment", "actor", ANY, &["participant.actor"]),
    parameter("Appointment", "date", Sort::Date, &["start"]),
    parameter("Appointment", "identifier", Sort::Token, &["identifier"]),
    parameter("Appointment", "location", Sort::Reference(Some("Location")), &["participant.actor"]),
    parameter("Appointment", "patient", PATIENT, &["participant.actor"]),
    parameter("Appointment", "practitioner", PRACTITIONER, &["participant.actor"]),
    parameter("Appointment", "slot", Sort::Reference(Some("Slot")), &["slot"]),
    parameter("Appointment", "status", Sort::Token, &["status"]),
    parameter("DocumentReference", "category", Sort::Token, &["category"]),
    parameter("DocumentReference", "date", Sort::Date, &["date"]),
    parameter("DocumentReference", "patient", PATIENT, &["subject"]),
    parameter("DocumentReference", "status", Sort::Token, &["status"]),
    parameter("DocumentReference", "subject", ANY, &["subject"]),
    parameter("DocumentReference", "type", Sort::Token, &["type"]),
    parameter("Encounter", "class", Sort::Token, &["class"]),
    parameter("Encounter", "date", Sort::Date, &["period"]),
    parameter("Encounter", "participant", ANY, &["participant.individual"]),
    parameter("Encounter", "patient", PATIENT, &["subject"]),
    parameter("Encounter", "practitioner", PRACTITIONER, &["participant.individual"]),
    parameter("Encounter", "status", Sort::Token, &["status"]),
    parameter("Encounter", "subject", ANY, &["subject"]),
    parameter("Location", "name", Sort::Text, &["name"]),
    parameter("Location", "status", Sort::Token, &["status"]),
    parameter("Observation", "category", Sort::Token, &["category"]),
    parameter("Observation", "code", Sort::Token, &["code"]),
    parameter("Observation", "date", Sort::Date, &["effectiveDateTime", "effectivePeriod"]),
    parameter("Observation", "encounter", Sort::Reference(Some("Encounter")), &["encounter"]),
    parameter("Observation", "patient", PATIENT, &["subject"]),
    parameter("Observation", "performer", ANY, &["performer"]),
    parameter("Observation", "status", Sort::Token, &["status"]),
    parameter("Observation", "subject", ANY, &["subject"]),
    parameter("Patient", "active", Sort::Token, &["active"]),
    parameter("Patient", "birthdate", Sort::Date, &["birthDate"]),
    parameter("Patient", "family", Sort::Text, &["name.family"]),
    parameter("Patient", "gender", Sort::Token, &["gender"]),
    parameter("Patient", "general-practitioner", ANY, &["generalPractitioner"]),
    parameter("Patient", "given", Sort::Text, &["name.given"]),
    parameter("Patient", "identifier", Sort::Token, &["identifier"]),
    parameter("Patient", "name", Sort::Text, &["name.family", "name.given", "name.text"]),
    parameter("Patient", "telecom", Sort::Token, &["telecom"]),
    parameter("Practitioner", "family", Sort::Text, &["name.family"]),
    parameter("Practitioner", "given", Sort::Text, &["name.given"]),
    parameter("Practitioner", "identifier", Sort::Token, &["identifier"]),
    parameter("Practitioner", "name", Sort::Text, &["name.family", "name.given", "name.text"]),
    parameter("Schedule", "active", Sort::Token, &["active"]),
    parameter("Schedule", "actor", ANY, &["actor"]),
    parameter("Schedule", "date", Sort::Date, &["planningHorizon"]),
    parameter("Slot", "schedule", Sort::Reference(Some("Schedule")), &["schedule"]),
    parameter("Slot", "start", Sort::Date, &["start"]),
    parameter("Slot", "status", Sort::Token, &["status"]),
];

/// The parameters of a type, those of all types first.
pub(super) fn of(kind: &str) -> impl Iterator<Item = &'static Parameter> {
    PARAMETERS.iter().filter(move |parameter| parameter.kind.is_empty() || parameter.kind == kind)
}

/// A parameter with a value that is asked for: met by any one of the alternatives.
#[derive(Debug)]
pub(super) struct Criterion {
    parameter: &'static Parameter,
    alternatives: Vec<Alternative>,
}

#[derive(Debug)]
enum Alternative {
    Token {
        system: Option<String>,
        code: Option<String>,
    },
    /// Lower case; begins with, contains, or (then as written) equals.
    Begins(String),
    Contains(String),
    Exactly(String),
    Date(date::Prefix, Range),
    /// `Type/id`, or an `id` of any allowed type.
    Reference(String),
}

impl Criterion {
    /// Reads `name[:modifier]=value`; `Ok(None)` where the type has no such parameter.
    pub(super) fn parse(kind: &str, base: &str, name: &str, value: &str) -> Result<Option<Criterion>, Refusal> {
        let (name, modifier) = name.split_once(':').map_or((name, None), |(name, modifier)| (name, Some(modifier)));
        if name.contains('.') || name == "_has" {
            return Err(Refusal::not_supported(format!("chained parameters such as {name} are not supported")));
        }
        let Some(parameter) = of(kind).find(|parameter| parameter.name == name) else { return Ok(None) };
        let alternatives = alternatives(value)
            .iter()
            .map(|value| parameter.alternative(base, modifier, value))
            .collect::<Result<_, _>>()?;
        Ok(Some(Criterion { parameter, alternatives }))
    }

    /// Whether a resource meets it.
    pub(super) fn is_met(&self, base: &str, resource: &Value) -> bool {
        let values = self.parameter.values(resource);
        self.alternatives.iter().any(|alternative| {
            values.iter().any(|value| match alternative {
                Alternative::Token { system, code } => has_token(value, system.as_deref(), code.as_deref()),
                Alternative::Begins(text) => lower(value).starts_with(text),
                Alternative::Contains(text) => lower(value).contains(text),
                Alternative::Exactly(text) => value.as_str() == Some(text),
                Alternative::Date(prefix, wanted) => time_of(value).is_some_and(|actual| prefix.holds(*wanted, actual)),
                Alternative::Reference(wanted) => local_reference(base, value).is_some_and(|actual| {
                    self.parameter.allows(actual)
                        && (actual == wanted || actual.split_once('/').is_some_and(|(_, id)| id == wanted))
                }),
            })
        })
    }
}

impl Parameter {
    /// The references of a resource that this parameter is about, as `Type/id`.
    pub(super) fn references<'a>(&self, base: &str, resource: &'a Value) -> Vec<&'a str> {
        let values = self.values(resource);
        values.into_iter().filter_map(|value| local_reference(base, value)).filter(|found| self.allows(found)).collect()
    }

    /// What sorts a resource: the first value as text.
    pub(super) fn sort_key(&self, resource: &Value) -> String {
        let first = self.values(resource).into_iter().next();
        match first {
            Some(Value::Object(period)) => period.get("start").and_then(Value::as_str).unwrap_or_default().to_owned(),
            Some(value) => lower(value),
            None => String::new(),
        }
    }

    fn allows(&self, reference: &str) -> bool {
        match self.sort {
            Sort::Reference(Some(target)) => reference.split_once('/').is_some_and(|(kind, _)| kind == target),
            Sort::Reference(None) | Sort::Token | Sort::Text | Sort::Date => true,
        }
    }

    fn values<'a>(&self, resource: &'a Value) -> Vec<&'a Value> {
        self.paths
            .iter()
            .flat_map(|path| {
                path.split('.').fold(vec![resource], |found, name| {
                    found.into_iter().filter_map(|value| value.get(name)).flat_map(flattened).collect()
                })
            })
            .collect()
    }

    fn alternative(&self, base: &str, modifier: Option<&str>, value: &str) -> Result<Alternative, Refusal> {
        let refused = || Err(Refusal::invalid(format!("{value:?} is not a value for {}", self.name)));
        match (self.sort, modifier) {
            (Sort::Token, None) => Ok(match value.split_once('|') {
                None => Alternative::Token { system: None, code: Some(value.to_owned()) },
                Some((system, code)) => Alternative::Token {
                    system: Some(system.to_owned()),
                    code: Some(code.to_owned()).filter(|code| !code.is_empty()),
                },
            }),
            (Sort::Text, None) => Ok(Alternative::Begins(value.to_lowercase())),
            (Sort::Text, Some("contains")) => Ok(Alternative::Contains(value.to_lowercase())),
            (Sort::Text, Some("exact")) => Ok(Alternative::Exactly(value.to_owned())),
            (Sort::Date, None) => match date::criterion(value) {
                Some((prefix, range)) => Ok(Alternative::Date(prefix, range)),
                None => refused(),
            },
            (Sort::Reference(_), None) => Ok(Alternative::Reference(without_base(base, value).to_owned())),
            (Sort::Reference(_), Some(kind)) if kind.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
                Ok(Alternative::Reference(format!("{kind}/{value}")))
            }
            (_, Some(modifier)) => {
                Err(Refusal::not_supported(format!("the modifier :{modifier} of {} is not supported", self.name)))
            }
        }
    }
}

/// Splits at commas that are not escaped (FHIR R4 §3.1.1.4.17).
fn alternatives(value: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match (character, found.last_mut()) {
            (',', _) => found.push(String::new()),
            ('\\', Some(last)) => last.extend(characters.next()),
            (other, Some(last)) => last.push(other),
            (_, None) => {}
        }
    }
    found.retain(|alternative| !alternative.is_empty());
    found
}

fn flattened(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        other => vec![other],
    }
}

fn lower(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_lowercase()
}

fn has_token(value: &Value, system: Option<&str>, code: Option<&str>) -> bool {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    match value {
        Value::String(actual) => system.is_none_or(str::is_empty) && code == Some(actual),
        Value::Bool(actual) => system.is_none() && code == Some(if *actual { "true" } else { "false" }),
        Value::Object(_) => {
            if let Some(codings) = value.get("coding").and_then(Value::as_array) {
                return codings.iter().any(|coding| has_token(coding, system, code));
            }
            let actual = text("code").or_else(|| text("value"));
            system.is_none_or(|wanted| text("system").unwrap_or_default() == wanted)
                && code.is_none_or(|wanted| actual == Some(wanted))
        }
        Value::Null | Value::Number(_) | Value::Array(_) => false,
    }
}

fn time_of(value: &Value) -> Option<Range> {
    match value {
        Value::String(text) => date::range(text),
        Value::Object(_) => {
            let edge = |name: &str| value.get(name).and_then(Value::as_str).and_then(date::range);
            Some(Range {
                start: edge("start").map_or(jiff::Timestamp::MIN, |range| range.start),
                end: edge("end").map_or(jiff::Timestamp::MAX, |range| range.end),
            })
        }
        _ => None,
    }
}

/// A Reference's target as `Type/id`, where it is on this server.
fn local_reference<'a>(base: &str, value: &'a Value) -> Option<&'a str> {
    let reference = without_base(base, value.get("reference")?.as_str()?);
    let reference = reference.split_once("/_history/").map_or(reference, |(reference, _)| reference);
    let (kind, id) = reference.split_once('/')?;
    (!kind.contains(':') && !id.contains('/')).then_some(reference)
}

fn without_base<'a>(base: &str, reference: &'a str) -> &'a str {
    reference.strip_prefix(base).and_then(|rest| rest.strip_prefix('/')).unwrap_or(reference)
}
