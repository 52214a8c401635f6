use std::collections::HashSet;

use serde_json::json;

use super::*;
use crate::control::findings::{Examined, KeyTrouble};
use crate::control::pass::pass;
use crate::control::sink::Recorded;
use crate::control::status::Serving;
use crate::outbound::EhrAnswer;
use crate::outbound::probe::ProbeFailure;
use crate::outbound::testing::{World, backend_auth};
use crate::protocol::oauth::ehr_refusal::KeySet;
use crate::values::code::Code;
use crate::values::key::PairKind;

const NOW: &str = "2026-06-10T12:00:00Z";
const TOKEN_URL: &str = "https://ehr.example.org/token";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

fn world() -> World {
    World::with_ehr("https://ehr.example.org/fhir", "FhirR4")
}

fn planned(world: &World, findings: &Findings) -> Plan {
    pass(&world.published(), findings, &Serving::Here, &Recorded::default(), now()).plan
}

fn act() -> ObjectKey {
    ObjectKey::new("default", "act")
}

/// What was found out about everything but the activation: nothing of it is due.
fn quiet(world: &World) -> Findings {
    let published = world.published();
    let mut findings = Findings::default();
    for adapter in published.snapshot.data_adapters.values() {
        let probed = Probed::after(None, adapter_subject(adapter), now(), Err(failure()));
        findings.adapters.insert(adapter.uid.clone(), Probed { failures: 0, ..probed });
    }
    for (secret, _) in missing(&published) {
        findings.keys.insert(secret, KeyTrouble { at: now(), attempts: 1, message: Some("a full disk".into()) });
    }
    findings
}

fn failure() -> ProbeFailure {
    ProbeFailure { code: Code::Unreachable, message: "away".into() }
}

fn refused() -> EhrAnswer {
    EhrAnswer::Refused { status: 400, error: Some("invalid_client".into()), message: "refused".into() }
}

fn asked(world: &World, at: Timestamp, answer: EhrAnswer, failures: u32, failing_since: Option<Timestamp>) -> Asked {
    let activation = world.activation();
    let key = activation.ehr_authentication.key_pair().and_then(|(_, signing)| Some(signing?.thumbprint));
    Asked {
        credential_digest: activation.credential_digest,
        key,
        at,
        answer,
        failures,
        failing_since,
        about_clocks: "",
        clock_skew_seconds: None,
    }
}

#[test]
fn at_the_start_everything_is_due_once() {
    let world = world().activated(&backend_auth(Some(TOKEN_URL), Some("client-1"), 1)).put(
        &json!({"kind": "App", "metadata": {"name": "launched"}, "spec": {
            "clientType": "Public", "redirectUris": ["https://app.example.org/back"],
            "launchUri": "https://app.example.org/launch", "healthUri": "https://app.example.org/health"}}),
    );
    let plan = planned(&world, &Findings::default());
    let key = |name: &str| ObjectKey::new("default", name);
    let identity = PairIdentity { app: "app".into(), pair: "act".into(), revision: 1, kind: PairKind::P384 };
    let expected = vec![
        Action::CreateGatewayKey {
            namespace: "default".into(),
            identity: GatewayIdentity { gateway: "gate".into(), revision: 1 },
        },
        Action::CreatePairKey { namespace: "default".into(), identity, common_name: "app".into() },
        Action::ProbeAdapter(key("ehr")),
        Action::ProbeLaunch(key("launched")),
        Action::ProbeHealth(key("launched")),
    ];
    assert_eq!(plan, Plan { actions: expected, next: None });
}

#[test]
fn what_is_suspended_is_left_alone() {
    let world = world().backend(Some(TOKEN_URL), Some("client-1")).put(&json!({"kind": "DataAdapter",
        "metadata": {"name": "ehr"},
        "spec": {"dataSourceType": "FhirR4", "fhirBaseUrl": "https://ehr.example.org/fhir", "suspend": true}}));
    let mut findings = quiet(&world);
    findings.adapters.clear();
    assert_eq!(planned(&world, &findings).actions, []);
}

fn examined(world: &World, at: Timestamp) -> Examined {
    let credential_digest = world.activation().credential_digest;
    Examined { credential_digest, at, discovered: None, key_set: KeySet::Holds }
}

#[test]
fn what_users_launches_met_is_looked_into_as_well() {
    let world = world()
        .put(&json!({"kind": "App", "metadata": {"name": "app"}, "spec": {"clientType": "Public",
            "redirectUris": ["https://app.example.org/back"], "scopes": ["patient/Patient.rs"]}}))
        .put(&json!({"kind": "Activation", "metadata": {"name": "act"}, "spec": {
            "appRef": {"name": "app"}, "gatewayRef": {"name": "gate"},
            "ehrAuthentication": {"type": "User", "user": {"clientId": "client-1", "tokenUrl": TOKEN_URL}}}}));
    let mut findings = quiet(&world);
    assert_eq!(planned(&world, &findings).actions, [], "nobody but a user can ask");
    findings.asked.insert("Activation-act".into(), asked(&world, ago(1), refused(), 1, Some(ago(1))));
    assert_eq!(planned(&world, &findings).actions, [Action::Examine(act())]);
}

#[test]
fn the_reason_of_a_refusal_is_looked_for_after_it_and_not_after_each_of_many() {
    let world = world().backend(Some(TOKEN_URL), Some("client-1"));
    let looks = |refused_ago: i64, looked_ago: Option<i64>, failing_for: i64| {
        let mut findings = quiet(&world);
        let at = ago(refused_ago);
        let since = at - SignedDuration::from_secs(failing_for);
        findings.asked.insert("Activation-act".into(), asked(&world, at, refused(), 40, Some(since)));
        if let Some(seconds) = looked_ago {
            findings.examined.insert("Activation-act".into(), examined(&world, ago(seconds)));
        }
        planned(&world, &findings).actions == [Action::Examine(act())]
    };
    assert!(looks(1, None, 0), "never looked");
    assert!(!looks(5, Some(1), 0), "looked since");
    assert!(!looks(1, Some(29), 0), "looked a moment before");
    assert!(looks(1, Some(31), 0));
    assert!(!looks(1, Some(299), 7200), "it has refused for hours");
    assert!(looks(1, Some(301), 7200));
}

#[test]
fn a_refused_question_is_asked_again_ever_more_rarely() {
    let world = world().backend(Some(TOKEN_URL), Some("client-1"));
    let day = 24 * 3600;
    // How often it was refused, since when, and how long ago at most and at least it may have been to be due.
    for (failures, failing_for, due_after, not_before) in [
        (1, 0, 17, 13),
        (2, 15, 33, 26),
        (3, 45, 66, 53),
        (6, 600, 528, 431),
        (7, 1200, 990, 809),
        (40, day - 1000, 990, 809),
        (100, day + 1000, 3960, 3239),
    ] {
        for (elapsed, expected) in [(due_after, vec![Action::AskEhr(act())]), (not_before, vec![])] {
            let mut findings = quiet(&world);
            let at = ago(elapsed);
            let since = at - SignedDuration::from_secs(failing_for);
            findings.asked.insert("Activation-act".into(), asked(&world, at, refused(), failures, Some(since)));
            findings.examined.insert("Activation-act".into(), examined(&world, at));
            assert_eq!(planned(&world, &findings).actions, expected, "{failures} refusals, {elapsed} s ago");
        }
    }
}

#[test]
fn an_accepted_key_is_left_alone_for_hours_and_another_credential_is_asked_about_at_once() {
    let world = world().backend(Some(TOKEN_URL), Some("client-1"));
    let mut findings = quiet(&world);
    let uid = "Activation-act".to_owned();
    findings.asked.insert(uid.clone(), asked(&world, ago(5 * 3600), EhrAnswer::Accepted, 0, None));
    assert_eq!(planned(&world, &findings).actions, []);
    findings.asked.insert(uid.clone(), asked(&world, ago(7 * 3600), EhrAnswer::Accepted, 0, None));
    assert_eq!(planned(&world, &findings).actions, [Action::AskEhr(act())]);
    let other = Asked { credential_digest: [0; 32], ..asked(&world, now(), EhrAnswer::Accepted, 0, None) };
    findings.asked.insert(uid, other);
    assert_eq!(planned(&world, &findings).actions, [Action::AskEhr(act())]);
}

#[test]
fn a_person_who_asks_does_not_wait() {
    let world = world().backend(Some(TOKEN_URL), Some("client-1"));
    let mut findings = quiet(&world);
    findings.asked.insert("Activation-act".into(), asked(&world, now(), refused(), 9, Some(ago(9999))));
    findings.examined.insert("Activation-act".into(), examined(&world, now()));
    assert_eq!(planned(&world, &findings).actions, []);
    findings.asked_for.insert(act());
    assert_eq!(planned(&world, &findings).actions, [Action::AskEhr(act())]);
}

#[test]
fn a_new_annotation_asks_once_and_is_told_when_it_is_answered() {
    let annotated = |at: &str| {
        let mut object = json!({"kind": "Activation",
            "metadata": {"name": "act", "annotations": {"hearthgate.dev/probe-requested-at": at}},
            "spec": {"appRef": {"name": "app"}, "gatewayRef": {"name": "gate"}}});
        object["spec"]["ehrAuthentication"] =
            json!({"type": "System", "system": backend_auth(Some(TOKEN_URL), Some("client-1"), 1)});
        world().put(&object).key(1).published()
    };
    let (nobody, answered_before) = (HashSet::new(), |_: &ObjectKey| Some("yesterday".to_owned()));
    let mut findings = Findings::default();
    findings.see_requests(&annotated("yesterday"), &nobody, answered_before);
    assert!(findings.asked_for.is_empty(), "whoever looked before has answered it");
    findings.see_requests(&annotated("today"), &nobody, answered_before);
    assert_eq!(findings.asked_for, [act()].into());
    findings.asked_for.clear();
    findings.see_requests(&annotated("today"), &[act()].into(), answered_before);
    assert_eq!(findings.requests_answered.get("Activation-act"), None, "the EHR is being asked");
    findings.see_requests(&annotated("today"), &nobody, answered_before);
    assert_eq!(findings.requests_answered.get("Activation-act").map(String::as_str), Some("today"));
    assert!(findings.asked_for.is_empty());

    let mut successor = Findings::default();
    successor.see_requests(&annotated("today"), &nobody, answered_before);
    assert_eq!(successor.asked_for, [act()].into(), "nobody has answered it yet");
}

#[test]
fn without_a_client_id_nobody_is_asked() {
    let world = world().backend(Some(TOKEN_URL), None);
    assert_eq!(planned(&world, &quiet(&world)).actions, []);
}

#[test]
fn keys_are_proved_newest_to_oldest_where_status_is_gone() {
    let world = world().activated(&backend_auth(Some(TOKEN_URL), Some("client-1"), 3)).key(1).key(2).key(3);
    let activation = world.activation();
    let (pair, signing) = activation.ehr_authentication.key_pair().unwrap();
    let thumbprints: Vec<_> = pair.revisions.iter().map(|own| own.thumbprint).collect();
    assert_eq!(signing.unwrap().thumbprint, thumbprints[2], "the newest signs until one is proven");
    let prove = |revision: usize| Action::ProveKey(act(), thumbprints[revision - 1]);
    let uid = "Activation-act".to_owned();
    let mut findings = quiet(&world);
    assert_eq!(planned(&world, &findings).actions, [Action::AskEhr(act())]);
    // Away says nothing of the key: older ones wait.
    let away = EhrAnswer::Away { message: "away".into() };
    findings.asked.insert(uid.clone(), asked(&world, now(), away, 1, Some(now())));
    assert_eq!(planned(&world, &findings).actions, []);
    findings.asked.insert(uid.clone(), asked(&world, now(), refused(), 1, Some(now())));
    assert_eq!(planned(&world, &findings).actions, [prove(2), Action::Examine(act())]);
    let proof = asked(&world, now(), refused(), 1, Some(now()));
    findings.proofs.entry(uid).or_default().insert(thumbprints[1], Asked { key: Some(thumbprints[1]), ..proof });
    assert_eq!(planned(&world, &findings).actions, [prove(1), Action::Examine(act())]);
}

#[test]
fn failed_probes_are_repeated_soon_and_good_ones_seldom() {
    let world = world();
    let published = world.published();
    let adapter = published.snapshot.data_adapters.values().next().unwrap();
    let probe = [Action::ProbeAdapter(adapter.key.clone())];
    for (failures, elapsed, due) in
        [(0, 331, true), (0, 269, false), (1, 6, true), (1, 4, false), (20, 331, true), (20, 269, false)]
    {
        let mut findings = quiet(&world);
        let probed = Probed { subject: adapter_subject(adapter), at: ago(elapsed), failures, last: Err(failure()) };
        findings.adapters.insert(adapter.uid.clone(), probed);
        let expected = if due { &probe[..] } else { &[] };
        assert_eq!(planned(&world, &findings).actions, expected, "{failures} failures, {elapsed} s ago");
    }
}

#[test]
fn a_key_that_could_not_be_made_is_tried_again_within_a_minute() {
    let world = world().activated(&backend_auth(Some(TOKEN_URL), Some("client-1"), 1));
    for (attempts, elapsed, due) in [(1, 2, true), (1, 1, false), (30, 60, true), (30, 59, false)] {
        let mut findings = quiet(&world);
        let secret = ObjectKey::new("default", "act-key-1");
        let trouble = KeyTrouble { at: ago(elapsed), attempts, message: Some("a full disk".into()) };
        findings.keys.insert(secret, trouble);
        let tries =
            planned(&world, &findings).actions.iter().any(|action| matches!(action, Action::CreatePairKey { .. }));
        assert_eq!(tries, due, "{attempts} attempts, {elapsed} s ago");
    }
}

#[test]
fn the_end_of_a_window_is_a_moment_to_look_again() {
    let mut object = json!({"kind": "Activation", "metadata": {"name": "act"},
        "spec": {"appRef": {"name": "app"}, "gatewayRef": {"name": "gate"}, "expiresAt": "2026-06-10T12:00:07Z"}});
    object["spec"]["ehrAuthentication"] = json!({"type": "System", "system": {"none": {}}});
    let world = world().put(&object);
    let mut findings = quiet(&world);
    for trouble in findings.keys.values_mut() {
        trouble.attempts = 30;
    }
    assert_eq!(planned(&world, &findings).next, Some("2026-06-10T12:00:07Z".parse().unwrap()));
}
