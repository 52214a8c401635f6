//! Key pairs: who wins a name, which revisions exist, which is missing, lost or another's, and what is published.
//!
//! The promise (a key that may be registered at an EHR is never overwritten, silently regenerated or deleted) is kept
//! by its three parties: here it is decided that a key is made only where none was ever recorded or pinned; the store
//! creates and never replaces; nobody deletes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;

use super::super::key_pair::{KeyPair, KeyRevision, MissingKey};
use super::super::resources::{ObservedActivation, Secret, SecretUse};
use super::super::{Finding, ObjectKey};
use super::age::Age;
use super::lookup::Lookup;
use crate::api;
use crate::api::activation::{KeyAlgorithm, KeyPairSecretReference, KeyState, KeyStatus};
use crate::values::code::Code;
use crate::values::key::{self as key_values, Algorithm, PairIdentity, PairKind, annotation, file};

/// What one activation asks of a pair.
pub(super) struct Request<'resources> {
    pub(super) activation: ObjectKey,
    pub(super) age: Age,
    pub(super) app: String,
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
pub(super) struct Settled {
    pub(super) pairs: BTreeMap<ObjectKey, Arc<KeyPair>>,
    pub(super) shares: BTreeMap<ObjectKey, Share>,
    pub(super) findings: Vec<(ObjectKey, Finding)>,
}

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

    fn terms(&self) -> (&str, PairKind, Option<&KeyPairSecretReference>) {
        (&self.app, self.kind(), self.spec.secret_ref.as_ref())
    }

    fn recorded(&self) -> impl Iterator<Item = &KeyStatus> {
        self.observed.iter().flat_map(|observed| &observed.keys)
    }
}

/// Settles all pairs.
pub(super) fn settle(lookup: &Lookup<'_>, requests: Vec<Request<'_>>) -> Settled {
    let mut by_pair: BTreeMap<ObjectKey, Vec<Request<'_>>> = BTreeMap::new();
    for request in requests {
        by_pair.entry(request.pair()).or_default().push(request);
    }
    let mut settled = Settled { pairs: BTreeMap::new(), shares: BTreeMap::new(), findings: Vec::new() };
    for (key, mut members) in by_pair {
        members.sort_by(|one, other| one.age.cmp(&other.age));
        exclude_strangers(&key, &mut members, &mut settled.findings);
        settle_pair(lookup, key, &members, &mut settled);
    }
    settled
}

/// The oldest member decides whose the pair is and what it is; who disagrees is told and left out.
fn exclude_strangers(key: &ObjectKey, members: &mut Vec<Request<'_>>, findings: &mut Vec<(ObjectKey, Finding)>) {
    let Some((oldest, younger)) = members.split_first() else { return };
    let mut excluded = BTreeSet::new();
    for member in younger.iter().filter(|member| member.terms() != oldest.terms()) {
        let message = format!(
            "key pair {} belongs to Activation {} (App {}, {}): give keyPair.name another value, or ask for the same",
            key.name,
            oldest.activation.name,
            oldest.app,
            oldest.kind().algorithm(),
        );
        findings.push((member.activation.clone(), Finding::new(Code::KeyPairConflict, member.field, message)));
        excluded.insert(member.activation.clone());
    }
    members.retain(|member| !excluded.contains(&member.activation));
}

fn settle_pair(lookup: &Lookup<'_>, key: ObjectKey, members: &[Request<'_>], settled: &mut Settled) {
    let Some(oldest) = members.first() else { return };
    let withdrawn: BTreeSet<&str> =
        members.iter().flat_map(|member| member.spec.withdrawn.iter().map(String::as_str)).collect();
    let wanted = PairIdentity {
        app: oldest.app.clone(),
        pair: key.name.clone(),
        revision: members.iter().map(|member| member.spec.revision).max().unwrap_or(1),
        kind: oldest.kind(),
    };
    let (existing, fault) = match &oldest.spec.secret_ref {
        Some(reference) => brought(lookup, &key, reference, &wanted),
        None => made(lookup, &key, &wanted),
    };
    let (gone, usable): (Vec<_>, Vec<_>) =
        existing.iter().cloned().partition(|own| withdrawn.contains(own.thumbprint.to_string().as_str()));
    let lost = members.iter().any(|member| !lost_keys(member, &existing, wanted.revision).is_empty());
    let wanted_exists = existing.iter().any(|own| own.revision == wanted.revision);
    let may_make = oldest.spec.secret_ref.is_none() && fault.is_none() && !wanted_exists && !lost;
    let missing = (may_make && lookup.platform.makes_keys)
        .then(|| MissingKey { identity: wanted.clone(), common_name: oldest.common_name.clone() });

    for member in members {
        let finding = if let Some(lost) = lost_keys(member, &existing, wanted.revision).first() {
            Some(Finding::new(Code::KeyLost, member.field, lost.clone()))
        } else if let Some(fault) = &fault {
            Some(Finding { field: member.field.into(), ..fault.clone() })
        } else if may_make && !lookup.platform.makes_keys {
            let message = format!("key {} does not exist, and --no-new-keys forbids to make it", wanted.secret_name());
            Some(Finding::new(Code::NewKeysForbidden, member.field, message))
        } else if usable.is_empty() && !gone.is_empty() {
            let message = format!("every key of pair {} was withdrawn: raise keyPair.revision", key.name);
            Some(Finding::new(Code::KeyWithdrawn, member.field, message))
        } else if usable.is_empty() {
            Some(Finding::new(Code::KeyCreating, member.field, format!("key {} is being made", wanted.secret_name())))
        } else {
            None
        };
        settled.findings.extend(finding.map(|finding| (member.activation.clone(), finding)));
    }

    let published = usable.iter().filter(|own| !is_retired(own, members)).map(|own| own.signing.jwk());
    let jwks = json!({ "keys": published.collect::<Vec<_>>() }).to_string();
    let pair = Arc::new(KeyPair {
        jwks_url: lookup.platform.key_set_url(&key.namespace, &key.name),
        app: wanted.app.clone(),
        kind: wanted.kind,
        missing,
        jwks,
        revisions: usable.clone(),
        key: key.clone(),
    });
    for member in members {
        let signing = signing_key(member, &usable);
        let keys = statuses(member, &usable, &gone);
        let share = Share { pair: Arc::clone(&pair), signing, keys };
        settled.shares.insert(member.activation.clone(), share);
    }
    settled.pairs.insert(key, pair);
}

/// The revisions that we made and that are ours, and what stands where the wanted one should be.
fn made(lookup: &Lookup<'_>, key: &ObjectKey, wanted: &PairIdentity) -> (Vec<Arc<KeyRevision>>, Option<Finding>) {
    let mut revisions = Vec::new();
    let mut fault = None;
    let marked = lookup.revisions_of(key).iter().copied();
    let named = lookup.secret_of(key, wanted).filter(|secret| !secret.annotations.contains_key(annotation::KEY_PAIR));
    for secret in marked.chain(named) {
        let revision = secret.annotations.get(annotation::REVISION).and_then(|text| text.parse().ok());
        let identity = PairIdentity { revision: revision.unwrap_or(wanted.revision), ..wanted.clone() };
        let adopted = if secret.key.name == identity.secret_name() {
            adopt(secret, &identity)
        } else {
            Err(format!("says that it is revision {}, which its name denies", identity.revision))
        };
        match adopted {
            Ok(revision) => revisions.push(revision),
            Err(reason) if secret.key.name == wanted.secret_name() => {
                let message = format!("Secret {} {reason}; it is left untouched", secret.key.name);
                fault = Some(Finding::new(Code::KeyBelongsToAnother, "", message));
            }
            Err(_) => {}
        }
    }
    revisions.sort_by_key(|own: &Arc<KeyRevision>| own.revision);
    (revisions, fault)
}

fn adopt(secret: &Secret, identity: &PairIdentity) -> Result<Arc<KeyRevision>, String> {
    if secret.usage != SecretUse::KeyPair {
        return Err("is not labelled hearthgate.dev/use=key-pair".into());
    }
    let parsed = parsed(secret).map_err(|error| format!("holds no usable key pair: {error}"))?;
    identity.may_adopt(&secret.annotations, parsed).map_err(|reason| reason.to_string())?;
    Ok(Arc::new(revision(identity.revision, &secret.key.name, parsed)))
}

fn parsed(secret: &Secret) -> Result<&key_values::ParsedKeyPair, &key_values::KeyError> {
    secret.parsed_key_pair.get_or_init(|| key_values::ParsedKeyPair::from_data(&secret.data)).as_ref()
}

/// A key of one's own: one revision, whatever number the spec gives it.
fn brought(
    lookup: &Lookup<'_>,
    key: &ObjectKey,
    reference: &KeyPairSecretReference,
    wanted: &PairIdentity,
) -> (Vec<Arc<KeyRevision>>, Option<Finding>) {
    let result = lookup.secret(&key.namespace, &reference.name, SecretUse::KeyPair, "").and_then(|secret| {
        if let Some(owner) = secret.annotations.get(annotation::APP).filter(|owner| **owner != wanted.app) {
            let message = format!("Secret {} belongs to App {owner}", reference.name);
            return Err(Finding::new(Code::KeyBelongsToAnother, "", message));
        }
        let Some(private) = secret.data.get(&reference.key) else {
            let message = format!("Secret {} has no entry {:?}", secret.key, reference.key);
            return Err(Finding::new(Code::SecretKeyMissing, "", message));
        };
        let invalid = |fault: String| {
            Finding::new(Code::SecretInvalid, "", format!("entry {:?} of Secret {} {fault}", reference.key, secret.key))
        };
        let own;
        let parsed = if reference.key == file::PRIVATE_PEM {
            parsed(secret).map_err(|error| invalid(error.to_string()))?
        } else {
            let data = BTreeMap::from([(file::PRIVATE_PEM.to_owned(), private.clone())]);
            own = key_values::ParsedKeyPair::from_data(&data).map_err(|error| invalid(error.problem.to_string()))?;
            &own
        };
        if parsed.kind() != wanted.kind.key_kind() {
            return Err(invalid(format!("is {}, but keyPair asks for {}", parsed.kind(), wanted.kind.key_kind())));
        }
        Ok(Arc::new(revision(wanted.revision, &secret.key.name, parsed)))
    });
    match result {
        Ok(revision) => (vec![revision], None),
        Err(finding) => (Vec::new(), Some(finding)),
    }
}

fn revision(revision: u32, secret_name: &str, parsed: &key_values::ParsedKeyPair) -> KeyRevision {
    let certificate = parsed.certificate();
    KeyRevision {
        revision,
        secret_name: secret_name.into(),
        thumbprint: parsed.thumbprint(),
        signing: parsed.signing().clone(),
        certificate_pem: certificate.map(|certificate| certificate.pem().into()),
        certificate_fingerprint: certificate.map(|certificate| certificate.fingerprint().to_string()),
        not_after: certificate.map(|certificate| certificate.not_after().to_string()),
    }
}

/// Sentences on keys that were recorded or pinned for this activation and are gone.
///
/// A recorded key that is over (retired, withdrawn) is not missed. One that a higher revision has overtaken in the spec
/// is not waited for either: raising the revision is how a person gets out of `KeyLost`.
fn lost_keys(member: &Request<'_>, existing: &[Arc<KeyRevision>], wanted: u32) -> Vec<String> {
    let exists = |thumbprint: &str| existing.iter().any(|own| own.thumbprint.to_string() == thumbprint);
    let is_withdrawn = |thumbprint: &str| member.spec.withdrawn.iter().any(|withdrawn| withdrawn == thumbprint);
    let pinned = member.spec.thumbprints.iter().filter(|pin| !exists(pin) && !is_withdrawn(pin)).map(|pin| {
        format!("the pinned key {pin} is gone: restore its Secret from a backup; no new key is made in its place")
    });
    let recorded = member.recorded().filter(|key| {
        let over = matches!(key.state, KeyState::Retired | KeyState::Withdrawn);
        !over && key.revision >= wanted && !exists(&key.thumbprint) && !is_withdrawn(&key.thumbprint)
    });
    let recorded = recorded.map(|key| {
        format!(
            "the recorded key {} (Secret {}) is gone: restore the Secret from a backup; no new key is made in its place",
            key.thumbprint, key.secret_name
        )
    });
    pinned.chain(recorded).collect()
}

/// The key that status records as signing; where status is gone, the newest there is.
fn signing_key(member: &Request<'_>, usable: &[Arc<KeyRevision>]) -> Option<Arc<KeyRevision>> {
    let recorded = member.recorded().find(|key| key.state == KeyState::Signing);
    recorded
        .and_then(|key| usable.iter().find(|own| own.thumbprint.to_string() == key.thumbprint))
        .or_else(|| usable.last())
        .cloned()
}

/// Whether no member needs an EHR to trust this key any more.
fn is_retired(own: &KeyRevision, members: &[Request<'_>]) -> bool {
    let thumbprint = own.thumbprint.to_string();
    let mut records = members.iter().flat_map(Request::recorded).filter(|key| key.thumbprint == thumbprint).peekable();
    records.peek().is_some() && records.all(|key| key.state == KeyState::Retired)
}

/// The keys as status shows them: what exists, with what was recorded of it; and what was recorded and is gone.
fn statuses(member: &Request<'_>, usable: &[Arc<KeyRevision>], gone: &[Arc<KeyRevision>]) -> Vec<KeyStatus> {
    let status = |own: &KeyRevision, state: KeyState| {
        let thumbprint = own.thumbprint.to_string();
        let recorded = member.recorded().find(|key| key.thumbprint == thumbprint);
        let kept = recorded.map(|key| key.state).filter(|state| !matches!(state, KeyState::Lost | KeyState::Withdrawn));
        KeyStatus {
            revision: own.revision,
            kid: thumbprint.clone(),
            thumbprint,
            state: if state == KeyState::Withdrawn { state } else { kept.unwrap_or(state) },
            secret_name: own.secret_name.clone(),
            certificate_fingerprint: own.certificate_fingerprint.clone(),
            not_after: own.not_after.clone(),
            signing_since: recorded.and_then(|key| key.signing_since.clone()),
        }
    };
    let mut keys: Vec<KeyStatus> = usable.iter().map(|own| status(own, KeyState::Pending)).collect();
    keys.extend(gone.iter().map(|own| status(own, KeyState::Withdrawn)));
    let missed = member.recorded().filter(|recorded| !keys.iter().any(|key| key.thumbprint == recorded.thumbprint));
    let missed: Vec<_> = missed
        .map(|recorded| {
            let over = matches!(recorded.state, KeyState::Retired | KeyState::Withdrawn);
            KeyStatus { state: if over { recorded.state } else { KeyState::Lost }, ..recorded.clone() }
        })
        .collect();
    keys.extend(missed);
    keys.sort_by(|one, other| (one.revision, &one.thumbprint).cmp(&(other.revision, &other.thumbprint)));
    keys
}
