//! What can be told where nobody has asked the world outside: by an operator that stands by, and in the first moment.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::common::condition;
use crate::api::{ActivationStatus, AppStatus, Condition, ConditionStatus, GatewayStatus};
use crate::snapshot::live::{LiveObject, LiveStatus};
use crate::snapshot::report::{Detail, Verdict};
use crate::snapshot::{Kind, Report};
use crate::values::code::Code;

/// The objects with what follows from resources alone; `Ready` is unknown.
pub fn status(reports: &[Arc<Report>], now: Timestamp) -> LiveStatus {
    let ours = reports.iter().filter(|report| !matches!(report.object.kind, Kind::Secret | Kind::ConfigMap));
    LiveStatus { objects: ours.map(|report| object(report, now)).collect(), ..LiveStatus::default() }
}

fn object(report: &Report, now: Timestamp) -> LiveObject {
    let mut verdicts = report.at(now);
    let asked_elsewhere = "what the world outside says is known to the process that leads";
    verdicts.push(Verdict::unknown(condition::READY, Code::NotProbed, asked_elsewhere));
    let conditions: Vec<Condition> = verdicts.into_iter().map(|verdict| told(verdict, report, now)).collect();
    let live = LiveObject::new(report.object.clone(), report.references.clone(), detail(report, conditions));
    live.of(report.uid.clone(), report.generation)
}

fn told(verdict: Verdict, report: &Report, now: Timestamp) -> Condition {
    // What is broken by itself is broken whoever tells it.
    let is_broken = verdict.condition == condition::READY && !report.is_usable();
    Condition {
        type_: verdict.condition.to_owned(),
        status: if is_broken { ConditionStatus::False } else { verdict.status },
        reason: verdict.reason,
        message: verdict.message,
        observed_generation: report.generation,
        last_transition_time: now.to_string(),
    }
}

fn detail(report: &Report, conditions: Vec<Condition>) -> Value {
    let observed_generation = report.generation;
    // Plain data: writing it as JSON cannot fail.
    let told = match &report.detail {
        Detail::App { client_id, .. } => {
            serde_json::to_value(AppStatus { observed_generation, conditions, client_id: Some(client_id.clone()) })
        }
        Detail::Gateway { url, fhir_base_url, token_url, .. } => serde_json::to_value(GatewayStatus {
            observed_generation,
            conditions,
            url: Some(url.clone()),
            fhir_base_url: Some(fhir_base_url.clone()),
            token_url: Some(token_url.clone()),
            ..GatewayStatus::default()
        }),
        Detail::Activation(detail) => serde_json::to_value(ActivationStatus {
            observed_generation,
            conditions,
            keys: detail.keys.clone(),
            certificate_pem: detail.certificate_pem.as_deref().map(str::to_owned),
            jwks_url: detail.jwks_url.clone(),
            callback_url: detail.callback_url.clone(),
            launch_url: detail.launch_url.clone(),
            connection: detail.connection.clone(),
            dropped_scopes: detail.dropped_scopes.clone(),
            ..ActivationStatus::default()
        }),
        Detail::DataAdapter { .. } | Detail::Other => Ok(json!({ "conditions": conditions })),
    };
    told.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::state::State;
    use crate::snapshot::{Finding, ObjectKey, ObjectReference};

    #[test]
    fn what_follows_from_resources_is_told_and_the_rest_is_unknown() {
        let report = |name: &str, findings: Vec<Finding>| {
            let detail = Detail::App { client_id: format!("id of {name}"), suspended: false };
            let object = ObjectReference::new(Kind::App, ObjectKey::new("north", name));
            let mut report = Report::new(object, "uid", 3, detail);
            report.findings = findings;
            Arc::new(report)
        };
        let broken = Finding::new(Code::SecretNotFound, "spec.clientSecrets[0]", "there is no Secret");
        let status = status(&[report("broken", vec![broken]), report("fine", vec![])], Timestamp::UNIX_EPOCH);
        let told: Vec<_> = status
            .objects
            .iter()
            .map(|live| (State::of(live), live.generation, live.status_as::<AppStatus>().client_id.unwrap()))
            .collect();
        assert_eq!(told, [(State::Failing, 3, "id of broken".into()), (State::Progress, 3, "id of fine".into())]);
    }
}
