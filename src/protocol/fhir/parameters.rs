//! What search parameters look at: the token and reference parameters of FHIR R4 (HL7's search-parameters 4.0.1, whose
//! expressions are plain paths), so that a resource can be judged by the condition that a scope names.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

use crate::values::base_url::BaseUrl;

/// Type, parameter, `token` or `reference`, paths, and the types that references lead to (`*`: many); tab-separated.
const TABLE: &str = include_str!("parameters.tsv");

/// What a parameter compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A code, perhaps with its system.
    Token,
    /// A reference to another resource.
    Reference,
}

/// A search parameter of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// What it compares.
    pub kind: Kind,
    paths: &'static str,
    targets: &'static str,
}

static PARAMETERS: LazyLock<HashMap<(&str, &str), Parameter>> = LazyLock::new(|| {
    let line = |line: &'static str| {
        let mut parts = line.split('\t');
        let (resource_type, name) = (parts.next()?, parts.next()?);
        let kind = if parts.next()? == "token" { Kind::Token } else { Kind::Reference };
        let (paths, targets) = (parts.next()?, parts.next().unwrap_or_default());
        Some(((resource_type, name), Parameter { kind, paths, targets }))
    };
    TABLE.lines().filter_map(line).collect()
});

/// The parameter of a type, if it is one whose meaning the gateway knows.
pub fn find(resource_type: &str, name: &str) -> Option<Parameter> {
    PARAMETERS.get(&(resource_type, name)).or_else(|| PARAMETERS.get(&("*", name))).copied()
}

impl Parameter {
    /// The elements that it looks at, as paths below the resource.
    pub fn paths(self) -> impl Iterator<Item = &'static str> {
        self.paths.split(',')
    }

    /// The types that its references lead to; `None`: many, or it is no reference.
    pub fn targets(self) -> Option<impl Iterator<Item = &'static str>> {
        (self.kind == Kind::Reference && !matches!(self.targets, "" | "*")).then(|| self.targets.split(','))
    }

    fn values(self, resource: &Value) -> Vec<&Value> {
        let mut found = Vec::new();
        for path in self.paths() {
            descend(resource, path, &mut found);
        }
        found
    }

    /// Whether a resource says anything at all in the elements that it looks at.
    pub fn has_value(self, resource: &Value) -> bool {
        self.values(resource).iter().any(|value| !value.is_null())
    }

    /// The relative references in a resource, as type and ID: a reference is relative, or begins with one of the bases.
    pub fn references<'value>(
        self,
        resource: &'value Value,
        bases: &'value [&'value str],
    ) -> impl Iterator<Item = (&'value str, &'value str)> {
        self.values(resource)
            .into_iter()
            .filter_map(|value| value.get("reference")?.as_str())
            .filter_map(|reference| local_reference(reference, bases))
    }

    /// Whether a resource meets the parameter with this value: one of several between commas. A token is `code`,
    /// `system|code`, `|code` (no system) or `system|` (any code of it); a reference is `Type/id` or an ID.
    pub fn matches(self, resource: &Value, value: &str, bases: &[&str]) -> bool {
        let wanted = || value.split(',').filter(|wanted| !wanted.is_empty());
        match self.kind {
            Kind::Token => {
                self.values(resource).iter().any(|found| wanted().any(|wanted| token_matches(found, wanted)))
            }
            Kind::Reference => self
                .references(resource, bases)
                .any(|(on, id)| wanted().any(|wanted| wanted == id || wanted.split_once('/') == Some((on, id)))),
        }
    }
}

fn descend<'value>(value: &'value Value, path: &str, found: &mut Vec<&'value Value>) {
    if let Value::Array(items) = value {
        for item in items {
            descend(item, path, found);
        }
        return;
    }
    match path.split_once('.') {
        Some((first, rest)) => {
            if let Some(next) = value.get(first) {
                descend(next, rest, found);
            }
        }
        None => match value.get(path) {
            Some(Value::Array(items)) => found.extend(items),
            Some(next) => found.push(next),
            None => {}
        },
    }
}

/// `Type/id` of a reference to a place at one of these bases.
pub fn local_reference<'value>(reference: &'value str, bases: &[&str]) -> Option<(&'value str, &'value str)> {
    // Most are relative: for them no base is taken apart.
    let relative = if reference.contains(':') {
        bases.iter().find_map(|base| BaseUrl::new(base).below(reference)?.strip_prefix('/'))?
    } else {
        reference
    };
    let mut parts = relative.split('/');
    let (on, id) = (parts.next()?, parts.next()?);
    let is_whole = match (parts.next(), parts.next(), parts.next()) {
        (None, ..) | (Some("_history"), Some(_), None) => true,
        (Some(_), ..) => false,
    };
    (is_whole && super::interaction::is_type(on) && super::interaction::is_id(id)).then_some((on, id))
}

/// One element against one token.
fn token_matches(found: &Value, wanted: &str) -> bool {
    let (system, code) = match wanted.split_once('|') {
        Some((system, code)) => (Some(system), code),
        None => (None, wanted),
    };
    let text = |value: Option<&Value>| match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(is)) => is.to_string(),
        Some(Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_)) | None => String::new(),
    };
    let compare = |own_system: Option<&Value>, own_code: String| {
        let system_fits = system.is_none_or(|system| text(own_system) == system);
        let code_fits =
            if code.is_empty() { system.is_some_and(|system| !system.is_empty()) } else { own_code == code };
        system_fits && code_fits
    };
    match found {
        Value::Object(members) => match members.get("coding") {
            Some(Value::Array(codings)) => codings.iter().any(|coding| token_matches(coding, wanted)),
            Some(_) => false,
            None => {
                let code = members.get("code").or_else(|| members.get("value"));
                compare(members.get("system"), text(code))
            }
        },
        // A plain code has no system to compare: it is bound to a value set, and only its code is written.
        Value::String(_) | Value::Bool(_) => !code.is_empty() && text(Some(found)) == code,
        Value::Null | Value::Number(_) | Value::Array(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[test]
    fn the_table_reads_well() {
        assert_eq!(PARAMETERS.len(), TABLE.lines().count());
        assert!(TABLE.lines().is_sorted());
        let subject = find("Observation", "subject").unwrap();
        assert_eq!(subject.targets().unwrap().collect::<Vec<_>>(), ["Device", "Group", "Location", "Patient"]);
        assert_eq!(find("Observation", "focus").unwrap().targets().map(Iterator::count), None);
        assert_eq!(find("Observation", "value-quantity"), None);
    }

    #[rstest]
    #[case("laboratory", true)]
    #[case("vital-signs,laboratory", true)]
    #[case("http://terminology.hl7.org/CodeSystem/observation-category|laboratory", true)]
    #[case("http://terminology.hl7.org/CodeSystem/observation-category|", true)]
    #[case("http://example.org|laboratory", false)]
    #[case("|laboratory", false)]
    #[case("lab", false)]
    #[case("", false)]
    #[case("|", false)]
    fn tokens_are_compared(#[case] value: &str, #[case] fits: bool) {
        let observation = json!({"category": [{"coding": [{"code": "x"}, {"system":
            "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]}]});
        assert_eq!(find("Observation", "category").unwrap().matches(&observation, value, &[]), fits);
    }

    #[rstest]
    #[case("Patient/1", true)]
    #[case("https://ehr.example.org/fhir/Patient/1/_history/2", true)]
    #[case("http://EHR.example.org:80/fhir/Patient/1", true)]
    #[case("https://gate.example.org/g/fhir/Patient/1", true)]
    #[case("https://ehr.example.org:8443/fhir/Patient/1", false)]
    #[case("https://ehr.example.org/other/Patient/1", false)]
    #[case("https://elsewhere.example.org/fhir/Patient/1", false)]
    fn a_reference_is_local_in_every_spelling_of_a_base(#[case] reference: &str, #[case] is_local: bool) {
        let bases = ["https://ehr.example.org/fhir", "https://gate.example.org/g/fhir"];
        assert_eq!(local_reference(reference, &bases), is_local.then_some(("Patient", "1")));
    }

    #[test]
    fn plain_codes_identifiers_and_references_are_compared() {
        let observation = json!({"status": "final", "identifier": [{"system": "urn:x", "value": "7"}],
            "encounter": {"reference": "Encounter/5"}, "meta": {"tag": [{"code": "t"}]}});
        let meets = |name: &str, value: &str| find("Observation", name).unwrap().matches(&observation, value, &[]);
        assert!(meets("status", "final") && meets("identifier", "urn:x|7") && meets("_tag", "t"));
        assert!(meets("encounter", "5") && meets("encounter", "Encounter/5"));
        assert!(!meets("status", "preliminary") && !meets("encounter", "6") && !meets("encounter", "Patient/5"));
    }
}
