//! Why an EHR refuses: what the control plane knows, put together for [`ehr_refusal`].
//!
//! [`ehr_refusal`]: crate::protocol::oauth::ehr_refusal

use uuid::Uuid;

use super::{Told, View};
use crate::api::activation::LikelyCause;
use crate::outbound::EhrAnswer;
use crate::protocol::oauth::ehr_refusal::{Facts, Key, KeySet, Proof, causes};
use crate::snapshot::activation::{TokenUrl, User, UserCredential};
use crate::snapshot::key_pair::KeyRevision;
use crate::snapshot::report::Verdict;
use crate::snapshot::{Activation, EhrAuthentication, KeyPair, Report};
use crate::values::code::Code;

/// The causes that are left, likeliest first; none where the EHR does not refuse.
pub(super) fn likely_causes(
    view: &View<'_>,
    report: &Report,
    activation: Option<&Activation>,
    verdict: &Verdict,
    told: &Told<'_>,
) -> Vec<LikelyCause> {
    let refuses = [Code::AwaitingRegistration, Code::Refused];
    if !refuses.iter().any(|code| verdict.reason == code.reason()) {
        return Vec::new();
    }
    let known = activation.and_then(|activation| of_answer(view, report, activation));
    // As the condition: what was told of this very spec stays told until the EHR is asked again.
    let told_before = || told.status.map(|status| status.list("likelyCauses")).unwrap_or_default();
    known.unwrap_or_else(told_before)
}

/// `None`: the EHR was not asked since we started.
fn of_answer(view: &View<'_>, report: &Report, activation: &Activation) -> Option<Vec<LikelyCause>> {
    let digest = activation.credential_digest;
    let asked = view.findings.asked.get(&activation.uid).filter(|asked| asked.credential_digest == digest)?;
    let EhrAnswer::Refused { error, .. } = &asked.answer else { return None };
    let examined = view.findings.examined.get(&activation.uid).filter(|known| known.credential_digest == digest);
    let discovered = examined.and_then(|examined| examined.discovered.as_ref());
    let adapter = &activation.gateway.data_adapter;
    let unknown = KeySet::Unknown;
    let key_set = examined.map_or(&unknown, |examined| &examined.key_set);
    let is_known = |key: &KeyRevision| view.accepted_keys.contains(&(adapter.uid.as_str(), key.thumbprint));
    let endpoint = discovered.map(|found| found.token_endpoint.as_str());
    let (proof, token_url) = match &activation.ehr_authentication {
        EhrAuthentication::BackendAuth(auth) => {
            let token_url = token_url(&auth.token_url, endpoint);
            let audience = auth.audience.as_deref().unwrap_or(token_url);
            let signing = auth.signing.as_ref()?;
            (Proof::Key(key(&auth.pair, signing, audience, is_known(signing), key_set)), token_url)
        }
        EhrAuthentication::ClientCredentials(auth) => {
            (Proof::Secret(auth.method), token_url(&auth.token_url, endpoint))
        }
        EhrAuthentication::User(User { credential, token_url: given, .. }) => {
            let token_url = token_url(given, endpoint);
            let proof = match credential {
                UserCredential::Public => Proof::Nothing,
                UserCredential::Secret { method, .. } => Proof::Secret(*method),
                UserCredential::KeyPair { pair, signing } => {
                    let signing = signing.as_ref()?;
                    Proof::Key(key(pair, signing, token_url, is_known(signing), key_set))
                }
            };
            (proof, token_url)
        }
        EhrAuthentication::Basic(_) | EhrAuthentication::None => return None,
    };
    let client_id = activation.ehr_authentication.client_id()?;
    Some(causes(&Facts {
        ehr: &adapter.display_name,
        vendor: adapter.data_source_type,
        error: error.as_deref(),
        accepted_before: view.accepted_before.contains(&report.object.key),
        client_id,
        client_id_is_of_app: app_of(view, activation, client_id),
        proof,
        for_users: matches!(activation.ehr_authentication, EhrAuthentication::User(_)),
        token_url,
        discovered,
        clock_skew_seconds: asked.clock_skew_seconds,
        now: view.now,
    }))
}

fn key<'facts>(
    pair: &'facts KeyPair,
    signing: &KeyRevision,
    audience: &'facts str,
    accepted_elsewhere: bool,
    key_set: &'facts KeySet,
) -> Key<'facts> {
    Key {
        algorithm: pair.kind.algorithm(),
        audience,
        made_at: signing.not_before,
        accepted_elsewhere,
        jwks_url: &pair.jwks_url,
        key_set,
    }
}

/// The App of this environment whose derived client ID that is. One that was chosen may be the EHR's on purpose.
fn app_of<'view>(view: &'view View<'_>, activation: &Activation, client_id: &str) -> Option<&'view str> {
    // RFC 9562 §5.5: ours are derived from names; EHRs give random ones.
    Uuid::try_parse(client_id).ok().filter(|id| id.get_version_num() == 5)?;
    let app = view.published.snapshot.app_by_client_id(client_id)?;
    (app.key.namespace == activation.key.namespace).then_some(app.key.name.as_str())
}

fn token_url<'url>(given: &'url TokenUrl, discovered: Option<&'url str>) -> &'url str {
    match given {
        TokenUrl::Given(url) => url.as_str(),
        TokenUrl::Discovered => discovered.unwrap_or_default(),
    }
}
