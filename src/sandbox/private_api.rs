//! Non-FHIR APIs behind Basic and `Epic-Client-ID`: what an adapter's External auth is for.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::header::{AUTHORIZATION, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use super::bearer::basic_client;
use super::log::Record;
use super::{PRIVATE_PATH, Shared};

/// Epic's header that names the client where no token does.
const CLIENT_ID_HEADER: &str = "epic-client-id";
/// What one booking may hold, in bytes.
const LARGEST_BODY: usize = 4 * 1024 * 1024;

/// Why a call is refused; the caller reads the same words every time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum PrivateError {
    #[error("no Authorization: Basic header, or several")]
    NoBasic,
    #[error("no Epic-Client-ID header, or several")]
    NoClientId,
    #[error("user, password and Epic-Client-ID do not belong together")]
    WrongCredential,
    #[error("there is no such private API")]
    NotFound,
    #[error("the private API does not take this method")]
    Method,
    #[error("the body is not JSON")]
    NotJson,
}

impl IntoResponse for PrivateError {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            PrivateError::NoBasic | PrivateError::NoClientId | PrivateError::WrongCredential => {
                (StatusCode::UNAUTHORIZED, "Unauthorized")
            }
            PrivateError::NotFound => (StatusCode::NOT_FOUND, "Not found"),
            PrivateError::Method => (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
            PrivateError::NotJson => (StatusCode::BAD_REQUEST, "Bad request"),
        };
        let mut response = (status, Json(json!({ "Message": message }))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = http::HeaderValue::from_static(r#"Basic realm="sandbox""#);
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Everything below [`PRIVATE_PATH`].
pub(super) async fn serve(
    State(shared): State<Arc<Shared>>,
    Extension(record): Extension<Record>,
    request: Request,
) -> Response {
    match answer(&shared, &record, request).await {
        Ok(response) => response,
        Err(error) => {
            record.refused(error.to_string());
            error.into_response()
        }
    }
}

async fn answer(shared: &Shared, record: &Record, request: Request) -> Result<Response, PrivateError> {
    authorize(shared, record, request.headers())?;
    let (parts, body) = request.into_parts();
    let below = parts.uri.path().strip_prefix(PRIVATE_PATH).unwrap_or_default();
    let segments: Vec<&str> = below.split('/').skip(1).collect();
    match segments.as_slice() {
        ["Scheduling", "Provider", id, "Availability"] => {
            only(&parts.method, &Method::GET)?;
            let slots = shared.fhir.free_slots_of(id).ok_or(PrivateError::NotFound)?;
            Ok(Json(json!({ "ProviderID": id, "Slots": slots })).into_response())
        }
        ["Scheduling", "Appointment"] => {
            only(&parts.method, &Method::POST)?;
            let body = axum::body::to_bytes(body, LARGEST_BODY).await.map_err(|_| PrivateError::NotJson)?;
            let booking: Value = serde_json::from_slice(&body).map_err(|_| PrivateError::NotJson)?;
            Ok((StatusCode::CREATED, Json(json!({ "Status": "Booked", "Request": booking }))).into_response())
        }
        // Leads to this same server under another host name, so that the log shows anyone who follows.
        ["Scheduling", "Moved"] => {
            let elsewhere = elsewhere(&shared.base_url);
            Ok((StatusCode::FOUND, [(LOCATION, elsewhere)], Json(json!({ "Message": "Moved" }))).into_response())
        }
        _ => Err(PrivateError::NotFound),
    }
}

fn authorize(shared: &Shared, record: &Record, headers: &HeaderMap) -> Result<(), PrivateError> {
    let single = |name: &str| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
    };
    let basic = single(AUTHORIZATION.as_str())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Basic"));
    let (_, encoded) = basic.ok_or(PrivateError::NoBasic)?;
    let client_id = single(CLIENT_ID_HEADER).ok_or(PrivateError::NoClientId)?;
    let client_id = basic_client(shared, encoded, Some(client_id)).ok_or(PrivateError::WrongCredential)?;
    record.credential(&client_id, None);
    Ok(())
}

fn only(presented: &Method, allowed: &Method) -> Result<(), PrivateError> {
    if presented == allowed { Ok(()) } else { Err(PrivateError::Method) }
}

fn elsewhere(base_url: &str) -> String {
    let port = base_url.rsplit_once(':').map(|(_, port)| port).filter(|port| port.bytes().all(|b| b.is_ascii_digit()));
    format!("http://localhost:{}/followed-with-credentials", port.unwrap_or("80"))
}
