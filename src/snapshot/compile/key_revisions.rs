//! The revisions of a key pair that exist: those that we made and that are ours, and a key that somebody brought.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::key_pair::KeyRevision;
use super::super::resources::{Secret, SecretUse};
use super::super::{Finding, ObjectKey};
use super::lookup::Lookup;
use crate::api::activation::KeyPairSecretReference;
use crate::values::code::Code;
use crate::values::key::{Certificate, KeyError, PairIdentity, PairKind, ParsedKeyPair, annotation, file};

/// What exists, oldest first, and what is wrong with the wanted revision. The fault's field is what follows that of the
/// key pair.
type Existing = (Vec<Arc<KeyRevision>>, Option<Finding>);

/// The revisions that we made and that are ours, and what stands where the wanted one should be.
pub(super) fn made(lookup: &Lookup<'_>, key: &ObjectKey, wanted: &PairIdentity) -> Existing {
    let name = wanted.secret_name();
    let mut revisions: Vec<_> = others(lookup, key, wanted).filter(|own| own.secret_name != name).collect();
    let mut fault = None;
    match lookup.secret_of(key, wanted).map(|secret| adopt(secret, wanted)) {
        Some(Ok(revision)) => revisions.push(revision),
        Some(Err(reason)) => {
            let message = format!("Secret {name} {reason}");
            fault = Some(Finding::new(Code::KeyBelongsToAnother, "", message));
        }
        None => {}
    }
    revisions.sort_by_key(|own| own.revision);
    (revisions, fault)
}

/// A key of one's own: one revision, whatever number the spec gives it. Keys that we made for the pair before stay
/// beside it, so that an EHR can move over.
pub(super) fn brought(
    lookup: &Lookup<'_>,
    key: &ObjectKey,
    reference: &KeyPairSecretReference,
    wanted: &PairIdentity,
) -> Existing {
    let mut revisions: Vec<_> = others(lookup, key, wanted).collect();
    match read_brought(lookup, key, reference, wanted) {
        Ok(own) => {
            revisions.retain(|made| made.thumbprint != own.thumbprint);
            revisions.push(own);
            // A stable sort: of the same revision, the brought key stays behind, which makes it the newest.
            revisions.sort_by_key(|own| own.revision);
            (revisions, None)
        }
        Err(finding) => {
            revisions.sort_by_key(|own| own.revision);
            (revisions, Some(Finding { field: ".secretRef".into(), ..finding }))
        }
    }
}

/// The Secrets that say that they are revisions of this pair, as far as they are ours. They may be of another kind than
/// the spec asks for now: a pair may move from RSA to EC by its next revision.
fn others(lookup: &Lookup<'_>, key: &ObjectKey, wanted: &PairIdentity) -> impl Iterator<Item = Arc<KeyRevision>> {
    lookup.revisions_of(key).iter().filter_map(|secret| {
        let revision = secret.annotations.get(annotation::REVISION)?.parse().ok()?;
        let found = parsed(secret).ok()?.kind();
        let kind = PairKind::ALL.into_iter().find(|kind| kind.key_kind() == found)?;
        adopt(secret, &PairIdentity { revision, kind, ..wanted.clone() }).ok()
    })
}

fn adopt(secret: &Secret, identity: &PairIdentity) -> Result<Arc<KeyRevision>, String> {
    // Whoever put it there must decide; of a key that may be registered somewhere, nobody should hear that it can go.
    let foreign = |reason: String| {
        format!("{reason}; it is left untouched: remove it if nobody needs it, or give keyPair.name another value")
    };
    if secret.usage != SecretUse::KeyPair {
        return Err(foreign(format!("is not labelled hearthgate.dev/use={}", SecretUse::KeyPair.as_str())));
    }
    if secret.key.name != identity.secret_name() {
        return Err(foreign(format!("says that it is revision {}, which its name denies", identity.revision)));
    }
    let parsed = parsed(secret).map_err(|error| {
        format!("holds no usable key pair ({error}); it is left untouched: restore it from a backup")
    })?;
    identity.may_adopt(&secret.annotations, parsed).map_err(|reason| foreign(reason.to_string()))?;
    // The Secret's name tells its revision, so it is the same whoever asks.
    let made = || Arc::new(revision(identity.revision, &secret.key.name, parsed));
    Ok(Arc::clone(secret.key_revision.get_or_init(made)))
}

fn parsed(secret: &Secret) -> Result<&ParsedKeyPair, &KeyError> {
    secret.parsed_key_pair.get_or_init(|| ParsedKeyPair::from_data(&secret.data)).as_ref()
}

fn read_brought(
    lookup: &Lookup<'_>,
    key: &ObjectKey,
    reference: &KeyPairSecretReference,
    wanted: &PairIdentity,
) -> Result<Arc<KeyRevision>, Finding> {
    let secret = lookup.secret(&key.namespace, &reference.name, SecretUse::KeyPair, "")?;
    if let Some(owner) = secret.annotations.get(annotation::APP).filter(|owner| **owner != wanted.app) {
        let message = format!("Secret {} belongs to App {owner}, and not to App {}", reference.name, wanted.app);
        return Err(Finding::new(Code::KeyBelongsToAnother, "", message));
    }
    let Some(private) = secret.data.get(&reference.key) else {
        let message = format!("Secret {} has no entry {:?}", secret.key, reference.key);
        return Err(Finding::new(Code::SecretKeyMissing, "", message));
    };
    let invalid = |fault: String| Finding::new(Code::SecretInvalid, "", format!("Secret {}: {fault}", secret.key));
    let own;
    let parsed = if reference.key == file::PRIVATE_PEM {
        parsed(secret).map_err(|error| invalid(error.to_string()))?
    } else {
        let data = BTreeMap::from([(file::PRIVATE_PEM.to_owned(), private.clone())]);
        own =
            ParsedKeyPair::from_data(&data).map_err(|error| invalid(format!("{} {}", reference.key, error.problem)))?;
        &own
    };
    if parsed.kind() != wanted.kind.key_kind() {
        let message =
            format!("{} is of kind {}, but keyPair asks for {}", reference.key, parsed.kind(), wanted.kind.key_kind());
        return Err(invalid(message));
    }
    Ok(Arc::new(revision(wanted.revision, &secret.key.name, parsed)))
}

/// A key set of these (RFC 7517 §5).
pub(super) fn key_set(keys: impl IntoIterator<Item = Value>) -> Arc<str> {
    let keys: Vec<Value> = keys.into_iter().collect();
    json!({ "keys": keys }).to_string().into()
}

fn revision(revision: u32, secret_name: &str, parsed: &ParsedKeyPair) -> KeyRevision {
    let certificate = parsed.certificate();
    KeyRevision {
        revision,
        secret_name: secret_name.into(),
        thumbprint: parsed.thumbprint(),
        kid: parsed.thumbprint().to_string(),
        signing: parsed.signing().clone(),
        jwks: key_set([parsed.jwk()]),
        certificate_pem: certificate.map(Certificate::shared_pem),
        certificate_fingerprint: certificate.map(|certificate| certificate.fingerprint().to_string()),
        not_before: certificate.map(Certificate::not_before),
        not_after: certificate.map(|certificate| certificate.not_after().to_string()),
    }
}
