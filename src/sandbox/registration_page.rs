//! Where a person registers an app with a browser, as an EHR team does at the vendor: its JWK Set URL, or its certificate.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use url::form_urlencoded;
use uuid::Uuid;

use super::page;
use super::registration::RegisteredClient;
use super::{Credential, REGISTRATION_PATH, Registration, RegistrationError, Shared};

/// What was filled in.
#[derive(Default)]
struct Form {
    app_name: String,
    client_id: String,
    jwks_url: String,
    pem: String,
    redirect_uris: String,
}

#[derive(askama::Template)]
#[template(path = "sandbox/registration.html")]
struct RegistrationPage<'form> {
    path: &'static str,
    form: &'form Form,
    problem: Option<String>,
    /// The client ID of the one that was registered just now.
    registered: Option<String>,
    clients: Vec<RegisteredClient>,
}

/// Why nothing is registered. Unlike the EHR's own answers, these are told in full.
#[derive(Debug, thiserror::Error)]
enum FormError {
    #[error("Give a JWK Set URL or a certificate, one of the two")]
    OneKey,
    #[error("Not registered: {0}")]
    Registration(#[from] RegistrationError),
    #[error("This form was sent from another site")]
    Foreign,
}

#[derive(Deserialize)]
pub(super) struct Done {
    registered: Option<String>,
}

/// `GET`: the page.
pub(super) async fn show(State(shared): State<Arc<Shared>>, Query(done): Query<Done>) -> Response {
    // Only what is registered is said to be.
    let registered = done.registered.filter(|client_id| shared.registry.knows(client_id));
    registration_page(&shared, StatusCode::OK, &Form::default(), registered, None)
}

/// `POST`: registers the app, and shows the page with its client ID.
pub(super) async fn register(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let form = Form::read(&body);
    // Not `Origin`: where pages send no referrer, a browser's own says `null`.
    let sent_from = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    if sent_from.is_some_and(|site| site != "same-origin") {
        return registration_page(&shared, StatusCode::FORBIDDEN, &form, None, Some(&FormError::Foreign));
    }
    match form.register(&shared) {
        Ok(client_id) => {
            let query: String =
                form_urlencoded::Serializer::new(String::new()).append_pair("registered", &client_id).finish();
            page::see_other(&format!("{REGISTRATION_PATH}?{query}"))
        }
        Err(error) => registration_page(&shared, StatusCode::BAD_REQUEST, &form, None, Some(&error)),
    }
}

impl Form {
    fn read(body: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let value = value.trim().to_owned();
            match &*name {
                "appName" => form.app_name = value,
                "clientId" => form.client_id = value,
                "jwksUrl" => form.jwks_url = value,
                "pem" => form.pem = value,
                "redirectUris" => form.redirect_uris = value,
                _ => {}
            }
        }
        form
    }

    fn register(&self, shared: &Shared) -> Result<String, FormError> {
        let credential = match (self.jwks_url.as_str(), self.pem.as_str()) {
            (url, "") if !url.is_empty() => Credential::JwksUrl(url.to_owned()),
            ("", pem) if !pem.is_empty() => Credential::Pem(pem.to_owned()),
            _ => return Err(FormError::OneKey),
        };
        let client_id = match self.client_id.as_str() {
            "" => Uuid::new_v4().to_string(),
            given => given.to_owned(),
        };
        shared.registry.register(Registration {
            app_name: Some(self.app_name.clone()).filter(|name| !name.is_empty()),
            redirect_uris: self.redirect_uris.split_whitespace().map(str::to_owned).collect(),
            ..Registration::new(client_id.clone(), credential)
        })?;
        Ok(client_id)
    }
}

fn registration_page(
    shared: &Shared,
    status: StatusCode,
    form: &Form,
    registered: Option<String>,
    problem: Option<&FormError>,
) -> Response {
    let page = RegistrationPage {
        path: REGISTRATION_PATH,
        form,
        problem: problem.map(|problem| format!("{problem}.")),
        registered,
        clients: shared.registry.list(),
    };
    page::html(status, &page)
}
