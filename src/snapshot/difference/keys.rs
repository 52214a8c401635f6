//! Keys that the change will have made.

use serde::Serialize;

use super::super::{Compiled, KeyPair, ObjectKey};

/// A key that will be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyToMake {
    /// The environment.
    pub namespace: String,
    /// The pair's name.
    pub pair: String,
    /// The revision.
    pub revision: u32,
    /// Algorithm and size.
    pub kind: String,
    /// The app that it is made for.
    pub app: String,
    /// Where the EHR will fetch the public key.
    pub jwks_url: String,
    /// The activations that will sign with it.
    pub activations: Vec<String>,
    /// Whether the pair existed before: then it is a rotation.
    pub rotation: bool,
}

pub(super) fn to_make(old: &Compiled<'_>, new: &Compiled<'_>) -> Vec<KeyToMake> {
    let pairs = new.snapshot.key_pairs.iter();
    pairs
        .filter_map(|(key, pair)| {
            let before = old.snapshot.key_pairs.get(key).filter(|before| !before.brought);
            let is_made = before.is_some_and(|before| before.wanted.revision >= pair.wanted.revision)
                || pair.revisions.iter().any(|own| own.revision >= pair.wanted.revision);
            (!pair.brought && !is_made && new.snapshot.platform.makes_keys)
                .then(|| key_to_make(new, key, pair, before.is_some()))
        })
        .collect()
}

fn key_to_make(new: &Compiled<'_>, key: &ObjectKey, pair: &KeyPair, rotation: bool) -> KeyToMake {
    KeyToMake {
        namespace: key.namespace.clone(),
        pair: key.name.clone(),
        revision: pair.wanted.revision,
        kind: pair.kind.to_string(),
        app: pair.app.clone(),
        jwks_url: pair.jwks_url.clone(),
        activations: activations_of(new, key).into_iter().map(|key| key.name).collect(),
        rotation,
    }
}

/// The activations that share a pair, as far as they are served.
pub(super) fn activations_of(compiled: &Compiled<'_>, pair: &ObjectKey) -> Vec<ObjectKey> {
    let activations = compiled.snapshot.activations.values();
    let sharing = activations.filter(|own| own.ehr_authentication.key_pair().is_some_and(|(own, _)| own.key == *pair));
    sharing.map(|own| own.key.clone()).collect()
}
