//! The pages that people see on the way to an app, the simulated EHR's and the gateway's one: for everybody, on every
//! screen.

use hearthgate::sandbox::{AUTHORIZE_PATH, DEMO_PASSWORD, LAUNCHER_PATH};

use crate::browser::Browser;
use crate::support::clinic::{APPS, Clinic};

/// An authorization request as an app makes it, which leads to the EHR's login.
fn launch_of_letters(clinic: &Clinic) -> String {
    let (base, redirect_uri) = (clinic.fhir_base(), format!("{APPS}/letters/callback"));
    let parameters = [
        ("response_type", "code"),
        ("client_id", "discharge-letters"),
        ("redirect_uri", &redirect_uri),
        ("scope", "launch/patient openid fhirUser offline_access patient/*.rs patient/DocumentReference.cruds"),
        ("state", "1b1f2a3c-7d4e-4f50-8a61-9b2c3d4e5f60"),
        ("aud", &base),
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        ("code_challenge_method", "S256"),
    ];
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("{}/oauth2/authorize?{query}", clinic.issuer())
}

/// The page that is open keeps nobody out and fits the screen. It is drawn into target/browser-tests/, to be looked at.
async fn assert_for_everybody(browser: &Browser, page: &str, title: &str) {
    browser.expect_text("h1", title).await;
    for (screen, width, height) in [("wide", 1280, 900), ("phone", 390, 844)] {
        browser.resize(width, height).await;
        for scheme in ["light", "dark"] {
            browser.prefer(scheme).await;
            browser.draw(&format!("launch-{page}-{screen}-{scheme}")).await;
            assert_eq!(browser.serious_barriers().await, Vec::<String>::new(), "{page} {screen} {scheme}");
        }
        assert_eq!(browser.overflow().await, 0, "{page} is wider than a screen of {width}");
    }
}

#[tokio::test]
async fn everybody_can_log_in_choose_a_patient_and_start_an_app() {
    let clinic = Clinic::shared().await;
    let browser = Browser::start().await;
    browser.open(&launch_of_letters(&clinic)).await;
    assert_for_everybody(&browser, "login", "Discharge Letters asks for access").await;
    browser.fill("login", "anna.cadence").await;
    browser.fill("password", DEMO_PASSWORD).await;
    browser.press("button[value='allow']").await;
    assert_for_everybody(&browser, "patient", "Choose a patient for Discharge Letters").await;
    browser.open(&clinic.server.sandbox(LAUNCHER_PATH)).await;
    assert_for_everybody(&browser, "launcher", "Start an app").await;
    browser.end().await;
}

#[tokio::test]
async fn everybody_learns_what_went_wrong() {
    let clinic = Clinic::shared().await;
    let browser = Browser::start().await;
    browser.open(&launch_of_letters(&clinic)).await;
    browser.fill("login", "anna.cadence").await;
    browser.fill("password", "guessed").await;
    browser.press("button[value='allow']").await;
    browser.expect_text(".problem", "not known here").await;
    assert_for_everybody(&browser, "login-again", "Discharge Letters asks for access").await;

    browser.open(&clinic.server.sandbox(LAUNCHER_PATH)).await;
    browser.press("input[name='encounter']").await;
    browser.press("#patient option[value='']").await;
    browser.press("main button").await;
    browser.expect_text(".problem", "There is no encounter to open: choose a patient who has had one.").await;
    assert_eq!(browser.text("#patient option:checked").await, "No patient is open", "what was chosen stays");
    assert_for_everybody(&browser, "launcher-again", "Start an app").await;

    browser.open(&clinic.server.sandbox(&format!("{AUTHORIZE_PATH}?client_id=nobody"))).await;
    assert_for_everybody(&browser, "refused-by-the-ehr", "This cannot go on").await;
    browser.open(&format!("{}/oauth2/authorize?client_id=nobody", clinic.issuer())).await;
    assert_for_everybody(&browser, "refused-by-the-gateway", "The app cannot be opened").await;
    browser.quit().await;
}
