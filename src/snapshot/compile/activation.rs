//! Activations: each checked by itself, then who wins an app on a gateway, then the key pairs, then all put together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::super::key_pair::KeyPair;
use super::super::report::{ActivationDetail, Detail};
use super::super::{Activation, App, Finding, Gateway, Kind, ObjectKey, ObjectReference, Report};
use super::age::{Age, identity};
use super::authentication::{self, Checked};
use super::key_pair::{self, PairReads, Request, Share};
use super::lookup::Lookup;
use super::memory::{ActivationInputs, Memory, PairMembers, Reads, Settled};
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

/// An activation that is made anew, and where it is remembered afterwards.
struct Anew<'resources> {
    key: &'resources ObjectKey,
    object: &'resources Arc<api::Activation>,
    /// `None`: what it hangs on is not in order, or another activation stands for the same app on the same gateway.
    inputs: Option<ActivationInputs>,
    reads: Reads,
}

pub(super) fn all<'resources>(
    lookup: &Lookup<'resources>,
    memory: &mut Memory,
    gateways: &BTreeMap<ObjectKey, Arc<Gateway>>,
    apps: &BTreeMap<ObjectKey, Arc<App>>,
    reports: &mut Reports<'resources>,
) -> Activations {
    let Sorted { unchanged, mut anew } = sort(lookup, memory, gateways, apps);
    let mut drafts = BTreeMap::new();
    for Anew { key, object, reads, .. } in &mut anew {
        lookup.take_reads();
        let mut findings = Vec::new();
        let draft = check(lookup, key, object, gateways, apps, reports, &mut findings);
        let (uid, generation) = identity(&object.metadata);
        let detail = Detail::Activation(Box::new(detail(lookup, key, object, draft.as_ref())));
        let references = [
            ObjectReference::new(Kind::App, key.sibling(&object.spec.app_ref.name)),
            ObjectReference::new(Kind::Gateway, key.sibling(&object.spec.gateway_ref.name)),
        ];
        let object = ObjectReference::new(Kind::Activation, ObjectKey::clone(key));
        let mut report = Report::new(object, uid, generation, detail);
        report.findings = findings;
        report.references = references.into();
        reports.add(key, Arc::new(report));
        if let Some(draft) = draft {
            drafts.insert(ObjectKey::clone(key), draft);
        }
        *reads = lookup.take_reads();
    }
    exclude_duplicates(&anew, &mut drafts, reports);
    let settled = key_pair::settle(lookup, key_requests(lookup, &anew, reports));
    for (key, finding) in &settled.findings {
        reports.blame(Kind::Activation, key, finding.clone());
    }
    let mut activations: BTreeMap<ObjectKey, Arc<Activation>> = drafts
        .into_iter()
        .filter_map(|(key, draft)| {
            let activation = finish(lookup, &key, draft, &settled, reports)?;
            Some((key, Arc::new(activation)))
        })
        .collect();
    let key_pair::Settled { mut pairs, shares, reads, .. } = settled;
    complete_reports(shares, reports);
    remember(memory, anew, &activations, (&pairs, reads), reports);
    for (key, settled) in unchanged {
        let Settled { activation, report, share } = settled;
        reports.add(key, report);
        activations.extend(activation.map(|activation| (key.clone(), activation)));
        let pair = share.and_then(|share| share.pair.clone());
        pairs.extend(pair.map(|pair| (pair.key.clone(), pair)));
    }
    memory.activations.retain(&lookup.resources.activations);
    (activations, pairs)
}

/// The activations that are as they were, and the others.
struct Sorted<'resources> {
    unchanged: Vec<(&'resources ObjectKey, Settled)>,
    anew: Vec<Anew<'resources>>,
}

/// The pair that a spec asks for: namespace and name.
fn pair_of<'object>(key: &'object ObjectKey, object: &'object api::Activation) -> Option<(&'object str, &'object str)> {
    let (spec, ..) = authentication::key_pair(&object.spec.ehr_authentication)?;
    Some((&key.namespace, spec.name.as_deref().unwrap_or(&key.name)))
}

/// Namespace, app and gateway.
fn claim_of<'object>(
    key: &'object ObjectKey,
    object: &'object api::Activation,
) -> (&'object str, &'object str, &'object str) {
    (&key.namespace, &object.spec.app_ref.name, &object.spec.gateway_ref.name)
}

/// What is known of those who ask for one pair.
#[derive(Default)]
struct Members {
    count: usize,
    /// What one of them remembers of the pair, if nothing of it has changed.
    remembered: Option<Arc<PairMembers>>,
    has_changed: bool,
}

/// Sorts out which activations are as they were: nothing that they are made of has changed, no other is in their way, and
/// the same holds of all that share their pair.
fn sort<'resources>(
    lookup: &Lookup<'resources>,
    memory: &Memory,
    gateways: &BTreeMap<ObjectKey, Arc<Gateway>>,
    apps: &BTreeMap<ObjectKey, Arc<App>>,
) -> Sorted<'resources> {
    let objects = &lookup.resources.activations;
    let mut claims: HashMap<_, usize> = HashMap::with_capacity(objects.len());
    for (key, object) in objects {
        *claims.entry(claim_of(key, object)).or_default() += 1;
    }
    let mut pairs: HashMap<_, Members> = HashMap::with_capacity(objects.len());
    let mut looked_at = Vec::with_capacity(objects.len());
    for (key, object) in objects {
        let app = apps.get(&key.sibling(&object.spec.app_ref.name));
        let gateway = gateways.get(&key.sibling(&object.spec.gateway_ref.name));
        let is_alone = claims.get(&claim_of(key, object)) == Some(&1);
        let inputs = app.zip(gateway).filter(|_| is_alone).map(|(app, gateway)| {
            (Arc::clone(object), lookup.observed(key).cloned(), (Arc::clone(app), Arc::clone(gateway)))
        });
        let known = inputs.as_ref().and_then(|inputs| memory.activations.recall(lookup, key, inputs));
        if let Some(pair) = pair_of(key, object) {
            pairs.entry(pair).or_default().add(lookup, known);
        }
        looked_at.push((key, object, inputs, known));
    }
    let mut sorted = Sorted { unchanged: Vec::with_capacity(objects.len()), anew: Vec::new() };
    for (key, object, inputs, known) in looked_at {
        let members = pair_of(key, object).and_then(|pair| pairs.get(&pair));
        match known.filter(|_| members.is_none_or(Members::are_unchanged)) {
            Some(known) => sorted.unchanged.push((key, known.clone())),
            None => sorted.anew.push(Anew { key, object, inputs, reads: Reads::default() }),
        }
    }
    sorted
}

impl Members {
    fn add(&mut self, lookup: &Lookup<'_>, known: Option<&Settled>) {
        self.count += 1;
        let Some(share) = known.and_then(|known| known.share.as_ref()) else {
            self.has_changed = true;
            return;
        };
        match &self.remembered {
            Some(remembered) => self.has_changed |= !Arc::ptr_eq(remembered, share),
            None => {
                self.has_changed |= !share.reads.hold(lookup);
                self.remembered = Some(Arc::clone(share));
            }
        }
    }

    fn are_unchanged(&self) -> bool {
        !self.has_changed && self.remembered.as_ref().is_some_and(|share| share.members == self.count)
    }
}

/// Remembers what became of those that no other is in the way of.
fn remember(
    memory: &mut Memory,
    anew: Vec<Anew<'_>>,
    activations: &BTreeMap<ObjectKey, Arc<Activation>>,
    (pairs, reads): (&BTreeMap<ObjectKey, Arc<KeyPair>>, PairReads),
    reports: &mut Reports<'_>,
) {
    let shares: BTreeMap<ObjectKey, Arc<PairMembers>> = reads
        .into_iter()
        .map(|(key, (members, reads))| {
            let share = PairMembers { pair: pairs.get(&key).cloned(), members, reads };
            (key, Arc::new(share))
        })
        .collect();
    memory.made_anew = anew.iter().map(|own| own.key.clone()).collect();
    for Anew { key, object, inputs, reads } in anew {
        let (Some(inputs), Some(report)) = (inputs, reports.finished(Kind::Activation, key)) else {
            memory.activations.forget(key);
            continue;
        };
        let share = pair_of(key, object).and_then(|(namespace, name)| shares.get(&ObjectKey::new(namespace, name)));
        let settled = Settled { activation: activations.get(key).cloned(), report, share: share.cloned() };
        memory.activations.remember(key, inputs, reads, settled);
    }
}

fn check(
    lookup: &Lookup<'_>,
    key: &ObjectKey,
    object: &api::Activation,
    gateways: &BTreeMap<ObjectKey, Arc<Gateway>>,
    apps: &BTreeMap<ObjectKey, Arc<App>>,
    reports: &Reports<'_>,
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
fn exclude_duplicates(anew: &[Anew<'_>], drafts: &mut BTreeMap<ObjectKey, Draft>, reports: &mut Reports<'_>) {
    let accepted = anew.iter().filter(|own| reports.is_accepted(Kind::Activation, own.key));
    // Sorted, and not put into a map: of thousands of pairs hardly one is claimed twice.
    let mut claims: Vec<Claim<'_>> =
        accepted.map(|own| Claim { pair: claim_of(own.key, own.object), key: own.key, object: own.object }).collect();
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
fn key_requests<'resources>(
    lookup: &Lookup<'resources>,
    anew: &[Anew<'resources>],
    reports: &Reports<'_>,
) -> Vec<Request<'resources>> {
    anew.iter()
        .filter_map(|Anew { key, object, .. }| {
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
                observed: lookup.observed(key).map(AsRef::as_ref),
                activation: ObjectKey::clone(key),
            })
        })
        .collect()
}

fn finish(
    lookup: &Lookup<'_>,
    key: &ObjectKey,
    draft: Draft,
    settled: &key_pair::Settled,
    reports: &Reports<'_>,
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
fn complete_reports(shares: BTreeMap<ObjectKey, Share>, reports: &mut Reports<'_>) {
    for (key, share) in shares {
        let report = reports.get_mut(Kind::Activation, &key);
        let Some(Report { detail: Detail::Activation(detail), .. }) = report else { continue };
        detail.keys = share.keys;
        detail.jwks_url = Some(share.pair.jwks_url.clone());
        detail.certificate_pem = share.pair.revisions.last().and_then(|newest| newest.certificate_pem.clone());
    }
}
