//! Gateways: each checked by itself, then who wins a public URL.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::gateway::{GatewayKeyRevision, GatewaySigning};
use super::super::report::Detail;
use super::super::resources::SecretUse;
use super::super::{DataAdapter, Finding, Gateway, Kind, ObjectKey, ObjectReference, Report};
use super::age::{Age, identity};
use super::lookup::Lookup;
use super::{Reports, scopes, unresolved};
use crate::api;
use crate::values::code::{Code, Group};
use crate::values::key::{Algorithm, GatewayIdentity, GatewayKeys};
use crate::values::url::EndpointUrl;

/// The gateways that can be served, and the issuers of those that cannot.
type Gateways = (BTreeMap<ObjectKey, Arc<Gateway>>, Vec<(ObjectKey, String)>);

pub(super) fn all(
    lookup: &Lookup<'_>,
    data_adapters: &BTreeMap<ObjectKey, Arc<DataAdapter>>,
    reports: &mut Reports,
) -> Gateways {
    let mut checked: BTreeMap<ObjectKey, (String, Option<Gateway>)> = BTreeMap::new();
    let mut claims = Vec::new();
    for (key, object) in &lookup.resources.gateways {
        let mut findings = Vec::new();
        let issuer = issuer(lookup, key, object, &mut findings);
        let adapter_key = key.sibling(&object.spec.data_adapter_ref.name);
        let adapter_exists = lookup.resources.data_adapters.contains_key(&adapter_key);
        let field = "spec.dataAdapterRef";
        findings.extend(unresolved(reports, Kind::DataAdapter, &adapter_key, adapter_exists, field));
        let adapter = data_adapters.get(&adapter_key);
        let gateway = check(lookup, key, object, &issuer, adapter, &mut findings);
        if !findings.iter().any(|finding| finding.code.group() == Group::Accepted) {
            let (authority, path) = place(&issuer);
            // A gateway's own place beats one that another wrote down; then the oldest wins.
            let rank = (object.spec.public_url.is_some(), Age::of(&object.metadata, key));
            claims.push((authority, path, rank, key.clone()));
        }
        reports.add(report(key, object, &issuer, adapter, findings));
        checked.insert(key.clone(), (issuer, gateway));
    }
    settle_claims(claims, reports);

    let mut served = BTreeMap::new();
    let mut unserved = Vec::new();
    for (key, (issuer, gateway)) in checked {
        match gateway.filter(|_| reports.is_usable(Kind::Gateway, &key)) {
            Some(gateway) => {
                served.insert(key, Arc::new(gateway));
            }
            None => unserved.push((key, issuer)),
        }
    }
    (served, unserved)
}

fn report(
    key: &ObjectKey,
    object: &api::Gateway,
    issuer: &str,
    adapter: Option<&Arc<DataAdapter>>,
    findings: Vec<Finding>,
) -> Report {
    let own = ObjectReference::new(Kind::Gateway, key.clone());
    let suspended_by = if object.spec.suspend {
        Some(own.clone())
    } else {
        let adapter = adapter.filter(|adapter| adapter.suspend);
        adapter.map(|adapter| ObjectReference::new(Kind::DataAdapter, adapter.key.clone()))
    };
    let detail = Detail::Gateway {
        url: issuer.into(),
        fhir_base_url: format!("{issuer}/fhir"),
        token_url: format!("{issuer}/oauth2/token"),
        suspended_by,
    };
    let (uid, generation) = identity(&object.metadata);
    let mut report = Report::new(own, uid, generation, detail);
    report.findings = findings;
    let adapter = key.sibling(&object.spec.data_adapter_ref.name);
    report.references = vec![ObjectReference::new(Kind::DataAdapter, adapter)];
    report
}

/// Decides who has a URL: gateways may neither share one nor lie inside another's.
fn settle_claims(mut claims: Vec<(String, String, (bool, Age), ObjectKey)>, reports: &mut Reports) {
    claims.sort_by(|one, other| one.2.cmp(&other.2));
    let mut taken: BTreeMap<(String, String), ObjectKey> = BTreeMap::new();
    let mut above: BTreeMap<(String, String), ObjectKey> = BTreeMap::new();
    for (authority, path, _, key) in claims {
        let ancestors = ancestors(&path);
        let holder = taken
            .get(&(authority.clone(), path.clone()))
            .or_else(|| above.get(&(authority.clone(), path.clone())))
            .or_else(|| ancestors.iter().find_map(|prefix| taken.get(&(authority.clone(), (*prefix).into()))));
        if let Some(holder) = holder {
            let by = if holder.namespace == key.namespace {
                format!("Gateway {}", holder.name)
            } else {
                "a Gateway of another namespace".into()
            };
            let message = format!("the public URL equals, contains or lies below that of {by}");
            let finding = Finding::new(Code::PublicUrlConflict, "spec.publicUrl", message);
            reports.blame(&ObjectReference::new(Kind::Gateway, key), finding);
            continue;
        }
        for prefix in ancestors {
            above.insert((authority.clone(), prefix.into()), key.clone());
        }
        taken.insert((authority, path), key);
    }
}

/// The paths that lie above this one, at segments' borders; the empty path is above all.
fn ancestors(path: &str) -> Vec<&str> {
    path.match_indices('/').filter_map(|(index, _)| path.get(..index)).collect()
}

/// Authority and path of an issuer, as routes are looked up by.
pub(super) fn place(issuer: &str) -> (String, String) {
    EndpointUrl::parse(issuer)
        .map(|url| (url.authority().to_ascii_lowercase(), url.path_without_slash().to_owned()))
        .unwrap_or_default()
}

fn issuer(lookup: &Lookup<'_>, key: &ObjectKey, object: &api::Gateway, findings: &mut Vec<Finding>) -> String {
    let default = format!("{}/{}/{}", lookup.platform.base(), key.namespace, key.name);
    let field = "spec.publicUrl";
    if key.name == "keys" {
        let message = "the name keys is reserved: EHR-facing key sets live there";
        findings.push(Finding::new(Code::PublicUrlConflict, "metadata.name", message));
    }
    let Some(chosen) = &object.spec.public_url else { return default };
    let url = match EndpointUrl::parse(&chosen.0) {
        Ok(url) => url,
        Err(error) => {
            findings.push(Finding::new(Code::InvalidSpec, field, format!("{field} {error}")));
            return default;
        }
    };
    let path = url.path_without_slash();
    if path.contains("//") || path.split('/').any(|segment| matches!(segment, "." | "..")) || path.contains(['%', ';'])
    {
        let message = "publicUrl must have a plain path: no empty, dot or encoded segments";
        findings.push(Finding::new(Code::InvalidSpec, field, message));
    }
    let platform = &lookup.platform.public_url;
    if url.authority() == platform.authority() {
        let reserved = format!("{}/{}/keys", platform.path_without_slash(), key.namespace);
        if path == reserved || path.starts_with(&format!("{reserved}/")) || path.starts_with("/.well-known") {
            let message = format!("{chosen} is reserved for EHR-facing key sets and discovery", chosen = chosen.0);
            findings.push(Finding::new(Code::PublicUrlConflict, field, message));
        }
    } else if lookup.platform.public_hosts.get(&url.host()) != Some(&key.namespace) {
        let message = format!(
            "host {host} is not the platform's; the installation can allow it: --allow-public-host {host}={namespace}",
            host = url.host(),
            namespace = key.namespace
        );
        findings.push(Finding::new(Code::PublicUrlConflict, field, message));
    }
    url.without_slash().into()
}

fn check(
    lookup: &Lookup<'_>,
    key: &ObjectKey,
    object: &api::Gateway,
    issuer: &str,
    adapter: Option<&Arc<DataAdapter>>,
    findings: &mut Vec<Finding>,
) -> Option<Gateway> {
    let spec = &object.spec;
    let allowed_scopes =
        spec.allowed_scopes.as_ref().map(|allowed| scopes::parse(allowed, "spec.allowedScopes", findings));
    Some(Gateway {
        key: key.clone(),
        uid: identity(&object.metadata).0,
        display_name: spec.display_name.clone().unwrap_or_else(|| key.name.clone()),
        issuer: issuer.into(),
        fhir_base: format!("{issuer}/fhir"),
        token_endpoint: format!("{issuer}/oauth2/token"),
        data_adapter: Arc::clone(adapter?),
        access_token_lifetime: Duration::from_secs(spec.access_token_lifetime_seconds.into()),
        allowed_scopes,
        operations: spec.operations.iter().cloned().collect(),
        allowed_origins: spec
            .cors
            .iter()
            .flat_map(|cors| cors.allowed_origins.iter().cloned())
            .collect::<BTreeSet<_>>(),
        rate_limit: spec.rate_limit.clone(),
        signing: signing(lookup, key, spec.signing_keys.revision),
        suspend: spec.suspend,
    })
}

/// The gateway's own keys, as far as they are made.
fn signing(lookup: &Lookup<'_>, key: &ObjectKey, wanted: u32) -> GatewaySigning {
    let prefix = format!("{}-signing-", key.name);
    let named = lookup.resources.secrets.range(key.sibling(&prefix)..).map_while(|(name, secret)| {
        let same = name.namespace == key.namespace;
        name.name.strip_prefix(&prefix).filter(|_| same).map(|revision| (revision, secret))
    });
    let mut revisions: Vec<_> = named
        .filter_map(|(revision, secret)| {
            let identity = GatewayIdentity { gateway: key.name.clone(), revision: revision.parse().ok()? };
            let ours = secret.usage == SecretUse::GatewaySigning && identity.may_adopt(&secret.annotations).is_ok();
            let parsed = secret.parsed_gateway_keys.get_or_init(|| GatewayKeys::from_data(&secret.data).map(Arc::new));
            let keys = Arc::clone(parsed.as_ref().ok().filter(|_| ours)?);
            let es256_verifying = keys.es256.public().verifying_key(Algorithm::Es256).ok()?;
            Some(GatewayKeyRevision {
                revision: identity.revision,
                es256_kid: keys.es256.thumbprint().to_string(),
                keys,
                es256_verifying,
            })
        })
        .collect();
    revisions.sort_by_key(|own| own.revision);
    let recorded = lookup.resources.observed.gateways.get(&key.to_string()).copied();
    let current = revisions.iter().find(|own| Some(own.revision) == recorded).or_else(|| revisions.last()).cloned();
    let public: Vec<_> = revisions.iter().flat_map(|own| own.keys.jwks()).collect();
    let made = revisions.iter().any(|own| own.revision == wanted);
    GatewaySigning {
        current,
        jwks: json!({ "keys": public }).to_string(),
        missing_revision: (!made && lookup.platform.makes_keys).then_some(wanted),
        revisions,
    }
}
