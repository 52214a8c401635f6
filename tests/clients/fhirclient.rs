//! fhirclient, the SMART client library for browsers, in a real Chromium: the pages of the example app call the gateway
//! from there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse as _;
use axum::routing::get;
use hearthgate::sandbox::{DEMO_PASSWORD, FIRST_PATIENT, LAUNCHER_PATH, PRACTITIONER};
use serde_json::{Value, json};
use thirtyfour::By;
use tokio::net::TcpListener;

use crate::browser::Browser;
use crate::launch::libraries;
use crate::support::clinic::Clinic;

/// Serves the app's pages; its origin.
async fn serve_app() -> String {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/smart-launch/growth-chart");
    let library = libraries().join("node_modules/fhirclient/build/fhir-client.js");
    let file = |path: PathBuf, media_type: &'static str| {
        get(async move || match tokio::fs::read(path).await {
            Ok(content) => ([(CONTENT_TYPE, media_type)], content).into_response(),
            Err(_) => StatusCode::NOT_FOUND.into_response(),
        })
    };
    let router = Router::new()
        .route("/launch.html", file(pages.join("launch.html"), "text/html"))
        .route("/app.html", file(pages.join("app.html"), "text/html"))
        .route("/fhir-client.js", file(library, "text/javascript"));
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    origin
}

async fn open() -> (Clinic, Browser, String) {
    let app = serve_app().await;
    (Clinic::start_with_apps_at(&app).await, Browser::start().await, app)
}

/// What the app shows in the end of what the launch brought.
async fn brought(browser: &Browser) -> Value {
    serde_json::from_str(&browser.text("#brought:not(:empty)").await).unwrap()
}

async fn rows(browser: &Browser) -> usize {
    browser.driver.find_all(By::Css("#measured tr")).await.unwrap().len()
}

#[tokio::test]
async fn an_app_in_a_browser_starts_by_itself() {
    let (clinic, browser, app) = open().await;
    browser.open(&format!("{app}/launch.html?iss={}", clinic.fhir_base())).await;
    browser.fill("login", "priya.ramesh").await;
    browser.fill("password", DEMO_PASSWORD).await;
    browser.press("button[value='allow']").await;
    browser.press(&format!("input[value='{FIRST_PATIENT}']")).await;
    browser.press("button[value='allow']").await;
    let brought = brought(&browser).await;
    assert_eq!(
        (&brought["patient"], &brought["user"], &brought["need_patient_banner"]),
        (&json!(FIRST_PATIENT), &json!("Practitioner/practitioner-3"), &json!(true)),
        "{brought}"
    );
    assert_eq!(browser.text("#patient").await, "Camila Maria Lopez, born 1987-09-12");
    assert_eq!(rows(&browser).await, 4);
    browser.end().await;
}

#[tokio::test]
async fn an_app_in_a_browser_is_started_out_of_the_ehr() {
    let (clinic, browser, _) = open().await;
    browser.open(&clinic.server.sandbox(LAUNCHER_PATH)).await;
    browser.press("#app option[value='3d1c2b90-growth-chart']").await;
    browser.press("#user option[value='anna.cadence']").await;
    browser.press("#patient option[value='patient-9']").await;
    browser.fill("intent", "growth").await;
    browser.press("main button").await;
    let brought = brought(&browser).await;
    assert_eq!(
        (&brought["patient"], &brought["user"]),
        (&json!("patient-9"), &json!(format!("Practitioner/{PRACTITIONER}"))),
        "{brought}"
    );
    assert_eq!((&brought["need_patient_banner"], &brought["intent"]), (&json!(false), &json!("growth")), "{brought}");
    assert_eq!(browser.text("#patient").await, "Siobhán O'Neill, born 1991-12-31");
    assert_eq!(rows(&browser).await, 0);
    browser.end().await;
}

#[tokio::test]
async fn an_app_in_a_browser_learns_that_the_user_said_no() {
    let (clinic, browser, app) = open().await;
    browser.open(&format!("{app}/launch.html?iss={}", clinic.fhir_base())).await;
    browser.press("button[value='deny']").await;
    let brought = brought(&browser).await;
    assert!(brought["error"].as_str().unwrap().contains("the EHR did not authorize the launch"), "{brought}");
    browser.end().await;
}
