//! What should be done now, and when to look again. Pure: the same view gives the same plan.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::{SignedDuration, Timestamp};

use super::findings::{Asked, Findings, KeyTrouble, Probed};
use super::rotate::candidates;
use crate::api::activation::{KeyState, KeyStatus};
use crate::snapshot::activation::{BackendAuth, User, UserCredential};
use crate::snapshot::{Activation, App, DataAdapter, EhrAuthentication, ObjectKey, Published};
use crate::values::key::{GatewayIdentity, PairIdentity, Thumbprint};

/// The first repetition of a question that an EHR refused; each one after waits twice as long.
const FIRST_REPETITION: SignedDuration = SignedDuration::from_secs(15);
/// The longest wait in the first day.
const LONGEST_REPETITION: SignedDuration = SignedDuration::from_mins(15);
/// An EHR that refuses for so long is asked hourly: it takes hours to sync, and may lock out whoever keeps guessing.
const A_DAY: SignedDuration = SignedDuration::from_hours(24);
/// How often then.
const AFTER_A_DAY: SignedDuration = SignedDuration::from_hours(1);
/// How often a key is proved again that nobody uses. Whoever uses one proves it with every token.
const UNUSED_PROOF: SignedDuration = SignedDuration::from_hours(6);
/// How often adapters and launch links are probed.
const PROBE: SignedDuration = SignedDuration::from_mins(5);
/// The shortest time between two looks for the reason why an EHR refuses: each is two requests.
const EXAMINATION: SignedDuration = SignedDuration::from_secs(30);
/// How often health is polled.
const HEALTH: SignedDuration = SignedDuration::from_secs(30);
/// The first repetition of a failed probe.
const PROBE_REPETITION: SignedDuration = SignedDuration::from_secs(5);
/// The first repetition of a failed attempt to make a key, or of the search for one that is lost.
const KEY_REPETITION: SignedDuration = SignedDuration::from_secs(2);
/// The longest wait between two of them.
const LONGEST_KEY_REPETITION: SignedDuration = SignedDuration::from_mins(1);

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Make the key of a pair, unless it is there.
    CreatePairKey {
        /// Where.
        namespace: String,
        /// Which.
        identity: PairIdentity,
        /// Subject of its certificate.
        common_name: String,
    },
    /// Make a gateway's own keys, unless they are there.
    CreateGatewayKey {
        /// Where.
        namespace: String,
        /// Which.
        identity: GatewayIdentity,
    },
    /// Look in the key store itself for a key that is taken for lost.
    LookForKey(ObjectKey),
    /// Ask the EHR for a token with what requests use.
    AskEhr(ObjectKey),
    /// Ask the EHR for a token with this key, which does not sign yet.
    ProveKey(ObjectKey, Thumbprint),
    /// Look for the reason why the EHR refuses.
    Examine(ObjectKey),
    /// Read the EHR's CapabilityStatement.
    ProbeAdapter(ObjectKey),
    /// Look whether an app's launch URI is a reachable link.
    ProbeLaunch(ObjectKey),
    /// Ask an app how it is.
    ProbeHealth(ObjectKey),
}

impl Action {
    /// The activation whose EHR it asks.
    pub const fn asked(&self) -> Option<&ObjectKey> {
        match self {
            Self::AskEhr(activation) | Self::ProveKey(activation, _) | Self::Examine(activation) => Some(activation),
            Self::CreatePairKey { .. }
            | Self::CreateGatewayKey { .. }
            | Self::LookForKey(_)
            | Self::ProbeAdapter(_)
            | Self::ProbeLaunch(_)
            | Self::ProbeHealth(_) => None,
        }
    }
}

/// What to do now, and when to look again though nothing has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To do now.
    pub actions: Vec<Action>,
    /// When something falls due.
    pub next: Option<Timestamp>,
}

impl Plan {
    fn put(&mut self, due: Timestamp, now: Timestamp, action: Action) {
        if due <= now {
            self.actions.push(action);
        } else {
            self.look_again(due);
        }
    }

    /// Asks for a look at that moment at the latest.
    pub fn look_again(&mut self, moment: Timestamp) {
        self.next = Some(self.next.map_or(moment, |next| next.min(moment)));
    }
}

/// Plans. `keys` holds the states of each activation's keys after rotation.
pub fn plan(
    published: &Published,
    keys: &BTreeMap<ObjectKey, Vec<KeyStatus>>,
    findings: &Findings,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::default();
    missing_keys(published, findings, now, &mut plan);
    lost_keys(keys, findings, now, &mut plan);
    let snapshot = &published.snapshot;
    for activation in snapshot.activations.values() {
        if activation.live_at(now).is_ok() {
            let keys = keys.get(&activation.key).map(Vec::as_slice).unwrap_or_default();
            ehr(activation, keys, findings, now, &mut plan);
        }
    }
    for adapter in snapshot.data_adapters.values().filter(|adapter| !adapter.suspend) {
        let due = probe_due(findings.adapters.get(&adapter.uid), &adapter_subject(adapter), PROBE, &adapter.uid, now);
        plan.put(due, now, Action::ProbeAdapter(adapter.key.clone()));
    }
    for app in snapshot.apps.values().filter(|app| !app.suspend) {
        links(app, findings, now, &mut plan);
    }
    plan
}

/// Keys that do not exist yet. Their Secrets, in the order in which they are made.
pub fn missing(published: &Published) -> Vec<(ObjectKey, Action)> {
    let snapshot = &published.snapshot;
    let gateways = snapshot.gateways.iter().filter_map(|(key, gateway)| {
        let identity = GatewayIdentity { gateway: key.name.clone(), revision: gateway.signing.missing_revision? };
        let secret = key.sibling(&identity.secret_name());
        Some((secret, Action::CreateGatewayKey { namespace: key.namespace.clone(), identity }))
    });
    let pairs = snapshot.key_pairs.iter().filter_map(|(key, pair)| {
        let missing = pair.missing.as_ref()?;
        let secret = key.sibling(&missing.identity.secret_name());
        let action = Action::CreatePairKey {
            namespace: key.namespace.clone(),
            identity: missing.identity.clone(),
            common_name: missing.common_name.clone(),
        };
        Some((secret, action))
    });
    gateways.chain(pairs).collect()
}

fn missing_keys(published: &Published, findings: &Findings, now: Timestamp, plan: &mut Plan) {
    for (secret, action) in missing(published) {
        plan.put(key_due(findings.keys.get(&secret), now), now, action);
    }
}

/// A key that is gone is looked for where it should be, before and while people are told that it is lost: somebody may
/// just have restored it.
fn lost_keys(keys: &BTreeMap<ObjectKey, Vec<KeyStatus>>, findings: &Findings, now: Timestamp, plan: &mut Plan) {
    let lost: BTreeSet<ObjectKey> = keys
        .iter()
        .flat_map(|(activation, keys)| keys.iter().map(move |key| (activation, key)))
        .filter(|(_, key)| key.state == KeyState::Lost)
        .map(|(activation, key)| activation.sibling(&key.secret_name))
        .collect();
    for secret in lost {
        plan.put(key_due(findings.keys.get(&secret), now), now, Action::LookForKey(secret));
    }
}

fn key_due(trouble: Option<&KeyTrouble>, now: Timestamp) -> Timestamp {
    trouble.map_or(now, |trouble| after(trouble.at, doubled(KEY_REPETITION, trouble.attempts, LONGEST_KEY_REPETITION)))
}

fn ehr(activation: &Activation, keys: &[KeyStatus], findings: &Findings, now: Timestamp, plan: &mut Plan) {
    let now_wanted = findings.asked_for.contains(&activation.key);
    let ask = Action::AskEhr(activation.key.clone());
    let asked =
        findings.asked.get(&activation.uid).filter(|asked| asked.credential_digest == activation.credential_digest);
    match &activation.ehr_authentication {
        EhrAuthentication::BackendAuth(BackendAuth { client_id: Some(_), signing: Some(signing), .. }) => {
            plan.put(if now_wanted { now } else { ask_due(asked, &activation.uid, now) }, now, ask);
            let signs_now = signing.thumbprint.to_string();
            let is_refused = asked.is_some_and(Asked::is_refused);
            proofs(activation, keys, &signs_now, is_refused, findings, now, plan);
            examine(activation, asked, findings, now, plan);
        }
        EhrAuthentication::ClientCredentials(_) => {
            plan.put(if now_wanted { now } else { ask_due(asked, &activation.uid, now) }, now, ask);
            examine(activation, asked, findings, now, plan);
        }
        EhrAuthentication::User(User { credential, .. }) => {
            // Which key the EHR accepts for users, the first of them tells; a newer one is proved beside it.
            if let UserCredential::KeyPair { signing: Some(signing), .. } = credential
                && keys.iter().any(|key| key.state == KeyState::Signing)
            {
                proofs(activation, keys, &signing.thumbprint.to_string(), false, findings, now, plan);
            }
            examine(activation, asked, findings, now, plan);
        }
        EhrAuthentication::BackendAuth(_) | EhrAuthentication::Basic(_) | EhrAuthentication::None => {}
    }
}

/// After each refusal, but not after each of a hundred requests that an app sends in vain.
fn examine(activation: &Activation, asked: Option<&Asked>, findings: &Findings, now: Timestamp, plan: &mut Plan) {
    let Some(asked) = asked.filter(|asked| asked.is_refused()) else { return };
    let digest = activation.credential_digest;
    let examined = findings.examined.get(&activation.uid).filter(|examined| examined.credential_digest == digest);
    let due = match examined {
        None => now,
        Some(examined) if examined.at >= asked.at => return,
        Some(examined) => {
            let is_lasting = asked.failing_since.is_some_and(|since| asked.at.duration_since(since) >= AFTER_A_DAY);
            after(examined.at, if is_lasting { PROBE } else { EXAMINATION })
        }
    };
    plan.put(due, now, Action::Examine(activation.key.clone()));
}

/// Newest to oldest: one that is older than the key in use is tried only when the EHR refuses all newer ones.
fn proofs(
    activation: &Activation,
    keys: &[KeyStatus],
    in_use: &str,
    in_use_is_refused: bool,
    findings: &Findings,
    now: Timestamp,
    plan: &mut Plan,
) {
    let known = findings.proofs.get(&activation.uid);
    for key in candidates(keys) {
        if key.thumbprint == in_use {
            if in_use_is_refused {
                continue;
            }
            return;
        }
        let Ok(thumbprint) = key.thumbprint.parse::<Thumbprint>() else { continue };
        let asked = known
            .and_then(|known| known.get(&thumbprint))
            .filter(|asked| asked.credential_digest == activation.credential_digest);
        let due = if findings.asked_for.contains(&activation.key) { now } else { ask_due(asked, &key.thumbprint, now) };
        plan.put(due, now, Action::ProveKey(activation.key.clone(), thumbprint));
        if !asked.is_some_and(Asked::is_refused) {
            return;
        }
    }
}

fn ask_due(asked: Option<&Asked>, seed: &str, now: Timestamp) -> Timestamp {
    let Some(asked) = asked else { return now };
    let wait = match asked.failing_since {
        None => UNUSED_PROOF,
        Some(since) if asked.at.duration_since(since) >= A_DAY => AFTER_A_DAY,
        Some(_) => doubled(FIRST_REPETITION, asked.failures, LONGEST_REPETITION),
    };
    after(asked.at, jittered(wait, seed, asked.failures))
}

/// What makes an adapter's probe worthless when it changes.
pub fn adapter_subject(adapter: &DataAdapter) -> String {
    let mut hasher = DefaultHasher::new();
    adapter.tls.ca_bundle_pem.hash(&mut hasher);
    adapter.tls.client_certificate_pem.hash(&mut hasher);
    format!("{} {:x}", adapter.fhir_base, hasher.finish())
}

fn links(app: &App, findings: &Findings, now: Timestamp, plan: &mut Plan) {
    if let Some(uri) = &app.launch_uri {
        let due = probe_due(findings.launches.get(&app.uid), uri.as_str(), PROBE, &app.uid, now);
        plan.put(due, now, Action::ProbeLaunch(app.key.clone()));
    }
    if let Some(uri) = &app.health_uri {
        let due = probe_due(findings.health.get(&app.uid), uri.as_str(), HEALTH, &app.uid, now);
        plan.put(due, now, Action::ProbeHealth(app.key.clone()));
    }
}

fn probe_due<T>(
    probed: Option<&Probed<T>>,
    subject: &str,
    every: SignedDuration,
    seed: &str,
    now: Timestamp,
) -> Timestamp {
    let Some(probed) = probed.filter(|probed| probed.subject == subject) else { return now };
    let wait = if probed.failures == 0 { every } else { doubled(PROBE_REPETITION, probed.failures, every) };
    after(probed.at, jittered(wait, seed, probed.failures))
}

/// `first`, doubled with each attempt after the first, `longest` at most.
fn doubled(first: SignedDuration, attempts: u32, longest: SignedDuration) -> SignedDuration {
    let factor = 2_i32.saturating_pow(attempts.saturating_sub(1).min(20));
    first.checked_mul(factor).unwrap_or(longest).min(longest)
}

/// Ten percent more or less, always the same for the same seed and count: so that what was started together does not
/// stay together.
fn jittered(wait: SignedDuration, seed: &str, count: u32) -> SignedDuration {
    let mut hasher = DefaultHasher::new();
    (seed, count).hash(&mut hasher);
    let percent = i32::try_from(hasher.finish() % 21).unwrap_or(10) + 90;
    wait / 100 * percent
}

fn after(moment: Timestamp, wait: SignedDuration) -> Timestamp {
    moment.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
