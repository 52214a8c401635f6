//! FHIR R4: creates, updates, patches, deletes, versions, Bundles.

use super::fhir::{ehr, open, open_base};
use super::*;

async fn change(ehr: &Ehr, method: &str, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answered {
    ehr.with_json(method, &open(path), body, headers).await
}

fn patient() -> Value {
    json!({ "resourceType": "Patient", "name": [{ "family": "New" }] })
}

#[tokio::test]
async fn a_resource_lives_from_create_to_delete_with_all_its_versions() {
    let ehr = Ehr::new();
    let created = change(&ehr, "POST", "/Patient", &patient(), &[]).await;
    assert_eq!((created.status.as_u16(), created.header("etag")), (201, Some("W/\"1\"")));
    let id = created.json()["id"].as_str().unwrap().to_owned();
    let location = format!("{}/Patient/{id}/_history/1", open_base());
    assert_eq!(created.header("location"), Some(location.as_str()));

    let path = format!("/Patient/{id}");
    let mut changed = created.json();
    changed["active"] = json!(true);
    let updated = change(&ehr, "PUT", &path, &changed, &[("if-match", "W/\"1\"")]).await;
    assert_eq!((updated.status.as_u16(), updated.header("etag")), (200, Some("W/\"2\"")));
    let stale = change(&ehr, "PUT", &path, &changed, &[("if-match", "W/\"1\"")]).await;
    assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED);

    let switch_off = json!([{ "op": "replace", "path": "/active", "value": false }]);
    let as_patch = ("content-type", "application/json-patch+json");
    let patched = change(&ehr, "PATCH", &path, &switch_off, &[as_patch]).await;
    assert_eq!((patched.status.as_u16(), &patched.json()["active"]), (200, &json!(false)));
    let stale = change(&ehr, "PATCH", &path, &switch_off, &[as_patch, ("if-match", "W/\"2\"")]).await;
    assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED);
    let merge = change(&ehr, "PATCH", &path, &json!({}), &[("content-type", "application/merge-patch+json")]).await;
    assert_eq!(merge.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let renamed = json!([{ "op": "replace", "path": "/id", "value": "other" }]);
    assert_eq!(change(&ehr, "PATCH", &path, &renamed, &[as_patch]).await.status, StatusCode::UNPROCESSABLE_ENTITY);

    let stale = change(&ehr, "DELETE", &path, &json!(null), &[("if-match", "W/\"1\"")]).await;
    assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(change(&ehr, "DELETE", &path, &json!(null), &[]).await.status, StatusCode::NO_CONTENT);
    assert_eq!(change(&ehr, "DELETE", &path, &json!(null), &[]).await.status, StatusCode::NO_CONTENT);
    assert_eq!(ehr.get(&open(&path)).await.status, StatusCode::GONE);
    assert_eq!(ehr.get(&open(&format!("{path}/_history/2"))).await.json()["active"], true);
    assert_eq!(ehr.get(&open(&format!("{path}/_history/4"))).await.status, StatusCode::GONE);
    let history = ehr.get(&open(&format!("{path}/_history"))).await.json();
    let versions: Vec<(&str, &str)> = history["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["request"]["method"].as_str().unwrap(), entry["response"]["etag"].as_str().unwrap()))
        .collect();
    assert_eq!(versions, [("DELETE", "W/\"4\""), ("PUT", "W/\"3\""), ("PUT", "W/\"2\""), ("POST", "W/\"1\"")]);
    assert_eq!((&history["type"], &history["total"]), (&json!("history"), &json!(4)));
}

#[tokio::test]
async fn prefer_says_what_a_write_answers() {
    let ehr = Ehr::new();
    let minimal = change(&ehr, "POST", "/Patient", &patient(), &[("prefer", "return=minimal")]).await;
    assert_eq!((minimal.status.as_u16(), minimal.body.len()), (201, 0));
    assert!(minimal.header("location").is_some());
    let outcome = change(&ehr, "POST", "/Patient", &patient(), &[("prefer", "return=OperationOutcome")]).await;
    assert_eq!(outcome.json()["resourceType"], "OperationOutcome");
}

#[tokio::test]
async fn a_conditional_create_makes_a_second_one_only_where_there_is_none() {
    let ehr = Ehr::new();
    let with = |condition: &'static str| [("if-none-exist", condition)];
    let existing = change(&ehr, "POST", "/Patient", &patient(), &with("identifier=203708")).await;
    assert_eq!((existing.status.as_u16(), &existing.json()["id"]), (200, &json!("patient-8")));
    let several = change(&ehr, "POST", "/Patient", &patient(), &with("family=Lopez")).await;
    assert_eq!(several.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(change(&ehr, "POST", "/Patient", &patient(), &with("family=New")).await.status, StatusCode::CREATED);
    assert_eq!(change(&ehr, "POST", "/Patient", &patient(), &with("color=blue")).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_write_must_fit_its_url_and_its_media_type() {
    let ehr = Ehr::new();
    let slot = json!({ "resourceType": "Slot", "id": "mine" });
    assert_eq!(change(&ehr, "PUT", "/Slot/mine", &slot, &[]).await.status, StatusCode::CREATED);
    assert_eq!(change(&ehr, "PUT", "/Slot/other", &slot, &[]).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(change(&ehr, "POST", "/Patient", &slot, &[]).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(change(&ehr, "POST", "/Patient", &json!([]), &[]).await.status, StatusCode::BAD_REQUEST);
    let xml = change(&ehr, "POST", "/Slot", &slot, &[("content-type", "application/fhir+xml")]).await;
    assert_eq!(xml.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let broken = Request::post(open("/Slot")).header("content-type", "application/fhir+json");
    assert_eq!(ehr.send(broken.body(Body::from("{")).unwrap()).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_two_bases_keep_their_data_apart() {
    let ehr = ehr();
    assert_eq!(change(&ehr, "DELETE", "/Patient/patient-8", &json!(null), &[]).await.status, StatusCode::NO_CONTENT);
    let token = ehr.token().await;
    assert_eq!(ehr.fhir(&token, "/Patient/patient-8").await.status, StatusCode::OK);
}

fn bundle(kind: &str, entries: &[Value]) -> Value {
    json!({ "resourceType": "Bundle", "type": kind, "entry": entries })
}

fn statuses(answered: &Answered) -> Vec<String> {
    let entries = answered.json()["entry"].as_array().unwrap().clone();
    entries.iter().map(|entry| entry["response"]["status"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_batch_does_each_entry_for_itself() {
    let ehr = Ehr::new();
    let batch = bundle(
        "batch",
        &[
            json!({ "request": { "method": "GET", "url": "Patient/patient-8" } }),
            json!({ "request": { "method": "GET", "url": "Patient/nobody" } }),
            json!({ "request": { "method": "GET", "url": format!("{}/Slot?_count=1", open_base()) } }),
            json!({ "request": { "method": "POST", "url": "Patient" }, "resource": patient() }),
            json!({ "request": { "method": "DELETE", "url": "Slot/slot-1", "ifMatch": "W/\"9\"" } }),
            json!({ "request": { "method": "BREW", "url": "Slot" } }),
            json!({}),
        ],
    );
    let answered = change(&ehr, "POST", "", &batch, &[]).await;
    assert_eq!((answered.status, &answered.json()["type"]), (StatusCode::OK, &json!("batch-response")));
    assert_eq!(
        statuses(&answered),
        [
            "200 OK",
            "404 Not Found",
            "200 OK",
            "201 Created",
            "412 Precondition Failed",
            "400 Bad Request",
            "400 Bad Request"
        ]
    );
    assert_eq!(answered.json()["entry"][1]["response"]["outcome"]["issue"][0]["code"], "not-found");
    assert_eq!(answered.json()["entry"][2]["resource"]["total"], 40);
}

#[tokio::test]
async fn a_transaction_keeps_the_promises_between_its_entries() {
    let ehr = Ehr::new();
    let urn = "urn:uuid:0f2f1b1c-6a3f-4c3e-9a52-0d2f7b7b2a11";
    let transaction = bundle(
        "transaction",
        &[
            json!({ "request": { "method": "POST", "url": "Encounter" },
                    "resource": { "resourceType": "Encounter", "subject": { "reference": urn } } }),
            json!({ "fullUrl": urn, "request": { "method": "POST", "url": "Patient" }, "resource": patient() }),
        ],
    );
    let answered = change(&ehr, "POST", "/", &transaction, &[]).await;
    assert_eq!(statuses(&answered), ["201 Created", "201 Created"]);
    let entries = &answered.json()["entry"];
    let patient_id = entries[1]["resource"]["id"].as_str().unwrap();
    assert_eq!(entries[0]["resource"]["subject"]["reference"], format!("Patient/{patient_id}"));
    assert_eq!(ehr.get(&open(&format!("/Patient/{patient_id}"))).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_transaction_does_all_or_nothing() {
    let ehr = Ehr::new();
    let transaction = bundle(
        "transaction",
        &[
            json!({ "request": { "method": "DELETE", "url": "Patient/patient-8" } }),
            json!({ "request": { "method": "GET", "url": "Patient/nobody" } }),
        ],
    );
    let answered = change(&ehr, "POST", "", &transaction, &[]).await;
    assert_eq!(answered.status, StatusCode::NOT_FOUND);
    assert_eq!(answered.json()["issue"][0]["diagnostics"], "entry 1: there is no Patient/nobody");
    assert_eq!(ehr.get(&open("/Patient/patient-8")).await.status, StatusCode::OK);
    for not_a_bundle in
        [patient(), bundle("searchset", &[]), json!({ "resourceType": "Bundle", "type": "batch", "entry": 1 })]
    {
        assert_eq!(change(&ehr, "POST", "", &not_a_bundle, &[]).await.status, StatusCode::BAD_REQUEST);
    }
}
