//! Tables: what each request is, and what it needs.

use std::collections::BTreeSet;

use http::Method;
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::values::code::Code;
use crate::values::scope::ScopeSet;

const JSON: Option<&str> = Some("application/fhir+json");
const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

/// `"GET Patient/1?x=y"` → parts.
fn parts<'request>(
    method: &'request Method,
    target: &'request str,
    content_type: Option<&'request str>,
) -> Parts<'request> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Parts { method, path, query, content_type, if_none_exist: None }
}

fn name_of(method: &str, target: &str, content_type: Option<&str>) -> Result<(String, Option<String>), Denial> {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let understood = understand(&parts(&method, target, content_type))?;
    Ok((understood.name().to_owned(), understood.resource_type().map(str::to_owned)))
}

#[rstest]
#[case("GET", "/metadata", None, "capabilities", None)]
#[case("GET", "/Patient/1", None, "read", Some("Patient"))]
#[case("HEAD", "/Patient/1", None, "read", Some("Patient"))]
#[case("GET", "/Patient/eq081-VQEgP8drUUqCWzHfw3", None, "read", Some("Patient"))]
#[case("GET", "/Patient/1/_history/2", None, "vread", Some("Patient"))]
#[case("GET", "/Patient/1/_history", None, "history-instance", Some("Patient"))]
#[case("GET", "/Patient/_history", None, "history-type", Some("Patient"))]
#[case("GET", "/_history", None, "history-system", None)]
#[case("GET", "/Patient", None, "search-type", Some("Patient"))]
#[case("GET", "/Patient?name=a", None, "search-type", Some("Patient"))]
#[case("POST", "/Patient/_search", FORM, "search-type", Some("Patient"))]
#[case("GET", "", None, "search-system", None)]
#[case("GET", "/?_type=Patient", None, "search-system", None)]
#[case("POST", "/_search", FORM, "search-system", None)]
#[case("GET", "/Patient/1/Observation", None, "search-compartment", Some("Observation"))]
#[case("GET", "/Patient/1/*", None, "search-compartment", None)]
#[case("POST", "/Patient", JSON, "create", Some("Patient"))]
#[case("POST", "/Binary", Some("application/pdf"), "create", Some("Binary"))]
#[case("PUT", "/Patient/1", JSON, "update", Some("Patient"))]
#[case("PUT", "/Patient?identifier=a", JSON, "conditional-update", Some("Patient"))]
#[case("PATCH", "/Patient/1", Some("application/json-patch+json"), "patch", Some("Patient"))]
#[case("PATCH", "/Patient?identifier=a", JSON, "conditional-patch", Some("Patient"))]
#[case("DELETE", "/Patient/1", None, "delete", Some("Patient"))]
#[case("DELETE", "/Patient?identifier=a", None, "conditional-delete", Some("Patient"))]
#[case("POST", "", JSON, "batch", None)]
#[case("POST", "/", JSON, "batch", None)]
#[case("GET", "/$export", None, "operation", None)]
#[case("POST", "/Patient/$match", JSON, "operation", Some("Patient"))]
#[case("GET", "/Patient/1/$everything", None, "operation", Some("Patient"))]
fn requests_are_understood(
    #[case] method: &str,
    #[case] target: &str,
    #[case] content_type: Option<&str>,
    #[case] name: &str,
    #[case] resource_type: Option<&str>,
) {
    assert_eq!(name_of(method, target, content_type), Ok((name.to_owned(), resource_type.map(str::to_owned))));
}

#[rstest]
#[case("GET", "/patient/1", None, Code::InteractionUnknown)]
#[case("GET", "/Patient/", None, Code::InteractionUnknown)]
#[case("GET", "/Patient/1/", None, Code::InteractionUnknown)]
#[case("GET", "/Patient/a%20b", None, Code::InteractionUnknown)]
#[case("GET", "/Patient/_search", None, Code::InteractionUnknown)]
#[case("GET", "/Patient/1/_history/2/x", None, Code::InteractionUnknown)]
#[case("GET", "/Patient/1/observation", None, Code::InteractionUnknown)]
#[case("GET", "/_search", None, Code::InteractionUnknown)]
#[case("GET", "/_unknown", None, Code::InteractionUnknown)]
#[case("GET", "/Patient/$", None, Code::InteractionUnknown)]
#[case("PUT", "", JSON, Code::InteractionUnknown)]
#[case("DELETE", "", None, Code::InteractionUnknown)]
#[case("POST", "/Patient/1", JSON, Code::InteractionUnknown)]
#[case("POST", "/metadata", JSON, Code::InteractionUnknown)]
#[case("DELETE", "/Patient/1/_history", None, Code::InteractionUnknown)]
#[case("DELETE", "/Patient", None, Code::InteractionUnknown)]
#[case("DELETE", "/Patient?_format=json", None, Code::InteractionUnknown)]
#[case("DELETE", "/Patient?identifier=", None, Code::InteractionUnknown)]
#[case("PUT", "/Patient", JSON, Code::InteractionUnknown)]
#[case("POST", "/Patient", FORM, Code::ContentTypeRefused)]
#[case("POST", "/Patient", Some("application/fhir+xml"), Code::ContentTypeRefused)]
#[case("POST", "/Patient", None, Code::ContentTypeRefused)]
#[case("POST", "/Patient/_search", JSON, Code::ContentTypeRefused)]
#[case("PATCH", "/Patient/1", Some("application/merge-patch+json"), Code::ContentTypeRefused)]
fn what_is_not_understood_is_denied(
    #[case] method: &str,
    #[case] target: &str,
    #[case] content_type: Option<&str>,
    #[case] code: Code,
) {
    assert_eq!(name_of(method, target, content_type).map_err(|denial| denial.code()), Err(code));
}

/// The decision on `"GET /Patient/1"`, or `"POST /Patient/_search body name=a"`, with these scopes and this patient.
pub(super) fn permit(scopes: &str, patient: Option<&str>, method: &str, target: &str) -> Result<Permit, Denial> {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let (target, body) = target.split_once(" body ").map_or((target, None), |(target, body)| (target, Some(body)));
    let content_type = match method {
        Method::GET | Method::DELETE => None,
        _ if target.contains("_search") => FORM,
        _ => JSON,
    };
    let operations = BTreeSet::from(["$everything", "$lastn", "$export"].map(str::to_owned));
    let scopes = ScopeSet::parse(scopes).unwrap();
    let access = Access { scopes: &scopes, patient };
    judge(&access, &operations, &parts(&method, target, content_type), body.map(str::as_bytes))
        .map(|(_, permit)| permit)
}

fn decided(scopes: &str, method: &str, target: &str) -> Result<(), Denial> {
    permit(scopes, None, method, target).map(|permit| assert_eq!(permit, Permit::default()))
}

#[rstest]
#[case("system/Patient.r", "GET", "/Patient/1")]
#[case("system/Patient.r", "GET", "/Patient/1/_history")]
#[case("system/Patient.r", "GET", "/Patient/1/_history/3")]
#[case("system/Patient.s", "GET", "/Patient?name=a&birthdate=ge2000&_count=5&_sort=-date&_format=json")]
#[case("system/Patient.s", "GET", "/Patient/_history?_since=2020")]
#[case("system/Patient.s", "POST", "/Patient/_search body name=a")]
#[case("system/Patient.read", "GET", "/Patient/1")]
#[case("system/Patient.read", "GET", "/Patient?name:exact=a")]
#[case("system/*.s", "GET", "?_id=1")]
#[case("system/Patient.s system/Observation.s", "GET", "/?_type=Patient,Observation")]
#[case("system/Observation.s", "GET", "/Patient/1/Observation")]
#[case("system/Patient.c", "POST", "/Patient")]
#[case("system/Patient.u", "PUT", "/Patient/1")]
#[case("system/Patient.u", "PATCH", "/Patient/1")]
#[case("system/Patient.d", "DELETE", "/Patient/1")]
#[case("system/Patient.cus", "PUT", "/Patient?identifier=a")]
#[case("system/Patient.us", "PATCH", "/Patient?identifier=a")]
#[case("system/Patient.ds", "DELETE", "/Patient?identifier=a")]
#[case("system/Observation.s system/Patient.s", "GET", "/Observation?patient.name=a")]
#[case("system/Observation.s system/Patient.s", "GET", "/Observation?subject:Patient.name=a")]
#[case("system/Patient.s system/Observation.s", "GET", "/Patient?_has:Observation:patient:code=1")]
#[case("system/Observation.s system/Patient.r", "GET", "/Observation?_include=Observation:subject:Patient")]
#[case("system/Appointment.s system/Patient.r", "GET", "/Appointment?_include=Appointment:patient")]
#[case("system/Patient.s system/Provenance.s", "GET", "/Patient?_revinclude=Provenance:target")]
#[case("user/Patient.r", "GET", "/Patient/1")]
#[case(
    "system/Observation.s system/Encounter.s system/EpisodeOfCare.s",
    "GET",
    "/Observation?encounter.status=planned"
)]
#[case(
    "system/Observation.s system/Patient.r system/Group.r system/Device.r system/Location.r",
    "GET",
    "/Observation?_include=Observation:subject"
)]
#[case("system/Patient.rs system/Observation.rs", "GET", "/Patient/1/$everything?_type=Patient,Observation")]
#[case("system/Patient.rs", "GET", "/$export?_type=Patient")]
#[case("system/Observation.rs", "GET", "/Observation/$lastn?max=1")]
#[case("system/*.rs", "GET", "/Patient/1/$everything")]
#[case("system/*.rs", "GET", "/$export?_type=Patient")]
fn scopes_permit_what_they_say(#[case] scopes: &str, #[case] method: &str, #[case] target: &str) {
    assert_eq!(decided(scopes, method, target), Ok(()));
}

#[rstest]
#[case("system/Patient.s", "GET", "/Patient/1", Code::ScopeInsufficient)]
#[case("system/Patient.r", "GET", "/Patient?name=a", Code::ScopeInsufficient)]
#[case("system/Patient.r", "GET", "/Patient/_history", Code::ScopeInsufficient)]
#[case("system/Patient.c", "POST", "/Patient/_search body name=a", Code::ScopeInsufficient)]
#[case("system/Patient.cruds", "GET", "?_id=1", Code::ScopeInsufficient)]
#[case("system/Patient.cruds", "GET", "?_type=Patient,Observation", Code::ScopeInsufficient)]
#[case("system/Patient.cruds", "POST", "/_search?_type=Patient body name=a", Code::ScopeInsufficient)]
#[case("system/Patient.cruds", "GET", "/_history", Code::ScopeInsufficient)]
#[case("system/Patient.cruds", "GET", "/Observation/1", Code::ScopeInsufficient)]
#[case("system/Patient.cruds", "GET", "/Patient/1/Observation", Code::ScopeInsufficient)]
#[case("system/Patient.cruds", "GET", "/Patient/1/*", Code::ScopeInsufficient)]
#[case("system/Patient.r", "PUT", "/Patient/1", Code::ScopeInsufficient)]
#[case("system/Patient.u", "PUT", "/Patient?identifier=a", Code::ScopeInsufficient)]
#[case("system/Patient.d", "DELETE", "/Patient?identifier=a", Code::ScopeInsufficient)]
#[case("patient/Patient.cruds", "GET", "/Patient/1", Code::PatientMissing)]
#[case("system/Patient.rs", "GET", "/$export?_type=Patient,Observation", Code::ScopeInsufficient)]
#[case("system/Patient.rs", "POST", "/$export?_type=Patient", Code::ScopeInsufficient)]
#[case("private-api", "GET", "/Patient/1", Code::ScopeInsufficient)]
#[case("", "GET", "/Patient/1", Code::ScopeInsufficient)]
#[case("system/Observation.cruds", "GET", "/Observation?patient.name=a", Code::ParameterRefused)]
#[case("system/Observation.s system/Patient.s", "GET", "/Observation?subject.name=a", Code::ParameterRefused)]
#[case("system/Patient.s", "GET", "/Patient?_has:Observation:patient:code=1", Code::ParameterRefused)]
#[case("system/Patient.s", "GET", "/Patient?%5Fhas:Observation:patient:code=1", Code::ParameterRefused)]
#[case(
    "system/Patient.s system/Observation.s",
    "GET",
    "/Patient?_has:Observation:patient:_has:AuditEvent:entity:agent=1",
    Code::ParameterRefused
)]
#[case("system/Observation.s", "GET", "/Observation?_include=Observation:subject:Patient", Code::ParameterRefused)]
#[case("system/Observation.s", "GET", "/Observation?_include=Observation:subject", Code::ParameterRefused)]
#[case("system/Observation.s", "GET", "/Observation?_include:iterate=*", Code::ParameterRefused)]
#[case("system/Patient.rs", "GET", "/Patient?_revinclude=Observation:focus", Code::ParameterRefused)]
#[case("system/Patient.rs", "GET", "/Patient?a=b;_revinclude=Observation:focus", Code::ParameterRefused)]
#[case("system/Patient.rs", "POST", "/Patient/_search body _revinclude=Observation:focus", Code::ParameterRefused)]
#[case("system/Patient.rs", "GET", "/Patient/1?_revinclude=Observation:focus", Code::ParameterRefused)]
#[case("system/*.cruds", "GET", "/Patient?_filter=name eq a", Code::ParameterRefused)]
#[case("system/*.cruds", "GET", "/Patient?%255Finclude=a", Code::ParameterRefused)]
#[case("system/*.cruds", "GET", "/Patient?a=%", Code::ParameterRefused)]
#[case("system/*.cruds", "POST", "/Patient?_method=DELETE", Code::ParameterRefused)]
#[case("system/*.cruds", "PUT", "/Patient/1?identifier=b", Code::ParameterRefused)]
#[case("system/Patient.s", "GET", "/Patient?_list=1", Code::ParameterRefused)]
#[case("system/*.cruds", "GET", "/Patient?_format=xml", Code::FormatNotAcceptable)]
#[case("system/*.cruds", "POST", "", Code::BatchRefused)]
#[case("system/*.cruds", "GET", "/Patient/$unlisted", Code::OperationNotAllowed)]
#[case("system/*.cruds", "GET", "/$graphql", Code::OperationNotAllowed)]
#[case("system/Patient.cruds", "GET", "/Patient/1/$everything", Code::ScopeInsufficient)]
#[case("system/Patient.cruds", "GET", "/$export", Code::ScopeInsufficient)]
fn what_no_scope_permits_is_denied(
    #[case] scopes: &str,
    #[case] method: &str,
    #[case] target: &str,
    #[case] code: Code,
) {
    assert_eq!(decided(scopes, method, target).map_err(|denial| denial.code()), Err(code));
}

#[test]
fn a_conditional_create_needs_to_search_too() {
    let operations = BTreeSet::new();
    let decided = |scopes: &str, criteria: &str| {
        let parts = Parts { if_none_exist: Some(criteria), ..parts(&Method::POST, "/Patient", JSON) };
        let interaction = understand(&parts).unwrap();
        let scopes = ScopeSet::parse(scopes).unwrap();
        let access = Access { scopes: &scopes, patient: None };
        decide(&access, &operations, &interaction, &parts, None).map(|_| ()).map_err(|denial| denial.code())
    };
    assert_eq!(decided("system/Patient.cs", "identifier=a"), Ok(()));
    assert_eq!(decided("system/Patient.c", "identifier=a"), Err(Code::ScopeInsufficient));
    assert_eq!(decided("system/Patient.cs", "_has:Observation:patient:code=1"), Err(Code::ParameterRefused));
}

proptest! {
    #[test]
    fn deciding_never_panics(
        method in "GET|POST|PUT|PATCH|DELETE|HEAD|X",
        path in "(/(Patient|_search|_history|[$]x|1|\\*|%41|[a-zA-Z_$.*]{0,8})){0,6}",
        query in "(([_a-z:.A-Z%;]{0,14}|_has:A:b|_include)=?[A-Za-z:*,%;]{0,8}&?){0,4}",
    ) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let target = format!("{path}?{query}");
        let parts = parts(&method, &target, JSON);
        if let Ok(interaction) = understand(&parts) {
            // With no scope at all nothing passes but the CapabilityStatement, which is open to all.
            let scopes = ScopeSet::new();
            let access = Access { scopes: &scopes, patient: Some("1") };
            let decision = decide(&access, &BTreeSet::new(), &interaction, &parts, Some(query.as_bytes()));
            prop_assert!(decision.is_err() || interaction == Interaction::Capabilities);
        }
    }
}
