//! The status of an Activation: its key, its standing at the EHR, and what a person must do next.

use super::conditions::Conditions;
use super::{Told, View, ladder, refusal};
use crate::api::ActivationStatus;
use crate::api::common::condition;
use crate::outbound::EhrAnswer;
use crate::snapshot::report::{ActivationDetail, Verdict};
use crate::snapshot::{Activation, Report};
use crate::values::code::{Code, Group};

/// The member of a status that says which request for a probe was answered.
pub(in crate::control) const LAST_HANDLED_PROBE: &str = "lastHandledProbeAt";

pub(super) fn status(
    view: &View<'_>,
    report: &Report,
    detail: &ActivationDetail,
    mut conditions: Conditions,
    told: &Told<'_>,
) -> ActivationStatus {
    let key = &report.object.key;
    let activation = view.published.snapshot.activations.get(key);
    if report.finding(Group::KeyReady).is_some_and(|finding| finding.code == Code::KeyCreating)
        && let Some(trouble) = activation.and_then(|activation| key_trouble(view, activation))
    {
        conditions.add(Verdict::fails(condition::KEY_READY, Code::KeyCreating, trouble));
    }
    let ehr = ehr_authenticated(view, report, detail, activation.map(AsRef::as_ref), told);
    if let Some(verdict) = ehr {
        conditions.add(verdict);
    }
    let likely_causes = conditions
        .get(condition::EHR_AUTHENTICATED)
        .map(|verdict| refusal::likely_causes(view, report, activation.map(AsRef::as_ref), verdict, told))
        .unwrap_or_default();
    let keys = view.keys.get(key).cloned().unwrap_or_default();
    let next_step = ladder::next_step(&ladder::Standing {
        report,
        detail,
        activation: activation.map(AsRef::as_ref),
        conditions: &conditions,
        keys: &keys,
        likely_causes: &likely_causes,
        trouble: activation.and_then(|activation| key_trouble(view, activation)),
    });
    let served = report.is_usable().then(|| {
        let (serving, ready) = view.serving.of(&report.object);
        format!("{serving}/{ready}")
    });
    ActivationStatus {
        observed_generation: report.generation,
        conditions: conditions.finish(report, &told.conditions),
        next_step,
        likely_causes,
        served,
        keys,
        certificate_pem: detail.certificate_pem.as_deref().map(str::to_owned),
        jwks_url: detail.jwks_url.clone(),
        callback_url: detail.callback_url.clone(),
        launch_url: detail.launch_url.clone(),
        connection: detail.connection.clone(),
        dropped_scopes: detail.dropped_scopes.clone(),
        last_handled_probe_at: view
            .findings
            .requests_answered
            .get(&report.uid)
            .cloned()
            .or_else(|| told.status?.text(LAST_HANDLED_PROBE).map(str::to_owned)),
    }
}

/// Why the key that should be there cannot be made.
fn key_trouble(view: &View<'_>, activation: &Activation) -> Option<String> {
    let (pair, _) = activation.ehr_authentication.key_pair()?;
    let secret = pair.missing.as_ref()?.identity.secret_name();
    let trouble = view.findings.keys.get(&pair.key.sibling(&secret))?;
    Some(format!("key {secret} cannot be made: {}", trouble.message.as_deref()?))
}

/// `EHRAuthenticated`: turns False when the EHR refuses, not when it is away.
fn ehr_authenticated(
    view: &View<'_>,
    report: &Report,
    detail: &ActivationDetail,
    activation: Option<&Activation>,
    told: &Told<'_>,
) -> Option<Verdict> {
    const NAME: &str = condition::EHR_AUTHENTICATED;
    if !detail.asks_for_tokens && !detail.launches_users() {
        return None;
    }
    let not_asked = |otherwise: &str| {
        if detail.launches_users() {
            return Verdict::unknown(NAME, Code::NoUserYet, "no user has launched the app yet");
        }
        Verdict::unknown(NAME, Code::NotProbed, otherwise)
    };
    if detail.awaits_client_id {
        return Some(Verdict::fails(NAME, Code::ClientIdMissing, "the EHR's client ID is missing"));
    }
    let Some(activation) = activation else {
        return Some(not_asked("not asked: other conditions come first"));
    };
    let told_before = told.of_this_spec(NAME).filter(|told| told.reason != Code::ClientIdMissing.reason());
    let accepted_before = view.accepted_before.contains(&report.object.key);
    let asked = view
        .findings
        .asked
        .get(&activation.uid)
        .filter(|asked| asked.credential_digest == activation.credential_digest);
    let about_clocks = asked.map_or("", |asked| asked.about_clocks);
    let verdict = match asked.map(|asked| &asked.answer) {
        Some(EhrAnswer::Accepted) => Verdict::holds(NAME, format!("the EHR accepted a token request{about_clocks}")),
        Some(EhrAnswer::Refused { message, .. }) => {
            let code = if accepted_before { Code::Refused } else { Code::AwaitingRegistration };
            Verdict::fails(NAME, code, message.clone())
        }
        Some(EhrAnswer::Unusable { message }) => Verdict::fails(NAME, Code::UnusableAnswer, message.clone()),
        Some(EhrAnswer::Away { message }) => match told_before {
            Some(told) if told.reason != Code::EhrUnreachable.reason() => told,
            Some(_) | None if accepted_before => Verdict::holds(NAME, "the EHR accepted a token request"),
            Some(_) | None => Verdict::fails(NAME, Code::EhrUnreachable, message.clone()),
        },
        None => match told_before {
            Some(told) => told,
            None => not_asked("the EHR has not been asked yet"),
        },
    };
    Some(verdict)
}
