//! Links that the gateway seals: the pages of a search, and exports from their start to their files.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use super::ehr::{Reached, answer, json as fhir_json};
use super::narrowed::token_for;
use super::*;

const BASE: &str = "https://gate.example.org/default";

/// What stands behind `…/default` in a URL of the gateway.
fn path(url: &str) -> &str {
    url.strip_prefix(BASE).unwrap_or_else(|| panic!("{url} is not the gateway's"))
}

fn paged(reached: &Reached) -> Response<Full<Bytes>> {
    let host = reached.header("host").unwrap();
    match reached.target.as_str() {
        "/pages?session=a&page=2" => fhir_json(200, r#"{"resourceType":"Bundle","type":"searchset"}"#),
        _ => {
            let links = json!([
                {"relation": "self", "url": format!("http://{host}/fhir/Observation?code=a")},
                {"relation": "next", "url": format!("http://{host}/pages?session=a&page=2")},
                {"relation": "last", "url": "https://elsewhere.example.org/pages"},
                // Of its own scheme it knows nothing.
                {"relation": "prev", "url": format!("HTTPS://{host}/pages?session=a&page=2")},
            ]);
            fhir_json(200, &json!({"resourceType": "Bundle", "type": "searchset", "link": links}).to_string())
        }
    }
}

#[tokio::test]
async fn pages_are_opaque_and_judged_again_when_they_are_followed() {
    let setup = Setup::in_front_of(Ehr::answering(paged).await, |world| world).await;
    let token = setup.token_at("epic").await;
    let first = setup.get("/epic/fhir/Observation?code=a", &token).await.json();
    let link = |index: usize| first["link"][index]["url"].as_str().unwrap();
    assert_eq!(link(0), format!("{BASE}/epic/fhir/Observation?code=a"));
    assert!(
        !first.to_string().contains("127.0.0.1") && !first.to_string().contains("elsewhere.example.org"),
        "{first}"
    );

    for same in [1, 3] {
        assert_eq!(setup.get(path(link(same)), &token).await.status, 200);
        let reached = setup.ehr.reached().pop().unwrap();
        assert_eq!(reached.target, "/pages?session=a&page=2");
        assert!(reached.header("authorization").unwrap().starts_with("Basic "));
    }

    let elsewhere = setup.get(path(link(2)), &token).await;
    assert_eq!(elsewhere.refusal(), (404, "HG7056".into()));
    let tampered = format!("{}A", path(link(1)));
    assert_eq!(setup.get(&tampered, &token).await.refusal(), (404, "HG7056".into()));
    let of_another = token_for(&setup, "patient/Patient.rs", Some("1")).await;
    assert_eq!(setup.get(path(link(1)), &of_another).await.refusal(), (404, "HG7056".into()));
    assert_eq!(setup.ask("GET", path(link(1)), &[], "").await.refusal(), (401, "HG7001".into()));
    setup.publish(|world| world.set("Activation", "sync-epic", "scopes", json!(["system/Patient.rs"])));
    assert_eq!(setup.get(path(link(1)), &token).await.refusal(), (403, "HG7008".into()));
    assert_eq!(setup.ehr.reached().len(), 3);
}

/// The answer to a batch of two searches and a read of a Bundle.
fn searched_twice(reached: &Reached) -> Response<Full<Bytes>> {
    let host = reached.header("host").unwrap();
    let pages = |page: &str| {
        json!([{"relation": "self", "url": format!("http://{host}/fhir/Patient")},
            {"relation": "next", "url": format!("http://{host}/pages?page={page}")}])
    };
    let bundle = |page: &str| json!({"resource": {"resourceType": "Bundle", "type": "searchset", "link": pages(page)}});
    let within = json!({"resource": {"resourceType": "Bundle", "type": "collection", "entry": [bundle("within")]}});
    match reached.target.as_str() {
        "/fhir" => {
            let entries = [bundle("first"), bundle("second"), within];
            let link = pages("of-the-batch");
            let answer = json!({"resourceType": "Bundle", "type": "batch-response", "link": link, "entry": entries});
            fhir_json(200, &answer.to_string())
        }
        _ => fhir_json(200, r#"{"resourceType":"Bundle","type":"searchset"}"#),
    }
}

#[tokio::test]
async fn the_pages_of_a_batchs_searches_are_judged_by_what_each_entry_asked_for() {
    let setup = Setup::in_front_of(Ehr::answering(searched_twice).await, |world| world).await;
    let token = setup.token_at("epic").await;
    let entry = |url: &str| json!({"request": {"method": "GET", "url": url}});
    let entries = [entry("Patient?name=a"), entry("Observation?code=b"), entry("Patient/1")];
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": entries}).to_string();
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
    let answered = setup.ask("POST", "/epic/fhir", &headers, &batch).await.json();
    assert!(!answered.to_string().contains("127.0.0.1"), "{answered}");
    let link = |place: &str| answered.pointer(place).unwrap().as_str().unwrap().to_owned();
    assert_eq!(link("/entry/0/resource/link/0/url"), format!("{BASE}/epic/fhir/Patient"));
    let (first, second) = (link("/entry/0/resource/link/1/url"), link("/entry/1/resource/link/1/url"));
    for (next, page) in [(&first, "first"), (&second, "second")] {
        assert_eq!(setup.get(path(next), &token).await.status, 200);
        assert_eq!(setup.ehr.reached().pop().unwrap().target, format!("/pages?page={page}"));
    }
    let reached = setup.ehr.reached().len();
    for nowhere in ["/link/1/url", "/entry/2/resource/entry/0/resource/link/1/url"] {
        assert_eq!(setup.get(path(&link(nowhere)), &token).await.refusal(), (404, "HG7056".into()), "{nowhere}");
    }
    setup.publish(|world| world.set("Activation", "sync-epic", "scopes", json!(["system/Patient.rs"])));
    assert_eq!(setup.get(path(&first), &token).await.status, 200);
    assert_eq!(setup.get(path(&second), &token).await.refusal(), (403, "HG7008".into()));
    assert_eq!(setup.ehr.reached().len(), reached + 1);
}

#[tokio::test]
async fn a_page_is_held_to_the_patient_as_its_search_was() {
    let ehr = Ehr::answering(|reached| {
        let of = |patient: &str| json!({"resource": {"resourceType": "Observation", "subject": {"reference": format!("Patient/{patient}")}}});
        let entry = if reached.target.contains("page=2") { of("2") } else { of("1") };
        let link = json!([{"relation": "next", "url": "?page=2"}]);
        fhir_json(
            200,
            &json!({"resourceType": "Bundle", "type": "searchset", "link": link, "entry": [entry]}).to_string(),
        )
    });
    let setup =
        Setup::in_front_of(ehr.await, |world| world.set("App", "mobile", "scopes", json!(["patient/*.rs"]))).await;
    let token = token_for(&setup, "patient/*.rs", Some("1")).await;
    let first = setup.get("/epic/fhir/Observation", &token).await;
    assert_eq!(first.status, 200);
    let next = first.json()["link"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(setup.get(path(&next), &token).await.refusal(), (403, "HG7055".into()));
    assert_eq!(setup.ehr.reached()[1].target, "/fhir?page=2");
}

/// What an export of these files leads to: the manifest, when it is done.
async fn manifest(needs_token: bool, outputs: &'static [(&'static str, &'static str)]) -> (Setup, String, Value) {
    let ehr = Ehr::answering(move |reached| {
        let host = reached.header("host").unwrap();
        if reached.target.contains("$export") {
            return answer(202, &[("content-location", "/bulk/jobs/1")], "");
        }
        let files: Vec<Value> = outputs
            .iter()
            .map(|(kind, url)| json!({"type": kind, "url": url.replace("EHR", &format!("http://{host}"))}))
            .collect();
        let manifest = json!({"requiresAccessToken": needs_token, "output": files, "error": [], "deleted": []});
        answer(200, &[("content-type", "application/json")], &manifest.to_string())
    });
    let setup =
        Setup::in_front_of(ehr.await, |world| world.set("Gateway", "epic", "operations", json!(["$export"]))).await;
    let token = setup.token_at("epic").await;
    let started = setup.get("/epic/fhir/$export?_type=Patient,Observation", &token).await;
    let job = path(started.header("content-location").unwrap()).to_owned();
    let manifest = setup.get(&job, &token).await.json();
    (setup, token, manifest)
}

const SIGNED: &str = "https://storage.example.org/a%2Fb.ndjson?sig=a%2Bb&se=2026-01-01T00%3A00%3A00Z";

#[tokio::test]
async fn files_that_all_lie_elsewhere_and_need_no_token_are_the_clients_to_fetch() {
    let (_setup, _token, manifest) = manifest(false, &[("Patient", SIGNED), ("Encounter", "EHR/files/1")]).await;
    assert_eq!(manifest["requiresAccessToken"], false);
    assert_eq!(manifest["output"], json!([{"type": "Patient", "url": SIGNED}]), "to the letter, within the scopes");
}

#[rstest::rstest]
#[case::they_need_a_token(true, &[("Patient", SIGNED)])]
#[case::some_are_at_the_ehr(false, &[("Patient", SIGNED), ("Observation", "EHR/files/1")])]
#[case::one_is_in_clear(false, &[("Patient", "http://storage.example.org/1"), ("Patient", SIGNED)])]
#[tokio::test]
async fn our_token_goes_to_no_foreign_host(
    #[case] needs_token: bool,
    #[case] outputs: &'static [(&'static str, &'static str)],
) {
    let (setup, token, manifest) = manifest(needs_token, outputs).await;
    assert_eq!(manifest["requiresAccessToken"], true);
    assert!(!manifest.to_string().contains("storage.example.org"), "{manifest}");
    let foreign = setup.get(path(manifest["output"][0]["url"].as_str().unwrap()), &token).await;
    assert_eq!(foreign.refusal(), (404, "HG7056".into()));
}

/// An EHR whose export is done when it is asked for the second time.
fn exporting(needs_token: bool) -> impl Fn(&Reached) -> Response<Full<Bytes>> + Send + Sync + 'static {
    let asked = AtomicUsize::new(0);
    move |reached| {
        let host = reached.header("host").unwrap();
        match (reached.method.as_str(), reached.target.split('?').next().unwrap_or_default()) {
            (_, "/fhir/$export" | "/fhir/Group/7/$export") => {
                let place = format!("http://{host}/bulk/jobs/1");
                answer(202, &[("content-location", &place), ("content-type", "text/plain")], "begun")
            }
            ("GET", "/bulk/jobs/1") if asked.fetch_add(1, Ordering::Relaxed) == 0 => {
                answer(202, &[("x-progress", "50%"), ("retry-after", "1")], "")
            }
            ("GET", "/bulk/jobs/1") => {
                let file =
                    |kind: &str| json!({"type": kind, "url": format!("http://{host}/files/{kind}?signature=a%2Fb")});
                let manifest = json!({"transactionTime": "2026-01-01T00:00:00Z", "request": format!("http://{host}/fhir/$export"),
                    "requiresAccessToken": needs_token, "output": [file("Patient"), file("Encounter")],
                    "error": [file("OperationOutcome")], "deleted": []});
                answer(200, &[("content-type", "application/json"), ("expires", "never")], &manifest.to_string())
            }
            ("DELETE", "/bulk/jobs/1") => answer(202, &[], ""),
            (_, "/files/Patient") => {
                let line = format!(
                    r#"{{"resourceType":"Patient","id":"1","managingOrganization":{{"reference":"http://{host}/fhir/Organization/1"}}}}"#
                );
                answer(200, &[("content-type", "application/fhir+ndjson")], &format!("{line}\n{line}\n"))
            }
            _ => answer(404, &[], ""),
        }
    }
}

async fn export_setup(needs_token: bool) -> Setup {
    let operations = json!(["$export"]);
    Setup::in_front_of(Ehr::answering(exporting(needs_token)).await, |world| {
        world.set("Gateway", "epic", "operations", operations)
    })
    .await
}

#[rstest::rstest]
#[case(true)]
#[case(false)]
#[tokio::test]
async fn an_export_goes_through_the_gateway_from_start_to_end(#[case] needs_token: bool) {
    let setup = export_setup(needs_token).await;
    let token = setup.token_at("epic").await;
    let started = setup.get("/epic/fhir/$export?_type=Patient,Observation", &token).await;
    assert_eq!((started.status, started.body.len()), (202, 0));
    let job = path(started.header("content-location").unwrap()).to_owned();
    assert_eq!(setup.ehr.only().header("prefer"), Some("respond-async"));

    let running = setup.get(&job, &token).await;
    assert_eq!(
        (running.status, running.header("x-progress"), running.header("retry-after")),
        (202, Some("50%"), Some("1"))
    );
    let done = setup.get(&job, &token).await;
    assert_eq!(done.status, 200);
    let manifest = done.json();
    assert!(!manifest.to_string().contains("127.0.0.1"), "{manifest}");
    assert_eq!(manifest["requiresAccessToken"], true);
    assert_eq!(manifest["request"], format!("{BASE}/epic/fhir/$export"));
    let outputs = manifest["output"].as_array().unwrap();
    assert_eq!(
        (outputs.len(), &outputs[0]["type"], manifest["error"].as_array().map(Vec::len)),
        (1, &json!("Patient"), Some(1))
    );

    let url = path(outputs[0]["url"].as_str().unwrap());
    let file = setup.get(url, &token).await;
    assert_eq!((file.status, file.header("content-type")), (200, Some("application/fhir+ndjson")));
    let text = String::from_utf8_lossy(&file.body).into_owned();
    assert_eq!(text.matches(&format!("\"{BASE}/epic/fhir/Organization/1\"")).count(), 2, "{text}");
    let fetched = setup.ehr.reached().pop().unwrap();
    assert_eq!(fetched.target, "/files/Patient?signature=a%2Fb");
    assert_eq!(fetched.header("authorization").is_some(), needs_token);

    let of_another = token_for(&setup, "patient/Patient.rs", Some("1")).await;
    for link in [job.as_str(), url] {
        assert_eq!(setup.get(link, &of_another).await.refusal(), (404, "HG7056".into()));
    }
    let bearer = format!("Bearer {token}");
    assert_eq!(setup.ask("DELETE", &job, &[("authorization", &bearer)], "").await.status, 202);
    let last = setup.ehr.reached().pop().unwrap();
    assert_eq!((last.method.as_str(), last.target.as_str()), ("DELETE", "/bulk/jobs/1"));
}

/// Nothing is kept about jobs here: what the EHR forgot is gone.
#[tokio::test]
async fn an_export_that_was_ended_is_gone_as_the_ehr_says() {
    let ended = AtomicBool::new(false);
    let running = exporting(true);
    let ehr = Ehr::answering(move |reached| match (reached.method.as_str(), reached.target.as_str()) {
        (_, "/bulk/jobs/1") if ended.load(Ordering::Relaxed) => {
            let outcome = json!({"resourceType": "OperationOutcome",
                "issue": [{"severity": "error", "code": "not-found", "diagnostics": "no such job"}]});
            fhir_json(404, &outcome.to_string())
        }
        ("DELETE", "/bulk/jobs/1") => {
            ended.store(true, Ordering::Relaxed);
            answer(202, &[], "")
        }
        _ => running(reached),
    });
    let operations = json!(["$export"]);
    let setup = Setup::in_front_of(ehr.await, |world| world.set("Gateway", "epic", "operations", operations)).await;
    let token = setup.token_at("epic").await;
    let started = setup.get("/epic/fhir/$export?_type=Patient", &token).await;
    let job = path(started.header("content-location").unwrap()).to_owned();
    assert_eq!(setup.get(&job, &token).await.status, 202);
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(setup.ask("DELETE", &job, &headers, "").await.status, 202);
    let asked = setup.get(&job, &token).await;
    assert_eq!((asked.status, &asked.json()["issue"][0]["diagnostics"]), (404, &json!("no such job")));
    assert_eq!(setup.ask("DELETE", &job, &headers, "").await.status, 404, "there is none to end any more");
}

#[tokio::test]
async fn an_export_needs_each_type_that_it_would_bring() {
    let setup = export_setup(true).await;
    let token = setup.token_at("epic").await;
    for target in ["/$export", "/Patient/$export", "/Group/7/$export?_type=Patient,Encounter"] {
        assert_eq!(
            setup.get(&format!("/epic/fhir{target}"), &token).await.refusal(),
            (403, "HG7008".into()),
            "{target}"
        );
    }
    assert!(setup.ehr.reached().is_empty());
    assert_eq!(setup.get("/epic/fhir/Group/7/$export?_type=Patient", &token).await.status, 202);
}
