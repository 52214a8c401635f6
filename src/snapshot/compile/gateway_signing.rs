//! A gateway's own keys: which revisions exist, which signs, and whether one must be made.

use std::sync::Arc;

use serde_json::json;

use super::super::gateway::{GatewayKeyRevision, GatewaySigning};
use super::super::resources::{Secret, SecretUse};
use super::super::{Finding, ObjectKey};
use super::lookup::Lookup;
use crate::values::code::Code;
use crate::values::key::{Algorithm, GatewayIdentity, GatewayKeys};

/// The gateway's own keys, as far as they are made. `recorded`: the revision that status says signs.
pub(super) fn signing(
    lookup: &Lookup<'_>,
    key: &ObjectKey,
    wanted: u32,
    recorded: Option<u32>,
    findings: &mut Vec<Finding>,
) -> GatewaySigning {
    let prefix = format!("{}-signing-", key.name);
    let named = lookup.secrets_named(&key.sibling(&prefix)).into_iter();
    let named = named.filter_map(|secret| Some((secret.key.name.strip_prefix(&prefix)?, secret)));
    let mut revisions = Vec::new();
    let mut fault = None;
    for (revision, secret) in named {
        // Only the name that we would write: no sign, no leading zero.
        let Some(number) = revision.parse().ok().filter(|number: &u32| number.to_string() == revision) else {
            continue;
        };
        let identity = GatewayIdentity { gateway: key.name.clone(), revision: number };
        match read_signing(&identity, secret) {
            Ok(own) => revisions.push(own),
            Err(reason) if number == wanted => {
                let name = &secret.key.name;
                fault = Some(format!("Secret {name} {reason}, or raise signingKeys.revision"));
            }
            Err(_) => {}
        }
    }
    revisions.sort_by_key(|own| own.revision);
    let made = revisions.iter().any(|own| own.revision == wanted);
    let field = "spec.signingKeys";
    if let Some(fault) = &fault {
        findings.push(Finding::new(Code::KeyBelongsToAnother, field, fault.clone()));
    } else if !made && !lookup.platform.makes_keys {
        let name = GatewayIdentity { gateway: key.name.clone(), revision: wanted }.secret_name();
        let message = format!("the signing keys {name} do not exist, and --no-new-keys forbids making them");
        findings.push(Finding::new(Code::NewKeysForbidden, field, message));
    }
    let current = revisions.iter().find(|own| Some(own.revision) == recorded).or_else(|| revisions.last()).cloned();
    let public: Vec<_> = revisions.iter().flat_map(|own| own.keys.jwks()).collect();
    GatewaySigning {
        current,
        jwks: json!({ "keys": public }).to_string(),
        missing_revision: (!made && fault.is_none() && lookup.platform.makes_keys).then_some(wanted),
        revisions,
    }
}

fn read_signing(identity: &GatewayIdentity, secret: &Secret) -> Result<GatewayKeyRevision, String> {
    let foreign = |reason: String| format!("{reason}; it is left untouched: remove it if nobody needs it");
    let damaged = |fault: String| format!("holds no usable signing keys ({fault}); restore it from a backup");
    if secret.usage != SecretUse::GatewaySigning {
        return Err(foreign(format!("is not labelled hearthgate.dev/use={}", SecretUse::GatewaySigning.as_str())));
    }
    identity.may_adopt(&secret.annotations).map_err(|reason| foreign(reason.to_string()))?;
    let parsed = secret.parsed_gateway_keys.get_or_init(|| GatewayKeys::from_data(&secret.data).map(Arc::new));
    let keys = Arc::clone(parsed.as_ref().map_err(|error| damaged(error.to_string()))?);
    let es256_verifying =
        keys.es256.public().verifying_key(Algorithm::Es256).map_err(|problem| damaged(problem.to_string()))?;
    Ok(GatewayKeyRevision {
        revision: identity.revision,
        es256_kid: keys.es256.thumbprint().to_string(),
        keys,
        es256_verifying,
    })
}
