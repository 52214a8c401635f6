//! The other forms of the same: searches by POST, compressed answers, the CapabilityStatement, granular scopes, exports.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::clinic::{Clinic, FORM, PATIENT};
use crate::hapi::{names, resources};

#[tokio::test(flavor = "multi_thread")]
async fn a_search_by_post_finds_what_one_by_get_does() {
    let clinic = Clinic::open().await;
    let token = clinic.service("system/*.rs").await;
    let form = "category=laboratory&_count=200&subject=Patient/patient-11";
    let post = clinic.request("POST", "/Observation/_search", &token).header("content-type", FORM).body(form);
    let found = clinic.send(post).await;
    assert_eq!(found.status, StatusCode::OK, "{}", found.text);
    assert_eq!(names(&resources(&found.json())), names(&clinic.hapi.find_all(&format!("/Observation?{form}")).await));

    // For a patient's app it is held to the patient, wherever the parameters stand.
    let token = clinic.patient("patient/Observation.rs").await;
    let own = format!("/Observation?category=laboratory&_count=200&subject=Patient/{PATIENT}");
    let own = names(&clinic.hapi.find_all(&own).await);
    for (query, form) in [
        ("", "category=laboratory&_count=200"),
        ("?category=laboratory", "_count=200"),
        ("?category=laboratory&_count=200", ""),
    ] {
        let url = format!("/Observation/_search{query}");
        let post = clinic.request("POST", &url, &token).header("content-type", FORM).body(form);
        let found = clinic.send(post).await;
        assert_eq!(found.status, StatusCode::OK, "{}", found.text);
        assert_eq!(names(&resources(&found.json())), own, "{query} {form}");
    }
    let post = clinic.request("POST", "/Observation/_search?subject=Patient/patient-11", &token);
    let none = clinic.send(post.header("content-type", FORM).body("_count=200")).await;
    assert_eq!((none.status, resources(&none.json())), (StatusCode::OK, vec![]), "{}", none.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_capability_statement_is_hapis_with_the_gateways_places_and_limits() {
    let clinic = Clinic::open().await;
    let answer = clinic.send(clinic.server.client.get(format!("{}/metadata", clinic.base()))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let (told, own) = (answer.json(), clinic.hapi.get("/metadata").await.json());
    assert_eq!(told["software"], own["software"]);
    assert_eq!(told["implementation"]["url"], json!(clinic.base()));
    let uris = told["rest"][0]["security"]["extension"][0]["extension"].as_array().unwrap();
    for (name, path) in [("authorize", "authorize"), ("token", "token"), ("introspect", "introspect")] {
        let uri = uris.iter().find(|uri| uri["url"] == name).map(|uri| &uri["valueUri"]);
        assert_eq!(uri, Some(&json!(clinic.server.public(&format!("/default/clinic/oauth2/{path}")))), "{uris:?}");
    }
    let operations = |statement: &Value| -> BTreeSet<String> {
        let rest = &statement["rest"][0];
        let all = rest["resource"].as_array().unwrap().iter().chain([rest]);
        let operations = all.flat_map(|place| place["operation"].as_array().cloned().unwrap_or_default());
        operations.map(|operation| operation["name"].as_str().unwrap().to_owned()).collect()
    };
    assert!(operations(&own).contains("expunge"));
    assert_eq!(operations(&told), BTreeSet::from(["everything".to_owned(), "export".to_owned()]));
    let parameters = |statement: &Value| {
        let patient = statement["rest"][0]["resource"].as_array().unwrap().iter().find(|one| one["type"] == "Patient");
        patient.unwrap()["searchParam"].as_array().unwrap().len()
    };
    assert_eq!(parameters(&told), parameters(&own));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_with_a_condition_reaches_what_meets_it() {
    let clinic = Clinic::open().await;
    let category = |name: &str| format!("http://terminology.hl7.org/CodeSystem/observation-category%7C{name}");
    let scope = |name: &str| format!("system/Observation.rs?category={}", category(name));
    let token = clinic.service(&scope("laboratory")).await;
    let laboratory = names(&clinic.hapi.find_all("/Observation?category=laboratory&_count=200").await);
    assert_eq!(names(&clinic.find_all(&token, "/Observation?_count=200").await), laboratory);
    let one = laboratory[0].clone();
    assert_eq!(clinic.get(&token, &format!("/{one}")).await.status, StatusCode::OK);
    let other = names(&clinic.hapi.find_all("/Observation?category=vital-signs&_count=1").await)[0].clone();
    assert_eq!(clinic.get(&token, &format!("/{other}")).await.status, StatusCode::NOT_FOUND);

    // Two scopes add up.
    let token = clinic.service(&format!("{} {}", scope("laboratory"), scope("social-history"))).await;
    let both = names(&clinic.hapi.find_all("/Observation?category=laboratory,social-history&_count=200").await);
    assert_eq!(names(&clinic.find_all(&token, "/Observation?_count=200").await), both);

    // And the patient, and what is written.
    let token = clinic.patient(&format!("patient/Observation.crs?category={}", category("laboratory"))).await;
    let own = format!("/Observation?category=laboratory&subject=Patient/{PATIENT}&_count=200");
    assert_eq!(names(&clinic.find_all(&token, "/Observation").await), names(&clinic.hapi.find_all(&own).await));
    let vital_sign = crate::writes::observation(PATIENT, "granular");
    assert_eq!(clinic.write(&token, "POST", "/Observation", &vital_sign).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_brings_all_files_through_the_gateway() {
    let clinic = Clinic::open().await;
    let token = clinic.service("system/Patient.rs system/Practitioner.rs").await;
    let started = clinic.get(&token, "/$export?_type=Patient,Practitioner").await;
    assert_eq!(started.status, StatusCode::ACCEPTED, "{}", started.text);
    let status = started.headers["content-location"].to_str().unwrap().to_owned();
    let manifest = loop {
        let answer = clinic.get(&token, &status).await;
        if answer.status != StatusCode::ACCEPTED {
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
            break answer.json();
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };
    let mut found = Vec::new();
    for file in manifest["output"].as_array().unwrap() {
        let file = clinic.get(&token, file["url"].as_str().unwrap()).await;
        assert_eq!(file.status, StatusCode::OK, "{}", file.text);
        found.extend(file.text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    let mut expected = clinic.hapi.find_all("/Patient?_count=200").await;
    expected.extend(clinic.hapi.find_all("/Practitioner?_count=200").await);
    assert_eq!(names(&found), names(&expected));

    // It is for who asked for it.
    let other = clinic.patient("patient/*.rs").await;
    assert_eq!(clinic.get(&other, &status).await.status, StatusCode::NOT_FOUND);
    let file = manifest["output"][0]["url"].as_str().unwrap();
    assert_eq!(clinic.get(&other, file).await.status, StatusCode::NOT_FOUND);
}
