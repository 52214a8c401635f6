//! Activations: each checked by itself, then who wins an app on a gateway, then the key pairs, then all put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::super::key_pair::KeyPair;
use super::super::report::{ActivationDetail, Detail};
use super::super::{Activation, App, Finding, Gateway, Kind, ObjectKey, ObjectReference, Report};
use super::age::{Age, identity};
use super::authentication::{self, Checked};
use super::key_pair::{self, Request, Settled, Share};
use super::lookup::Lookup;
use super::scopes::{Ceiling, lower};
use super::{Reports, scopes, unresolved};
use crate::api;
use crate::api::activation::{Connection, DroppedScope};
use crate::api::common::{GIT_REVISION_ANNOTATION, PROBE_REQUESTED_ANNOTATION};
use crate::values::code::Code;
use crate::values::scope::ScopeSet;

type Activations = (BTreeMap<ObjectKey, Arc<Activation>>, BTreeMap<ObjectKey, Arc<KeyPair>>);

/// An activation whose references lead somewhere, before it has its key.
struct Draft {
    app: Arc<App>,
    gateway: Arc<Gateway>,
    ceiling: ScopeSet,
    dropped: Vec<DroppedScope>,
    authentication: Option<Checked>,
}

pub(super) fn all(
    lookup: &Lookup<'_>,
    gateways: &BTreeMap<ObjectKey, Arc<Gateway>>,
    apps: &BTreeMap<ObjectKey, Arc<App>>,
    reports: &mut Reports,
) -> Activations {
    let mut drafts = BTreeMap::new();
    for (key, object) in &lookup.resources.activations {
        let mut findings = Vec::new();
        let draft = check(lookup, key, object, gateways, apps, reports, &mut findings);
        let (uid, generation) = identity(&object.metadata);
        let detail = Detail::Activation(Box::new(detail(lookup, key, object, draft.as_ref())));
        let references = [
            ObjectReference::new(Kind::App, key.sibling(&object.spec.app_ref.name)),
            ObjectReference::new(Kind::Gateway, key.sibling(&object.spec.gateway_ref.name)),
        ];
        let object = ObjectReference::new(Kind::Activation, key.clone());
        let mut report = Report::new(object, uid, generation, detail);
        report.findings = findings;
        report.references = references.into();
        reports.add(report);
        if let Some(draft) = draft {
            drafts.insert(key.clone(), draft);
        }
    }
    exclude_duplicates(lookup, &mut drafts, reports);
    let settled = key_pair::settle(lookup, key_requests(lookup, reports));
    for (key, finding) in &settled.findings {
        reports.blame(Kind::Activation, key, finding.clone());
    }
    let activations = drafts
        .into_iter()
        .filter_map(|(key, draft)| {
            let activation = finish(lookup, &key, draft, &settled, reports)?;
            Some((key, Arc::new(activation)))
        })
        .collect();
    let Settled { pairs, shares, .. } = settled;
    complete_reports(shares, reports);
    (activations, pairs)
}

fn check(
    lookup: &Lookup<'_>,
    key: &ObjectKey,
    object: &api::Activation,
    gateways: &BTreeMap<ObjectKey, Arc<Gateway>>,
    apps: &BTreeMap<ObjectKey, Arc<App>>,
    reports: &Reports,
    findings: &mut Vec<Finding>,
) -> Option<Draft> {
    let spec = &object.spec;
    let app_key = key.sibling(&spec.app_ref.name);
    let gateway_key = key.sibling(&spec.gateway_ref.name);
    let app_exists = lookup.resources.apps.contains_key(&app_key);
    let gateway_exists = lookup.resources.gateways.contains_key(&gateway_key);
    findings.extend(unresolved(reports, Kind::App, &app_key, app_exists, "spec.appRef"));
    findings.extend(unresolved(reports, Kind::Gateway, &gateway_key, gateway_exists, "spec.gatewayRef"));
    let mut own_faults = Vec::new();
    let own = spec.scopes.as_ref().map(|own| scopes::parse(own, "spec.scopes", &mut own_faults));
    let own_is_sound = own_faults.is_empty();
    findings.append(&mut own_faults);
    for (field, moment) in [("spec.notBefore", &spec.not_before), ("spec.expiresAt", &spec.expires_at)] {
        if moment.as_ref().is_some_and(|text| text.parse::<Timestamp>().is_err()) {
            let message = format!("{field} must be a moment such as 2030-01-31T12:00:00Z (RFC 3339)");
            findings.push(Finding::new(Code::InvalidSpec, field, message));
        }
    }
    let (app, gateway) = (apps.get(&app_key), gateways.get(&gateway_key));
    let adapter = gateway.map(|gateway| gateway.data_adapter.as_ref());
    let authentication = authentication::check(lookup, &key.namespace, &spec.ehr_authentication, adapter, findings);
    let (app, gateway) = (app?, gateway?);
    let ceilings = [
        Ceiling { owner: (Kind::Activation, key), field: "spec.scopes", scopes: own.as_ref() },
        Ceiling {
            owner: (Kind::Gateway, &gateway.key),
            field: "spec.gatewayRef",
            scopes: gateway.allowed_scopes.as_ref(),
        },
    ];
    let (ceiling, dropped) = lower(&app.scopes, &ceilings);
    // Of a ceiling that could not be read nobody wants to know what it drops.
    if own_is_sound {
        findings.extend(dropped.iter().map(|drop| drop.finding(&app.key.name)));
    }
    let dropped = dropped.into_iter().filter(|_| own_is_sound).map(|drop| drop.scope).collect();
    Some(Draft { app: Arc::clone(app), gateway: Arc::clone(gateway), ceiling, dropped, authentication })
}

fn moment(text: Option<&String>) -> Option<Timestamp> {
    text.and_then(|text| text.parse().ok())
}

/// The object that switches the activation off; of several, the one that is nearest to it.
fn suspended_by(key: &ObjectKey, object: &api::Activation, draft: Option<&Draft>) -> Option<ObjectReference> {
    let own = object.spec.suspend.then(|| ObjectReference::new(Kind::Activation, key.clone()));
    let others = draft.and_then(|draft| {
        let (app, gateway, adapter) = (&draft.app, &draft.gateway, &draft.gateway.data_adapter);
        let candidates = [
            (app.suspend, Kind::App, &app.key),
            (gateway.suspend, Kind::Gateway, &gateway.key),
            (adapter.suspend, Kind::DataAdapter, &adapter.key),
        ];
        candidates
            .into_iter()
            .find(|(suspended, ..)| *suspended)
            .map(|(_, kind, key)| ObjectReference::new(kind, key.clone()))
    });
    own.or(others)
}

fn detail(lookup: &Lookup<'_>, key: &ObjectKey, object: &api::Activation, draft: Option<&Draft>) -> ActivationDetail {
    let observed = lookup.observed(key);
    let authentication = draft.and_then(|draft| draft.authentication.as_ref());
    let user = draft.filter(|_| authentication.is_some_and(Checked::is_user));
    let key_pair = authentication::key_pair(&object.spec.ehr_authentication).map(|(spec, ..)| spec);
    ActivationDetail {
        suspended_by: suspended_by(key, object, draft),
        not_before: moment(object.spec.not_before.as_ref()),
        expires_at: moment(object.spec.expires_at.as_ref()),
        has_key: key_pair.is_some(),
        pinned: key_pair.filter(|spec| spec.secret_ref.is_none()).map(|spec| spec.thumbprints.clone()),
        asks_for_tokens: authentication.is_some_and(Checked::asks_for_tokens),
        awaits_client_id: authentication.is_some_and(Checked::awaits_client_id),
        accepted_before: observed.is_some_and(|observed| observed.accepted_before),
        callback_url: user.map(|draft| format!("{}/oauth2/callback", draft.gateway.issuer)),
        launch_url: user.map(|draft| format!("{}/launch/{}", draft.gateway.issuer, draft.app.key.name)),
        connection: draft.map(|draft| Connection {
            client_id: draft.app.client_id.clone(),
            fhir_base_url: draft.gateway.fhir_base.clone(),
            token_url: draft.gateway.token_endpoint.clone(),
            authorization_url: user.map(|draft| format!("{}/oauth2/authorize", draft.gateway.issuer)),
            granted_scopes: draft.ceiling.iter().map(ToString::to_string).collect(),
        }),
        dropped_scopes: draft.map(|draft| draft.dropped.clone()).unwrap_or_default(),
        ehr_name: draft.map(|draft| draft.gateway.data_adapter.display_name.clone()).unwrap_or_default(),
        ..ActivationDetail::default()
    }
}

/// An activation's claim to an app on a gateway.
struct Claim<'resources> {
    /// Namespace, app, gateway.
    pair: (&'resources str, &'resources str, &'resources str),
    key: &'resources ObjectKey,
    object: &'resources api::Activation,
}

/// Of several activations of one app on one gateway, the oldest that is in order stays.
fn exclude_duplicates(lookup: &Lookup<'_>, drafts: &mut BTreeMap<ObjectKey, Draft>, reports: &mut Reports) {
    let accepted = lookup.resources.activations.iter().filter(|(key, _)| reports.is_accepted(Kind::Activation, key));
    // Sorted, and not put into a map: of thousands of pairs hardly one is claimed twice.
    let mut claims: Vec<Claim<'_>> = accepted
        .map(|(key, object)| {
            let (app, gateway) = (object.spec.app_ref.name.as_str(), object.spec.gateway_ref.name.as_str());
            Claim { pair: (&key.namespace, app, gateway), key, object }
        })
        .collect();
    claims.sort_by_key(|claim| claim.pair);
    for claimants in claims.chunk_by(|one, other| one.pair == other.pair).filter(|claimants| claimants.len() > 1) {
        let mut claimants: Vec<_> = claimants.iter().map(|own| (Age::of(&own.object.metadata, own.key), own)).collect();
        claimants.sort_by(|one, other| one.0.cmp(&other.0));
        let Some(((_, winner), losers)) = claimants.split_first() else { continue };
        for (_, loser) in losers {
            let (_, app, gateway) = loser.pair;
            let message = format!(
                "Activation {} already stands for App {app} on Gateway {gateway}: delete one of the two",
                winner.key.name
            );
            let finding = Finding::new(Code::DuplicateActivation, "spec.appRef", message);
            reports.blame(Kind::Activation, loser.key, finding);
            drafts.remove(loser.key);
        }
    }
}

/// What each activation asks of a key pair. One whose app or gateway has a fault, or that has a fault of its own, keeps
/// its pair: its public keys stay published, and nobody else gets the name meanwhile.
fn key_requests<'resources>(lookup: &Lookup<'resources>, reports: &Reports) -> Vec<Request<'resources>> {
    lookup
        .resources
        .activations
        .iter()
        .filter_map(|(key, object)| {
            let (spec, app_name, field) = authentication::key_pair(&object.spec.ehr_authentication)?;
            let app = &object.spec.app_ref.name;
            Some(Request {
                age: Age::of(&object.metadata, key),
                common_name: app_name.unwrap_or(app).into(),
                app: app.clone(),
                app_exists: lookup.resources.apps.contains_key(&key.sibling(app)),
                accepted: reports.is_accepted(Kind::Activation, key),
                spec,
                field,
                observed: lookup.observed(key),
                activation: key.clone(),
            })
        })
        .collect()
}

fn finish(
    lookup: &Lookup<'_>,
    key: &ObjectKey,
    draft: Draft,
    settled: &Settled,
    reports: &Reports,
) -> Option<Activation> {
    if !reports.is_usable(Kind::Activation, key) {
        return None;
    }
    let object = lookup.resources.activations.get(key)?;
    let suspended_by = suspended_by(key, object, Some(&draft));
    let ehr_authentication = draft.authentication?.with_key(settled.shares.get(key))?;
    let (uid, generation) = identity(&object.metadata);
    let annotation = |name: &str| object.metadata.annotations.as_ref()?.get(name);
    Some(Activation {
        key: key.clone(),
        uid,
        generation,
        ceiling: draft.ceiling,
        not_before: moment(object.spec.not_before.as_ref()),
        expires_at: moment(object.spec.expires_at.as_ref()),
        suspended_by,
        credential_digest: authentication::digest(&ehr_authentication, &draft.gateway.data_adapter),
        ehr_authentication,
        git_revision: annotation(GIT_REVISION_ANNOTATION).map(|revision| revision.chars().take(128).collect()),
        probe_requested_at: annotation(PROBE_REQUESTED_ANNOTATION).cloned(),
        app: draft.app,
        gateway: draft.gateway,
    })
}

/// Adds what became of the keys to the activations' reports.
fn complete_reports(shares: BTreeMap<ObjectKey, Share>, reports: &mut Reports) {
    for (key, share) in shares {
        let report = reports.get_mut(Kind::Activation, &key);
        let Some(Report { detail: Detail::Activation(detail), .. }) = report else { continue };
        detail.keys = share.keys;
        detail.jwks_url = Some(share.pair.jwks_url.clone());
        detail.certificate_pem = share.pair.revisions.last().and_then(|newest| newest.certificate_pem.clone());
    }
}
