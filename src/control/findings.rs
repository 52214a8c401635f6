//! What the control plane has found out about the world since it started. Only what [`Observed`] holds survives it.
//!
//! [`Observed`]: crate::snapshot::resources::Observed

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use crate::outbound::EhrAnswer;
use crate::outbound::outcome::{EhrOutcome, about_clocks};
use crate::outbound::probe::{Capabilities, ProbeFailure};
use crate::protocol::oauth::ehr_refusal::{Discovered, KeySet};
use crate::snapshot::{ObjectKey, Published};
use crate::values::key::Thumbprint;

/// How long a key's trouble is remembered after the last attempt; attempts are more frequent.
const TROUBLE_REMEMBERED: SignedDuration = SignedDuration::from_mins(10);

/// What was found out. UIDs are those of the objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// By DataAdapter's UID: its CapabilityStatement.
    pub adapters: HashMap<String, Probed<Capabilities>>,
    /// By App's UID: its launch URI.
    pub launches: HashMap<String, Probed<()>>,
    /// By App's UID: its health URI.
    pub health: HashMap<String, Probed<()>>,
    /// By Activation's UID: what its EHR said to the key or secret that requests use.
    pub asked: HashMap<String, Asked>,
    /// By Activation's UID: what its EHR said to keys that don't sign yet.
    pub proofs: HashMap<String, BTreeMap<Thumbprint, Asked>>,
    /// By Activation's UID: what was looked at when its EHR had refused.
    pub examined: HashMap<String, Examined>,
    /// By Secret: keys that could not be made or found, or were made just now and are not compiled yet.
    pub keys: BTreeMap<ObjectKey, KeyTrouble>,
    /// Activations whose EHR a person wants asked now.
    pub asked_for: BTreeSet<ObjectKey>,
    /// By Activation's UID: the value of `probe-requested-at` that was seen last.
    pub requests_seen: HashMap<String, Option<String>>,
    /// By Activation's UID: the value of `probe-requested-at` that was answered last.
    pub requests_answered: HashMap<String, String>,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed<T> {
    /// What was probed, so that an edited URL is probed at once.
    pub subject: String,
    /// When.
    pub at: Timestamp,
    /// Failures in a row.
    pub failures: u32,
    /// What it found.
    pub last: Result<T, ProbeFailure>,
}

/// What an EHR said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The credentials that it is about: others make it worthless.
    pub credential_digest: [u8; 32],
    /// The key that signed, where one did.
    pub key: Option<Thumbprint>,
    /// When.
    pub at: Timestamp,
    /// What.
    pub answer: EhrAnswer,
    /// Answers in a row that were no token.
    pub failures: u32,
    /// Since when it gives none.
    pub failing_since: Option<Timestamp>,
    /// What is to be said of its clock; mostly nothing.
    pub about_clocks: &'static str,
    /// By how many seconds its clock is ahead of ours, where it tells. Not for status: it differs with every answer.
    pub clock_skew_seconds: Option<i64>,
}

/// What was looked at when an EHR had refused, to tell why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// The credentials that it is about.
    pub credential_digest: [u8; 32],
    /// When.
    pub at: Timestamp,
    /// What the EHR's SMART configuration says; `None`: it could not be read.
    pub discovered: Option<Discovered>,
    /// Whether the EHR can fetch our public key.
    pub key_set: KeySet,
}

/// A key that could not be made or found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTrouble {
    /// When it was tried last.
    pub at: Timestamp,
    /// Attempts so far.
    pub attempts: u32,
    /// Why, for a person; `None`: nothing is wrong but that it is not there yet.
    pub message: Option<String>,
}

impl<T> Probed<T> {
    /// What is known after another probe.
    pub fn after(before: Option<&Self>, subject: String, at: Timestamp, last: Result<T, ProbeFailure>) -> Self {
        let failures = match &last {
            Ok(_) => 0,
            Err(_) => before.filter(|before| before.subject == subject).map_or(0, |before| before.failures) + 1,
        };
        Self { subject, at, failures, last }
    }
}

impl Asked {
    /// What is known after another answer.
    pub fn after(before: Option<&Self>, outcome: EhrOutcome) -> Self {
        let EhrOutcome { credential_digest, key, at, answer, clock_skew_seconds } = outcome;
        let before = before.filter(|before| before.credential_digest == credential_digest && before.key == key);
        let (failures, failing_since) = match answer {
            EhrAnswer::Accepted => (0, None),
            EhrAnswer::Refused { .. } | EhrAnswer::Unusable { .. } | EhrAnswer::Away { .. } => (
                before.map_or(0, |before| before.failures).saturating_add(1),
                before.and_then(|before| before.failing_since).or(Some(at)),
            ),
        };
        let about_clocks = about_clocks(clock_skew_seconds);
        Self { credential_digest, key, at, answer, failures, failing_since, about_clocks, clock_skew_seconds }
    }

    /// Whether the EHR refuses.
    pub fn is_refused(&self) -> bool {
        matches!(self.answer, EhrAnswer::Refused { .. })
    }

    /// Whether the EHR gave a token.
    pub fn is_accepted(&self) -> bool {
        self.answer == EhrAnswer::Accepted
    }
}

impl Findings {
    /// Takes over what requests and probes heard from the EHRs.
    pub fn hear(&mut self, outcomes: HashMap<String, EhrOutcome>) {
        for (uid, outcome) in outcomes {
            let before = self.asked.get(&uid);
            let is_old = before.is_some_and(|before| {
                before.at >= outcome.at
                    && before.credential_digest == outcome.credential_digest
                    && before.answer == outcome.answer
                    && before.about_clocks == about_clocks(outcome.clock_skew_seconds)
            });
            if !is_old {
                let after = Asked::after(before, outcome);
                self.asked.insert(uid, after);
            }
        }
    }

    /// Notes which activations ask for a probe by a new annotation, and which such requests are answered: nobody waits
    /// for the EHR any more. `asking`: the activations whose EHR is being asked now. `answered_before`: the request that
    /// the status of an activation says was answered, by whoever looked before.
    pub fn see_requests(
        &mut self,
        published: &Published,
        asking: &HashSet<ObjectKey>,
        answered_before: impl Fn(&ObjectKey) -> Option<String>,
    ) {
        for (key, activation) in &published.snapshot.activations {
            let now = &activation.probe_requested_at;
            let seen = self.requests_seen.get(&activation.uid);
            if seen.is_some_and(|seen| seen == now) {
                let is_open = self.asked_for.contains(key) || asking.contains(key);
                if let Some(request) = now.clone().filter(|_| !is_open) {
                    self.requests_answered.insert(activation.uid.clone(), request);
                }
                continue;
            }
            if now.is_some() && (seen.is_some() || answered_before(key) != *now) {
                self.asked_for.insert(key.clone());
            }
            self.requests_seen.insert(activation.uid.clone(), now.clone());
        }
    }

    /// Forgets objects that are gone, and keys that nobody asks for any more.
    pub fn forget_the_gone(&mut self, published: &Published, now: Timestamp) {
        self.keys.retain(|_, trouble| now.duration_since(trouble.at) < TROUBLE_REMEMBERED);
        let snapshot = &published.snapshot;
        let alive: BTreeSet<&str> = published.reports.iter().map(|report| report.uid.as_str()).collect();
        let lives = |uid: &String| alive.contains(uid.as_str());
        self.adapters.retain(|uid, _| lives(uid));
        self.launches.retain(|uid, _| lives(uid));
        self.health.retain(|uid, _| lives(uid));
        self.asked.retain(|uid, _| lives(uid));
        self.proofs.retain(|uid, _| lives(uid));
        self.examined.retain(|uid, _| lives(uid));
        self.requests_seen.retain(|uid, _| lives(uid));
        self.requests_answered.retain(|uid, _| lives(uid));
        self.asked_for.retain(|key| snapshot.activations.contains_key(key));
    }

    /// Whether the EHR of this activation has accepted this key in a real token request.
    pub fn is_proven(&self, uid: &str, key: Thumbprint) -> bool {
        let by_requests = self.asked.get(uid).is_some_and(|asked| asked.key == Some(key) && asked.is_accepted());
        by_requests || self.proofs.get(uid).and_then(|proofs| proofs.get(&key)).is_some_and(Asked::is_accepted)
    }
}
