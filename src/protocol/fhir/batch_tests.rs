//! Batches and transactions, entry by entry.

use rstest::rstest;
use serde_json::{Value, json};

use super::tests::permit;
use super::*;
use crate::values::code::Code;

fn bundle(kind: &str, scopes: &str, patient: Option<&str>, entries: &Value) -> Result<Permit, Denial> {
    let bundle = json!({"resourceType": "Bundle", "type": kind, "entry": entries});
    permit(scopes, patient, "POST", &format!(" body {bundle}"))
}

fn batch(scopes: &str, patient: Option<&str>, entries: &Value) -> Result<Permit, Denial> {
    bundle("batch", scopes, patient, entries)
}

fn entry(method: &str, url: &str) -> Value {
    json!({"request": {"method": method, "url": url}})
}

#[test]
fn a_batch_passes_where_each_of_its_entries_would() {
    let entries = json!([
        entry("GET", "Patient/1"),
        entry("GET", "Observation?code=a"),
        {"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Patient"}, "request": {"method": "POST", "url": "Patient"}},
        {"resource": {"resourceType": "Observation", "subject": {"reference": "urn:uuid:1"}},
            "request": {"method": "POST", "url": "Observation", "ifNoneExist": "identifier=a"}},
        {"resource": {"resourceType": "Observation", "id": "2"}, "request": {"method": "PUT", "url": "Observation/2", "ifMatch": "W/\"1\""}},
        entry("DELETE", "Observation/3"),
    ]);
    assert_eq!(batch("system/Patient.cr system/Observation.cuds", None, &entries), Ok(Permit::default()));
}

#[rstest]
#[case(entry("DELETE", "Patient/1"), Code::ScopeInsufficient)]
#[case(entry("GET", "Encounter/1"), Code::ScopeInsufficient)]
#[case(entry("GET", "Patient?_revinclude=Provenance:target"), Code::ParameterRefused)]
#[case(entry("GET", "Patient?_has:Encounter:patient:status=a"), Code::ParameterRefused)]
#[case(entry("GET", "Patient/$unlisted"), Code::OperationNotAllowed)]
#[case(entry("POST", "Patient"), Code::ScopeInsufficient)]
#[case(entry("GET", "https://ehr.example.org/fhir/Patient/1"), Code::BatchRefused)]
#[case(entry("GET", "/Patient/1"), Code::BatchRefused)]
#[case(entry("GET", "../Patient/1"), Code::BatchRefused)]
#[case(entry("GET", "Patient/%2e%2e"), Code::BatchRefused)]
#[case(entry("GET", "Patient/1#x"), Code::BatchRefused)]
#[case(entry("POST", ""), Code::BatchRefused)]
#[case(entry("POST", "Patient/_search"), Code::ContentTypeRefused)]
#[case(entry("TRACE", "Patient/1"), Code::InteractionUnknown)]
#[case(json!({"resource": {"resourceType": "Encounter"}, "request": {"method": "PUT", "url": "Observation/1"}}), Code::BatchRefused)]
#[case(json!({"resource": {"resourceType": "Observation", "id": "2"}, "request": {"method": "PUT", "url": "Observation/1"}}), Code::BatchRefused)]
#[case(json!({"resource": {"resourceType": "Observation", "id": "1", "encounter": {"reference": "Encounter?status=a"}},
    "request": {"method": "PUT", "url": "Observation/1"}}), Code::ParameterRefused)]
#[case(json!({"resource": {"resourceType": "Observation"},
    "request": {"method": "POST", "url": "Observation", "ifNoneExist": "encounter.status=a"}}), Code::ScopeInsufficient)]
#[case(json!({"resource": {}}), Code::BatchRefused)]
#[case(json!({"request": {"method": "GET", "url": 1}}), Code::BatchRefused)]
#[case(json!(1), Code::BatchRefused)]
fn one_entry_that_may_not_pass_stops_all_and_is_named(#[case] offender: Value, #[case] code: Code) {
    let denied = batch("system/Patient.rs system/Observation.us", None, &json!([entry("GET", "Patient/1"), offender]));
    let denial = denied.unwrap_err();
    assert_eq!(denial.code(), code, "{denial}");
    assert!(matches!(denial, Denial::Entry { number: 2, .. }), "{denial:?}");
}

#[test]
fn the_first_offender_is_named_without_its_query() {
    let entries =
        json!([entry("GET", "Patient/1"), entry("GET", "Encounter?patient.name=Miller"), entry("GET", "Slot/1")]);
    let denial = batch("system/Patient.r", None, &entries).unwrap_err();
    assert_eq!(denial.to_string(), "entry 2 (GET Encounter): the token would need the scope system/Encounter.s");
}

#[rstest]
#[case(json!({"resourceType": "Bundle", "type": "collection"}).to_string())]
#[case(json!({"resourceType": "Patient"}).to_string())]
#[case(json!({"resourceType": "Bundle", "type": "batch", "entry": {}}).to_string())]
#[case(r#"{"resourceType":"Bundle","type":"batch","entry":[],"entry":[{"request":{"method":"DELETE","url":"Patient/1"}}]}"#.into())]
#[case("[".into())]
fn what_is_no_batch_is_refused(#[case] body: String) {
    let denied = permit("system/*.cruds", None, "POST", &format!(" body {body}"));
    assert_eq!(denied.map_err(|denial| denial.code()), Err(Code::BatchRefused));
}

#[test]
fn under_narrowed_scopes_a_batch_reads_and_creates_only() {
    let scopes = "patient/Observation.cruds";
    let observation = |patient: &str| json!({"resourceType": "Observation", "id": "1", "subject": {"reference": format!("Patient/{patient}")}});
    let create =
        |patient: &str| json!({"resource": observation(patient), "request": {"method": "POST", "url": "Observation"}});
    let passes = json!([entry("GET", "Observation/1"), entry("GET", "Observation?patient=1"), create("1")]);
    let limits = batch(scopes, Some("1"), &passes).unwrap().entries;
    assert!(limits.iter().all(Option::is_some));
    for (offender, code) in [
        (create("2"), Code::BodyBeyondScope),
        (entry("GET", "Observation"), Code::ScopeUnenforceable),
        (entry("GET", "Observation?patient=2"), Code::BeyondPatient),
        (entry("DELETE", "Observation/1"), Code::ScopeUnenforceable),
        (
            json!({"resource": observation("1"), "request": {"method": "PUT", "url": "Observation/1"}}),
            Code::ScopeUnenforceable,
        ),
        (
            json!({"request": {"method": "GET", "url": "Observation/1", "ifNoneMatch": "W/\"1\""}}),
            Code::ScopeUnenforceable,
        ),
    ] {
        assert_eq!(batch(scopes, Some("1"), &json!([offender])).map_err(|denial| denial.code()), Err(code));
    }
}

#[test]
fn a_transaction_that_would_fail_with_what_is_not_there_reads_nothing_by_id() {
    let scopes = "patient/Observation.crs patient/Patient.r";
    let decided = |url: &str| {
        bundle("transaction", scopes, Some("1"), &json!([entry("GET", url)])).map_err(|denial| denial.code())
    };
    assert_eq!(decided("Observation/1").map(|_| ()), Err(Code::ScopeUnenforceable));
    assert_eq!(decided("Patient/1"), Ok(Permit::default()));
    assert!(decided("Observation?patient=1").is_ok());
}
