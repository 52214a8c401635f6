//! The launch's context (SMART App Launch 2.2 "Launch context arrives with your access_token"): read from the EHR's token
//! response, told to the app in ours.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::values::base_url::BaseUrl;
use crate::values::scope::{Context, Scope, ScopeSet, Word};

/// FHIR says 64; Epic's may be longer.
const LONGEST_ID: usize = 256;
const LONGEST_TEXT: usize = 2048;
const MOST_REFERENCES: usize = 64;

/// What is in context. In JSON it is the members of a token response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchContext {
    /// The patient's logical ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient: Option<String>,
    /// The encounter's logical ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encounter: Option<String>,
    /// Other resources in context.
    #[serde(default, rename = "fhirContext", skip_serializing_if = "Vec::is_empty")]
    pub fhir_context: Vec<Value>,
    /// Whether the app must show whose data it shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub need_patient_banner: Option<bool>,
    /// Where the EHR describes its looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smart_style_url: Option<String>,
    /// What the user wants to do in the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    /// Of the EHR's organizations, the one that the user works for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

impl LaunchContext {
    /// Reads the members of an EHR's token response. What is no ID is as good as none; references into the EHR are
    /// moved from its FHIR base to the gateway's (neither with a slash at its end).
    pub fn read(members: &Map<String, Value>, from: &str, to: &str) -> Self {
        let text = |name: &str| {
            let text = members.get(name)?.as_str()?;
            (!text.is_empty() && text.len() <= LONGEST_TEXT).then(|| text.to_owned())
        };
        let references = members.get("fhirContext").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let references = references.iter().filter(|reference| reference.is_object()).take(MOST_REFERENCES);
        Self {
            patient: text("patient").filter(|id| is_id(id)),
            encounter: text("encounter").filter(|id| is_id(id)),
            fhir_context: references.map(|reference| moved(reference.clone(), from, to)).collect(),
            need_patient_banner: match members.get("need_patient_banner") {
                Some(Value::Bool(needed)) => Some(*needed),
                Some(Value::String(text)) => text.parse().ok(),
                Some(_) | None => None,
            },
            smart_style_url: text("smart_style_url")
                .filter(|url| url.starts_with("https://") || url.starts_with("http://")),
            intent: text("intent"),
            tenant: text("tenant"),
        }
    }

    /// What of it an app with these scopes is told: an activation may ask its EHR for more than one of its apps may know.
    #[must_use]
    pub fn within(self, scopes: &ScopeSet) -> Self {
        let holds = |word| scopes.covers(&Scope::Word(word));
        let launched = holds(Word::Launch);
        let of_patient = scopes.resources().any(|scope| scope.context == Context::Patient);
        let knows_patient = launched || of_patient || holds(Word::LaunchPatient);
        let knows_encounter = launched || holds(Word::LaunchEncounter);
        let knows_any = knows_patient || knows_encounter;
        Self {
            patient: self.patient.filter(|_| knows_patient),
            encounter: self.encounter.filter(|_| knows_encounter),
            fhir_context: if knows_any { self.fhir_context } else { Vec::new() },
            need_patient_banner: self.need_patient_banner.filter(|_| knows_any),
            smart_style_url: self.smart_style_url.filter(|_| knows_any),
            intent: self.intent.filter(|_| knows_any),
            tenant: self.tenant.filter(|_| knows_any),
        }
    }
}

/// A logical ID: it stands in paths and searches later.
fn is_id(text: &str) -> bool {
    text.len() <= LONGEST_ID
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

/// Every string in it that lies below `from`, moved below `to`.
fn moved(value: Value, from: &str, to: &str) -> Value {
    match value {
        Value::String(text) => match BaseUrl::new(from).below(&text) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Value::String(format!("{to}{rest}")),
            Some(_) | None => Value::String(text),
        },
        Value::Array(items) => items.into_iter().map(|item| moved(item, from, to)).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, moved(value, from, to))).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(answer: &Value) -> Value {
        let context = LaunchContext::read(answer.as_object().unwrap(), "https://ehr/fhir", "https://gate/fhir");
        serde_json::to_value(context).unwrap()
    }

    #[test]
    fn all_that_smart_names_is_read_and_moved() {
        assert_eq!(
            read(&json!({
                "access_token": "secret", "patient": "p-1", "encounter": "e.1", "need_patient_banner": "false",
                "smart_style_url": "https://ehr/style.json", "intent": "reconcile", "tenant": "north",
                "fhirContext": [{"reference": "https://ehr/fhir/List/1", "role": "r"}, {"reference": "https://ehr/fhirx/List/1"}, "List/2",
                    {"reference": "http://EHR/fhir/List/3"}],
            })),
            json!({
                "patient": "p-1", "encounter": "e.1", "need_patient_banner": false,
                "smart_style_url": "https://ehr/style.json", "intent": "reconcile", "tenant": "north",
                "fhirContext": [{"reference": "https://gate/fhir/List/1", "role": "r"}, {"reference": "https://ehr/fhirx/List/1"},
                    {"reference": "https://gate/fhir/List/3"}],
            })
        );
    }

    #[test]
    fn what_is_no_id_is_none() {
        for patient in [json!("a/b"), json!("a b"), json!(""), json!("1,2"), json!(7), json!("a".repeat(257))] {
            assert_eq!(read(&json!({ "patient": patient, "smart_style_url": "javascript:x" })), json!({}));
        }
    }

    #[test]
    fn an_app_is_told_what_its_scopes_are_about() {
        let context = LaunchContext {
            patient: Some("p".into()),
            encounter: Some("e".into()),
            intent: Some("i".into()),
            ..LaunchContext::default()
        };
        let told = |scopes: &str| {
            let told = context.clone().within(&ScopeSet::parse(scopes).unwrap());
            (told.patient.is_some(), told.encounter.is_some(), told.intent.is_some())
        };
        assert_eq!(told("launch"), (true, true, true));
        assert_eq!(told("patient/Patient.r"), (true, false, true));
        assert_eq!(told("launch/encounter"), (false, true, true));
        assert_eq!(told("user/Patient.r openid"), (false, false, false));
    }
}
