//! The EHR's list of apps: a person chooses who starts which app for which patient, and the app is opened (EHR launch).

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;

use super::Shared;
use super::launch::{LaunchError, LaunchOrder};
use super::log::Record;
use super::page;
use super::people::PEOPLE;

/// One of a list.
struct Choice {
    value: String,
    text: String,
    chosen: bool,
}

#[derive(askama::Template)]
#[template(path = "sandbox/launcher.html")]
struct LauncherPage<'order> {
    apps: Vec<Choice>,
    people: Vec<Choice>,
    patients: Vec<Choice>,
    /// What was chosen last: what went wrong is mended, not begun anew.
    order: &'order LaunchOrder,
    intent: &'order str,
    problem: Option<String>,
}

/// `GET`: the page.
pub(super) async fn show(State(shared): State<Arc<Shared>>) -> Response {
    launcher_page(&shared, StatusCode::OK, &LaunchOrder::default(), None)
}

/// `POST`: starts the app.
pub(super) async fn start(
    State(shared): State<Arc<Shared>>,
    Extension(record): Extension<Record>,
    body: Bytes,
) -> Response {
    let order = order(&body);
    match shared.launch(&order, Timestamp::now().as_second()) {
        Ok(url) => page::see_other(&url),
        Err(error) => {
            record.refused(error.to_string());
            launcher_page(&shared, StatusCode::BAD_REQUEST, &order, Some(&error))
        }
    }
}

impl Shared {
    /// Starts an app: the URL to open.
    pub(super) fn launch(&self, order: &LaunchOrder, now: i64) -> Result<String, LaunchError> {
        self.launches.start(order, &self.registry, &self.fhir, now)
    }
}

fn order(form: &[u8]) -> LaunchOrder {
    let mut order = LaunchOrder::default();
    for (name, value) in url::form_urlencoded::parse(form).into_owned() {
        match name.as_str() {
            "app" => order.client_id = value,
            "user" => order.user = value,
            "patient" => order.patient = Some(value),
            "encounter" => order.encounter = true,
            "banner" => order.need_patient_banner = true,
            "intent" => order.intent = Some(value),
            _ => {}
        }
    }
    order
}

fn launcher_page(shared: &Shared, status: StatusCode, order: &LaunchOrder, problem: Option<&LaunchError>) -> Response {
    let apps = shared.registry.list().into_iter().filter(|client| client.launch_url.is_some());
    let apps = apps.map(|client| {
        let name = client.app_name.unwrap_or_else(|| client.client_id.clone());
        (client.client_id, name)
    });
    let people =
        PEOPLE.iter().map(|person| (person.login.to_owned(), format!("{} ({})", person.name, person.role_name())));
    let patients = shared.fhir.patients().into_iter();
    let patients = patients.map(|patient| (patient.id, format!("{}, born {}", patient.name, patient.birth_date)));
    let nobody = (String::new(), "No patient is open".to_owned());
    let page = LauncherPage {
        apps: choices(apps, Some(&order.client_id)),
        people: choices(people, Some(&order.user)),
        patients: choices(patients.chain([nobody]), order.patient.as_deref()),
        order,
        intent: order.intent.as_deref().unwrap_or_default(),
        problem: problem.map(|problem| sentence(&problem.to_string())),
    };
    page::html(status, &page)
}

fn choices(all: impl Iterator<Item = (String, String)>, chosen: Option<&str>) -> Vec<Choice> {
    all.map(|(value, text)| Choice { chosen: chosen == Some(value.as_str()), value, text }).collect()
}

/// As people write it.
fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(rest).chain(['.']).collect()
}
