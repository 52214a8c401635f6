//! The main job, end to end: the built binary serves a directory in front of the strict simulated EHR.

mod support;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use serde_json::json;
use support::backup::Backup;
use support::standalone::Standalone;

const SECRET: &str = "quickstart-secret-for-tests-only";
const PATIENT: &str = hearthgate::sandbox::FIRST_PATIENT;
/// A saved edit is served within a second (it takes a fifth of one); several servers that start at once on a small machine
/// need more.
const PROMPTLY: Duration = Duration::from_secs(3);

fn patient(server: &Standalone) -> String {
    server.public(&format!("/default/epic/fhir/Patient/{PATIENT}"))
}

#[tokio::test]
async fn the_recipe_works_from_secret_to_patient() {
    let server = Standalone::start("quickstart").await;
    server.wait_condition("Activation", "schedule-sync-at-epic", "Ready", "True", "Ready").await;

    let client_id = server.client_id("schedule-sync").await;
    let answer = server.token_answer("epic", &client_id, SECRET, "grant_type=client_credentials").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.headers["pragma"], "no-cache");
    let token = answer.json();
    assert_eq!(token["token_type"].as_str().unwrap().to_lowercase(), "bearer");
    assert_eq!(token["expires_in"], 300);
    assert_eq!(
        token["scope"],
        "system/Appointment.cruds system/Patient.rs system/Practitioner.rs system/Schedule.rs system/Slot.rs"
    );

    let answer = server.get(&patient(&server), token["access_token"].as_str().unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.json()["resourceType"], "Patient");
    assert_eq!(answer.json()["id"], PATIENT);

    // The EHR saw its own token, issued for a signed assertion, and the client ID that it gave.
    let reads = server.ehr_log(&format!("/Patient/{PATIENT}")).await;
    let read = reads.last().unwrap();
    assert_eq!(read["credential"]["scheme"], "Bearer");
    let issued = server.ehr_log("/oauth2/token").await;
    let issued = issued.iter().find(|entry| entry["issuedTokenId"] == read["credential"]["tokenId"]).unwrap();
    assert_eq!(issued["clientId"], "7b0f6e0e-9d4d-4c55-8a4b-5f4f3b0c9a11");
    assert_eq!(issued["assertion"]["header"]["alg"], "RS384");
    let sent = read["headers"].to_string().to_lowercase();
    assert!(sent.contains("epic-client-id"), "{sent}");
}

#[tokio::test]
async fn a_wrong_secret_and_an_unknown_client_get_the_same_bytes() {
    let server = Standalone::start("quickstart").await;
    let client_id = server.client_id("schedule-sync").await;
    let wrong =
        server.token_answer("epic", &client_id, "wrong-secret-of-some-length", "grant_type=client_credentials").await;
    let unknown = server.token_answer("epic", "nobody", SECRET, "grant_type=client_credentials").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert_eq!(unknown.status, StatusCode::UNAUTHORIZED);
    assert_eq!(wrong.text, unknown.text);
    assert_eq!(wrong.json()["error"], "invalid_client");
    for answer in [&wrong, &unknown] {
        assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Basic"));
        assert!(answer.headers.contains_key("x-request-id"));
    }
    assert!(!server.log().contains(SECRET));
}

#[tokio::test]
async fn basic_parts_are_taken_raw_and_form_encoded_and_post_works_too() {
    let server = Standalone::start("quickstart").await;
    let secret = "a+b/c%2F== and=more&";
    server.edit("app.yaml", SECRET, &format!("'{secret}'"));
    let client_id = server.client_id("schedule-sync").await;
    let endpoint = server.public("/default/epic/oauth2/token");
    let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let with_basic = |credential: String| {
        let request =
            server.client.post(&endpoint).header("Authorization", format!("Basic {}", STANDARD.encode(credential)));
        request.header("Content-Type", "application/x-www-form-urlencoded").body("grant_type=client_credentials")
    };
    server
        .within(PROMPTLY, "the new secret is served", || async {
            server.send(with_basic(format!("{client_id}:{secret}"))).await.status == StatusCode::OK
        })
        .await;
    let form_encoded = server.send(with_basic(format!("{client_id}:{encoded}"))).await;
    assert_eq!(form_encoded.status, StatusCode::OK, "{}", form_encoded.text);

    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("grant_type", "client_credentials"), ("client_id", &client_id), ("client_secret", secret)])
        .finish();
    let post =
        server.client.post(&endpoint).header("Content-Type", "application/x-www-form-urlencoded").body(form.clone());
    assert_eq!(server.send(post).await.status, StatusCode::OK);

    let both = with_basic(format!("{client_id}:{secret}")).body(form);
    let answer = server.send(both).await;
    assert_eq!((answer.status, answer.json()["error"].clone()), (StatusCode::BAD_REQUEST, json!("invalid_request")));
}

#[tokio::test]
async fn an_app_with_a_key_of_its_own_gets_a_token_and_shares_no_secret() {
    let server = Standalone::start("private-key-jwt").await;
    server.wait_condition("Activation", "immunization-registry-at-open-ehr", "Ready", "True", "Ready").await;
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/private-key-jwt/private.pem");
    let printed = |arguments: &[&str]| {
        let output = server.run(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    // With its `kid`, and without one, since one key alone fits.
    let named = printed(&["token", "immunization-registry", "--key-file", key, "--kid", "registry-2026"]);
    let unnamed = printed(&["token", "immunization-registry", "--key-file", key]);
    for token in [named, unnamed] {
        let url = server.public(&format!("/default/open-ehr/fhir/Patient/{PATIENT}"));
        assert_eq!(server.get(&url, token.trim()).await.status, StatusCode::OK);
    }
    let set: serde_json::Value = serde_json::from_str(&printed(&["jwks", "--key-file", key])).unwrap();
    let registered = std::fs::read_to_string(server.directory.path().join("all.yaml")).unwrap();
    assert!(registered.contains(set["keys"][0]["x"].as_str().unwrap()));
}

#[tokio::test]
async fn a_token_of_one_gateway_is_nothing_at_another() {
    let server = Standalone::start("shared-key-pair").await;
    let token = server.token("north", "referrals", "referrals-secret-for-tests-only").await;
    let path = format!("/fhir/Patient/{PATIENT}");
    server
        .eventually("the EHR knows the key", || async {
            server.get(&server.public(&format!("/default/north{path}")), &token).await.status == StatusCode::OK
        })
        .await;
    let reached = server.ehr_log("/Patient/").await.len();
    let answer = server.get(&server.public(&format!("/default/south{path}")), &token).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.headers["www-authenticate"].to_str().unwrap().contains("invalid_token"));
    assert_eq!(server.ehr_log("/Patient/").await.len(), reached);
}

#[tokio::test]
async fn what_no_scope_permits_never_reaches_the_ehr() {
    let server = Standalone::start("quickstart").await;
    server.wait_condition("Activation", "schedule-sync-at-epic", "Ready", "True", "Ready").await;
    let token = server.token("epic", "schedule-sync", SECRET).await;
    let base = server.public("/default/epic/fhir");
    let body = json!({ "resourceType": "Patient" }).to_string();
    let refused = [
        server.client.get(format!("{base}/Observation/1")),
        server
            .client
            .post(format!("{base}/Patient"))
            .header("Content-Type", "application/fhir+json")
            .body(body.clone()),
        server.client.delete(format!("{base}/Patient/{PATIENT}")),
        server.client.get(format!("{base}/Patient/{PATIENT}/$everything")),
        server.client.get(format!("{base}/Patient?_has:Observation:patient:code=1")),
        server.client.get(format!("{base}/Appointment?_include=Appointment:location")),
    ];
    for request in refused {
        let answer = server.send(request.bearer_auth(&token)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
        assert_eq!(answer.json()["resourceType"], "OperationOutcome");
    }
    let fhir = server.ehr_log("/api/FHIR/R4/").await;
    let reached: Vec<_> = fhir.iter().filter(|entry| !entry["path"].as_str().unwrap().ends_with("/metadata")).collect();
    assert!(reached.is_empty(), "{reached:?}");
}

#[tokio::test]
async fn an_ehr_that_refuses_is_told_to_the_app_with_the_next_step() {
    let server = Standalone::start_with("quickstart", &["--sandbox-register", "manual"]).await;
    server
        .wait_condition("Activation", "schedule-sync-at-epic", "EHRAuthenticated", "False", "AwaitingRegistration")
        .await;
    let token = server.token("epic", "schedule-sync", SECRET).await;
    let answer = server.get(&patient(&server), &token).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{}", answer.text);
    let outcome = answer.json();
    assert_eq!(outcome["resourceType"], "OperationOutcome");
    assert!(answer.text.contains("schedule-sync-at-epic"), "{}", answer.text);
    assert!(answer.text.contains("HG7040"), "{}", answer.text);

    // A person registers the key by its URL, asks again, and everything works.
    let activation = server.object("Activation", "schedule-sync-at-epic").await.unwrap();
    let next_step = activation["status"]["nextStep"].as_str().unwrap();
    let jwks_url = activation["status"]["jwksUrl"].as_str().unwrap();
    assert!(next_step.contains(jwks_url), "{next_step}");
    let registration = json!({ "clientId": "7b0f6e0e-9d4d-4c55-8a4b-5f4f3b0c9a11", "jwksUrl": jwks_url });
    let registered = server.client.post(server.sandbox("/sandbox/clients")).json(&registration);
    assert!(server.send(registered).await.status.is_success());
    let probe = server.run(&["probe", "schedule-sync-at-epic", "--wait", "20"]);
    assert!(probe.status.success(), "{probe:?}");
    server.wait_condition("Activation", "schedule-sync-at-epic", "Ready", "True", "Ready").await;
    assert_eq!(server.get(&patient(&server), &token).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_pem_file_registers_as_well_as_the_url() {
    let server = Standalone::start_with("quickstart", &["--sandbox-register", "manual"]).await;
    server.wait_condition("Activation", "schedule-sync-at-epic", "KeyReady", "True", "KeyReady").await;
    let pem = server.run(&["pem", "schedule-sync-at-epic"]);
    assert!(pem.status.success(), "{pem:?}");
    let pem = String::from_utf8(pem.stdout).unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
    let registration = json!({ "clientId": "7b0f6e0e-9d4d-4c55-8a4b-5f4f3b0c9a11", "pem": pem });
    let registered = server.client.post(server.sandbox("/sandbox/clients")).json(&registration);
    assert!(server.send(registered).await.status.is_success());
    assert!(server.run(&["probe", "schedule-sync-at-epic", "--wait", "20"]).status.success());
}

#[tokio::test]
async fn saved_edits_are_served_within_a_second() {
    let server = Standalone::start("quickstart").await;
    server.wait_condition("Activation", "schedule-sync-at-epic", "Ready", "True", "Ready").await;
    let token = server.token("epic", "schedule-sync", SECRET).await;
    assert_eq!(server.get(&patient(&server), &token).await.status, StatusCode::OK);
    let status = || async { server.get(&patient(&server), &token).await.status };

    server.edit("activation.yaml", "spec:", "spec:\n  suspend: true");
    server
        .within(PROMPTLY, "suspended: the live token is refused", || async {
            status().await == StatusCode::UNAUTHORIZED
        })
        .await;
    server.edit("activation.yaml", "  suspend: true\n", "");
    server
        .within(PROMPTLY, "lifted: the unexpired token works again", || async { status().await == StatusCode::OK })
        .await;

    server.edit("gateway.yaml", "    - system/*.rs\n", "    - system/Slot.rs\n");
    server
        .within(PROMPTLY, "a lower ceiling binds live tokens", || async { status().await == StatusCode::FORBIDDEN })
        .await;
    server.edit("gateway.yaml", "    - system/Slot.rs\n", "    - system/*.rs\n");
    server.within(PROMPTLY, "the ceiling is raised again", || async { status().await == StatusCode::OK }).await;

    std::fs::rename(server.directory.path().join("activation.yaml"), server.directory.path().join("activation.off"))
        .unwrap();
    server
        .within(PROMPTLY, "removed: the live token is refused", || async { status().await == StatusCode::UNAUTHORIZED })
        .await;
    std::fs::rename(server.directory.path().join("activation.off"), server.directory.path().join("activation.yaml"))
        .unwrap();
    server
        .within(Duration::from_secs(5), "added again: a new token works", || async {
            let client_id = server.client_id("schedule-sync").await;
            let answer = server.token_answer("epic", &client_id, SECRET, "grant_type=client_credentials").await;
            let Some(token) = answer.json()["access_token"].as_str().map(str::to_owned) else { return false };
            server.get(&patient(&server), &token).await.status == StatusCode::OK
        })
        .await;
    // Deleted and recreated is another one: what was issued for the first does not come back.
    assert_eq!(status().await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_broken_edit_changes_nothing_and_is_told_with_its_place() {
    let server = Standalone::start("quickstart").await;
    server.wait_condition("Activation", "schedule-sync-at-epic", "Ready", "True", "Ready").await;
    let token = server.token("epic", "schedule-sync", SECRET).await;
    for (from, to) in
        [("clientType: BackendService", "clientType: Backend"), ("clientType: BackendService", "clientType: [")]
    {
        server.edit("app.yaml", from, to);
        server
            .eventually("the broken edit is reported", || async {
                let status = server.send(server.client.get(server.admin("/status"))).await.json();
                let rejections = status["rejections"].as_array().unwrap().clone();
                rejections
                    .iter()
                    .any(|one| one["location"]["file"] == "app.yaml" && one["location"]["line"].as_u64() >= Some(9))
            })
            .await;
        assert_eq!(server.get(&patient(&server), &token).await.status, StatusCode::OK);
        let status = server.run(&["status", "schedule-sync"]);
        assert!(String::from_utf8_lossy(&status.stdout).contains("app.yaml:"), "{status:?}");
        server.edit("app.yaml", to, from);
        server
            .eventually("the mended edit is taken", || async {
                let status = server.send(server.client.get(server.admin("/status"))).await.json();
                status["rejections"].as_array().unwrap().is_empty()
            })
            .await;
    }
}

#[tokio::test]
async fn a_start_with_nothing_valid_says_why_and_answers_503() {
    let server = Standalone::launch("", &[]);
    server.write("broken.yaml", "kind: [");
    server
        .eventually("the public listener answers", || async {
            server.client.get(server.public("/default/epic/fhir/metadata")).send().await.is_ok()
        })
        .await;
    let answer = server.send(server.client.get(server.public("/default/epic/fhir/Patient/1"))).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
    server.eventually("the log names the file", || async { server.log().contains("broken.yaml") }).await;
}

#[tokio::test]
async fn a_killed_server_comes_back_with_its_key_its_client_id_and_live_tokens() {
    let mut server = Standalone::start("quickstart").await;
    server.wait_condition("Activation", "schedule-sync-at-epic", "Ready", "True", "Ready").await;
    let before = server.object("Activation", "schedule-sync-at-epic").await.unwrap();
    let token = server.token("epic", "schedule-sync", SECRET).await;
    for _ in 0..3 {
        server.kill_and_restart().await;
        server.wait_condition("Activation", "schedule-sync-at-epic", "Ready", "True", "Ready").await;
        let after = server.object("Activation", "schedule-sync-at-epic").await.unwrap();
        assert_eq!(after["uid"], before["uid"]);
        assert_eq!(after["status"]["connection"], before["status"]["connection"]);
        assert_eq!(after["status"]["keys"][0]["thumbprint"], before["status"]["keys"][0]["thumbprint"]);
        assert_eq!(after["status"]["keys"].as_array().unwrap().len(), 1);
        assert_eq!(server.get(&patient(&server), &token).await.status, StatusCode::OK);
    }
    let keys = std::fs::read_dir(server.state().join("keys/default")).unwrap();
    let names: Vec<_> = keys.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let visible: std::collections::BTreeSet<_> =
        names.iter().filter(|name| !name.starts_with('.')).map(String::as_str).collect();
    assert_eq!(visible, ["epic-signing-1", "schedule-sync-at-epic-key-1"].into());
}

#[tokio::test]
async fn a_key_that_is_lost_is_told_and_never_replaced() {
    let mut server = Standalone::start("quickstart").await;
    server.wait_condition("Activation", "schedule-sync-at-epic", "Ready", "True", "Ready").await;
    let key = server.state().join("keys/default/schedule-sync-at-epic-key-1");
    let aside = server.directory.path().join(".aside");
    std::fs::rename(&key, &aside).unwrap();
    server.kill_and_restart().await;
    server.wait_condition("Activation", "schedule-sync-at-epic", "KeyReady", "False", "KeyLost").await;
    assert!(!key.exists(), "a new key was made in place of a lost one");
    std::fs::rename(&aside, &key).unwrap();
    server.kill_and_restart().await;
    server.wait_condition("Activation", "schedule-sync-at-epic", "Ready", "True", "Ready").await;
}

#[tokio::test]
async fn rotation_moves_signing_when_the_ehr_accepts_the_new_key() {
    let server = Standalone::start("quickstart").await;
    server.wait_condition("Activation", "schedule-sync-at-epic", "Ready", "True", "Ready").await;
    server.edit(
        "activation.yaml",
        "        appName: Schedule Sync",
        "        appName: Schedule Sync\n        keyPair:\n          revision: 2",
    );
    server
        .eventually("the second key signs", || async {
            let activation = server.object("Activation", "schedule-sync-at-epic").await.unwrap();
            let keys = activation["status"]["keys"].as_array().cloned().unwrap_or_default();
            keys.iter().map(|key| key["state"].as_str().unwrap_or_default()).collect::<Vec<_>>()
                == ["Retiring", "Signing"]
        })
        .await;
    let jwks =
        server.send(server.client.get(server.public("/default/keys/schedule-sync-at-epic/jwks.json"))).await.json();
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 2, "both keys stay published");
    let token = server.token("epic", "schedule-sync", SECRET).await;
    assert_eq!(server.get(&patient(&server), &token).await.status, StatusCode::OK);
}

#[tokio::test]
async fn private_apis_are_reached_with_basic_and_client_id_within_their_routes() {
    let server = Standalone::start("external-auth").await;
    let token = server.token("epic-private", "availability", "availability-secret-for-tests-only").await;
    let base = server.public("/default/epic-private/api");
    let practitioner = hearthgate::sandbox::PRACTITIONER;
    let answer = server.get(&format!("{base}/Scheduling/Provider/{practitioner}/Availability"), &token).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);

    let outside = server.get(&format!("{base}/Other"), &token).await;
    assert_eq!(outside.status, StatusCode::FORBIDDEN, "{}", outside.text);
    let moved = server.get(&format!("{base}/Scheduling/Moved"), &token).await;
    assert_eq!(moved.status, StatusCode::BAD_GATEWAY, "{}", moved.text);
    assert!(server.ehr_log("followed-with-credentials").await.is_empty());

    let client_id = server.client_id("availability").await;
    let narrow = "grant_type=client_credentials&scope=system%2FPractitioner.rs";
    let narrow =
        server.token_answer("epic-private", &client_id, "availability-secret-for-tests-only", narrow).await.json();
    let url = format!("{base}/Scheduling/Provider/{practitioner}/Availability");
    let answer = server.get(&url, narrow["access_token"].as_str().unwrap()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
}

#[tokio::test]
async fn the_other_examples_reach_the_ehr_too() {
    for (example, gateway, app, secret) in [
        ("client-credentials", "athena", "recall-letters", "recall-letters-secret-for-tests"),
        ("bring-your-own-key", "epic-own-key", "bed-board", "bed-board-secret-for-tests-only"),
        ("shared-key-pair", "south", "referrals", "referrals-secret-for-tests-only"),
    ] {
        let server = Standalone::start(example).await;
        let token = server.token(gateway, app, secret).await;
        let url = server.public(&format!("/default/{gateway}/fhir/Patient/{PATIENT}"));
        server
            .eventually(&format!("{example} reads a patient"), || async {
                server.get(&url, &token).await.status == StatusCode::OK
            })
            .await;
    }
}

#[tokio::test]
async fn the_lines_that_serve_prints_work_as_they_stand() {
    let server = Standalone::start("quickstart").await;
    server.eventually("the lines are printed", || async { server.printed().contains("Patient/") }).await;
    let printed = server.printed();
    let lines: Vec<&str> = printed.lines().filter_map(|line| line.strip_prefix("  $ ")).collect();
    assert!(lines.len() >= 2, "{printed}");
    let script = lines.join("\n");
    let output = std::process::Command::new("sh").args(["-euc", &script]).output().unwrap();
    assert!(output.status.success(), "{script}\n{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains(&format!("\"id\":\"{PATIENT}\"")) || text.contains(&format!("\"id\": \"{PATIENT}\"")),
        "{text}"
    );
}

#[tokio::test]
async fn ctrl_c_and_sigterm_end_it_in_order() {
    let mut server = Standalone::start("quickstart").await;
    let status = server.terminate();
    assert!(status.success(), "{status:?}\n{}", server.log());
}

#[tokio::test]
async fn the_admin_listener_tells_health_metrics_and_status() {
    let server = Standalone::start("quickstart").await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(server.send(server.client.get(server.admin(path))).await.status, StatusCode::OK, "{path}");
    }
    server.token("epic", "schedule-sync", SECRET).await;
    let metrics = server.send(server.client.get(server.admin("/metrics"))).await;
    assert!(metrics.text.contains("hearthgate_"), "{}", metrics.text);
    assert!(metrics.text.ends_with("# EOF\n"), "{}", metrics.text);
    let rebound = server.client.get(server.admin("/status")).header("Host", "attacker.example");
    assert_eq!(server.send(rebound).await.status, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn keys_of_a_backup_are_adopted_in_an_empty_state_directory() {
    let mut server = Standalone::start("quickstart").await;
    server.wait_condition("Activation", "schedule-sync-at-epic", "Ready", "True", "Ready").await;
    let activation = server.object("Activation", "schedule-sync-at-epic").await.unwrap();
    let before = (server.client_id("schedule-sync").await, activation["status"]["keys"][0]["thumbprint"].clone());
    let state = server.state();
    let place = ["--state", state.to_str().unwrap()];
    let backup = Backup::new();
    backup.export(&place);

    server.terminate();
    std::fs::remove_dir_all(&state).unwrap();
    let restored = backup.import(&place);
    assert!(restored.contains("default/schedule-sync-at-epic-key-1: restored"), "{restored}");
    server.kill_and_restart().await;
    server.wait_condition("Activation", "schedule-sync-at-epic", "Ready", "True", "Ready").await;
    let activation = server.object("Activation", "schedule-sync-at-epic").await.unwrap();
    let after = (server.client_id("schedule-sync").await, activation["status"]["keys"][0]["thumbprint"].clone());
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_refusal_without_a_word_is_explained_by_what_can_be_seen() {
    let server = Standalone::start_with("quickstart", &["--sandbox-register", "manual"]).await;
    let likeliest = async |cause: &str| {
        server
            .eventually(&format!("the likeliest cause is {cause}"), || async {
                let activation = server.object("Activation", "schedule-sync-at-epic").await.unwrap();
                activation["status"]["likelyCauses"][0]["cause"] == cause
            })
            .await;
        let activation = server.object("Activation", "schedule-sync-at-epic").await.unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        (text(&activation["status"]["likelyCauses"][0]["hint"]), text(&activation["status"]["nextStep"]))
    };
    let (hint, next_step) = likeliest("KeyUnknown").await;
    assert!(hint.contains("less than a day old"), "{hint}");
    assert!(next_step.starts_with("Register the JWKS URL"), "{next_step}");

    // Registered, and still refused, with the same bare word.
    let jwks_url = server.public("/default/keys/schedule-sync-at-epic/jwks.json");
    let registration = json!({ "clientId": "7b0f6e0e-9d4d-4c55-8a4b-5f4f3b0c9a11", "jwksUrl": jwks_url });
    let registered = server.client.post(server.sandbox("/sandbox/clients")).json(&registration);
    assert!(server.send(registered).await.status.is_success());
    server.edit(
        "activation.yaml",
        "        appName: Schedule Sync",
        "        appName: Schedule Sync\n        audience: https://inner.example.org/oauth2/token",
    );
    let (hint, next_step) = likeliest("Audience").await;
    let token_url = server.sandbox("/interconnect/oauth2/token");
    assert!(hint.contains("https://inner.example.org/oauth2/token") && hint.contains(&token_url), "{hint}");
    assert!(next_step.starts_with(&hint), "{next_step}");

    server.edit("activation.yaml", "        audience: https://inner.example.org/oauth2/token\n", "");
    let client_id = server.client_id("schedule-sync").await;
    server.edit("activation.yaml", "7b0f6e0e-9d4d-4c55-8a4b-5f4f3b0c9a11", &client_id);
    let (hint, _) = likeliest("ClientId").await;
    assert!(hint.contains("is the client ID of App schedule-sync at this gateway"), "{hint}");

    server.edit("activation.yaml", &client_id, "schedule-sync");
    server
        .eventually("the form of the client ID is told", || async {
            let activation = server.object("Activation", "schedule-sync-at-epic").await.unwrap();
            activation["status"]["likelyCauses"][0]["hint"].as_str().is_some_and(|hint| hint.contains("UUIDs"))
        })
        .await;
    let status = server.run(&["status", "schedule-sync-at-epic"]);
    let printed = String::from_utf8(status.stdout).unwrap();
    assert!(printed.contains("likely because") && printed.contains("theirs are UUIDs"), "{printed}");
}
