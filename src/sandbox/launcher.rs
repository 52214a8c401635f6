//! The EHR's list of apps: a person chooses who starts which app for which patient, and the app is opened (EHR launch).

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;

use super::Shared;
use super::launch::{LaunchError, LaunchOrder, ListedPatient};
use super::log::Record;
use super::page;
use super::people::{PEOPLE, Person};

/// An app that can be started.
struct ListedApp {
    client_id: String,
    name: String,
}

#[derive(askama::Template)]
#[template(path = "sandbox/launcher.html")]
struct LauncherPage {
    apps: Vec<ListedApp>,
    people: &'static [Person],
    patients: Vec<ListedPatient>,
    problem: Option<String>,
}

/// `GET`: the page.
pub(super) async fn show(State(shared): State<Arc<Shared>>) -> Response {
    launcher_page(&shared, StatusCode::OK, None)
}

/// `POST`: starts the app.
pub(super) async fn start(
    State(shared): State<Arc<Shared>>,
    Extension(record): Extension<Record>,
    body: Bytes,
) -> Response {
    match shared.launch(&order(&body), Timestamp::now().as_second()) {
        Ok(url) => page::see_other(&url),
        Err(error) => {
            record.refused(error.to_string());
            launcher_page(&shared, StatusCode::BAD_REQUEST, Some(error.to_string()))
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

fn launcher_page(shared: &Shared, status: StatusCode, problem: Option<String>) -> Response {
    let apps = shared.registry.list().into_iter().filter(|client| client.launch_url.is_some());
    let apps = apps.map(|client| ListedApp {
        name: client.app_name.unwrap_or_else(|| client.client_id.clone()),
        client_id: client.client_id,
    });
    page::html(
        status,
        &LauncherPage { apps: apps.collect(), people: &PEOPLE, patients: shared.fhir.patients(), problem },
    )
}
