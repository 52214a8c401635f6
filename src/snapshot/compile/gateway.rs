//! Gateways: each checked by itself, then who wins a public URL.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::report::Detail;
use super::super::{DataAdapter, Finding, Gateway, Kind, ObjectKey, ObjectReference, Report};
use super::age::{Age, identity};
use super::gateway_signing::signing;
use super::lookup::Lookup;
use super::memory::Memory;
use super::{Reports, scopes, unresolved};
use crate::api;
use crate::values::code::{Code, Group};
use crate::values::url::EndpointUrl;

const PUBLIC_URL: &str = "spec.publicUrl";
const NAME: &str = "metadata.name";

/// Authority and path of a public URL, as routes are looked up by.
type Place = (String, String);

/// The gateways that can be served, and the places of those that cannot.
type Gateways = (BTreeMap<ObjectKey, Arc<Gateway>>, Vec<(ObjectKey, Place)>);

pub(super) fn all<'resources>(
    lookup: &Lookup<'resources>,
    memory: &mut Memory,
    data_adapters: &BTreeMap<ObjectKey, Arc<DataAdapter>>,
    reports: &mut Reports<'resources>,
) -> Gateways {
    let objects = &lookup.resources.gateways;
    let mut checked: BTreeMap<ObjectKey, (Arc<str>, Option<Arc<Gateway>>)> = BTreeMap::new();
    let mut claims = Vec::new();
    for (key, object) in objects {
        let adapter_key = key.sibling(&object.spec.data_adapter_ref.name);
        let adapter = data_adapters.get(&adapter_key);
        let recorded = lookup.resources.observed.gateways.get(&key.to_string()).copied();
        let make = || {
            let mut findings = Vec::new();
            let issuer = issuer(lookup, key, object, &mut findings);
            let adapter_exists = lookup.resources.data_adapters.contains_key(&adapter_key);
            let field = "spec.dataAdapterRef";
            findings.extend(unresolved(reports, Kind::DataAdapter, &adapter_key, adapter_exists, field));
            let gateway = check(lookup, key, object, (&issuer, adapter, recorded), &mut findings);
            let report = report(key, object, &issuer, adapter, findings);
            (Arc::from(issuer), gateway.map(Arc::new), Arc::new(report))
        };
        let (issuer, gateway, report) = match adapter {
            Some(adapter) => {
                let inputs = (Arc::clone(object), Arc::clone(adapter), recorded);
                memory.gateways.recall_or(lookup, key, inputs, make)
            }
            // What is wrong with its adapter is not among the inputs.
            None => {
                memory.gateways.forget(key);
                let checked = make();
                lookup.take_reads();
                checked
            }
        };
        if report.finding(Group::Accepted).is_none() {
            // A gateway's own place beats one that another wrote down; then the oldest wins.
            let rank = (object.spec.public_url.is_some(), Age::of(&object.metadata, key));
            claims.push((place(&issuer), rank, key.clone()));
        }
        reports.add(key, report);
        checked.insert(key.clone(), (issuer, gateway));
    }
    memory.gateways.retain(objects);
    settle_claims(claims, reports);

    let mut served = BTreeMap::new();
    let mut unserved = Vec::new();
    for (key, (issuer, gateway)) in checked {
        match gateway.filter(|_| reports.is_usable(Kind::Gateway, &key)) {
            Some(gateway) => {
                served.insert(key, gateway);
            }
            None if holds_its_place(&key, reports) => unserved.push((key, place(&issuer))),
            None => {}
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
fn settle_claims(mut claims: Vec<(Place, (bool, Age), ObjectKey)>, reports: &mut Reports<'_>) {
    claims.sort_by(|one, other| one.1.cmp(&other.1));
    let mut taken: BTreeMap<Place, ObjectKey> = BTreeMap::new();
    // What lies above a taken place, with the one that was there first.
    let mut above: BTreeMap<Place, ObjectKey> = BTreeMap::new();
    for (place, _, key) in claims {
        let (authority, path) = &place;
        let ancestors: Vec<Place> =
            ancestors(path).into_iter().map(|prefix| (authority.clone(), prefix.to_owned())).collect();
        let conflict = [("equals", taken.get(&place)), ("contains", above.get(&place))]
            .into_iter()
            .chain(ancestors.iter().map(|ancestor| ("lies below", taken.get(ancestor))))
            .find_map(|(how, holder)| Some((how, holder?)));
        if let Some((how, holder)) = conflict {
            let by = if holder.namespace == key.namespace {
                format!("Gateway {}", holder.name)
            } else {
                "a Gateway of another namespace".into()
            };
            let message = format!("the public URL {authority}{path} {how} that of {by}: choose another publicUrl");
            let finding = Finding::new(Code::PublicUrlConflict, PUBLIC_URL, message);
            reports.blame(Kind::Gateway, &key, finding);
            continue;
        }
        for ancestor in ancestors {
            above.entry(ancestor).or_insert_with(|| key.clone());
        }
        taken.insert(place, key);
    }
}

/// Whether a gateway that is not served may say so at its public URL: not where the URL itself is the fault.
fn holds_its_place(key: &ObjectKey, reports: &Reports<'_>) -> bool {
    let report = reports.get(Kind::Gateway, key);
    let is_about_place = |finding: &Finding| matches!(finding.field.as_str(), PUBLIC_URL | NAME);
    report.is_some_and(|report| !report.findings.iter().any(is_about_place))
}

/// The paths that lie above this one, at segments' borders; the empty path is above all.
fn ancestors(path: &str) -> Vec<&str> {
    path.match_indices('/').filter_map(|(index, _)| path.get(..index)).collect()
}

/// Authority and path of an issuer, as routes are looked up by.
pub(super) fn place(issuer: &str) -> Place {
    EndpointUrl::parse(issuer)
        .map(|url| (url.authority().to_ascii_lowercase(), url.path_without_slash().to_owned()))
        .unwrap_or_default()
}

/// Whether a gateway of this namespace may be at this host: the platform's, or one that the installation gave to it.
fn may_have_host(lookup: &Lookup<'_>, key: &ObjectKey, issuer: &str) -> bool {
    EndpointUrl::parse(issuer).is_ok_and(|url| {
        url.authority() == lookup.platform.public_url.authority()
            || lookup.platform.public_hosts.get(&url.host()) == Some(&key.namespace)
    })
}

fn issuer(lookup: &Lookup<'_>, key: &ObjectKey, object: &api::Gateway, findings: &mut Vec<Finding>) -> String {
    let default = format!("{}/{}/{}", lookup.platform.base(), key.namespace, key.name);
    let field = PUBLIC_URL;
    if key.name == "keys" {
        let message = "the name keys is reserved, since EHR-facing key sets live there: give the gateway another name";
        findings.push(Finding::new(Code::PublicUrlConflict, NAME, message));
    }
    let Some(chosen) = &object.spec.public_url else { return default };
    let url = match EndpointUrl::parse(&chosen.0) {
        Ok(url) => url,
        Err(error) => {
            findings.push(Finding::new(Code::InvalidSpec, field, format!("{field} {error}")));
            return default;
        }
    };
    let mut blame = |code, message: String| findings.push(Finding::new(code, field, message));
    if !has_plain_path(&url) {
        let message = format!("{field} must have a plain path: no empty, dot or encoded segments, and no query");
        blame(Code::InvalidSpec, message);
    }
    if lookup.platform.public_url.is_https() && !url.is_https() {
        blame(Code::InvalidSpec, format!("{field} must be an https URL, as the platform's is: tokens travel on it"));
    }
    if !may_have_host(lookup, key, url.as_str()) {
        let (host, namespace) = (url.host(), &key.namespace);
        let message = format!(
            "host {host} is not the platform's; the installation can allow it: --allow-public-host {host}={namespace}"
        );
        blame(Code::PublicUrlConflict, message);
    } else if is_reserved(lookup, &url) {
        let message =
            format!("{} is reserved for EHR-facing key sets and discovery: choose another publicUrl", url.as_str());
        blame(Code::PublicUrlConflict, message);
    }
    url.without_slash().into()
}

fn has_plain_path(url: &EndpointUrl) -> bool {
    let path = url.path_without_slash();
    let mut segments = path.split('/').skip(1);
    !url.as_str().contains('?')
        && !path.contains(['%', ';'])
        && segments.all(|segment| !segment.is_empty() && !matches!(segment, "." | ".."))
}

/// `/.well-known` at any host, and `<platform>/<any namespace>/keys`.
fn is_reserved(lookup: &Lookup<'_>, url: &EndpointUrl) -> bool {
    let platform = &lookup.platform.public_url;
    let path = url.path_without_slash();
    if path.split('/').nth(1) == Some(".well-known") {
        return true;
    }
    let below_platform = path.strip_prefix(platform.path_without_slash()).filter(|rest| rest.starts_with('/'));
    url.authority() == platform.authority() && below_platform.and_then(|rest| rest.split('/').nth(2)) == Some("keys")
}

fn check(
    lookup: &Lookup<'_>,
    key: &ObjectKey,
    object: &api::Gateway,
    (issuer, adapter, recorded): (&str, Option<&Arc<DataAdapter>>, Option<u32>),
    findings: &mut Vec<Finding>,
) -> Option<Gateway> {
    let spec = &object.spec;
    let allowed_scopes =
        spec.allowed_scopes.as_ref().map(|allowed| scopes::parse(allowed, "spec.allowedScopes", findings));
    let signing = signing(lookup, key, spec.signing_keys.revision, recorded, findings);
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
        signing,
        suspend: spec.suspend,
    })
}
