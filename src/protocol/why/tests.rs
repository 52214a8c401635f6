use rstest::rstest;
use serde_json::json;

use super::{Outcome, Question, Stance, why};
use crate::protocol::test_support::{World, platform};
use crate::snapshot::{Compiled, ObjectKey, compile};

fn world() -> World {
    World::before("http://127.0.0.1:9")
}

/// The answer in one line: permitted or the code, then each mark with what it does.
fn told(world: &World, app: &str, gateway: &str, request: &str, scope: Option<&str>) -> String {
    told_of(world, (app, gateway), request, scope, None)
}

/// The same of a launch that is about a patient.
fn told_of(
    world: &World,
    (app, gateway): (&str, &str),
    request: &str,
    scope: Option<&str>,
    patient: Option<&str>,
) -> String {
    let resources = world.resources();
    let (snapshot, reports) = compile(&resources, &platform());
    let (app, gateway) = (ObjectKey::new("default", app), ObjectKey::new("default", gateway));
    let request = request.parse().unwrap();
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let compiled = Compiled { resources: &resources, snapshot: &snapshot, reports: &reports, assumed: &[] };
    let question = Question { app: &app, gateway: &gateway, request: &request, scope, patient, now };
    let answer = why(&compiled, &question);
    let mut words = vec![match &answer.outcome {
        Outcome::Permitted(what) => format!("permitted {what}"),
        Outcome::Denied { code, .. } => code.number().to_owned(),
    }];
    words.extend(answer.marks.iter().map(|mark| {
        let sign = if mark.stance == Stance::Permits { '+' } else { '-' };
        format!("{sign}{} {}", mark.object.kind, mark.field)
    }));
    words.join(" ")
}

#[rstest]
#[case("GET Patient/1", "permitted read of Patient +App spec.scopes[0]")]
#[case("get /Patient/1", "permitted read of Patient +App spec.scopes[0]")]
#[case("GET /fhir/Patient/1", "permitted read of Patient +App spec.scopes[0]")]
#[case(
    "GET https://gate.example.org/default/epic/fhir/Patient/1 HTTP/1.1",
    "permitted read of Patient +App spec.scopes[0]"
)]
#[case("GET Observation?code=1", "permitted search-type of Observation +App spec.scopes[1]")]
#[case("POST Observation/_search", "permitted search-type of Observation +App spec.scopes[1]")]
#[case("PUT Appointment/1", "permitted update of Appointment +App spec.scopes[2]")]
#[case("PUT Patient/1", "HG7008 -App spec.scopes")]
#[case("GET Patient/1/$everything", "HG7008 -App spec.scopes")]
#[case("POST $lookup", "HG7010 -Gateway spec.operations")]
#[case("GET metadata", "permitted this document is open to everybody, without a token")]
#[case("GET patient/1", "HG7009")]
#[case("GET Patient/../1", "HG7011")]
#[case("GET Patient?_has:Encounter:patient:x=1", "HG7018 -App spec.scopes")]
#[case("TRACE Patient/1", "HG7013")]
#[case("GET https://other.example.org/fhir/Patient/1", "HG7060")]
#[case("GET /api/schedule", "permitted private API +App spec.scopes[3]")]
#[case("POST /api/schedule", "HG7015 -DataAdapter spec.externalAuth.routes")]
fn each_decision_names_the_words_that_decide(#[case] request: &str, #[case] expected: &str) {
    assert_eq!(told(&world(), "schedule-sync", "epic", request, None), expected);
}

#[rstest]
#[case("Gateway", "epic", "allowedScopes", json!(["system/Patient.s"]), "HG7008 +App spec.scopes[0] -Gateway spec.allowedScopes")]
#[case("Gateway", "epic", "allowedScopes", json!([]), "HG7025 +App spec.scopes[0] -Gateway spec.allowedScopes")]
#[case("Activation", "sync-epic", "scopes", json!(["system/Observation.rs"]), "HG7008 +App spec.scopes[0] -Activation spec.scopes")]
#[case("Activation", "sync-epic", "scopes", json!(["system/*.r"]), "permitted read of Patient +App spec.scopes[0] +Activation spec.scopes[0]")]
#[case("Activation", "sync-epic", "suspend", json!(true), "HG7006 -Activation spec.suspend")]
#[case("App", "schedule-sync", "suspend", json!(true), "HG7006 -App spec.suspend")]
#[case("DataAdapter", "epic-ehr", "suspend", json!(true), "HG7006 -DataAdapter spec.suspend")]
#[case("Activation", "sync-epic", "notBefore", json!("2027-01-01T00:00:00Z"), "HG7007 -Activation spec.notBefore")]
#[case("Activation", "sync-epic", "expiresAt", json!("2025-01-01T00:00:00Z"), "HG7007 -Activation spec.expiresAt")]
#[case("App", "schedule-sync", "scopes", json!(["nonsense"]), "HG7022 -App spec.scopes[0]")]
#[case("DataAdapter", "epic-ehr", "fhirBaseUrl", json!("http://10.0.0.1/fhir"), "HG7061 -DataAdapter spec.fhirBaseUrl")]
fn of_several_objects_the_one_that_says_no_is_named(
    #[case] kind: &str,
    #[case] name: &str,
    #[case] field: &str,
    #[case] value: serde_json::Value,
    #[case] expected: &str,
) {
    let world = world().set(kind, name, field, value);
    assert_eq!(told(&world, "schedule-sync", "epic", "GET Patient/1", None), expected);
}

#[test]
fn what_each_permits_alone_and_nobody_together_is_laid_on_the_one_that_takes_it_away() {
    let world = world()
        .set("App", "schedule-sync", "scopes", json!(["system/Patient.r", "system/Observation.r"]))
        .set("Activation", "sync-epic", "scopes", json!(["system/Patient.r"]))
        .set("Gateway", "epic", "allowedScopes", json!(["system/Observation.r"]));
    assert_eq!(
        told(&world, "schedule-sync", "epic", "POST /oauth2/token", None),
        "HG7025 +App spec.scopes[0] +Activation spec.scopes[0] -Gateway spec.allowedScopes"
    );
}

#[test]
fn a_token_that_was_asked_for_less_is_to_blame_itself() {
    let told = told(&world(), "schedule-sync", "epic", "GET Patient/1", Some("system/Observation.rs"));
    assert_eq!(told, "HG7008 +App spec.scopes[0]");
}

#[rstest]
#[case("stranger", "HG7024")]
#[case("mobile", "HG7024 -App spec.clientType")]
fn who_gets_no_token_is_told_why(#[case] app: &str, #[case] expected: &str) {
    assert_eq!(told(&world(), app, "epic", "GET Patient/1", None), expected);
}

fn launched() -> World {
    let metadata = json!({ "name": "portal-epic" });
    let user = json!({ "type": "User", "user": { "clientId": "portal-at-epic" } });
    let scopes = json!(["launch", "openid", "patient/Observation.rs", "user/Patient.r", "system/Encounter.r"]);
    world()
        .and(json!({ "kind": "App", "metadata": { "name": "portal" }, "spec": {
            "displayName": "Portal", "clientType": "Public", "redirectUris": ["https://portal.example.org/back"],
            "scopes": scopes,
        }}))
        .and(json!({ "kind": "Activation", "metadata": metadata, "spec": {
            "appRef": { "name": "portal" }, "gatewayRef": { "name": "epic" }, "ehrAuthentication": user,
        }}))
}

#[rstest]
#[case("GET Observation/1", Some("p-1"), "permitted read of Observation")]
#[case("GET Observation?patient=p-1", Some("p-1"), "permitted search-type of Observation")]
#[case("GET Observation?patient=p-2", Some("p-1"), "HG7051")]
#[case("GET Observation/1", None, "HG7008 -App spec.scopes")]
#[case("GET Patient/p-2", None, "permitted read of Patient")]
#[case("GET Encounter/1", Some("p-1"), "HG7008 -App spec.scopes")]
fn a_token_of_a_launch_is_held_to_the_patient_that_it_is_about(
    #[case] request: &str,
    #[case] patient: Option<&str>,
    #[case] expected: &str,
) {
    let told = told_of(&launched(), ("portal", "epic"), request, None, patient);
    assert!(told.starts_with(expected), "{told}");
}

#[rstest]
#[case("GET", "write method and path")]
#[case("Patient/1 GET", "is no HTTP method")]
#[case("GET Patient?name=A B", "encode spaces")]
fn what_is_no_request_is_refused_with_a_hint(#[case] text: &str, #[case] hint: &str) {
    let error = text.parse::<super::RequestLine>().unwrap_err().to_string();
    assert!(error.contains(hint), "{error}");
}
