//! Key pairs: who wins a name, which key is missing, lost or withdrawn, what signs, and what is published.
//!
//! The promise (a key that may be registered at an EHR is never overwritten, silently regenerated or deleted) is kept
//! by its three parties: here it is decided that a key is made only for a revision that never was; the store creates
//! and never replaces; nobody deletes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::key_pair::{KeyPair, KeyRevision, MissingKey};
use super::super::resources::ObservedActivation;
use super::super::{Finding, ObjectKey};
use super::age::Age;
use super::key_revisions::{brought, key_set, made};
use super::lookup::Lookup;
use super::memory::Reads;
use crate::api;
use crate::api::activation::{KeyAlgorithm, KeyPairSecretReference, KeyState, KeyStatus};
use crate::values::code::Code;
use crate::values::key::{Algorithm, PairIdentity, PairKind, annotation};

/// What one activation asks of a pair.
pub(super) struct Request<'resources> {
    pub(super) activation: ObjectKey,
    pub(super) age: Age,
    pub(super) app: String,
    /// Whether that App exists: before it does, its name may be a typing error, and no key is made for it.
    pub(super) app_exists: bool,
    /// Whether the activation has no fault of its own.
    pub(super) accepted: bool,
    pub(super) common_name: String,
    pub(super) spec: &'resources api::activation::KeyPair,
    /// Where `spec` stands, such as `spec.ehrAuthentication.system.backendAuth.keyPair`.
    pub(super) field: &'static str,
    pub(super) observed: Option<&'resources ObservedActivation>,
}

/// What one activation gets of a pair.
pub(super) struct Share {
    pub(super) pair: Arc<KeyPair>,
    /// The key that signs for this activation.
    pub(super) signing: Option<Arc<KeyRevision>>,
    /// The keys as status shows them.
    pub(super) keys: Vec<KeyStatus>,
}

/// The outcome for all activations: what each gets, and what is wrong with it.
#[derive(Default)]
pub(super) struct Settled {
    pub(super) pairs: BTreeMap<ObjectKey, Arc<KeyPair>>,
    pub(super) shares: BTreeMap<ObjectKey, Share>,
    pub(super) findings: Vec<(ObjectKey, Finding)>,
    pub(super) reads: PairReads,
}

/// By pair: how many asked for it, and what was read for it.
pub(super) type PairReads = BTreeMap<ObjectKey, (usize, Reads)>;

impl Request<'_> {
    /// Namespace, and the pair's name.
    pub(super) fn pair(&self) -> ObjectKey {
        self.activation.sibling(self.spec.name.as_deref().unwrap_or(&self.activation.name))
    }

    fn kind(&self) -> PairKind {
        let algorithm = match self.spec.algorithm {
            KeyAlgorithm::Rs384 => Algorithm::Rs384,
            KeyAlgorithm::Es384 => Algorithm::Es384,
        };
        // The schema permits no other sizes.
        PairKind::of(algorithm, self.spec.rsa_bits).unwrap_or(PairKind::Rsa2048)
    }

    /// What all activations that share a pair must agree on.
    fn terms(&self) -> (&str, PairKind, Option<&KeyPairSecretReference>) {
        (&self.app, self.kind(), self.spec.secret_ref.as_ref())
    }

    fn recorded(&self) -> impl Iterator<Item = &KeyStatus> {
        self.observed.iter().flat_map(|observed| &observed.keys)
    }

    fn record_of(&self, thumbprint: &str) -> Option<&KeyStatus> {
        self.recorded().find(|key| key.thumbprint == thumbprint)
    }
}

/// Settles all pairs.
pub(super) fn settle(lookup: &Lookup<'_>, requests: Vec<Request<'_>>) -> Settled {
    let mut by_pair: BTreeMap<ObjectKey, Vec<Request<'_>>> = BTreeMap::new();
    for request in requests {
        by_pair.entry(request.pair()).or_default().push(request);
    }
    let mut settled = Settled::default();
    lookup.take_reads();
    for (key, mut members) in by_pair {
        let (pair, asked) = (key.clone(), members.len());
        rank(lookup, &key, &mut members);
        exclude_strangers(&key, &mut members, &mut settled.findings);
        if let Some(claim) = Claim::new(lookup, key, &members) {
            claim.settle(lookup, &mut settled);
        }
        settled.reads.insert(pair, (asked, lookup.take_reads()));
    }
    settled
}

/// Sorts by who may decide. The App whose keys the Secrets are comes first, however often its activation was deleted
/// and made anew: those keys may be registered. An activation with a fault of its own comes after those in order.
fn rank(lookup: &Lookup<'_>, key: &ObjectKey, members: &mut [Request<'_>]) {
    let owners: BTreeSet<&str> = lookup
        .revisions_of(key)
        .iter()
        .filter_map(|secret| secret.annotations.get(annotation::APP).map(String::as_str))
        .collect();
    members.sort_by_cached_key(|member| (!owners.contains(member.app.as_str()), !member.accepted, member.age.clone()));
}

/// The first member decides whose the pair is and what it is; who disagrees is told and left out.
fn exclude_strangers(key: &ObjectKey, members: &mut Vec<Request<'_>>, findings: &mut Vec<(ObjectKey, Finding)>) {
    let Some((first, others)) = members.split_first() else { return };
    let mut excluded = BTreeSet::new();
    for member in others.iter().filter(|member| member.terms() != first.terms()) {
        let source = first.spec.secret_ref.as_ref().map_or(String::new(), |own| format!(", from Secret {}", own.name));
        let message = format!(
            "key pair {} is that of Activation {}, for App {} with {}{source}: only activations of one App with the same \
             algorithm, rsaBits and secretRef share a pair; give keyPair.name another value, or make them equal",
            key.name,
            first.activation.name,
            first.app,
            first.kind(),
        );
        findings.push((member.activation.clone(), Finding::new(Code::KeyPairConflict, member.field, message)));
        excluded.insert(member.activation.clone());
    }
    members.retain(|member| !excluded.contains(&member.activation));
}

/// A pair, who shares it, and what there is of it.
struct Claim<'members, 'resources> {
    key: ObjectKey,
    members: &'members [Request<'resources>],
    wanted: PairIdentity,
    common_name: String,
    brought: bool,
    /// Thumbprints that any member withdrew: a leaked key is leaked for all.
    withdrawn: BTreeSet<&'resources str>,
    /// The revisions that exist, withdrawn ones too, oldest first.
    existing: Vec<Arc<KeyRevision>>,
    /// Those of them that may be used.
    usable: Vec<Arc<KeyRevision>>,
    /// Why the wanted revision can neither be used nor made.
    fault: Option<Finding>,
    /// The highest revision that exists or was ever recorded; 0: none.
    highest: u32,
    /// The first activation that misses a key.
    missed_by: Option<&'members ObjectKey>,
    /// Whether the wanted revision may be made.
    is_new: bool,
}

impl<'members, 'resources> Claim<'members, 'resources> {
    fn new(lookup: &Lookup<'_>, key: ObjectKey, members: &'members [Request<'resources>]) -> Option<Self> {
        let first = members.first()?;
        let withdrawn: BTreeSet<&str> =
            members.iter().flat_map(|member| member.spec.withdrawn.iter().map(String::as_str)).collect();
        let in_order = members.iter().any(|member| member.accepted);
        let asked = members.iter().filter(|member| member.accepted || !in_order).map(|member| member.spec.revision);
        let wanted = PairIdentity {
            app: first.app.clone(),
            pair: key.name.clone(),
            revision: asked.max().unwrap_or(1),
            kind: first.kind(),
        };
        let (existing, fault) = match &first.spec.secret_ref {
            Some(reference) => brought(lookup, &key, reference, &wanted),
            None => made(lookup, &key, &wanted),
        };
        let is_withdrawn = |own: &Arc<KeyRevision>| withdrawn.contains(own.kid.as_str());
        let usable = existing.iter().filter(|own| !is_withdrawn(own)).cloned().collect();
        let mut claim = Self {
            brought: first.spec.secret_ref.is_some(),
            common_name: first.common_name.clone(),
            key,
            members,
            wanted,
            withdrawn,
            existing,
            usable,
            fault,
            highest: 0,
            missed_by: None,
            is_new: false,
        };
        claim.highest = claim.highest_revision();
        let misses_a_key = members.iter().find(|member| !claim.lost_keys(member).is_empty());
        claim.missed_by = misses_a_key.map(|member| &member.activation);
        claim.is_new = claim.wants_new_revision();
        Some(claim)
    }

    fn settle(self, lookup: &Lookup<'_>, settled: &mut Settled) {
        let makes_keys = lookup.platform.makes_keys;
        let somebody_may_ask = self.members.iter().any(|member| member.accepted && member.app_exists);
        let missing = (self.is_new && makes_keys && somebody_may_ask)
            .then(|| MissingKey { identity: self.wanted.clone(), common_name: self.common_name.clone() });
        for member in self.members {
            let finding = self.finding(member, makes_keys);
            settled.findings.extend(finding.map(|finding| (member.activation.clone(), finding)));
        }
        let signing: Vec<_> = self.members.iter().map(|member| (member, self.signing_key(member))).collect();
        let signs = |own: &KeyRevision| {
            signing.iter().filter_map(|(_, key)| key.as_ref()).any(|key| key.thumbprint == own.thumbprint)
        };
        let published = self.usable.iter().filter(|own| signs(own) || !self.is_retired(own));
        let published: Vec<_> = published.collect();
        let jwks = match published[..] {
            [only] => Arc::clone(&only.jwks),
            _ => key_set(published.iter().map(|own| own.signing.jwk())),
        };
        let pair = Arc::new(KeyPair {
            jwks_url: lookup.platform.key_set_url(&self.key.namespace, &self.key.name),
            app: self.wanted.app.clone(),
            kind: self.wanted.kind,
            wanted: self.wanted.clone(),
            brought: self.brought,
            missing,
            jwks,
            revisions: self.usable.clone(),
            key: self.key.clone(),
        });
        for (member, signing) in signing {
            let share = Share { pair: Arc::clone(&pair), signing, keys: self.statuses(member) };
            settled.shares.insert(member.activation.clone(), share);
        }
        settled.pairs.insert(self.key, pair);
    }

    /// Whether the wanted revision may be made: only one above all that exist or were ever recorded, and never while
    /// a key is missed. Lowering the revision, or losing a key's Secret, makes none.
    fn wants_new_revision(&self) -> bool {
        !self.brought && self.fault.is_none() && self.wanted.revision > self.highest && self.missed_by.is_none()
    }

    fn highest_revision(&self) -> u32 {
        let existing = self.existing.iter().map(|own| own.revision);
        let recorded = self.members.iter().flat_map(Request::recorded).map(|key| key.revision);
        existing.chain(recorded).max().unwrap_or(0)
    }

    /// The lowest revision that would be a new key.
    fn next_revision(&self) -> u32 {
        self.highest.max(self.wanted.revision).saturating_add(1)
    }

    /// What is wrong with the keys of this member.
    fn finding(&self, member: &Request<'_>, makes_keys: bool) -> Option<Finding> {
        let finding = |code, message: String| Some(Finding::new(code, member.field, message));
        let (pair, name, next) = (&self.key.name, self.wanted.secret_name(), self.next_revision());
        let lost = self.lost_keys(member);
        if !lost.is_empty() {
            return finding(Code::KeyLost, lost.join("; "));
        }
        if let Some(fault) = &self.fault {
            return Some(Finding { field: format!("{}{}", member.field, fault.field), ..fault.clone() });
        }
        if self.is_new && !makes_keys {
            return finding(
                Code::NewKeysForbidden,
                format!("key {name} does not exist, and --no-new-keys forbids making it"),
            );
        }
        if !self.usable.is_empty() {
            return None;
        }
        if self.is_new {
            let message = if !member.accepted {
                format!("key {name} is not made before the activation is accepted")
            } else if !member.app_exists {
                format!("key {name} is made once App {} exists", member.app)
            } else {
                format!("key {name} is being made")
            };
            return finding(Code::KeyCreating, message);
        }
        let recorded_as_withdrawn =
            |member: &Request<'_>| member.recorded().any(|key| key.state == KeyState::Withdrawn);
        if !self.existing.is_empty() || recorded_as_withdrawn(member) {
            return finding(
                Code::KeyWithdrawn,
                format!("every key of pair {pair} was withdrawn: raise keyPair.revision to {next}"),
            );
        }
        let message = match self.missed_by {
            Some(other) => format!("pair {pair} has no key: see Activation {}, which misses one", other.name),
            None => format!(
                "pair {pair} has no key left: restore its Secret from a backup, or raise keyPair.revision to {next}"
            ),
        };
        finding(Code::KeyLost, message)
    }

    /// Sentences on keys that were recorded or pinned for this activation and are gone.
    ///
    /// A recorded key that is over (retired, withdrawn) is not missed. One that a higher revision has overtaken in the
    /// spec is not waited for either: raising the revision is how a person gets out of `KeyLost`.
    fn lost_keys(&self, member: &Request<'_>) -> Vec<String> {
        if member.spec.thumbprints.is_empty() && member.recorded().next().is_none() {
            return Vec::new();
        }
        let is_missed = |thumbprint: &str| {
            !self.existing.iter().any(|own| own.kid == thumbprint) && !self.withdrawn.contains(thumbprint)
        };
        let recorded: BTreeMap<&str, &KeyStatus> = member
            .recorded()
            .filter(|key| !is_over(key.state) && key.revision >= self.wanted.revision && is_missed(&key.thumbprint))
            .map(|key| (key.thumbprint.as_str(), key))
            .collect();
        let pinned: BTreeSet<&str> =
            member.spec.thumbprints.iter().map(String::as_str).filter(|pin| is_missed(pin)).collect();
        let thumbprints: BTreeSet<&str> = recorded.keys().copied().chain(pinned.iter().copied()).collect();
        let next = self.next_revision();
        let replaced_by =
            |gone: &KeyStatus| self.existing.iter().find(|own| self.brought && own.secret_name == gone.secret_name);
        let sentence = |thumbprint: &str| {
            if let Some(gone) = recorded.get(thumbprint)
                && let Some(found) = replaced_by(gone)
            {
                return format!(
                    "Secret {} holds key {} in the place of {thumbprint}, which the EHR may know: put the old key back, \
                     or raise keyPair.revision to {next} to say that the EHR is to learn the new one",
                    gone.secret_name, found.thumbprint
                );
            }
            let what = match (pinned.contains(thumbprint), recorded.get(thumbprint)) {
                (_, Some(key)) => format!("key {thumbprint} (recorded, Secret {})", key.secret_name),
                (_, None) => format!("key {thumbprint} (pinned)"),
            };
            let way_out = if pinned.contains(thumbprint) { "remove the pin and " } else { "" };
            format!(
                "{what} is gone, and no new key is made in its place: restore its Secret from a backup; \
                 if it is lost for good, {way_out}raise keyPair.revision to {next}"
            )
        };
        thumbprints.into_iter().map(sentence).collect()
    }

    /// The key that status records as signing; where there is none, the newest that is not retired.
    fn signing_key(&self, member: &Request<'_>) -> Option<Arc<KeyRevision>> {
        let state = |own: &KeyRevision| member.record_of(&own.kid).map(|key| key.state);
        let newest_first = || self.usable.iter().rev();
        newest_first()
            .find(|own| state(own) == Some(KeyState::Signing))
            .or_else(|| newest_first().find(|own| state(own) != Some(KeyState::Retired)))
            .or_else(|| self.usable.last())
            .cloned()
    }

    /// Whether no member needs an EHR to trust this key any more.
    fn is_retired(&self, own: &KeyRevision) -> bool {
        let mut records = self.members.iter().filter_map(|member| member.record_of(&own.kid)).peekable();
        records.peek().is_some() && records.all(|key| key.state == KeyState::Retired)
    }

    /// The keys as status shows them: what exists, with what was recorded of it; and what was recorded and is gone.
    fn statuses(&self, member: &Request<'_>) -> Vec<KeyStatus> {
        let existing = self.existing.iter().map(|own| {
            let recorded = member.record_of(&own.kid);
            let kept = recorded.map(|key| key.state);
            let state = if self.withdrawn.contains(own.kid.as_str()) {
                KeyState::Withdrawn
            } else {
                kept.filter(|state| !matches!(state, KeyState::Lost | KeyState::Withdrawn)).unwrap_or(KeyState::Pending)
            };
            KeyStatus {
                revision: own.revision,
                kid: own.kid.clone(),
                thumbprint: own.kid.clone(),
                state,
                secret_name: own.secret_name.clone(),
                certificate_fingerprint: own.certificate_fingerprint.clone(),
                not_after: own.not_after.clone(),
                signing_since: recorded.and_then(|key| key.signing_since.clone()),
            }
        });
        let mut keys: Vec<KeyStatus> = existing.collect();
        let gone = member.recorded().filter(|recorded| !keys.iter().any(|key| key.thumbprint == recorded.thumbprint));
        let gone: Vec<_> = gone
            .map(|recorded| {
                let state = match recorded.state {
                    over if is_over(over) => over,
                    _ if self.withdrawn.contains(recorded.thumbprint.as_str()) => KeyState::Withdrawn,
                    _ => KeyState::Lost,
                };
                KeyStatus { state, ..recorded.clone() }
            })
            .collect();
        keys.extend(gone);
        keys.sort_by(|one, other| (one.revision, &one.thumbprint).cmp(&(other.revision, &other.thumbprint)));
        keys
    }
}

/// Whether a key has had its day, so that nobody misses it.
fn is_over(state: KeyState) -> bool {
    matches!(state, KeyState::Retired | KeyState::Withdrawn)
}
