use serde_json::{Value, json};

use super::*;
use crate::api::activation::KeyState;
use crate::control::findings::{KeyTrouble, Probed};
use crate::control::plan::adapter_subject;
use crate::outbound::EhrAnswer;
use crate::outbound::outcome::EhrOutcome;
use crate::outbound::probe::{Capabilities, ProbeFailure};
use crate::outbound::testing::{World, backend_auth};
use crate::snapshot::resources::{Location, Rejection};
use crate::values::code::Code;

const NOW: &str = "2026-06-10T12:00:00Z";
const LATER: &str = "2026-06-10T12:10:00Z";
const TOKEN_URL: &str = "https://ehr.example.org/token";

fn world() -> World {
    World::with_ehr("https://ehr.example.org/fhir", "FhirR4")
}

fn registered() -> World {
    world().backend(Some(TOKEN_URL), Some("client-1"))
}

/// One moment after the other, as the control plane lives through them.
struct Life {
    world: World,
    findings: Findings,
    recorded: Recorded,
    now: &'static str,
}

impl Life {
    fn of(world: World) -> Self {
        Self { world, findings: Findings::default(), recorded: Recorded::default(), now: NOW }
    }

    fn look(&mut self) -> &mut Self {
        let world = self.world.clone().observed(&self.recorded.observed);
        let pass = pass(&world.published(), &self.findings, &Serving::Here, &self.recorded, self.now.parse().unwrap());
        self.recorded = pass.recorded;
        self
    }

    /// The EHR says this to the key that requests use.
    fn hears(&mut self, answer: EhrAnswer) -> &mut Self {
        let activation = self.world.clone().observed(&self.recorded.observed).activation();
        let key = activation.ehr_authentication.key_pair().and_then(|(_, signing)| Some(signing?.thumbprint));
        let outcome = EhrOutcome {
            credential_digest: activation.credential_digest,
            key,
            at: self.now.parse().unwrap(),
            answer,
            clock_skew_seconds: None,
        };
        self.findings.hear([(activation.uid.clone(), outcome)].into());
        self.look()
    }

    /// A restart: what was found out is gone, what was recorded is not.
    fn restarts(&mut self) -> &mut Self {
        self.findings = Findings::default();
        self.look()
    }

    fn status(&self, kind: Kind, name: &str) -> Value {
        let object = ObjectReference::new(kind, ObjectKey::new("default", name));
        Value::clone(&self.recorded.objects.iter().find(|status| status.object == object).unwrap().status)
    }

    /// `type=status/reason` of each condition but those that hold for their own name, and `nextStep`.
    fn told(&self) -> (String, String) {
        let status = self.status(Kind::Activation, "act");
        let word = |condition: &Value, member: &str| condition[member].as_str().unwrap().to_owned();
        let conditions: Vec<String> = status["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|condition| condition["type"] != condition["reason"])
            .map(|condition| {
                format!("{}={}/{}", word(condition, "type"), word(condition, "status"), word(condition, "reason"))
            })
            .collect();
        (conditions.join(" "), status["nextStep"].as_str().unwrap_or_default().to_owned())
    }
}

fn refused() -> EhrAnswer {
    EhrAnswer::Refused { status: 400, error: Some("invalid_client".into()), message: "the EHR refuses".into() }
}

fn away() -> EhrAnswer {
    EhrAnswer::Away { message: "no route".into() }
}

const REGISTER: &str = "the JWKS URL https://gate.example.org/default/keys/act/jwks.json (where it takes a file instead: \
                        the PEM that hearthgate pem act -n default prints)";
const AGAIN: &str = "hearthgate probe act -n default asks it again now";

#[test]
fn every_rung_of_the_ladder_says_what_to_do_next() {
    let calls_now = |thumbprint: &str| {
        format!(
            "The app can call: a token from https://gate.example.org/default/gate/oauth2/token as client \
             091d83a3-3681-52c7-9786-c550161d4af5, then FHIR at https://gate.example.org/default/gate/fhir. To have this \
             key missed rather than replaced should status be lost, commit to keyPair: thumbprints: [{thumbprint}]."
        )
    };

    let mut life = Life::of(world().activated(&backend_auth(Some(TOKEN_URL), None, 1)));
    life.look();
    let making = "Key act-key-1 is being made. Wait a few seconds. If it stays so, the control plane is not running or \
                  cannot write: see its log.";
    assert_eq!(
        life.told(),
        (
            "KeyReady=False/Creating EHRAuthenticated=False/ClientIdMissing Ready=False/Creating Reconciling=True/Creating"
                .to_owned(),
            making.to_owned()
        )
    );

    let trouble = KeyTrouble { at: NOW.parse().unwrap(), attempts: 1, message: Some("no space left".into()) };
    life.findings.keys.insert(ObjectKey::new("default", "act-key-1"), trouble);
    life.look();
    assert_eq!(life.told().1, "Key act-key-1 cannot be made: no space left.");

    life.findings.keys.clear();
    life.world = world().backend(Some(TOKEN_URL), None);
    life.look();
    assert_eq!(
        life.told(),
        (
            "EHRAuthenticated=False/ClientIdMissing Ready=False/ClientIdMissing".to_owned(),
            format!(
                "Register the app at Mercy with {REGISTER}, and put the client ID that it gives into \
                 spec.ehrAuthentication.system.backendAuth.clientId."
            )
        )
    );

    let mut life = Life::of(registered());
    life.look();
    assert_eq!(
        life.told(),
        (
            "EHRAuthenticated=Unknown/NotProbed Ready=Unknown/NotProbed Reconciling=True/NotProbed".to_owned(),
            "Wait a few seconds: Mercy is being asked for a token.".to_owned()
        )
    );
    life.hears(away());
    assert_eq!(
        life.told(),
        (
            "EHRAuthenticated=False/EHRUnreachable Ready=False/EHRUnreachable".to_owned(),
            format!("Check tokenUrl, DNS, firewall and certificates: Mercy has never been reached; {AGAIN}.")
        )
    );
    life.hears(EhrAnswer::Unusable { message: "a login page".into() });
    assert_eq!(
        life.told(),
        (
            "EHRAuthenticated=False/UnusableAnswer Ready=False/UnusableAnswer".to_owned(),
            format!("Check tokenUrl: what answers there is no token endpoint of Mercy; {AGAIN}.")
        )
    );
    life.hears(refused());
    let awaiting = (
        "EHRAuthenticated=False/AwaitingRegistration Ready=False/AwaitingRegistration".to_owned(),
        format!(
            "Register {REGISTER} at Mercy for client ID client-1; EHRs take from minutes to a day to sync, and {AGAIN}."
        ),
    );
    assert_eq!(life.told(), awaiting);
    assert_eq!(life.hears(away()).told(), awaiting, "away says nothing new");
    assert_eq!(life.restarts().told(), awaiting, "a restart is no news");
    life.hears(EhrAnswer::Accepted);
    let thumbprint = life.status(Kind::Activation, "act")["keys"][0]["thumbprint"].as_str().unwrap().to_owned();
    let ready = (String::new(), calls_now(&thumbprint));
    assert_eq!(life.told(), ready);
    assert_eq!(
        life.hears(away()).told(),
        ready,
        "EHRAuthenticated turns False when the EHR refuses, not when it is away"
    );
    assert_eq!(life.restarts().hears(away()).told(), ready);
    life.hears(refused());
    assert_eq!(
        life.told(),
        (
            "EHRAuthenticated=False/Refused Ready=False/Refused".to_owned(),
            format!(
                "Ask Mercy's people what changed for client ID client-1: it accepted a token request before and refuses \
                 now (registered should be {REGISTER}); {AGAIN}."
            )
        )
    );
}

/// An app of users at the EHR, and ourselves a public client there.
fn with_users() -> World {
    world()
        .put(&json!({"kind": "App", "metadata": {"name": "app"}, "spec": {"clientType": "Public",
            "redirectUris": ["https://app.example.org/back"], "scopes": ["openid", "patient/Patient.rs"]}}))
        .put(&json!({"kind": "Activation", "metadata": {"name": "act"}, "spec": {
            "appRef": {"name": "app"}, "gatewayRef": {"name": "gate"},
            "ehrAuthentication": {"type": "User", "user": {"clientId": "client-1", "tokenUrl": TOKEN_URL}}}}))
}

#[test]
fn an_activation_of_users_is_ready_before_the_first_of_them_and_tells_what_the_ehr_says_to_them() {
    const CALLBACK: &str = "https://gate.example.org/default/gate/oauth2/callback";
    let mut life = Life::of(with_users());
    life.look();
    let nobody_yet = (
        "EHRAuthenticated=Unknown/NoUserYet".to_owned(),
        format!(
            "Have the redirect URI {CALLBACK} registered at Mercy; then the app starts users at \
             https://gate.example.org/default/gate/fhir."
        ),
    );
    assert_eq!(life.told(), nobody_yet, "Ready, and not Reconciling");
    assert_eq!(life.restarts().told(), nobody_yet);
    life.hears(refused());
    let refused_at_once = (
        "EHRAuthenticated=False/AwaitingRegistration Ready=False/AwaitingRegistration".to_owned(),
        "Mercy has the app as a confidential client, and we show neither secret nor key: give user.clientSecretRef or \
         user.keyPair, or have it registered as a public client (PKCE). Then the next user's launch asks it again."
            .to_owned(),
    );
    assert_eq!(life.told(), refused_at_once);
    let causes = life.status(Kind::Activation, "act")["likelyCauses"].clone();
    let causes: Vec<&str> = causes.as_array().unwrap().iter().map(|cause| cause["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, ["AuthMethod", "ClientId"]);
    assert_eq!(life.restarts().told(), refused_at_once, "a restart is no news");
    life.hears(EhrAnswer::Accepted);
    let works = (
        String::new(),
        "Users can launch: the app starts them at https://gate.example.org/default/gate/fhir, and the EHR starts it at \
         https://gate.example.org/default/gate/launch/app."
            .to_owned(),
    );
    assert_eq!(life.told(), works);
    assert_eq!(life.hears(away()).told(), works, "an EHR that is away does not refuse");
    assert_eq!(life.restarts().told(), works);
    life.hears(refused());
    assert_eq!(life.told().0, "EHRAuthenticated=False/Refused Ready=False/Refused");
}

#[test]
fn a_pinned_key_needs_no_advice() {
    let mut life = Life::of(registered());
    life.hears(EhrAnswer::Accepted);
    let thumbprint = life.status(Kind::Activation, "act")["keys"][0]["thumbprint"].clone();
    let mut system = backend_auth(Some(TOKEN_URL), Some("client-1"), 1);
    system["backendAuth"]["keyPair"]["thumbprints"] = json!([thumbprint]);
    life.world = life.world.clone().activated(&system);
    let next_step = life.look().told().1;
    assert!(next_step.ends_with("then FHIR at https://gate.example.org/default/gate/fhir."), "{next_step}");
}

#[test]
fn what_is_switched_off_names_what_switches_it_on() {
    let mut life = Life::of(registered().put(&json!({"kind": "Gateway", "metadata": {"name": "gate"},
        "spec": {"dataAdapterRef": {"name": "ehr"}, "suspend": true}})));
    life.look();
    assert_eq!(life.told().1, "Remove suspend: true from Gateway default/gate to let the app in again.");
}

#[test]
fn a_refused_edit_stalls_and_changes_nothing_else() {
    let mut life = Life::of(registered());
    life.hears(EhrAnswer::Accepted);
    life.world.resources.rejections = vec![Rejection {
        object: Some(ObjectReference::new(Kind::Activation, ObjectKey::new("default", "act"))),
        code: Code::InvalidSpec,
        message: "spec.scopse is no field".into(),
        location: Location { file: "all.yaml".into(), line: 12, column: 3 },
    }];
    life.look();
    assert_eq!(
        life.told(),
        (
            "Stalled=True/InvalidSpec".to_owned(),
            "Correct all.yaml:12:3: spec.scopse is no field. Until then the activation stays as it was before that edit."
                .to_owned()
        )
    );
}

#[test]
fn the_whole_status_of_an_activation_that_waits_for_its_registration() {
    let mut life = Life::of(registered());
    life.hears(refused());
    let status = life.status(Kind::Activation, "act");
    let activation = life.world.activation();
    let (pair, _) = activation.ehr_authentication.key_pair().unwrap();
    let key = &pair.revisions[0];
    let condition = |type_: &str, status: &str, reason: &str, message: &str| {
        json!({"type": type_, "status": status, "reason": reason, "message": message, "observedGeneration": 1,
            "lastTransitionTime": NOW})
    };
    let cause =
        |cause: &str, likelihood: &str, hint: &str| json!({"cause": cause, "likelihood": likelihood, "hint": hint});
    let expected = json!({
        "observedGeneration": 1,
        "conditions": [
            condition("Accepted", "True", "Accepted", "the spec is valid and has no conflict"),
            condition("ResolvedRefs", "True", "ResolvedRefs", "all references lead to usable objects"),
            condition("KeyReady", "True", "KeyReady", "the key exists and may be used"),
            condition("Programmed", "True", "Programmed", "served"),
            condition("EHRAuthenticated", "False", "AwaitingRegistration", "the EHR refuses"),
            condition("Ready", "False", "AwaitingRegistration", "the EHR refuses"),
        ],
        "nextStep": life.told().1,
        "likelyCauses": [
            cause("KeyUnknown", "Likely", "The key is less than a day old: Mercy has not got it yet, or it is not registered there."),
            cause("ClientId", "Possible", "The client ID client-1 may be that of another environment of Mercy: test and production mostly have different ones. Or the key is not registered for it."),
            cause("Audience", "Possible", "Mercy may stand behind a proxy and expect its inner token URL as the audience: ask its people, and set audience."),
            cause("Clock", "Possible", "Mercy did not tell its time: see that this machine's clock is right (NTP)."),
            cause("Algorithm", "Possible", "Mercy does not say whether it takes ES384: RS384 is what most take."),
            cause("KeyForm", "Possible", "The key may have been registered at Mercy in another form: a file must be the certificate that hearthgate pem prints, a URL must be https://gate.example.org/default/keys/act/jwks.json to the letter."),
        ],
        "served": "1/1",
        "keys": [{
            "revision": 1, "kid": key.thumbprint, "thumbprint": key.thumbprint, "state": "Pending",
            "secretName": "act-key-1", "certificateFingerprint": key.certificate_fingerprint, "notAfter": key.not_after,
        }],
        "certificatePem": key.certificate_pem,
        "jwksUrl": "https://gate.example.org/default/keys/act/jwks.json",
        "connection": {
            "clientId": "091d83a3-3681-52c7-9786-c550161d4af5",
            "fhirBaseUrl": "https://gate.example.org/default/gate/fhir",
            "tokenUrl": "https://gate.example.org/default/gate/oauth2/token",
            "grantedScopes": ["system/Patient.rs"],
        },
    });
    assert_eq!(status, expected);
}

#[test]
fn a_transition_time_moves_with_the_status_alone() {
    let time = |life: &Life, condition: &str| {
        let status = life.status(Kind::Activation, "act");
        let conditions = status["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|found| found["type"] == condition).unwrap();
        found["lastTransitionTime"].as_str().unwrap().to_owned()
    };
    let mut life = Life::of(registered());
    life.hears(away());
    life.now = LATER;
    life.hears(refused());
    assert_eq!((time(&life, "EHRAuthenticated"), time(&life, "Ready")), (NOW.to_owned(), NOW.to_owned()));
    let before = life.recorded.clone();
    life.look();
    assert_eq!(life.recorded, before, "a second look tells the same");
    life.hears(EhrAnswer::Accepted);
    assert_eq!((time(&life, "EHRAuthenticated"), time(&life, "Accepted")), (LATER.to_owned(), NOW.to_owned()));
}

#[test]
fn an_adapter_and_an_app_tell_what_probes_found_without_turning_ready() {
    let mut life = Life::of(world().put(&json!({"kind": "App", "metadata": {"name": "launched"}, "spec": {
        "clientType": "Public", "redirectUris": ["https://app.example.org/back"],
        "launchUri": "https://app.example.org/launch", "healthUri": "https://app.example.org/health"}})));
    life.look();
    let words = |life: &Life, kind, name| {
        let status = life.status(kind, name);
        let word = |condition: &Value| {
            let word = |member: &str| condition[member].as_str().unwrap().to_owned();
            format!("{}={}/{}", word("type"), word("status"), word("reason"))
        };
        status["conditions"].as_array().unwrap().iter().skip(3).map(word).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(words(&life, Kind::DataAdapter, "ehr"), "Reachable=Unknown/NotProbed Ready=True/Ready");
    let at = NOW.parse().unwrap();
    let published = life.world.published();
    let adapter = Arc::clone(published.snapshot.data_adapters.values().next().unwrap());
    let found = Capabilities { fhir_version: "4.0.1".into(), software: Some("Mercy 7".into()) };
    let probed = Probed::after(None, adapter_subject(&adapter), at, Ok(found));
    life.findings.adapters.insert(adapter.uid.clone(), probed.clone());
    let failure = |code| ProbeFailure { code, message: "no".into() };
    let uid = || "App-launched".to_owned();
    let link = |uri: &str, code| Probed::after(None, uri.to_owned(), at, Err(failure(code)));
    life.findings.launches.insert(uid(), link("https://app.example.org/launch", Code::Unreachable));
    life.findings.health.insert(uid(), link("https://app.example.org/health", Code::Unhealthy));
    life.look();
    assert_eq!(words(&life, Kind::DataAdapter, "ehr"), "Reachable=True/Reachable Ready=True/Ready");
    assert_eq!(
        words(&life, Kind::App, "launched"),
        "LaunchUriReachable=False/Unreachable Healthy=False/Unhealthy Ready=True/Ready"
    );
    assert_eq!(words(&life, Kind::App, "app"), "Ready=True/Ready", "without URIs, nothing is monitored");

    let away = Probed::after(Some(&probed), adapter_subject(&adapter), at, Err(failure(Code::TlsFailed)));
    life.findings.adapters.insert(adapter.uid.clone(), away);
    life.look();
    assert_eq!(words(&life, Kind::DataAdapter, "ehr"), "Reachable=False/TlsFailed Ready=True/Ready");
    assert_eq!(life.status(Kind::DataAdapter, "ehr")["fhirVersion"], "4.0.1", "what was known stays known");
}

#[test]
fn a_gateway_is_served_once_it_can_sign() {
    let mut life = Life::of(world());
    life.look();
    let status = life.status(Kind::Gateway, "gate");
    let programmed = &status["conditions"][2];
    assert_eq!(
        (&programmed["status"], &programmed["reason"], &programmed["message"]),
        (&json!("False"), &json!("Pending"), &json!("its signing keys are being made"))
    );
    assert_eq!(
        status["smartConfigurationUrl"],
        "https://gate.example.org/default/gate/fhir/.well-known/smart-configuration"
    );
}

#[test]
fn replicas_that_lag_keep_an_object_from_being_programmed() {
    let world = registered();
    let published = world.published();
    let object = ObjectReference::new(Kind::Activation, ObjectKey::new("default", "act"));
    for (serving, ready, expected) in [
        (2, 3, ("False", "Pending", "2/3")),
        (3, 3, ("True", "Programmed", "3/3")),
        (0, 0, ("False", "NoReplicas", "0/0")),
    ] {
        let serving =
            Serving::Replicas { ready, serving: [(object.clone(), (serving, ready))].into(), signing: BTreeMap::new() };
        let pass = pass(&published, &Findings::default(), &serving, &Recorded::default(), NOW.parse().unwrap());
        let status = &pass.recorded.objects.iter().find(|status| status.object == object).unwrap().status;
        let conditions = status["conditions"].as_array().unwrap();
        let programmed = conditions.iter().find(|condition| condition["type"] == "Programmed").unwrap();
        let told = [&programmed["status"], &programmed["reason"], &status["served"]].map(|text| text.as_str().unwrap());
        assert_eq!((told[0], told[1], told[2]), expected);
    }
}

#[test]
fn a_gateway_signs_with_the_newest_revision_that_every_replica_has_and_never_goes_back() {
    let gateway = ObjectKey::new("default", "gate");
    let (first, both) = (world().gateway_keys(1), world().gateway_keys(1).gateway_keys(2));
    for (world, recorded, replicas_have, expected) in [
        (&first, None, &[1][..], Some(1)),
        // Status is gone, or nothing was recorded yet: replicas sign with the newest, until they are known to differ.
        (&both, None, &[], None),
        (&both, Some(1), &[], Some(1)),
        (&both, Some(1), &[1], Some(1)),
        (&both, Some(1), &[1, 2], Some(2)),
        // A replica that is new has not told yet.
        (&both, Some(2), &[], Some(2)),
        (&both, Some(2), &[1], Some(2)),
        // The Secret of the recorded one was deleted.
        (&first, Some(2), &[1], Some(1)),
    ] {
        let mut before = Recorded::default();
        before.observed.gateways.extend(recorded.map(|revision| (gateway.to_string(), revision)));
        let world = world.clone().observed(&before.observed);
        let signing = BTreeMap::from([(gateway.clone(), replicas_have.iter().copied().collect())]);
        let serving = Serving::Replicas { ready: 2, serving: BTreeMap::new(), signing };
        let pass = pass(&world.published(), &Findings::default(), &serving, &before, NOW.parse().unwrap());
        let told = pass.recorded.objects.iter().find(|status| status.object.kind == Kind::Gateway).unwrap();
        assert_eq!(
            told.status.get("signingRevision").and_then(Value::as_u64),
            expected,
            "{recorded:?} {replicas_have:?}"
        );
        assert_eq!(pass.recorded.observed.gateways.get("default/gate").map(|own| u64::from(*own)), expected);
    }
}

#[test]
fn a_broken_edit_never_costs_the_record_of_a_key() {
    let mut life = Life::of(registered());
    life.hears(EhrAnswer::Accepted);
    let recorded = life.recorded.observed.activations["default/act"].clone();
    assert_eq!((recorded.keys[0].state, recorded.accepted_before), (KeyState::Signing, true));

    // Its App is gone for a moment.
    let whole = life.world.clone();
    life.world.resources.apps.clear();
    life.look();
    assert_eq!(life.recorded.observed.activations["default/act"], recorded);

    // Its file cannot be read at a start.
    life.world = whole.clone();
    life.world.resources.activations.clear();
    life.world.resources.rejections = vec![Rejection {
        object: None,
        code: Code::InvalidDocument,
        message: "is no YAML".into(),
        location: Location { file: "all.yaml".into(), line: 1, column: 1 },
    }];
    life.restarts();
    assert_eq!(life.recorded.observed.activations["default/act"], recorded);

    // Its Secret is gone: lost, and still recorded.
    life.world = whole.clone();
    life.world.resources.secrets.remove(&ObjectKey::new("default", "act-key-1"));
    life.restarts();
    assert_eq!(life.status(Kind::Activation, "act")["keys"][0]["state"], "Lost");
    assert_eq!(life.told().0.split(' ').next_back(), Some("Stalled=True/KeyLost"));
    assert_eq!(life.recorded.observed.activations["default/act"].keys[0].thumbprint, recorded.keys[0].thumbprint);

    // Deleted by a person.
    life.world = whole;
    life.world.resources.activations.clear();
    life.look();
    assert!(life.recorded.observed.activations.is_empty());
}
