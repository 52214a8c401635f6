//! What passes of an answer under narrowed scopes, whole texts compared.

use rstest::rstest;
use serde_json::{Value, json};

use super::answer::{Instead, Unjudgeable, Verdict, judge_batch};
use super::tests::permit;
use super::*;

const INSTEAD: Instead<'static> = Instead { absent: r#"{"absent":1}"#, beyond: r#"{"beyond":1}"# };

/// What the answer to a request must be, with these scopes and `Patient/1` in context.
fn condition(scopes: &str, target: &str) -> Condition {
    permit(scopes, Some("1"), "GET", target).unwrap().answer.unwrap()
}

fn judged(scopes: &str, target: &str, answer: &Value) -> Verdict {
    condition(scopes, target).judge(answer.to_string().as_bytes(), &[]).unwrap()
}

fn observation(id: &str, patient: &str) -> Value {
    json!({"resourceType": "Observation", "id": id, "subject": {"reference": format!("Patient/{patient}")}})
}

fn matching(resource: &Value) -> Value {
    json!({"resource": resource, "search": {"mode": "match"}})
}

fn included(resource: &Value) -> Value {
    json!({"resource": resource, "search": {"mode": "include"}})
}

fn page(entries: &[Value]) -> Value {
    json!({"resourceType": "Bundle", "type": "searchset", "total": 2, "entry": entries})
}

#[test]
fn a_resource_passes_or_does_not() {
    let read = |answer: &Value| judged("patient/Observation.r", "/Observation/7", answer);
    assert_eq!(read(&observation("7", "1")), Verdict::Whole);
    assert_eq!(read(&observation("7", "2")), Verdict::Beyond);
    assert_eq!(read(&json!({"resourceType": "Patient", "id": "1"})), Verdict::Beyond);
    assert_eq!(read(&json!({"resourceType": "OperationOutcome"})), Verdict::Whole);
    assert_eq!(read(&json!({"id": "7"})), Verdict::Beyond);
}

#[test]
fn a_page_passes_where_each_of_its_matches_does() {
    let search = |entries: &[Value]| judged("patient/Observation.s", "/Observation", &page(entries));
    let (own, foreign) = (matching(&observation("7", "1")), matching(&observation("8", "2")));
    let outcome = json!({"resource": {"resourceType": "OperationOutcome"}, "search": {"mode": "outcome"}});
    assert_eq!(search(&[]), Verdict::Whole);
    assert_eq!(search(&[own.clone(), outcome]), Verdict::Whole);
    assert_eq!(search(&[own.clone(), foreign]), Verdict::Beyond);
    // One that says nothing of how it came was asked for.
    assert_eq!(search(&[own, json!({"resource": observation("8", "2")})]), Verdict::Beyond);
    assert_eq!(search(&[json!({"fullUrl": "x"})]), Verdict::Beyond);
    let document = json!({"resourceType": "Bundle", "type": "document"});
    assert_eq!(judged("patient/Observation.s", "/Observation", &document), Verdict::Beyond);
}

#[test]
fn what_came_along_beyond_the_scopes_is_taken_out_and_the_rest_keeps_its_letters() {
    let scopes = "patient/Observation.rs patient/Encounter.rs";
    let condition = condition(scopes, "/Observation?_include=Observation:encounter:Encounter");
    let bundle = |entries: &str| {
        format!(r#"{{"resourceType" : "Bundle","type":"searchset","total":1,"link":[ ],"entry":[{entries}]}}"#)
    };
    let own = r#"{ "resource":{"resourceType":"Observation","id":"7","subject":{"reference":"Patient\/1"},"valueQuantity":{"value":1.50}}}"#;
    let foreign = r#"{"resource":{"resourceType":"Encounter","id":"9","subject":{"reference":"Patient/2"}},"search":{"mode":"include"}}"#;
    let cut = condition.judge(bundle(&format!("{foreign}, {own},{foreign}")).as_bytes(), &[]).unwrap();
    assert_eq!(
        cut,
        Verdict::Part(format!(
            r#"{{"resourceType":"Bundle","type":"searchset","total":1,"link":[ ],"entry":[{own}]}}"#
        ))
    );
    let alone = condition.judge(bundle(foreign).as_bytes(), &[]).unwrap();
    assert_eq!(alone, Verdict::Part(r#"{"resourceType":"Bundle","type":"searchset","total":1,"link":[ ]}"#.to_owned()));
}

#[rstest]
#[case("/Patient/1/Observation")]
#[case("/Patient/1/*")]
#[case("/Patient/1/$everything")]
fn what_the_path_alone_holds_to_the_patient_is_sifted(#[case] target: &str) {
    let scopes = "patient/*.rs";
    let own = matching(&observation("7", "1"));
    // Our patient has made it, of a neighbour.
    let mut made = observation("8", "2");
    made["performer"] = json!([{"reference": "Patient/1"}]);
    let sifted = json!({"resourceType": "Bundle", "type": "searchset", "entry": [own]});
    assert_eq!(judged(scopes, target, &page(&[own.clone(), matching(&made)])), Verdict::Part(sifted.to_string()));
    assert_eq!(judged(scopes, target, &page(&[own])), Verdict::Whole);
}

#[test]
fn a_provenance_comes_along_with_what_it_is_about() {
    let search = |target: &str| {
        let provenance = json!({"resourceType": "Provenance", "target": [{"reference": target}]});
        judged(
            "patient/Observation.rs patient/Provenance.rs",
            "/Observation?_revinclude=Provenance:target",
            &page(&[included(&provenance), matching(&observation("7", "1"))]),
        )
    };
    assert_eq!(search("Observation/7"), Verdict::Whole);
    assert_eq!(search("Observation/8"), Verdict::Part(page(&[matching(&observation("7", "1"))]).to_string()));
}

#[test]
fn a_history_shows_deletions_beside_what_was_admitted_only() {
    let history = |entries: &[Value]| {
        let bundle = json!({"resourceType": "Bundle", "type": "history", "entry": entries});
        judged("patient/Observation.r", "/Observation/7/_history", &bundle)
    };
    let deleted = json!({"request": {"method": "DELETE", "url": "Observation/7"}});
    assert_eq!(history(&[deleted.clone(), json!({"resource": observation("7", "1")})]), Verdict::Whole);
    assert_eq!(history(&[deleted]), Verdict::Beyond);
}

#[rstest]
#[case(r#"{"resourceType":"Observation","subject":{"reference":"Patient/1"},"subject":{"reference":"Patient/2"}}"#)]
#[case(r#"{"resourceType":"Bundle","type":"searchset","type":"document"}"#)]
#[case(r#"{"resourceType":"Bundle","type":"searchset","entry":[],"entry":[]}"#)]
#[case(r#"{"resourceType":"Bundle","type":"searchset","entry":[{"resource":{"a":1,"a":2}}]}"#)]
#[case(r#"{"resourceType":"Bundle","type":"searchset","entry":{}}"#)]
#[case(r#"{"resourceType":"Bundle","type":"searchset","link":[{"a":1,"a":1}]}"#)]
#[case("[]")]
#[case("{} {}")]
#[case("")]
fn what_has_no_one_reading_is_not_judged(#[case] answer: &str) {
    let judged = condition("patient/Observation.s", "/Observation").judge(answer.as_bytes(), &[]);
    assert!(matches!(judged, Err(Unjudgeable::Json(_))), "{judged:?}");
}

/// A batch of these entries under `patient/Observation.crs`, answered by that.
fn answered(requests: &Value, answers: &[Value]) -> Result<Verdict, Unjudgeable> {
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": requests});
    let limits = permit("patient/Observation.crs patient/Patient.r", Some("1"), "POST", &format!(" body {bundle}"));
    let answer = json!({"resourceType": "Bundle", "type": "batch-response", "entry": answers}).to_string();
    judge_batch(&limits.unwrap().entries, answer.as_bytes(), INSTEAD, &[])
}

#[test]
fn a_batch_is_judged_entry_by_entry_and_tells_nothing_of_what_is_beyond() {
    let get = |url: &str| json!({"request": {"method": "GET", "url": url}});
    let created = json!({"request": {"method": "POST", "url": "Observation"}, "resource": observation("1", "1")});
    let requests = json!([
        get("Observation/7"),
        get("Observation/8"),
        get("Observation/9"),
        get("Observation/10"),
        get("Observation?patient=1&_include=Observation:patient"),
        get("Observation?patient=1&code=a"),
        created,
        created,
        get("Patient/1"),
    ]);
    let found = |resource: &Value| json!({"resource": resource, "response": {"status": "200 OK", "etag": "W/\"1\""}});
    let outcome = json!({"resourceType": "OperationOutcome", "issue": [{"diagnostics": "Observation/9 is not known"}]});
    let neighbour = included(&json!({"resourceType": "Patient", "id": "2"}));
    let own = found(&observation("7", "1"));
    let made = json!({"response": {"status": "201 Created", "location": "Observation/11/_history/1"}});
    let failed = json!({"response": {"status": "422", "outcome": {"resourceType": "OperationOutcome"}}});
    let patient = found(&json!({"resourceType": "Patient", "id": "1"}));
    let answers = [
        own.clone(),
        found(&observation("8", "2")),
        json!({"response": {"status": "404 Not Found", "outcome": outcome}}),
        json!({"response": {"status": "200"}}),
        found(&page(&[matching(&observation("7", "1")), neighbour])),
        found(&page(&[matching(&observation("8", "2"))])),
        made.clone(),
        failed.clone(),
        patient.clone(),
    ];
    let absent = json!({"absent": 1});
    let entries = [
        own,
        absent.clone(),
        absent.clone(),
        absent,
        found(&page(&[matching(&observation("7", "1"))])),
        json!({"beyond": 1}),
        made,
        failed,
        patient,
    ];
    let expected = json!({"resourceType": "Bundle", "type": "batch-response", "entry": entries});
    assert_eq!(answered(&requests, &answers).unwrap(), Verdict::Part(expected.to_string()));
}

#[test]
fn a_batch_that_is_answered_otherwise_is_not_judged() {
    let requests = json!([{"request": {"method": "GET", "url": "Observation/7"}}]);
    let own = json!({"resource": observation("7", "1"), "response": {"status": "200"}});
    assert_eq!(answered(&requests, std::slice::from_ref(&own)).unwrap(), Verdict::Whole);
    assert!(matches!(answered(&requests, &[]), Err(Unjudgeable::Entries)));
    assert!(matches!(answered(&requests, &[own.clone(), own]), Err(Unjudgeable::Entries)));
    // A resource that comes with a refusal, or with no status, was not what was asked for.
    for status in [json!({"status": "403"}), json!({}), Value::Null] {
        let answer = json!({"resource": observation("8", "2"), "response": status});
        let expected = r#"{"resourceType":"Bundle","type":"batch-response","entry":[{"absent":1}]}"#;
        assert_eq!(answered(&requests, &[answer]).unwrap(), Verdict::Part(expected.to_owned()));
    }
}
