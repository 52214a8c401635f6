//! `nextStep`: one sentence that tells a person what to do now.
//!
//! The ladder: fix the object → the key is made → register it at the EHR → the EHR accepts a real token request → the
//! app's first call → pin the key.

use super::conditions::Conditions;
use crate::api::ConditionStatus;
use crate::api::activation::{CauseKind, KeyState, KeyStatus, Likelihood, LikelyCause};
use crate::api::common::condition;
use crate::snapshot::report::{ActivationDetail, Verdict};
use crate::snapshot::{Activation, EhrAuthentication, Finding, Report};
use crate::values::code::{Code, Group};

/// Where an activation stands.
pub(super) struct Standing<'pass> {
    pub(super) report: &'pass Report,
    pub(super) detail: &'pass ActivationDetail,
    pub(super) activation: Option<&'pass Activation>,
    pub(super) conditions: &'pass Conditions,
    pub(super) keys: &'pass [KeyStatus],
    /// Why the EHR refuses, likeliest first; empty where it does not.
    pub(super) likely_causes: &'pass [LikelyCause],
    /// Why a key that should be there cannot be made.
    pub(super) trouble: Option<String>,
}

pub(super) fn next_step(standing: &Standing<'_>) -> Option<String> {
    let Standing { report, conditions, .. } = standing;
    if let Some(rejection) = report.rejections.first() {
        let correct = format!("Correct {}: {}.", rejection.location, rejection.message);
        return Some(format!("{correct} Until then the activation stays as it was before that edit."));
    }
    for group in [Group::Accepted, Group::ResolvedRefs] {
        if let Some(finding) = report.finding(group) {
            return Some(fix(finding));
        }
    }
    let obstacle = conditions.obstacle();
    let programmed = obstacle.filter(|verdict| verdict.condition == condition::PROGRAMMED);
    if let Some(finding) = report.finding(Group::KeyReady) {
        return Some(standing.trouble.as_deref().map_or_else(|| fix(finding), sentence));
    }
    let ehr = conditions.get(condition::EHR_AUTHENTICATED);
    let is_obstacle =
        |verdict: &&Verdict| verdict.status != ConditionStatus::True && verdict.reason != Code::NoUserYet.reason();
    if let Some(ehr) = ehr.filter(is_obstacle) {
        // An activation that is switched off is not asked about; switching it on comes first.
        if let Some(step) = standing.switched_off() {
            return Some(step);
        }
        return standing.at_the_ehr(&ehr.reason);
    }
    if let Some(step) = standing.switched_off() {
        return Some(step);
    }
    if let Some(verdict) = programmed {
        return Some(sentence(&verdict.message));
    }
    standing.rotation().or_else(|| standing.live())
}

/// What is wrong, and what to do about it.
fn fix(finding: &Finding) -> String {
    format!("{} {}", sentence(&finding.message), finding.code.remedy())
}

/// Begins with a capital and ends with a full stop.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first: String = characters.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", characters.as_str())
}

impl Standing<'_> {
    fn name(&self) -> String {
        format!("{} -n {}", self.report.object.key.name, self.report.object.key.namespace)
    }

    fn switched_off(&self) -> Option<String> {
        let activation = self.activation?;
        match &activation.suspended_by {
            Some(object) => Some(format!("Remove suspend: true from {object} to let the app in again.")),
            None => {
                let programmed = self.conditions.get(condition::PROGRAMMED)?;
                (programmed.reason == Code::OutsideWindow.reason())
                    .then(|| format!("{} Change the window, or wait for it.", sentence(&programmed.message)))
            }
        }
    }

    /// The JWKS URL first, since EHRs are moving to it; the PEM for those that take a file.
    fn what_to_register(&self) -> Option<String> {
        let url = self.detail.jwks_url.as_deref()?;
        let pem = if self.detail.certificate_pem.is_some() {
            format!(" (where it takes a file instead: the PEM that hearthgate pem {} prints)", self.name())
        } else {
            String::new()
        };
        Some(format!("the JWKS URL {url}{pem}"))
    }

    fn at_the_ehr(&self, reason: &str) -> Option<String> {
        let ehr = &self.detail.ehr_name;
        let client_id = self.activation.and_then(|activation| activation.ehr_authentication.client_id());
        let for_client = client_id.map(|id| format!(" for client ID {id}")).unwrap_or_default();
        let again = if self.detail.launches_users() {
            "the next user's launch asks it again".to_owned()
        } else {
            format!("hearthgate probe {} asks it again now", self.name())
        };
        let registration = self.what_to_register();
        if let Some(hint) = self.telling_cause() {
            return Some(format!("{hint} Then {again}."));
        }
        let step = match reason {
            reason if reason == Code::ClientIdMissing.reason() => format!(
                "Register the app at {ehr} with {}, and put the client ID that it gives into \
                 spec.ehrAuthentication.system.backendAuth.clientId.",
                registration?
            ),
            reason if reason == Code::AwaitingRegistration.reason() => match registration {
                Some(registration) => format!(
                    "Register {registration} at {ehr}{for_client}; EHRs take from minutes to a day to sync, and {again}."
                ),
                None if self.detail.launches_users() => format!(
                    "Check client ID, client secret and the redirect URI {}{for_client} with {ehr}'s people; {again}.",
                    self.detail.callback_url.as_deref().unwrap_or_default()
                ),
                None => format!("Check client ID and secret{for_client} with {ehr}'s people; {again}."),
            },
            reason if reason == Code::Refused.reason() => format!(
                "Ask {ehr}'s people what changed{for_client}: it accepted a token request before and refuses now{}; {again}.",
                registration.map(|registration| format!(" (registered should be {registration})")).unwrap_or_default()
            ),
            reason if reason == Code::EhrUnreachable.reason() => {
                format!("Check tokenUrl, DNS, firewall and certificates: {ehr} has never been reached; {again}.")
            }
            reason if reason == Code::UnusableAnswer.reason() => {
                format!("Check tokenUrl: what answers there is no token endpoint of {ehr}; {again}.")
            }
            _ => format!("Wait a few seconds: {ehr} is being asked for a token."),
        };
        Some(step)
    }

    /// What to do about a refusal, where something is known to speak for one cause. That the key is not registered yet is
    /// what it mostly is, and what the ladder says anyhow.
    fn telling_cause(&self) -> Option<&str> {
        let first = self.likely_causes.first()?;
        let is_told = first.likelihood == Likelihood::Evident
            || (first.likelihood == Likelihood::Likely && first.cause != CauseKind::KeyUnknown);
        is_told.then_some(first.hint.as_str())
    }

    /// A newer key that the EHR has not accepted yet.
    fn rotation(&self) -> Option<String> {
        if let Some(trouble) = &self.trouble {
            return Some(sentence(trouble));
        }
        let signing = self.keys.iter().find(|key| key.state == KeyState::Signing)?;
        let pending = self
            .keys
            .iter()
            .filter(|key| key.state == KeyState::Pending && key.revision > signing.revision)
            .max_by_key(|key| key.revision)?;
        Some(format!(
            "Have {} accept key revision {} as well: {}; until then revision {} goes on signing.",
            self.detail.ehr_name,
            pending.revision,
            self.what_to_register()?,
            signing.revision
        ))
    }

    fn live(&self) -> Option<String> {
        let connection = self.detail.connection.as_ref()?;
        let (fhir, token, client_id) = (&connection.fhir_base_url, &connection.token_url, &connection.client_id);
        let call = match self.activation.map(|activation| &activation.ehr_authentication) {
            Some(EhrAuthentication::User(_)) if self.conditions.holds(condition::EHR_AUTHENTICATED) => {
                let launch = self.detail.launch_url.as_deref().unwrap_or_default();
                format!("Users can launch: the app starts them at {fhir}, and the EHR starts it at {launch}.")
            }
            Some(EhrAuthentication::User(_)) => {
                let callback = self.detail.callback_url.as_deref().unwrap_or_default();
                let keys = self.what_to_register().map(|what| format!(" and {what}")).unwrap_or_default();
                format!(
                    "Have the redirect URI {callback}{keys} registered at {}; then the app starts users at {fhir}.",
                    self.detail.ehr_name
                )
            }
            Some(_) | None => {
                format!("The app can call: a token from {token} as client {client_id}, then FHIR at {fhir}.")
            }
        };
        Some(format!("{call}{}", self.pin().unwrap_or_default()))
    }

    /// The line to commit, so that a cluster that is rebuilt from git knows which key must be there.
    fn pin(&self) -> Option<String> {
        let signing = self.keys.iter().find(|key| key.state == KeyState::Signing)?;
        let pinned = self.detail.pinned.as_ref()?;
        (!pinned.contains(&signing.thumbprint)).then(|| {
            format!(
                " To have this key missed rather than replaced should status be lost, commit to keyPair: \
                 thumbprints: [{}].",
                signing.thumbprint
            )
        })
    }
}
