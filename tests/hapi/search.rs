//! Reads, searches and their pages for a backend service: what HAPI has, with the gateway's places in it.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use rstest::rstest;

use crate::clinic::Clinic;
use crate::hapi::{link, names};

#[rstest]
#[case("/Patient/patient-7")]
#[case("/Observation/observation-3-1")]
#[case("/DocumentReference/document-5")]
#[case("/Observation/observation-3-1/_history/1")]
#[tokio::test(flavor = "multi_thread")]
async fn a_read_is_hapis_own_with_the_gateways_places_in_it(#[case] path: &str) {
    let clinic = Clinic::open().await;
    let token = clinic.service("system/*.rs").await;
    let answer = clinic.get(&token, path).await;
    let direct = clinic.hapi.get(path).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.text, direct.text.replace(&clinic.hapi.base(), &clinic.base()));
    assert_eq!(answer.headers["etag"], direct.headers["etag"]);
    assert_eq!(answer.headers["last-modified"], direct.headers["last-modified"]);
}

#[rstest]
#[case("/Observation?_count=50")]
#[case("/Patient?gender=female&_sort=family&_count=7")]
#[case("/Encounter?class=AMB")]
#[case("/Observation?subject:Patient.family=Lopez")]
#[case("/Observation?encounter.class=IMP&category=laboratory")]
#[case("/Patient?_has:Observation:subject:code=8867-4")]
#[case("/Patient?_has:Encounter:subject:_has:Condition:encounter:code=38341003")]
#[case("/Observation?code=2339-0&_include=Observation:subject&_include=Observation:encounter")]
#[case("/Patient?family=Ross&_revinclude=Observation:focus&_revinclude=DocumentReference:subject")]
#[case("/Encounter?status=finished&_include=Encounter:location&_include:iterate=Location:organization")]
#[case("/Patient/patient-9/$everything?_count=5")]
#[case("/Patient?family=Nobody")]
#[tokio::test(flavor = "multi_thread")]
async fn all_pages_together_are_what_hapi_finds(#[case] path: &str) {
    let clinic = Clinic::open().await;
    let token = clinic.service("system/*.rs").await;
    let found = names(&clinic.find_all(&token, path).await);
    assert_eq!(found, names(&clinic.hapi.find_all(path).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_on_one_type_bring_that_type_alone() {
    let clinic = Clinic::open().await;
    let token = clinic.service("system/Observation.rs").await;
    for (path, status, code) in [
        ("/Patient", StatusCode::FORBIDDEN, "HG7008"),
        ("/Encounter/encounter-1-0", StatusCode::FORBIDDEN, "HG7008"),
        ("/Observation?_include=Observation:encounter", StatusCode::FORBIDDEN, "HG7018"),
        ("/Observation?subject:Patient.family=Lopez", StatusCode::FORBIDDEN, "HG7018"),
        ("/Observation?code=8867-4", StatusCode::OK, ""),
    ] {
        let answer = clinic.get(&token, path).await;
        let told = answer.json()["issue"][0]["details"]["coding"][0]["code"].as_str().unwrap_or_default().to_owned();
        assert_eq!((answer.status, told.as_str()), (status, code), "{path}: {}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_a_page_is_for_the_client_that_got_it() {
    let clinic = Clinic::open().await;
    let token = clinic.service("system/*.rs").await;
    let page = clinic.get(&token, "/Observation?_count=10").await.json();
    let next = link(&page, "next").unwrap();
    let other = clinic.patient("patient/*.rs").await;
    assert_eq!(clinic.get(&other, &next).await.status, StatusCode::NOT_FOUND);
    let narrower = clinic.service("system/Patient.rs").await;
    assert_eq!(clinic.get(&narrower, &next).await.status, StatusCode::FORBIDDEN);
    assert_eq!(clinic.get(&token, &next).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn hapi_sees_the_ehrs_tokens_and_never_an_apps() {
    let clinic = Clinic::open().await;
    let token = clinic.service("system/*.rs").await;
    let marker = "8867-4,29463-7,718-7";
    clinic.get(&token, &format!("/Observation?code={marker}")).await;
    let reached = clinic.hapi.log().await;
    let found: Vec<_> = reached.iter().filter(|reached| reached.target.contains(marker)).collect();
    assert_eq!(found.len(), 1);
    assert_ne!(found[0].bearer().unwrap(), token);
    let given: BTreeSet<&str> = found[0].headers.keys().map(String::as_str).collect();
    let expected = ["accept", "accept-encoding", "authorization", "host", "user-agent", "x-request-id"];
    assert_eq!(given, BTreeSet::from(expected));
}
