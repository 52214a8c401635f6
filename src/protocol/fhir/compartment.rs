//! The Patient compartment of FHIR R4 (CompartmentDefinition/patient 4.0.1): which resources are a patient's, and by
//! which search parameters.
//!
//! Where the gateway is stricter than HL7's definition, [`place`] and [`holds`] say so.

use serde_json::Value;

use super::parameters::{self, Parameter};

/// Type → the search parameters that put a resource into a patient's compartment, in HL7's order.
const MEMBERS: [(&str, &[&str]); 66] = [
    ("Account", &["subject"]),
    ("AdverseEvent", &["subject"]),
    ("AllergyIntolerance", &["patient", "recorder", "asserter"]),
    ("Appointment", &["actor"]),
    ("AppointmentResponse", &["actor"]),
    ("AuditEvent", &["patient"]),
    ("Basic", &["patient", "author"]),
    ("BodyStructure", &["patient"]),
    ("CarePlan", &["patient", "performer"]),
    ("CareTeam", &["patient", "participant"]),
    ("ChargeItem", &["subject"]),
    ("Claim", &["patient", "payee"]),
    ("ClaimResponse", &["patient"]),
    ("ClinicalImpression", &["subject"]),
    ("Communication", &["subject", "sender", "recipient"]),
    ("CommunicationRequest", &["subject", "sender", "recipient", "requester"]),
    ("Composition", &["subject", "author", "attester"]),
    ("Condition", &["patient", "asserter"]),
    ("Consent", &["patient"]),
    ("Coverage", &["policy-holder", "subscriber", "beneficiary", "payor"]),
    ("CoverageEligibilityRequest", &["patient"]),
    ("CoverageEligibilityResponse", &["patient"]),
    ("DetectedIssue", &["patient"]),
    ("DeviceRequest", &["subject", "performer"]),
    ("DeviceUseStatement", &["subject"]),
    ("DiagnosticReport", &["subject"]),
    ("DocumentManifest", &["subject", "author", "recipient"]),
    ("DocumentReference", &["subject", "author"]),
    ("Encounter", &["patient"]),
    ("EnrollmentRequest", &["subject"]),
    ("EpisodeOfCare", &["patient"]),
    ("ExplanationOfBenefit", &["patient", "payee"]),
    ("FamilyMemberHistory", &["patient"]),
    ("Flag", &["patient"]),
    ("Goal", &["patient"]),
    ("Group", &["member"]),
    ("ImagingStudy", &["patient"]),
    ("Immunization", &["patient"]),
    ("ImmunizationEvaluation", &["patient"]),
    ("ImmunizationRecommendation", &["patient"]),
    ("Invoice", &["subject", "patient", "recipient"]),
    ("List", &["subject", "source"]),
    ("MeasureReport", &["patient"]),
    ("Media", &["subject"]),
    ("MedicationAdministration", &["patient", "performer", "subject"]),
    ("MedicationDispense", &["subject", "patient", "receiver"]),
    ("MedicationRequest", &["subject"]),
    ("MedicationStatement", &["subject"]),
    ("MolecularSequence", &["patient"]),
    ("NutritionOrder", &["patient"]),
    ("Observation", &["subject", "performer"]),
    ("Patient", &["link"]),
    ("Person", &["patient"]),
    ("Procedure", &["patient", "performer"]),
    ("Provenance", &["patient"]),
    ("QuestionnaireResponse", &["subject", "author"]),
    ("RelatedPerson", &["patient"]),
    ("RequestGroup", &["subject", "participant"]),
    ("ResearchSubject", &["individual"]),
    ("RiskAssessment", &["subject"]),
    ("Schedule", &["actor"]),
    ("ServiceRequest", &["subject", "performer"]),
    ("Specimen", &["subject"]),
    ("SupplyDelivery", &["patient"]),
    ("SupplyRequest", &["subject"]),
    ("VisionPrescription", &["patient"]),
];

/// Types that are in no compartment because they describe the house, not the people in it: a `patient/` scope may read
/// and search them (US Core asks that of Practitioner, Organization, Location and Medication), and write none of them.
const OPEN: [&str; 34] = [
    "ActivityDefinition",
    "CapabilityStatement",
    "ChargeItemDefinition",
    "CodeSystem",
    "CompartmentDefinition",
    "ConceptMap",
    "DeviceDefinition",
    "Endpoint",
    "EventDefinition",
    "GraphDefinition",
    "HealthcareService",
    "ImplementationGuide",
    "InsurancePlan",
    "Library",
    "Location",
    "Measure",
    "Medication",
    "MedicationKnowledge",
    "MessageDefinition",
    "NamingSystem",
    "ObservationDefinition",
    "OperationDefinition",
    "OperationOutcome",
    "Organization",
    "OrganizationAffiliation",
    "PlanDefinition",
    "Practitioner",
    "PractitionerRole",
    "Questionnaire",
    "SearchParameter",
    "Slot",
    "SpecimenDefinition",
    "StructureDefinition",
    "ValueSet",
];

/// Where a type stands, seen from a patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Resources of the type belong to patients.
    Member,
    /// It holds no patient's data.
    Open,
    /// It may hold patients' data, and nothing says whose: `patient/` scopes do not reach it.
    Closed,
}

/// Where a type stands.
///
/// Group is closed, though HL7 puts it into the compartment of each member: its other members are other patients.
/// Device is in, by its `patient`, though HL7 leaves it out: US Core's implantable devices are found by it.
pub fn place(resource_type: &str) -> Place {
    match resource_type {
        "Group" => Place::Closed,
        "Patient" | "Device" => Place::Member,
        _ if members(resource_type).is_some() => Place::Member,
        _ if OPEN.contains(&resource_type) => Place::Open,
        _ => Place::Closed,
    }
}

fn members(resource_type: &str) -> Option<&'static [&'static str]> {
    if resource_type == "Device" {
        return Some(&["patient"]);
    }
    MEMBERS.iter().find(|(name, _)| *name == resource_type).map(|(_, parameters)| *parameters)
}

/// The search parameter that says whom a resource of the type is about: what a search is held to a patient by. Several
/// parameters may put a resource into a compartment; this one finds those that are about the patient.
pub fn main_parameter(resource_type: &str) -> Option<&'static str> {
    if place(resource_type) != Place::Member {
        return None;
    }
    match resource_type {
        "Patient" => Some("_id"),
        "Coverage" => Some("beneficiary"),
        _ if parameters::find(resource_type, "patient").is_some() => Some("patient"),
        _ => members(resource_type)?.first().copied(),
    }
}

/// The elements of a type that decide about its place in a compartment: the first step of their paths.
pub fn deciding_elements(resource_type: &str) -> impl Iterator<Item = &'static str> {
    members(resource_type)
        .unwrap_or_default()
        .iter()
        .copied()
        .chain(main_parameter(resource_type))
        .filter_map(|name| parameters::find(resource_type, name))
        .flat_map(Parameter::paths)
        .filter_map(|path| path.split('.').next())
}

/// Whether a resource is the patient's. `bases` are FHIR bases (without a slash at the end) that references may begin
/// with.
///
/// HL7 lets any of a type's parameters put it into a compartment. Here the one that says whom it is about
/// ([`main_parameter`]) must name our patient if it says anything: an observation that our patient performed on a
/// neighbour stays the neighbour's, however the neighbour is written (`Patient?identifier=…`, an identifier alone, the
/// EHR's address in another spelling); what cannot be read here, the EHR may well resolve. Of `actor`s there are many by
/// nature. `Patient.link` puts nobody into anybody's compartment.
pub fn holds(resource: &Value, resource_type: &str, patient: &str, bases: &[&str]) -> bool {
    if resource_type == "Patient" {
        return resource.get("id").and_then(Value::as_str) == Some(patient);
    }
    if place(resource_type) != Place::Member {
        return false;
    }
    let refers =
        |parameter: Parameter| parameter.references(resource, bases).any(|(on, id)| on == "Patient" && id == patient);
    let is_about_others = |parameter: Parameter| parameter.has_value(resource) && !refers(parameter);
    let find = |name: &str| parameters::find(resource_type, name);
    let main = main_parameter(resource_type);
    let names = members(resource_type).unwrap_or_default();
    !main.filter(|name| *name != "actor").and_then(find).is_some_and(is_about_others)
        && names.iter().copied().chain(main).filter_map(find).any(refers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    const BASES: [&str; 1] = ["https://ehr.example.org/fhir"];

    /// Our patient has made it, and this is whom it is about.
    fn about(subject: &Value) -> Value {
        json!({"resourceType": "Observation", "subject": subject, "performer": [{"reference": "Patient/1"}]})
    }

    #[test]
    fn every_parameter_of_the_definition_has_its_elements() {
        for (resource_type, names) in MEMBERS {
            for name in names {
                assert!(parameters::find(resource_type, name).is_some(), "{resource_type} {name}");
            }
            assert!(
                place(resource_type) == Place::Closed || main_parameter(resource_type).is_some(),
                "{resource_type}"
            );
        }
    }

    #[rstest]
    #[case(json!({"resourceType": "Patient", "id": "1"}), true)]
    #[case(json!({"resourceType": "Patient", "id": "2", "link": [{"other": {"reference": "Patient/1"}}]}), false)]
    #[case(json!({"resourceType": "Observation", "subject": {"reference": "Patient/1"}}), true)]
    #[case(json!({"resourceType": "Observation", "subject": {"reference": "Patient/1/_history/3"}}), true)]
    #[case(json!({"resourceType": "Observation", "subject": {"reference": "https://ehr.example.org/fhir/Patient/1"}}), true)]
    #[case(json!({"resourceType": "Observation", "subject": {"reference": "https://other.example.org/fhir/Patient/1"}}), false)]
    #[case(json!({"resourceType": "Observation", "subject": {"reference": "Patient/12"}}), false)]
    #[case(json!({"resourceType": "Observation", "subject": {"reference": "Group/1"}}), false)]
    #[case(json!({"resourceType": "Observation", "subject": {"display": "Patient/1"}}), false)]
    #[case(json!({"resourceType": "Observation", "subject": {"reference": "#p"}, "contained": [{"resourceType": "Patient", "id": "p"}]}), false)]
    #[case(json!({"resourceType": "Observation", "performer": [{"reference": "Practitioner/1"}, {"reference": "Patient/1"}]}), true)]
    #[case(json!({"resourceType": "Observation", "subject": {"reference": "Patient/2"}, "performer": [{"reference": "Patient/1"}]}), false)]
    #[case(about(&json!({"reference": "Patient/1"})), true)]
    #[case(about(&json!({"reference": "http://ehr.example.org/fhir/Patient/2"})), false)]
    #[case(about(&json!({"reference": "https://EHR.example.org/fhir/Patient/2"})), false)]
    #[case(about(&json!({"reference": "https://ehr.example.org:443/fhir/Patient/2"})), false)]
    #[case(about(&json!({"reference": "Patient/2/"})), false)]
    #[case(about(&json!({"reference": "/Patient/2"})), false)]
    #[case(about(&json!({"reference": "Patient?identifier=urn:mrn|2"})), false)]
    #[case(about(&json!({"reference": "urn:uuid:8f1e9b0e-4d5f-4d0a-9a52-0f7a4c1c2d3e"})), false)]
    #[case(about(&json!({"reference": "#p"})), false)]
    #[case(about(&json!({"reference": "Group/1"})), false)]
    #[case(about(&json!({"identifier": {"system": "urn:mrn", "value": "2"}})), false)]
    #[case(about(&json!({"type": "Patient", "display": "Miller"})), false)]
    #[case(about(&json!("Patient/2")), false)]
    #[case(about(&json!([{"reference": "Patient/2"}])), false)]
    #[case(about(&json!(null)), true)]
    #[case(json!({"resourceType": "Observation", "focus": [{"reference": "Patient/1"}]}), false)]
    #[case(json!({"resourceType": "Appointment", "participant": [{"actor": {"reference": "Patient/2"}}, {"actor": {"reference": "Patient/1"}}]}), true)]
    #[case(json!({"resourceType": "Appointment", "participant": [{"actor": {"reference": "Patient/2"}}]}), false)]
    #[case(json!({"resourceType": "Coverage", "beneficiary": {"reference": "Patient/2"}, "subscriber": {"reference": "Patient/1"}}), false)]
    #[case(json!({"resourceType": "Group", "member": [{"entity": {"reference": "Patient/1"}}]}), false)]
    #[case(json!({"resourceType": "Practitioner", "id": "1"}), false)]
    #[case(json!({"resourceType": "Device", "patient": {"reference": "Patient/1"}}), true)]
    fn a_resource_is_the_patients_or_not(#[case] resource: Value, #[case] held: bool) {
        let resource_type = resource["resourceType"].as_str().unwrap();
        assert_eq!(holds(&resource, resource_type, "1", &BASES), held);
    }
}
