//! Apps: each checked by itself, then who wins a client ID.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use secrecy::ExposeSecret as _;
use uuid::{Uuid, uuid};

use super::super::report::Detail;
use super::super::{App, Finding, Kind, ObjectKey, ObjectReference, Report};
use super::age::{Age, identity};
use super::lookup::{Lookup, Receiver, invalid_entry};
use super::memory::Memory;
use super::{Reports, scopes};
use crate::api::{self, ClientType};
use crate::values::code::Code;
use crate::values::key::{JwkSet, PublicKey};

/// The namespace of derived client IDs (RFC 9562 §5.5). Changing it would change every derived client ID there is.
const CLIENT_ID_NAMESPACE: Uuid = uuid!("6f1d6d0e-7f0c-5b61-9d0c-2f6a9b1f4c55");

/// In characters. RFC 6749 §10.10 asks for secrets that cannot be guessed; shorter ones are typing errors or passwords.
const SHORTEST_CLIENT_SECRET: usize = 16;

/// The client ID of an app that chose none: the same before and after delete and recreate, restore, and offline.
pub(super) fn derived_client_id(key: &ObjectKey) -> String {
    Uuid::new_v5(&CLIENT_ID_NAMESPACE, format!("{}/{}", key.namespace, key.name).as_bytes()).to_string()
}

pub(super) fn all<'resources>(
    lookup: &Lookup<'resources>,
    memory: &mut Memory,
    reports: &mut Reports<'resources>,
) -> BTreeMap<ObjectKey, Arc<App>> {
    let objects = &lookup.resources.apps;
    let mut checked = Vec::with_capacity(objects.len());
    for (key, object) in objects {
        let (app, report) = memory.apps.recall_or(lookup, key, Arc::clone(object), || {
            let (app, findings) = check(lookup, key, object);
            let (uid, generation) = identity(&object.metadata);
            let detail = Detail::App { client_id: app.client_id.clone(), suspended: app.suspend };
            let mut report = Report::new(ObjectReference::new(Kind::App, key.clone()), uid, generation, detail);
            report.findings = findings;
            // Two secrets are there so that one can be replaced without an outage, by mistake too.
            report.served_in_part = !app.client_secrets.is_empty();
            (Arc::new(app), Arc::new(report))
        });
        reports.add(key, report);
        checked.push((key, object, app));
    }
    memory.apps.retain(objects);
    settle_client_ids(&checked, reports);
    checked
        .into_iter()
        .filter(|(key, ..)| reports.is_usable(Kind::App, key))
        .map(|(key, _, app)| (key.clone(), app))
        .collect()
}

/// Decides who has a client ID.
fn settle_client_ids(checked: &[(&ObjectKey, &Arc<api::App>, Arc<App>)], reports: &mut Reports<'_>) {
    let mut claims: HashMap<&str, Vec<_>> = HashMap::with_capacity(checked.len());
    for (key, object, app) in checked {
        if reports.is_accepted(Kind::App, key) {
            claims.entry(app.client_id.as_str()).or_default().push((key, object));
        }
    }
    for (client_id, claimants) in claims.into_iter().filter(|(_, claimants)| claimants.len() > 1) {
        // A derived ID beats a chosen one: nobody may take another's by writing it down. Then the oldest wins.
        let rank = |(key, object): (&&ObjectKey, &&Arc<api::App>)| {
            (object.spec.client_id.is_some(), Age::of(&object.metadata, key), ObjectKey::clone(key))
        };
        let mut claimants: Vec<_> = claimants.into_iter().map(rank).collect();
        claimants.sort();
        let Some(((_, _, winner), losers)) = claimants.split_first() else { continue };
        for (_, _, loser) in losers {
            let by = if winner.namespace == loser.namespace {
                format!("App {}", winner.name)
            } else {
                "an App of another namespace".into()
            };
            reports.blame(
                Kind::App,
                loser,
                Finding::new(
                    Code::ClientIdConflict,
                    "spec.clientId",
                    format!("client ID {client_id} belongs to {by}: choose another clientId, or leave it out"),
                ),
            );
        }
    }
}

fn check(lookup: &Lookup<'_>, key: &ObjectKey, object: &api::App) -> (App, Vec<Finding>) {
    let spec = &object.spec;
    let mut findings = Vec::new();
    let backend = spec.client_type == ClientType::BackendService;
    let launch_uri = if backend {
        warn_of_ignored(spec, &mut findings);
        None
    } else {
        lookup.optional_url(spec.launch_uri.as_ref(), "spec.launchUri", &mut findings)
    };
    let inline_keys = spec.jwks.as_ref().map(|jwks| check_jwks(jwks, &mut findings));
    let mut client_secrets = Vec::new();
    let mut faults = Vec::new();
    for (index, secret) in spec.client_secrets.iter().flatten().enumerate() {
        let field = format!("spec.clientSecrets[{index}].secretRef");
        match lookup.credential_text(&key.namespace, &secret.secret_ref, &Receiver::Ourselves, &field) {
            Ok(text) if text.expose_secret().chars().count() < SHORTEST_CLIENT_SECRET => faults.push(invalid_entry(
                &key.namespace,
                &secret.secret_ref,
                &field,
                "is shorter than 16 characters, which is no client secret",
            )),
            Ok(text) => client_secrets.push(text),
            Err(finding) => faults.push(finding),
        }
    }
    let consolation = if client_secrets.is_empty() { "" } else { "; the app's other client secret still works" };
    findings.extend(faults.into_iter().map(|fault| Finding { message: fault.message + consolation, ..fault }));
    let app = App {
        key: key.clone(),
        uid: identity(&object.metadata).0,
        display_name: spec.display_name.clone().unwrap_or_else(|| key.name.clone()),
        client_id: spec.client_id.clone().unwrap_or_else(|| derived_client_id(key)),
        client_type: spec.client_type,
        scopes: scopes::parse(&spec.scopes, "spec.scopes", &mut findings),
        client_secrets,
        jwks: spec.jwks.clone(),
        inline_keys,
        jwks_uri: lookup.optional_url(spec.jwks_uri.as_ref(), "spec.jwksUri", &mut findings),
        redirect_uris: spec.redirect_uris.iter().flatten().filter(|_| !backend).map(|uri| uri.0.clone()).collect(),
        launch_uri,
        health_uri: lookup.optional_url(spec.health_uri.as_ref(), "spec.healthUri", &mut findings),
        suspend: spec.suspend,
    };
    (app, findings)
}

fn warn_of_ignored(spec: &api::AppSpec, findings: &mut Vec<Finding>) {
    let ignored = [
        ("launchUri", spec.launch_uri.is_some()),
        ("redirectUris", spec.redirect_uris.as_ref().is_some_and(|uris| !uris.is_empty())),
    ];
    for (field, _) in ignored.into_iter().filter(|(_, given)| *given) {
        let message = format!("{field} is ignored: a BackendService acts without a user and is never launched");
        findings.push(Finding::new(Code::LaunchUriIgnored, format!("spec.{field}"), message));
    }
}

fn check_jwks(jwks: &serde_json::Value, findings: &mut Vec<Finding>) -> Arc<JwkSet> {
    let mut invalid = |field: &str, problem: String| {
        findings.push(Finding::new(Code::InvalidSpec, field, format!("{field} {problem}")));
    };
    let keys = jwks.get("keys").and_then(serde_json::Value::as_array);
    let mut damaged = false;
    for (index, jwk) in keys.into_iter().flatten().enumerate() {
        if let Err(problem) = PublicKey::from_jwk(jwk) {
            damaged = true;
            invalid(&format!("spec.jwks.keys[{index}]"), problem.to_string());
        }
    }
    let set = JwkSet::of(jwks);
    if set.is_empty() && !damaged {
        invalid(
            "spec.jwks",
            "holds no key for signatures: use must be sig and alg RS384, ES384, RS256 or ES256".into(),
        );
    }
    if let Some((kid, algorithm)) = set.ambiguous() {
        invalid("spec.jwks", format!("holds two keys with kid {kid:?} for {algorithm}: give each its own kid"));
    }
    Arc::new(set)
}
