//! What every request to the simulated EHR passes first: it is written to the log, its body is read under a bound, and
//! a fault that waits for it happens.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;

use super::faults::{Action, FaultyAnswer, Target};
use super::log::Record;
use super::{AUTHORIZE_PATH, FHIR_PATH, OPEN_FHIR_PATH, PRIVATE_PATH, Shared, TOKEN_PATH, fhir, gzip};

/// Token and authorization requests are small; everything above is not one.
const LARGEST_TOKEN_BODY: usize = 64 * 1024;
/// The largest FHIR or private body, in bytes.
const LARGEST_BODY: usize = 4 * 1024 * 1024;
/// How long a part that is to be broken off has to get out.
const PAUSE_BEFORE_BREAK: Duration = Duration::from_millis(50);

/// Logs, bounds and, where a test asked for it, spoils one request. Handlers find the log's [`Record`] among the
/// request's extensions.
pub(super) async fn receive(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let target = target(parts.uri.path());
    let record = shared.log.arrived(&parts.method, &parts.uri, &parts.headers, Timestamp::now());
    let limit = match target {
        Target::Token | Target::Authorize => LARGEST_TOKEN_BODY,
        Target::Fhir | Target::Private | Target::Other => LARGEST_BODY,
    };
    let Ok(body) = to_bytes(body, limit).await else {
        record.refused(format!("the body is larger than {limit} bytes, or was broken off"));
        record.answered(StatusCode::PAYLOAD_TOO_LARGE);
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    if !matches!(target, Target::Token | Target::Authorize) {
        record.body(&body);
    }
    parts.extensions.insert(record.clone());
    // A fault of the authorization endpoint is about the way back to the app, not about the next page.
    let fault = if target == Target::Authorize { None } else { shared.faults.take(target) };
    if let Some(action) = &fault {
        parts.extensions.insert(action.token.clone());
    }
    if let Some(action) = &fault {
        tokio::time::sleep(action.delay).await;
    }
    let request = Request::from_parts(parts, Body::from(body));
    let response = match fault {
        None => next.run(request).await,
        Some(Action { answer: Some(answer), headers, .. }) => {
            record.fault(format!("a fault answered {}", answer.status));
            with_headers(faulty(target, answer), headers)
        }
        Some(Action { headers, break_off_after_bytes, gzip, .. }) => {
            let response = with_headers(next.run(request).await, headers);
            let response = if gzip { compressed(&record, response).await } else { response };
            match break_off_after_bytes {
                Some(length) => broken_off(&record, response, length).await,
                None => response,
            }
        }
    };
    record.answered(response.status());
    response
}

fn target(path: &str) -> Target {
    let below = |base: &str| path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if path == TOKEN_PATH {
        Target::Token
    } else if below(AUTHORIZE_PATH) {
        Target::Authorize
    } else if below(FHIR_PATH) || below(OPEN_FHIR_PATH) {
        Target::Fhir
    } else if below(PRIVATE_PATH) {
        Target::Private
    } else {
        Target::Other
    }
}

fn faulty(target: Target, answer: FaultyAnswer) -> Response {
    let FaultyAnswer { status, body, location } = answer;
    let mut response = match (target, body) {
        (Target::Fhir, Some(body)) => ([(CONTENT_TYPE, "application/fhir+json")], body).into_response(),
        (_, Some(body)) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
        (Target::Fhir, None) if location.is_none() => {
            fhir::outcome::Refusal::new(status, "transient", "a fault that a test asked for").into_response()
        }
        (_, None) => status.canonical_reason().unwrap_or("fault").into_response(),
    };
    *response.status_mut() = status;
    if status == StatusCode::UNAUTHORIZED && target == Target::Fhir {
        let challenge = HeaderValue::from_static(r#"Bearer realm="sandbox", error="invalid_token""#);
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

fn with_headers(mut response: Response, headers: Vec<(http::HeaderName, HeaderValue)>) -> Response {
    for (name, value) in headers {
        response.headers_mut().append(name, value);
    }
    response
}

async fn compressed(record: &Record, response: Response) -> Response {
    record.fault("a fault compressed the answer");
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(gzip::stored(&body)))
}

/// Announces the whole length, sends a part, and breaks the connection.
async fn broken_off(record: &Record, response: Response, length: usize) -> Response {
    record.fault(format!("a fault broke the answer off after {length} bytes"));
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let part = body.slice(..length.min(body.len()));
    let sent = stream::iter([Ok::<Bytes, std::io::Error>(part)]);
    let broken = stream::once(async {
        // Without a pause the server closes before it has sent the head.
        tokio::time::sleep(PAUSE_BEFORE_BREAK).await;
        Err(std::io::Error::other("broken off by a fault"))
    });
    Response::from_parts(parts, Body::from_stream(sent.chain(broken)))
}
