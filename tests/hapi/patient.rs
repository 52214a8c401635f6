//! An app that is held to one patient, in front of records of 240, some of which cross between two.

use reqwest::StatusCode;
use rstest::rstest;
use serde_json::Value;

use crate::clinic::{Clinic, PATIENT};
use crate::hapi::names;

/// The plain rule: whose a record is, by the one element that says whom it is about.
fn is_the_patients(resource: &Value) -> bool {
    let own = format!("Patient/{PATIENT}");
    match resource["resourceType"].as_str().unwrap() {
        "Patient" => resource["id"] == PATIENT,
        "Appointment" => resource["participant"]
            .as_array()
            .unwrap()
            .iter()
            .any(|participant| participant["actor"]["reference"] == own),
        "Practitioner" | "Organization" | "Location" => true,
        "Observation" | "Encounter" | "Condition" | "DocumentReference" => resource["subject"]["reference"] == own,
        other => panic!("no rule for {other}"),
    }
}

#[rstest]
#[case("/Patient")]
#[case("/Observation")]
#[case("/Observation?_count=7")]
#[case("/Observation?category=laboratory&_sort=-date")]
#[case("/Encounter")]
#[case("/Condition")]
#[case("/Appointment")]
#[case("/DocumentReference")]
#[case("/Practitioner")]
#[case("/Encounter?location.name=Room")]
// By HL7's definition the compartment holds what the patient made of another; and that comes along where it is asked for.
#[case("/Patient/erXuFYUfucBZaryVksYEcMg3/$everything?_type=Patient,Observation,Encounter,Condition")]
#[case("/Patient?_id=erXuFYUfucBZaryVksYEcMg3&_revinclude=Observation:performer&_count=100")]
#[tokio::test(flavor = "multi_thread")]
async fn a_search_finds_what_is_the_patients_and_all_of_it(#[case] path: &str) {
    let clinic = Clinic::open().await;
    let token = clinic.patient("patient/*.rs").await;
    let found = names(&clinic.find_all(&token, path).await);
    let mut all = clinic.hapi.find_all(path).await;
    all.retain(is_the_patients);
    assert_eq!(found, names(&all));
    assert!(!found.is_empty());
}

#[rstest]
#[case("/Observation?encounter.class=AMB")]
#[case("/Patient?_has:Observation:subject:code=8867-4")]
#[case("/Observation?subject:Patient.family=Lopez")]
#[case("/Group")]
#[case("/Observation/_history")]
#[case("/Patient/patient-7")]
#[case("/Patient/patient-7/$everything")]
#[case("/Observation?patient=patient-7")]
#[case("/Patient/patient-7/Observation")]
#[tokio::test(flavor = "multi_thread")]
async fn what_reaches_beyond_the_patient_is_refused_before_hapi_is_asked(#[case] path: &str) {
    let clinic = Clinic::open().await;
    let token = clinic.patient("patient/*.rs").await;
    // The code is told apart from that of other tests by a parameter that nobody else uses.
    let separator = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{separator}_pretty=refused");
    let answer = clinic.get(&token, &path).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
    let reached = clinic.hapi.log().await;
    assert!(!reached.iter().any(|reached| reached.target.contains("_pretty=refused")), "{reached:?}");
}
