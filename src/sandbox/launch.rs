//! Launch values: what an EHR launch hands to an app, opaque and good once (SMART App Launch 2.2, EHR launch).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};

use super::fhir::FhirServer;
use super::issued::random_text;
use super::people::{Person, Role};
use super::registration::{Registry, UserFacing};
use super::user_session::LaunchContext;

/// A launch value is good for so many seconds: the app comes back at once.
const LIFE_SECONDS: i64 = 300;
const MOST_LAUNCHES: usize = 10_000;

/// What a person chooses in the EHR before the app starts; also the JSON of `POST /sandbox/launches`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LaunchOrder {
    /// The app.
    pub client_id: String,
    /// The login of who starts it, for example `anna.cadence`.
    pub user: String,
    /// Patient ID.
    pub patient: Option<String>,
    /// Whether the patient's last encounter is open in the EHR.
    #[serde(default)]
    pub encounter: bool,
    /// Whether the app itself must show whom it is about; absent: the EHR does.
    #[serde(default)]
    pub need_patient_banner: bool,
    /// What the app is to do, in a word that app and EHR have agreed on.
    pub intent: Option<String>,
}

/// Why a launch is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// No user-facing client with a launch URL has this ID.
    #[error("no app with a launch URL is registered with the client ID {0:?}")]
    NoSuchApp(String),
    /// Nobody has this login.
    #[error("nobody has the login {0:?}")]
    NoSuchUser(String),
    /// There is no such patient, or a patient asks for another one.
    #[error("{0:?} is no patient that this user may open")]
    NoSuchPatient(String),
    /// An encounter needs a patient who had one.
    #[error("there is no encounter to open: choose a patient who has had one")]
    NoEncounter,
    /// Far too many launches wait.
    #[error("10000 launches wait already, or the system gives no randomness")]
    TooMany,
}

/// Who was at which place in the EHR when the app was started.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    pub(super) client_id: String,
    pub(super) person: &'static Person,
    pub(super) context: LaunchContext,
    expires: i64,
}

/// The launch values that were given out and have not come back.
#[derive(Debug, Default)]
pub(super) struct Launches {
    waiting: Mutex<HashMap<String, Launch>>,
}

impl LaunchOrder {
    /// Checks the choice; the app and what its launch value will stand for.
    fn check(&self, registry: &Registry, fhir: &FhirServer, now: i64) -> Result<(UserFacing, Launch), LaunchError> {
        let app = registry
            .user_facing(&self.client_id)
            .filter(|app| app.launch_url.is_some())
            .ok_or_else(|| LaunchError::NoSuchApp(self.client_id.clone()))?;
        let person = Person::find(&self.user).ok_or_else(|| LaunchError::NoSuchUser(self.user.clone()))?;
        let patient = self.patient.clone().filter(|id| !id.is_empty());
        if let Some(id) = &patient {
            let allowed = match person.role {
                Role::Practitioner(_) => fhir.patients().iter().any(|known| known.id == *id),
                Role::Patient(own) => own == id,
            };
            allowed.then_some(()).ok_or_else(|| LaunchError::NoSuchPatient(id.clone()))?;
        }
        let encounter = match (&patient, self.encounter) {
            (_, false) => None,
            (None, true) => return Err(LaunchError::NoEncounter),
            (Some(id), true) => Some(fhir.last_of("Encounter", id).ok_or(LaunchError::NoEncounter)?),
        };
        let appointment = patient.as_ref().and_then(|id| fhir.last_of("Appointment", id));
        let context = LaunchContext {
            encounter,
            fhir_context: appointment
                .map(|id| json!({ "reference": format!("Appointment/{id}") }))
                .into_iter()
                .collect(),
            need_patient_banner: self.need_patient_banner,
            intent: self.intent.clone().filter(|intent| !intent.is_empty()),
            patient,
        };
        let launch = Launch { client_id: self.client_id.clone(), person, context, expires: now + LIFE_SECONDS };
        Ok((app, launch))
    }
}

impl Launches {
    /// Starts an app: the URL to open, with `iss` and a fresh `launch`.
    pub(super) fn start(
        &self,
        order: &LaunchOrder,
        registry: &Registry,
        fhir: &FhirServer,
        now: i64,
    ) -> Result<String, LaunchError> {
        let (app, launch) = order.check(registry, fhir, now)?;
        let url = app.launch_url.unwrap_or_default();
        let value = random_text().ok_or(LaunchError::TooMany)?;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, launch| launch.expires > now);
        if waiting.len() >= MOST_LAUNCHES {
            return Err(LaunchError::TooMany);
        }
        waiting.insert(value.clone(), launch);
        Ok(with_parameters(&url, &[("iss", fhir.base()), ("launch", &value)]))
    }

    /// Uses a launch value up, where this client may.
    pub(super) fn take(&self, value: &str, client_id: &str, now: i64) -> Option<Launch> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let good = waiting.get(value).is_some_and(|launch| launch.client_id == client_id && launch.expires > now);
        if good { waiting.remove(value) } else { None }
    }
}

/// Adds parameters to a URL whose other bytes stay as they were registered.
pub(super) fn with_parameters(url: &str, parameters: &[(&str, &str)]) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    let separator = match url.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    format!("{url}{separator}{query}")
}

/// A patient as a list shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedPatient {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) birth_date: String,
    pub(super) gender: String,
    pub(super) record_number: String,
}

impl ListedPatient {
    /// Reads a Patient resource.
    pub(super) fn read(patient: &Value) -> ListedPatient {
        let text = |pointer: &str| patient.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        ListedPatient {
            id: text("/id"),
            name: text("/name/0/text"),
            birth_date: text("/birthDate"),
            gender: text("/gender"),
            record_number: text("/identifier/0/value"),
        }
    }
}
