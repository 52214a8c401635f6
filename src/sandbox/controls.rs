//! `/sandbox/…`: what an EHR does not have. People and tests register clients, read the log and order faults here.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::log::LogEntry;
use super::registration::{RegisteredClient, RegistrationDocument};
use super::{Fault, FaultError, LaunchError, LaunchOrder, Registration, RegistrationError, Shared};

/// Why a control request is refused; unlike the EHR's own answers, these are told in full.
#[derive(Debug, thiserror::Error)]
pub(super) enum ControlError {
    #[error("the body is not what is expected here: {0}")]
    Body(#[from] JsonRejection),
    #[error("{0}")]
    Registration(#[from] RegistrationError),
    #[error("{0}")]
    Fault(#[from] FaultError),
    #[error("{0}")]
    Launch(#[from] LaunchError),
    #[error("no client is registered with this ID")]
    NoSuchClient,
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        let status = match &self {
            ControlError::Body(rejection) => rejection.status(),
            ControlError::Registration(_) | ControlError::Fault(_) | ControlError::Launch(_) => StatusCode::BAD_REQUEST,
            ControlError::NoSuchClient => StatusCode::NOT_FOUND,
        };
        (status, Json(json!({ "error": self.to_string() }))).into_response()
    }
}

/// The routes, relative to `/sandbox`.
pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/clients", get(clients).post(register))
        .route("/clients/{id}", delete(unregister))
        .route("/log", get(log).delete(clear_log))
        .route("/faults", post(add_fault).delete(clear_faults))
        .route("/tokens", delete(revoke_tokens))
        .route("/tokens/expiry", post(expire_tokens))
        .route("/sessions", delete(end_user_sessions))
        .route("/id-token-keys", delete(replace_id_token_key))
        .route("/launches", post(launch))
}

async fn clients(State(shared): State<Arc<Shared>>) -> Json<Vec<RegisteredClient>> {
    Json(shared.registry.list())
}

async fn register(
    State(shared): State<Arc<Shared>>,
    document: Result<Json<RegistrationDocument>, JsonRejection>,
) -> Result<Response, ControlError> {
    let Json(document) = document?;
    let registration = Registration::try_from(document)?;
    let client_id = registration.client_id.clone();
    shared.registry.register(registration)?;
    let registered = shared.registry.list().into_iter().find(|client| client.client_id == client_id);
    Ok((StatusCode::CREATED, Json(registered)).into_response())
}

async fn unregister(
    State(shared): State<Arc<Shared>>,
    Path(client_id): Path<String>,
) -> Result<StatusCode, ControlError> {
    shared.unregister(&client_id).then_some(StatusCode::NO_CONTENT).ok_or(ControlError::NoSuchClient)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogQuery {
    /// Only what came after this sequence number.
    #[serde(default)]
    after: u64,
    client_id: Option<String>,
}

async fn log(State(shared): State<Arc<Shared>>, Query(query): Query<LogQuery>) -> Json<Vec<LogEntry>> {
    let mut entries = shared.log.after(query.after);
    if let Some(client_id) = &query.client_id {
        entries.retain(|entry| entry.client_id.as_ref() == Some(client_id));
    }
    Json(entries)
}

async fn clear_log(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.log.clear();
    StatusCode::NO_CONTENT
}

async fn add_fault(
    State(shared): State<Arc<Shared>>,
    fault: Result<Json<Fault>, JsonRejection>,
) -> Result<StatusCode, ControlError> {
    let Json(fault) = fault?;
    shared.faults.add(fault)?;
    Ok(StatusCode::CREATED)
}

async fn clear_faults(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.faults.clear();
    StatusCode::NO_CONTENT
}

async fn revoke_tokens(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.tokens.revoke(None);
    StatusCode::NO_CONTENT
}

async fn expire_tokens(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.tokens.expire(Timestamp::now().as_second());
    StatusCode::NO_CONTENT
}

async fn end_user_sessions(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.sessions.end(None);
    StatusCode::NO_CONTENT
}

async fn replace_id_token_key(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.id_tokens.replace_key();
    StatusCode::NO_CONTENT
}

async fn launch(
    State(shared): State<Arc<Shared>>,
    order: Result<Json<LaunchOrder>, JsonRejection>,
) -> Result<Response, ControlError> {
    let Json(order) = order?;
    let url = shared.launch(&order, Timestamp::now().as_second())?;
    Ok((StatusCode::CREATED, Json(json!({ "url": url }))).into_response())
}
