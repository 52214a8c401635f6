//! Who can log in to the simulated EHR.

use super::fhir::data::{FIRST_PATIENT, PRACTITIONER};

/// The password of everyone, shown on the login page.
pub const DEMO_PASSWORD: &str = "hearth-demo";

/// Someone with a login.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Person {
    /// What is typed into the login page, and the `sub` of id_tokens.
    pub(super) login: &'static str,
    /// For people.
    pub(super) name: &'static str,
    pub(super) role: Role,
}

/// What a person is to this EHR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A member of staff, by Practitioner ID: chooses among all patients.
    Practitioner(&'static str),
    /// A patient, by Patient ID: sees themself alone.
    Patient(&'static str),
}

/// Everyone, staff first.
pub(super) const PEOPLE: [Person; 5] = [
    Person { login: "anna.cadence", name: "Dr Anna Cadence", role: Role::Practitioner(PRACTITIONER) },
    Person { login: "family.physician", name: "Dr Family Physician", role: Role::Practitioner("practitioner-2") },
    Person { login: "priya.ramesh", name: "Dr Priya Ramesh", role: Role::Practitioner("practitioner-3") },
    Person { login: "camila.lopez", name: "Camila Maria Lopez", role: Role::Patient(FIRST_PATIENT) },
    Person { login: "derrick.lin", name: "Derrick Lin", role: Role::Patient("eq081-VQEgP8drUUqCWzHfw3") },
];

impl Person {
    /// The person with this login.
    pub(super) fn find(login: &str) -> Option<&'static Person> {
        PEOPLE.iter().find(|person| person.login == login)
    }

    /// The FHIR resource that describes them, relative to the FHIR base: the `fhirUser` claim.
    pub(super) fn fhir_user(&self) -> String {
        match self.role {
            Role::Practitioner(id) => format!("Practitioner/{id}"),
            Role::Patient(id) => format!("Patient/{id}"),
        }
    }

    /// What they are, for people.
    pub(super) fn role_name(&self) -> &'static str {
        match self.role {
            Role::Practitioner(_) => "Clinician",
            Role::Patient(_) => "Patient",
        }
    }
}
