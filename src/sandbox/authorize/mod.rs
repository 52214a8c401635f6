//! The authorization endpoint (SMART App Launch 2.2, obtain authorization code), with its login and patient pages.

mod interaction;
mod request;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use subtle::ConstantTimeEq as _;

pub(super) use self::interaction::Interactions;
use self::interaction::{Interaction, Stage};
use self::request::{AuthorizeRequest, PageError, Refused, RequestError};
use super::launch::{Launch, ListedPatient, with_parameters};
use super::log::Record;
use super::people::{DEMO_PASSWORD, PEOPLE, Person, Role};
use super::user_scope::{UserScope, granted, in_words};
use super::user_session::{CodeGrant, LaunchContext, UserSession};
use super::{Shared, page};

#[derive(askama::Template)]
#[template(path = "sandbox/login.html")]
struct LoginPage<'a> {
    app: &'a str,
    /// Each with what it means.
    scopes: Vec<(&'a str, String)>,
    interaction: &'a str,
    people: &'static [Person],
    password: &'static str,
    login: &'a str,
    problem: Option<&'static str>,
}

#[derive(askama::Template)]
#[template(path = "sandbox/patient.html")]
struct PatientPage<'a> {
    app: &'a str,
    person: &'static Person,
    interaction: &'a str,
    patients: Vec<ListedPatient>,
}

#[derive(askama::Template)]
#[template(path = "sandbox/refused.html")]
struct RefusedPage {
    reason: String,
}

/// `GET` with the request in the query.
pub(super) async fn by_get(
    State(shared): State<Arc<Shared>>,
    Extension(record): Extension<Record>,
    RawQuery(query): RawQuery,
) -> Response {
    begin(&shared, &record, query.unwrap_or_default().as_bytes())
}

/// `POST` with the request in the body (capability `authorize-post`).
pub(super) async fn by_post(
    State(shared): State<Arc<Shared>>,
    Extension(record): Extension<Record>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media_type.trim_start().starts_with("application/x-www-form-urlencoded") {
        return answer(&shared, &record, Refused::Page(PageError::NotAForm));
    }
    begin(&shared, &record, &body)
}

/// `POST` of the login page.
pub(super) async fn login(
    State(shared): State<Arc<Shared>>,
    Extension(record): Extension<Record>,
    body: Bytes,
) -> Response {
    let now = Timestamp::now().as_second();
    let form = fields(&body);
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let Some(Interaction { request, stage: Stage::Login }) = shared.interactions.resume(field("interaction"), now)
    else {
        return answer(&shared, &record, Refused::Page(PageError::NoInteraction));
    };
    record.client(&request.client_id);
    if field("decision") == "deny" {
        return refuse(&shared, &record, &request, RequestError::Denied);
    }
    let right = bool::from(field("password").as_bytes().ct_eq(DEMO_PASSWORD.as_bytes()));
    match Person::find(field("login")).filter(|_| right) {
        Some(person) => identified(&shared, &record, request, person, LaunchContext::standalone(), now),
        None => {
            record.refused("login or password is wrong");
            login_page(&shared, &record, request, Some(field("login")), now)
        }
    }
}

/// `POST` of the patient page.
pub(super) async fn patient(
    State(shared): State<Arc<Shared>>,
    Extension(record): Extension<Record>,
    body: Bytes,
) -> Response {
    let now = Timestamp::now().as_second();
    let form = fields(&body);
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let resumed = shared.interactions.resume(field("interaction"), now);
    let Some(Interaction { request, stage: Stage::Patient { person, mut context, authenticated } }) = resumed else {
        return answer(&shared, &record, Refused::Page(PageError::NoInteraction));
    };
    record.client(&request.client_id);
    if field("decision") == "deny" {
        return refuse(&shared, &record, &request, RequestError::Denied);
    }
    let chosen = shared.fhir.patients().into_iter().find(|patient| patient.id == field("patient"));
    let Some(chosen) = chosen else {
        record.refused("no patient was chosen");
        let stage = Stage::Patient { person, context, authenticated };
        return patient_page(&shared, &record, &Interaction { request, stage }, now);
    };
    context.patient = Some(chosen.id);
    finish(&shared, &record, &request, person, context, authenticated)
}

impl LaunchContext {
    /// Nothing is open yet, and the EHR shows nothing beside the app.
    fn standalone() -> LaunchContext {
        LaunchContext { need_patient_banner: true, ..LaunchContext::default() }
    }
}

fn fields(form: &[u8]) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(form).into_owned().collect()
}

fn begin(shared: &Shared, record: &Record, form: &[u8]) -> Response {
    let now = Timestamp::now().as_second();
    record.parameters(fields(form));
    let request = match request::check(form, &shared.registry, shared.fhir.base()) {
        Ok(request) => request,
        Err(refused) => return answer(shared, record, refused),
    };
    record.client(&request.client_id);
    let Some(value) = &request.launch else { return login_page(shared, record, request, None, now) };
    // Whoever starts an app out of the EHR is logged in there.
    match shared.launches.take(value, &request.client_id, now) {
        Some(Launch { person, context, .. }) => identified(shared, record, request, person, context, now),
        None => refuse(shared, record, &request, RequestError::UnknownLaunch),
    }
}

/// Who it is, is known: which patient it is about may be still to choose.
fn identified(
    shared: &Shared,
    record: &Record,
    request: AuthorizeRequest,
    person: &'static Person,
    mut context: LaunchContext,
    now: i64,
) -> Response {
    let wanted = |scope: UserScope| request.scope.split(' ').any(|text| UserScope::parse(text) == Some(scope.clone()));
    if context.patient.is_none() && (wanted(UserScope::LaunchPatient) || wanted(UserScope::LaunchEncounter)) {
        match person.role {
            Role::Patient(own) => context.patient = Some(own.to_owned()),
            Role::Practitioner(_) => {
                let stage = Stage::Patient { person, context, authenticated: now };
                return patient_page(shared, record, &Interaction { request, stage }, now);
            }
        }
    }
    finish(shared, record, &request, person, context, now)
}

fn finish(
    shared: &Shared,
    record: &Record,
    request: &AuthorizeRequest,
    person: &'static Person,
    mut context: LaunchContext,
    authenticated: i64,
) -> Response {
    let (scope, scopes) = granted(&request.scope, context.patient.is_some(), request.launch.is_some());
    if scopes.is_empty() {
        return refuse(shared, record, request, RequestError::NothingGranted(request.scope.clone()));
    }
    if let (true, None, Some(patient)) =
        (scopes.contains(&UserScope::LaunchEncounter), &context.encounter, &context.patient)
    {
        context.encounter = shared.fhir.last_of("Encounter", patient);
    }
    let session = UserSession {
        family: shared.sessions.new_family(),
        client_id: request.client_id.clone(),
        person,
        context,
        scope,
        scopes,
        nonce: request.nonce.clone(),
        authenticated,
    };
    let grant = CodeGrant { session, redirect_uri: request.redirect_uri.clone(), challenge: request.challenge.clone() };
    match shared.sessions.issue_code(grant, Timestamp::now().as_second()) {
        Some(code) => {
            send_back(shared, record, &request.redirect_uri, [("code", code), ("state", request.state.clone())])
        }
        None => refuse(shared, record, request, RequestError::NoRandomness),
    }
}

fn login_page(
    shared: &Shared,
    record: &Record,
    request: AuthorizeRequest,
    failed_login: Option<&str>,
    now: i64,
) -> Response {
    let interaction = Interaction { request, stage: Stage::Login };
    let Some(value) = shared.interactions.wait(interaction.clone(), now) else {
        return refuse(shared, record, &interaction.request, RequestError::NoRandomness);
    };
    let status = if failed_login.is_some() { StatusCode::FORBIDDEN } else { StatusCode::OK };
    let scopes = interaction.request.scope.split(' ').filter(|scope| !scope.is_empty());
    page::html(
        status,
        &LoginPage {
            app: &interaction.request.app.name,
            scopes: scopes.map(|scope| (scope, in_words(scope))).collect(),
            interaction: &value,
            people: &PEOPLE,
            password: DEMO_PASSWORD,
            login: failed_login.unwrap_or_default(),
            problem: failed_login.map(|_| "This login with this password is not known here."),
        },
    )
}

fn patient_page(shared: &Shared, record: &Record, interaction: &Interaction, now: i64) -> Response {
    let Stage::Patient { person, .. } = interaction.stage else {
        return answer(shared, record, Refused::Page(PageError::NoInteraction));
    };
    let Some(value) = shared.interactions.wait(interaction.clone(), now) else {
        return refuse(shared, record, &interaction.request, RequestError::NoRandomness);
    };
    let patients = shared.fhir.patients();
    let app = &interaction.request.app.name;
    page::html(StatusCode::OK, &PatientPage { app, person, interaction: &value, patients })
}

fn refuse(shared: &Shared, record: &Record, request: &AuthorizeRequest, error: RequestError) -> Response {
    let (redirect_uri, state) = (request.redirect_uri.clone(), Some(request.state.clone()));
    answer(shared, record, Refused::Redirect { redirect_uri, state, error })
}

fn answer(shared: &Shared, record: &Record, refused: Refused) -> Response {
    match refused {
        Refused::Page(error) => {
            record.refused(error.to_string());
            page::html(StatusCode::BAD_REQUEST, &RefusedPage { reason: error.to_string() })
        }
        Refused::Redirect { redirect_uri, state, error } => {
            record.refused(error.to_string());
            let parameters = [("error", error.code().to_owned()), ("error_description", description(&error))];
            send_back(shared, record, &redirect_uri, parameters.into_iter().chain(state.map(|state| ("state", state))))
        }
    }
}

/// The characters that RFC 6749 §4.1.2.1 permits: printable ASCII without quotation mark and backslash.
fn description(error: &RequestError) -> String {
    let permitted = |character: char| matches!(character, ' '..='!' | '#'..='[' | ']'..='~');
    error.to_string().replace('"', "'").chars().map(|one| if permitted(one) { one } else { '?' }).collect()
}

/// Sends the user back to the app, with `iss` (RFC 9207), and with what a waiting fault makes of it.
fn send_back(
    shared: &Shared,
    record: &Record,
    redirect_uri: &str,
    parameters: impl IntoIterator<Item = (&'static str, String)>,
) -> Response {
    let mut parameters: BTreeMap<String, String> =
        parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    parameters.insert("iss".to_owned(), shared.issuer());
    for (name, value) in shared.faults.take_authorize() {
        record.fault(format!("a fault changed {name}"));
        match value {
            Some(value) => drop(parameters.insert(name, value)),
            None => drop(parameters.remove(&name)),
        }
    }
    let parameters: Vec<(&str, &str)> =
        parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    page::see_other(&with_parameters(redirect_uri, &parameters))
}
