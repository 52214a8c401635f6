//! Why a token endpoint may not know a client (`invalid_client`), as far as what is written of the app tells. The endpoint
//! itself says nothing: it cannot know who asks.

use std::path::Path;

use crate::api::AppSpec;
use crate::values::key::{JwkSet, KeyNotFound, SigningKey};

/// What the app was shown to be.
pub(super) enum Shown<'run> {
    /// The holder of a private key.
    Key {
        /// Where it was read.
        path: &'run Path,
        key: SigningKey,
        kid: Option<&'run str>,
    },
    /// Whoever knows a secret.
    Secret {
        /// Where it was read.
        place: String,
    },
}

/// What is most likely wrong, and what to do.
pub(super) fn likely(app: &AppSpec, namespace: &str, shown: &Shown<'_>) -> String {
    match shown {
        Shown::Key { path, key, kid } => of_key(app, path, key, *kid),
        Shown::Secret { place } => of_secret(app, namespace, place),
    }
}

fn of_key(app: &AppSpec, path: &Path, key: &SigningKey, kid: Option<&str>) -> String {
    let path = path.display();
    let show = format!("`hearthgate jwks --key-file {path}` prints its public half");
    if let Some(uri) = &app.jwks_uri {
        return format!(
            "the key set at {} does not hold the key of {path}, or not yet: {show}. A set is fetched again when a kid is new",
            uri.0
        );
    }
    let Some(jwks) = &app.jwks else {
        return "the App has neither jwks nor jwksUri: it proves who it is with its client secret (--secret-file)"
            .to_owned();
    };
    let is_in_set = jwks.get("keys").and_then(serde_json::Value::as_array).is_some_and(|keys| {
        let ours = key.jwk();
        keys.iter().any(|own| ["n", "e", "crv", "x", "y"].iter().all(|member| own.get(member) == ours.get(member)))
    });
    if !is_in_set {
        return format!("the App's spec.jwks does not hold the key of {path}: {show}, which belongs there");
    }
    match (JwkSet::of(jwks).find(kid, key.algorithm()), kid) {
        (Err(KeyNotFound::Unknown), Some(kid)) => {
            format!("no key of spec.jwks has the kid {kid}: give another --kid, or none")
        }
        (Err(KeyNotFound::Unknown), None) => {
            format!("the key of {path} stands in spec.jwks with another alg or use than {}", key.algorithm())
        }
        (Err(KeyNotFound::Several), _) => "several keys of spec.jwks fit: say which with --kid".to_owned(),
        (Ok(_), _) => {
            "the gateway has not taken over the App as it is written now: hearthgate status says why".to_owned()
        }
    }
}

fn of_secret(app: &AppSpec, namespace: &str, place: &str) -> String {
    let secrets = app.client_secrets.as_deref().unwrap_or_default();
    let entries = secrets.iter().map(|own| {
        let reference = &own.secret_ref;
        format!("entry {} of Secret {} in namespace {namespace}", reference.key, reference.name)
    });
    match entries.collect::<Vec<_>>().as_slice() {
        [] => "the App has no clientSecrets: it proves who it is with a key (--key-file)".to_owned(),
        entries => format!("the secret from {place} is not what the gateway has read as {}", entries.join(" or ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use zeroize::Zeroizing;

    use super::*;
    use crate::values::key::Algorithm;

    fn app(proof: &Value) -> AppSpec {
        let mut spec = json!({"clientType": "BackendService", "scopes": ["system/Patient.rs"]});
        spec.as_object_mut().unwrap().extend(proof.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    fn key(name: &str) -> SigningKey {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile/keys").join(name).join("private.pem");
        let pem = Zeroizing::new(std::fs::read(path).unwrap());
        SigningKey::from_pem(&pem, &[Algorithm::Rs384, Algorithm::Es384]).unwrap()
    }

    fn with_key(app: &AppSpec, name: &str, kid: Option<&str>) -> String {
        likely(app, "clinic", &Shown::Key { path: Path::new("private.pem"), key: key(name), kid })
    }

    #[test]
    fn a_secret_that_is_refused_is_held_against_where_the_gateway_reads_it() {
        let secret = Shown::Secret { place: "secret.txt".to_owned() };
        let two = json!({"clientSecrets": [{"secretRef": {"name": "sync", "key": "old"}}, {"secretRef": {"name": "sync", "key": "new"}}]});
        assert_eq!(
            likely(&app(&two), "clinic", &secret),
            "the secret from secret.txt is not what the gateway has read as entry old of Secret sync in namespace clinic or \
             entry new of Secret sync in namespace clinic"
        );
        assert_eq!(
            likely(&app(&json!({})), "clinic", &secret),
            "the App has no clientSecrets: it proves who it is with a key (--key-file)"
        );
    }

    #[test]
    fn a_key_that_is_refused_is_held_against_the_apps_key_set() {
        let mut jwk = key("ec-1").jwk();
        jwk["kid"] = "2026-07".into();
        let known = app(&json!({"jwks": {"keys": [jwk]}}));
        assert_eq!(
            with_key(&known, "rsa-1", None),
            "the App's spec.jwks does not hold the key of private.pem: `hearthgate jwks --key-file private.pem` prints its \
             public half, which belongs there"
        );
        assert_eq!(
            with_key(&known, "ec-1", Some("2025-01")),
            "no key of spec.jwks has the kid 2025-01: give another --kid, or none"
        );
        assert_eq!(
            with_key(&known, "ec-1", None),
            "the gateway has not taken over the App as it is written now: hearthgate status says why"
        );
        assert_eq!(
            with_key(&app(&json!({})), "ec-1", None),
            "the App has neither jwks nor jwksUri: it proves who it is with its client secret (--secret-file)"
        );
        let published = app(&json!({"jwksUri": "https://app.example.org/jwks.json"}));
        assert!(with_key(&published, "ec-1", None).starts_with(
            "the key set at https://app.example.org/jwks.json does not hold the key of private.pem, or not yet: "
        ));
    }
}
