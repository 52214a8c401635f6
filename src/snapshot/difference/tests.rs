use serde_json::{Value, json};

use super::{Change, Difference, Effect, difference};
use crate::protocol::test_support::{World, platform};
use crate::snapshot::{Compiled, Platform, compile};
use crate::values::url::EndpointUrl;

fn world() -> World {
    World::before("http://127.0.0.1:9")
}

fn keyed(revision: u32) -> Value {
    json!({"type": "System", "system": {"backendAuth": {"clientId": "x", "keyPair": {"revision": revision}}}})
}

fn between(old: &World, new: &World) -> Difference {
    between_platforms(old, &platform(), new, &platform())
}

fn between_platforms(old: &World, old_platform: &Platform, new: &World, new_platform: &Platform) -> Difference {
    let (before, after) = (old.resources(), new.resources());
    let ((old, old_reports), (new, new_reports)) = (compile(&before, old_platform), compile(&after, new_platform));
    let old = Compiled { resources: &before, snapshot: &old, reports: &old_reports, assumed: &[] };
    let new = Compiled { resources: &after, snapshot: &new, reports: &new_reports, assumed: &[] };
    difference(&old, &new, "2026-01-01T00:00:00Z".parse().unwrap())
}

/// Each access in one line: who, effect, what is gained, what is lost.
fn access(difference: &Difference) -> Vec<String> {
    let each = difference.access.iter().map(|own| {
        let gained = own.gained.iter().map(|what| format!(" +{what}"));
        let lost = own.lost.iter().map(|what| format!(" -{what}"));
        let marks: String = gained.chain(lost).collect();
        format!("{} at {} {:?}{marks}", own.app, own.gateway, own.effect)
    });
    each.collect()
}

fn steps(difference: &Difference) -> Vec<String> {
    difference.steps.iter().map(|step| format!("{}: {}", step.activation, step.what)).collect()
}

#[test]
fn nothing_changes_between_equals() {
    assert!(between(&world(), &world()).is_empty());
}

#[test]
fn an_activation_that_is_removed_takes_access_and_tokens_along() {
    let found = between(&world(), &world().without("Activation", "sync-plain"));
    let lost =
        "schedule-sync at plain Loses -system/Appointment.cruds -system/Observation.rs -system/Patient.rs -private-api";
    assert_eq!(access(&found), [lost.replace("Observation.rs", "Observation.read")]);
    assert_eq!(found.access[0].because.as_deref(), Some("Activation sync-plain is removed"));
    let dead: Vec<_> = found.tokens.iter().map(|own| (own.activation.as_str(), own.for_good)).collect();
    assert_eq!(dead, [("sync-plain", true)]);
    assert!(steps(&found).is_empty(), "an EHR without authentication has nothing to remove");
}

#[test]
fn of_a_narrower_ceiling_the_lost_permissions_are_told_and_no_token_dies() {
    let narrow = world().set("Gateway", "plain", "allowedScopes", json!(["system/*.r", "private-api"]));
    let found = between(&world(), &narrow);
    assert_eq!(
        access(&found),
        ["schedule-sync at plain Narrowed -system/Appointment.cuds -system/Observation.s -system/Patient.s"]
    );
    assert!(found.tokens.is_empty());
    let back = between(&narrow, &world());
    assert_eq!(
        access(&back),
        ["schedule-sync at plain Widened +system/Appointment.cuds +system/Observation.s +system/Patient.s"]
    );
}

#[test]
fn what_is_suspended_loses_access_until_that_is_undone() {
    let found = between(&world(), &world().set("DataAdapter", "plain-ehr", "suspend", json!(true)));
    assert_eq!(found.access[0].effect, Effect::Loses);
    assert_eq!(found.access[0].because.as_deref(), Some("DataAdapter default/plain-ehr is suspended"));
    assert_eq!(found.tokens.iter().map(|own| own.for_good).collect::<Vec<_>>(), [false]);
}

#[test]
fn a_window_that_moves_is_told_as_a_window() {
    let old = world().set("Activation", "sync-plain", "expiresAt", json!("2027-01-01T00:00:00Z"));
    let new = world().set("Activation", "sync-plain", "expiresAt", json!("2028-01-01T00:00:00Z"));
    let found = between(&old, &new);
    assert_eq!(access(&found), ["schedule-sync at plain Rescheduled"]);
    let window = found.access[0].window.as_ref().unwrap();
    assert_eq!(
        (window.from.as_deref(), window.to.as_str()),
        (Some("until 2027-01-01T00:00:00Z"), "until 2028-01-01T00:00:00Z")
    );
    let over = world().set("Activation", "sync-plain", "expiresAt", json!("2025-01-01T00:00:00Z"));
    assert_eq!(between(&old, &over).access[0].effect, Effect::Loses);
}

#[test]
fn operations_and_private_apis_are_access_too() {
    let found = between(&world(), &world().set("Gateway", "epic", "operations", json!(["$docref"])));
    assert_eq!(access(&found), ["schedule-sync at epic Changed +operation $docref -operation $everything"]);
}

#[test]
fn a_new_pair_is_made_and_registered_and_a_raised_revision_is_a_rotation() {
    let with_key = world().set("Activation", "sync-plain", "ehrAuthentication", keyed(1));
    let found = between(&world(), &with_key);
    let made: Vec<_> = found.keys.iter().map(|own| (own.pair.as_str(), own.revision, own.rotation)).collect();
    assert_eq!(made, [("sync-plain", 1, false)]);
    assert!(steps(&found)[0].starts_with(
        "sync-plain: Register App schedule-sync with the JWKS URL https://gate.example.org/default/keys/sync-plain/jwks.json"
    ));
    let rotated = world().set("Activation", "sync-plain", "ehrAuthentication", keyed(2));
    let found = between(&with_key, &rotated);
    let made: Vec<_> = found.keys.iter().map(|own| (own.pair.as_str(), own.revision, own.rotation)).collect();
    assert_eq!(made, [("sync-plain", 2, true)]);
    assert!(steps(&found)[0].starts_with("sync-plain: Nothing where the EHR fetches"), "{:?}", steps(&found));
    assert!(between(&rotated, &with_key).keys.is_empty(), "lowering the revision makes no key");
}

#[test]
fn a_pair_that_gets_another_name_moves_its_url_and_the_ehr_must_be_told() {
    let old = world().set("Activation", "sync-plain", "ehrAuthentication", keyed(1));
    let named = json!({"type": "System", "system": {"backendAuth": {"clientId": "x", "keyPair": {"name": "shared"}}}});
    let found = between(&old, &world().set("Activation", "sync-plain", "ehrAuthentication", named));
    assert_eq!(found.urls.len(), 1);
    assert_eq!(found.urls[0].to.as_deref(), Some("https://gate.example.org/default/keys/shared/jwks.json"));
    assert!(steps(&found).iter().any(|step| step.contains("Replace the JWKS URL")), "{:?}", steps(&found));
}

#[test]
fn a_platform_that_moves_moves_issuers_and_key_sets_and_ends_all_tokens() {
    let world = world().set("Activation", "sync-plain", "ehrAuthentication", keyed(1));
    let moved = Platform { public_url: EndpointUrl::parse("https://new.example.org").unwrap(), ..platform() };
    let found = between_platforms(&world, &platform(), &world, &moved);
    let urls: Vec<_> = found.urls.iter().map(|own| format!("{} {}", own.object.key.name, own.url.title())).collect();
    assert_eq!(urls, ["epic issuer and FHIR base", "plain issuer and FHIR base", "sync-plain JWKS URL"]);
    assert_eq!(found.tokens.len(), 2, "a public client has no tokens without a user");
    assert!(found.objects.is_empty() && found.access.is_empty(), "no YAML changed");
}

#[test]
fn faults_come_and_go() {
    let broken = world().without("DataAdapter", "plain-ehr");
    let found = between(&world(), &broken);
    let faults: Vec<_> = found.faults.iter().map(|own| (own.change, own.code.number())).collect();
    assert_eq!(faults, [(Change::Added, "HG2001"), (Change::Added, "HG2002")]);
    assert!(between(&broken, &world()).faults.iter().all(|own| own.change == Change::Removed));
}

#[test]
fn fields_are_told_before_and_after_and_never_a_secret() {
    let found = between(&world(), &world().set("Gateway", "plain", "accessTokenLifetimeSeconds", json!(60)));
    let fields: Vec<_> = found.objects.iter().flat_map(|own| &own.fields).collect();
    assert_eq!((fields[0].field.as_str(), &fields[0].to), ("spec.accessTokenLifetimeSeconds", &json!(60)));
    assert_eq!(fields.len(), 1);
}
