//! Who sees what. In a cluster a person shows a token that the API server knows, and sees the environments whose
//! activations it may read; a browser keeps the token in a sealed session. Standalone, whoever reaches the loopback
//! listener sees everything.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Form, Path, Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use futures_util::future::join_all;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;

use super::error::PageError;
use super::{Access, Person, Shared};

/// What the API server calls all namespaces at once.
const ALL_ENVIRONMENTS: &str = "";
/// Where objects of a directory are that name no namespace.
const STANDALONE_ENVIRONMENT: &str = "default";
const COOKIE_NAME: &str = "hearthgate-console";

/// Who looks at a page, and at which.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// The person, where it is asked who that is.
    pub person: Option<Person>,
    /// The environments that it may see, by name.
    pub environments: Vec<String>,
    /// The one that the page is about; empty on the list of them.
    pub namespace: String,
    /// The page's own address, query included.
    pub address: String,
}

/// Lets only those in who may see what they ask for, and tells the page who they are.
pub async fn only_permitted(
    State(shared): State<Shared>,
    parameters: Option<Path<HashMap<String, String>>>,
    mut request: Request,
    next: Next,
) -> Response {
    let namespace = parameters.and_then(|Path(mut all)| all.remove("namespace")).unwrap_or_default();
    let all: Vec<String> = shared.model.borrow().environments().into_iter().map(str::to_owned).collect();
    let (person, environments) = match &shared.access {
        // Standalone the first app can be registered before anything is there.
        None if all.is_empty() => (None, vec![STANDALONE_ENVIRONMENT.to_owned()]),
        None => (None, all),
        Some(access) => {
            let Some(person) = person(&shared, access, request.headers()).await else {
                return to_login(request.headers());
            };
            let permitted = permitted(access, &person, all).await;
            if !namespace.is_empty() && !permitted.contains(&namespace) {
                // The same whether it exists or not: names of environments are told to nobody else.
                return PageError::NotPermitted { person: person.name, namespace }.into_response();
            }
            (Some(person), permitted)
        }
    };
    if !namespace.is_empty() && !environments.contains(&namespace) {
        return PageError::NoEnvironment(namespace).into_response();
    }
    let address = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    request.extensions_mut().insert(Visitor { person, environments, namespace, address });
    next.run(request).await
}

/// The environments that a person may see. Whoever may see all is asked about once.
async fn permitted(access: &Access, person: &Person, all: Vec<String>) -> Vec<String> {
    if (access.may_read)(person.clone(), ALL_ENVIRONMENTS.to_owned()).await {
        return all;
    }
    let verdicts = join_all(all.iter().map(|environment| (access.may_read)(person.clone(), environment.clone()))).await;
    all.into_iter().zip(verdicts).filter(|(_, may)| *may).map(|(environment, _)| environment).collect()
}

/// To the login page; a page that asks for news is told to go there as a whole.
fn to_login(headers: &HeaderMap) -> Response {
    if headers.contains_key("hx-request") {
        return (StatusCode::UNAUTHORIZED, [("hx-redirect", "/console/login")]).into_response();
    }
    Redirect::to("/console/login").into_response()
}

/// The person whose token the request carries, in its header or in the session's cookie.
async fn person(shared: &Shared, access: &Access, headers: &HeaderMap) -> Option<Person> {
    let token = bearer(headers).or_else(|| shared.sessions.open(cookie(headers)?, Timestamp::now()))?;
    (access.authenticate)(token).await
}

fn bearer(headers: &HeaderMap) -> Option<SecretString> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| SecretString::from(token.trim().to_owned()))
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|cookies| cookies.split(';')).find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == COOKIE_NAME).then_some(value)
    })
}

/// Asks for a token.
#[derive(Template)]
#[template(path = "console/login.html")]
struct Login {
    problem: Option<String>,
}

impl Login {
    fn page(status: StatusCode, problem: Option<String>) -> Response {
        match (Self { problem }).render() {
            Ok(page) => (status, Html(page)).into_response(),
            Err(error) => PageError::Template(error).into_response(),
        }
    }
}

pub async fn login_page(State(shared): State<Shared>) -> Response {
    if shared.access.is_none() {
        return Redirect::to("/console/").into_response();
    }
    Login::page(StatusCode::OK, None)
}

/// What the login page sends.
#[derive(Deserialize)]
pub struct Credentials {
    token: String,
}

pub async fn login(State(shared): State<Shared>, Form(credentials): Form<Credentials>) -> Response {
    let Some(access) = &shared.access else { return Redirect::to("/console/").into_response() };
    let token = SecretString::from(credentials.token.trim().to_owned());
    if (access.authenticate)(token.clone()).await.is_none() {
        let problem = "The API server does not know this token. It may have expired.".to_owned();
        return Login::page(StatusCode::UNAUTHORIZED, Some(problem));
    }
    match shared.sessions.seal(&token, Timestamp::now()) {
        Ok(value) => {
            // Not `Secure`: the admin listener speaks plain http, behind a port-forward or a mesh.
            let cookie = format!("{COOKIE_NAME}={value}; Path=/console; HttpOnly; SameSite=Strict");
            ([(SET_COOKIE, cookie)], Redirect::to("/console/")).into_response()
        }
        Err(error) => Login::page(StatusCode::BAD_REQUEST, Some(error.to_string())),
    }
}

pub async fn logout() -> Response {
    let cookie = format!("{COOKIE_NAME}=; Path=/console; HttpOnly; SameSite=Strict; Max-Age=0");
    ([(SET_COOKIE, cookie)], Redirect::to("/console/login")).into_response()
}
