//! Tables: scopes with limits (a patient, a condition), and what a request is held to under them.

use rstest::rstest;
use serde_json::{Value, json};

use super::tests::permit;
use super::*;
use crate::values::code::Code;
use crate::values::scope::Constraint;

const LABORATORY: &str = "system/Observation.cruds?category=laboratory";

fn for_patient(scopes: &str, method: &str, target: &str) -> Result<Permit, Denial> {
    permit(scopes, Some("1"), method, target)
}

fn added(permit: &Permit) -> String {
    constrain::append(None, &permit.constraints).unwrap_or_default().into_owned()
}

#[rstest]
#[case("patient/Observation.rs", "/Observation?code=a", "patient=1")]
#[case("patient/*.rs", "/Observation", "patient=1")]
#[case("patient/*.rs", "/AdverseEvent", "subject=Patient%2F1")]
#[case("patient/*.rs", "/Coverage", "beneficiary=Patient%2F1")]
#[case("patient/*.rs", "/Schedule", "actor=Patient%2F1")]
#[case("patient/*.rs", "/Patient?name=a", "_id=1")]
#[case("patient/*.rs", "/Patient?_id=1", "")]
#[case("patient/*.rs", "/Observation?patient=1", "")]
#[case("patient/*.rs", "/Observation?patient=Patient/1", "")]
#[case("patient/*.rs", "/Observation?subject=Patient/2", "patient=1")]
#[case("patient/*.rs", "/Patient/1/Observation?code=a", "")]
#[case("patient/*.rs", "/Encounter/7/Observation", "patient=1")]
#[case("patient/Observation.rs?category=laboratory", "/Observation", "category=laboratory&patient=1")]
#[case("patient/Observation.rs?category=laboratory", "/Patient/1/Observation", "category=laboratory")]
#[case("patient/Observation.rs?category=a patient/Observation.rs?category=b", "/Observation", "category=a,b&patient=1")]
#[case(
    "patient/Observation.rs?category=a patient/Observation.rs?status=final",
    "/Observation?status=final",
    "patient=1"
)]
#[case(LABORATORY, "/Observation?patient=2", "category=laboratory")]
#[case(LABORATORY, "/Observation?category=laboratory", "")]
#[case(LABORATORY, "/Observation?category=vital-signs", "category=laboratory")]
#[case(LABORATORY, "/Observation?category=laboratory,vital-signs", "category=laboratory")]
#[case(LABORATORY, "/Observation?category:not=laboratory", "category=laboratory")]
#[case("system/Observation.rs?category=http://a%7Cb", "/Observation", "category=http%3A%2F%2Fa%7Cb")]
#[case("system/Observation.rs?category=a,b", "/Observation?category=b", "")]
#[case("patient/*.rs", "/Observation/$lastn?code=a", "patient=1")]
#[case("patient/Observation.rs patient/Provenance.rs", "/Observation?_revinclude=Provenance:target", "patient=1")]
fn a_search_is_held_to_what_the_scopes_reach(#[case] scopes: &str, #[case] target: &str, #[case] held_by: &str) {
    let permit = for_patient(scopes, "GET", target).unwrap();
    assert_eq!(added(&permit), held_by);
    assert!(permit.answer.is_some());
}

#[rstest]
#[case("patient/*.rs", "GET", "/Organization?name=a")]
#[case("patient/*.rs", "GET", "/Practitioner/2")]
#[case("patient/*.rs", "GET", "/Medication/2")]
#[case("patient/Patient.rs", "GET", "/Patient/1")]
#[case("patient/Patient.rs", "GET", "/Patient/1/_history/2")]
#[case("patient/Observation.rs system/Observation.rs", "GET", "/Observation/2")]
#[case("patient/Observation.rs user/Observation.rs", "GET", "/Observation?code=a")]
fn what_scopes_reach_without_limits_passes_as_it_is(#[case] scopes: &str, #[case] method: &str, #[case] target: &str) {
    assert_eq!(for_patient(scopes, method, target), Ok(Permit::default()));
}

#[rstest]
#[case("patient/*.cruds", "GET", "/Patient/2", Code::BeyondPatient)]
#[case("patient/*.cruds", "GET", "/Patient/2/_history", Code::BeyondPatient)]
#[case("patient/*.cruds", "DELETE", "/Patient/2", Code::BeyondPatient)]
#[case("patient/*.cruds", "GET", "/Patient/2/Observation", Code::BeyondPatient)]
#[case("patient/*.cruds", "GET", "/Patient/2/*", Code::BeyondPatient)]
#[case("patient/*.cruds", "GET", "/Patient/2/$everything", Code::BeyondPatient)]
#[case("patient/*.cruds", "GET", "/Observation?patient=2", Code::BeyondPatient)]
#[case("patient/*.cruds", "GET", "/Observation?patient=1,2", Code::BeyondPatient)]
#[case("patient/*.cruds", "GET", "/Observation?patient=1&patient=2", Code::BeyondPatient)]
#[case("patient/*.cruds", "GET", "/Observation?patient:not=1", Code::BeyondPatient)]
#[case("patient/*.cruds", "GET", "/Patient?_id=2", Code::BeyondPatient)]
#[case("patient/*.cruds", "POST", "/Observation/_search?patient=2 body patient=1", Code::BeyondPatient)]
#[case("patient/*.cruds", "GET", "/Group", Code::BeyondPatient)]
#[case("patient/*.cruds", "GET", "/Binary/1", Code::BeyondPatient)]
#[case("patient/*.cruds", "GET", "/Task", Code::BeyondPatient)]
#[case("patient/*.cruds", "POST", "/Practitioner", Code::BeyondPatient)]
#[case("patient/*.cruds", "PUT", "/Organization/1", Code::BeyondPatient)]
#[case("patient/Observation.rs", "GET", "/Observation?_include=Observation:subject:Group", Code::ParameterRefused)]
#[case("patient/*.cruds", "GET", "/Observation?_include=Observation:subject:Group", Code::BeyondPatient)]
#[case("patient/*.cruds", "GET", "/Observation?patient.name=a", Code::ScopeUnenforceable)]
#[case("patient/*.cruds", "GET", "/Patient?_has:Observation:patient:code=a", Code::ScopeUnenforceable)]
#[case("patient/*.cruds", "GET", "/Observation?_list=1", Code::ScopeUnenforceable)]
#[case("patient/*.cruds", "GET", "/Observation?a=b;patient=2", Code::ScopeUnenforceable)]
#[case("patient/*.cruds", "GET", "/Observation?_summary=count", Code::ScopeUnenforceable)]
#[case("patient/*.cruds", "GET", "/Observation?_elements=code", Code::ScopeUnenforceable)]
#[case("patient/*.cruds", "GET", "/Observation/_history", Code::ScopeUnenforceable)]
#[case("patient/*.cruds", "GET", "?_type=Observation", Code::ScopeUnenforceable)]
#[case("patient/*.cruds", "GET", "/$export", Code::ScopeUnenforceable)]
#[case("patient/*.cruds", "GET", "/Patient/$export", Code::ScopeUnenforceable)]
#[case("patient/*.cruds", "DELETE", "/Observation?code=a", Code::ScopeUnenforceable)]
#[case("patient/*.cruds", "PUT", "/Observation?code=a", Code::ScopeUnenforceable)]
#[case("patient/*.cruds", "PATCH", "/Observation?code=a", Code::ScopeUnenforceable)]
#[case("patient/Patient.cruds", "GET", "/Observation", Code::ScopeInsufficient)]
#[case("patient/Observation.cruds", "GET", "/Patient/1/$everything", Code::ScopeInsufficient)]
#[case(
    "patient/Observation.rs?category=a patient/Observation.rs?status=final",
    "GET",
    "/Observation",
    Code::ScopeUnenforceable
)]
#[case("system/Observation.rs?value-quantity=5", "GET", "/Observation", Code::ScopeUnenforceable)]
#[case("system/Observation.rs?category=a", "GET", "?_type=Observation&category=a", Code::ScopeUnenforceable)]
#[case("system/Observation.rs?category=a", "GET", "/Observation/_history?category=a", Code::ScopeUnenforceable)]
fn what_cannot_be_held_to_limits_is_denied(
    #[case] scopes: &str,
    #[case] method: &str,
    #[case] target: &str,
    #[case] code: Code,
) {
    assert_eq!(for_patient(scopes, method, target).map_err(|denial| denial.code()), Err(code));
}

#[test]
fn a_search_by_post_says_its_limits_in_both_places() {
    let permit = for_patient(
        "patient/Observation.rs?category=laboratory",
        "POST",
        "/Observation/_search?code=x body date=ge2020&category=laboratory",
    )
    .unwrap();
    let constraint = |name: &str, value: &str| Constraint { name: name.into(), value: value.into() };
    assert_eq!(permit.held_to, [constraint("category", "laboratory"), constraint("patient", "1")]);
    let (query, form) =
        constrain::search_by_post(Some("code=x&_format=json"), "date=ge2020&category=laboratory", &permit.held_to)
            .unwrap();
    assert_eq!(query, "_format=json&category=laboratory&patient=1");
    assert_eq!(form, "code=x&date=ge2020&category=laboratory&patient=1");
}

fn observation(patient: &str, category: &str) -> Value {
    json!({"resourceType": "Observation", "id": "7", "subject": {"reference": format!("Patient/{patient}")},
        "category": [{"coding": [{"code": category}]}]})
}

#[test]
fn what_is_written_and_what_comes_back_is_judged() {
    let scopes = "patient/Observation.cru?category=laboratory";
    let create = for_patient(scopes, "POST", "/Observation").unwrap();
    let written = |value: &Value| create.check_body(value.to_string().as_bytes(), &[]);
    assert_eq!(written(&observation("1", "laboratory")), Ok(()));
    assert_eq!(written(&observation("2", "laboratory")), Err(Denial::BodyBeyondScope));
    assert_eq!(written(&observation("1", "vital-signs")), Err(Denial::BodyBeyondScope));
    assert_eq!(written(&json!({"resourceType": "Patient", "id": "1"})), Err(Denial::BodyBeyondScope));
    let twice =
        br#"{"resourceType":"Observation","subject":{"reference":"Patient/1"},"subject":{"reference":"Patient/2"}}"#;
    assert!(matches!(create.check_body(twice, &[]), Err(Denial::Json(_))));
    let searching = json!({"resourceType": "Observation", "id": "7", "subject": {"reference": "Patient/1"},
        "category": [{"coding": [{"code": "laboratory"}]}], "encounter": {"reference": "Encounter?identifier=a"}});
    assert!(matches!(written(&searching), Err(Denial::Scope { parameter: true, .. })));
}

#[rstest]
#[case(json!([{"op": "replace", "path": "/status", "value": "final"}]), true)]
#[case(json!([{"op": "test", "path": "/subject/reference", "value": "Patient/1"}]), true)]
#[case(json!([{"op": "replace", "path": "/subject/reference", "value": "Patient/2"}]), false)]
#[case(json!([{"op": "remove", "path": "/category/0"}]), false)]
#[case(json!([{"op": "copy", "from": "/x", "path": "/performer"}]), false)]
#[case(json!([{"op": "move", "from": "/subject", "path": "/x"}]), false)]
#[case(json!([{"op": "replace", "path": "", "value": {}}]), false)]
#[case(json!([{"op": "replace", "path": "/subjec~0t~1"}]), true)]
#[case(json!({"resourceType": "Parameters"}), false)]
fn a_patch_leaves_alone_what_the_scopes_are_judged_by(#[case] patch: Value, #[case] may: bool) {
    let permit = for_patient("patient/Observation.u?category=laboratory", "PATCH", "/Observation/7").unwrap();
    assert!(permit.current.is_some());
    let judged = permit.check_body(patch.to_string().as_bytes(), &[]);
    assert_eq!(judged, if may { Ok(()) } else { Err(Denial::PatchBeyondScope) });
}
