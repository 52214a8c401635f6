//! FHIR R4 over HTTP: authorization, headers and media types. What an interaction does is in the files below.

mod bundle;
mod call;
mod capability;
pub(super) mod data;
mod date;
mod interactions;
mod json_patch;
pub(super) mod outcome;
mod paging;
mod parameters;
mod permit;
mod search;
mod store;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, request};
use serde_json::{Value, json};

use self::call::{Answer, Call, Interaction};
use self::capability::OauthUris;
use self::outcome::Refusal;
use self::paging::Sessions;
use self::store::Store;
use super::bearer::Caller;
use super::launch::ListedPatient;
use super::log::Record;
use super::{FHIR_PATH, OPEN_FHIR_PATH, Shared, bearer, discovery};

/// What every JSON answer is.
const FHIR_JSON: &str = "application/fhir+json; charset=utf-8";
/// The largest body, in bytes; the front refuses larger ones before.
const LARGEST_BODY: usize = 4 * 1024 * 1024;

/// Who may use a FHIR base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Holders of a token or of a Basic credential.
    Authorized,
    /// Everyone.
    Open,
}

/// One FHIR base with its own copy of the data set.
#[derive(Debug)]
pub(super) struct FhirServer {
    /// Absolute, without a trailing slash.
    base: String,
    access: Access,
    store: Mutex<Store>,
    sessions: Mutex<Sessions>,
}

impl FhirServer {
    /// A base with the data set as it is at every start.
    pub(super) fn new(base: String, access: Access) -> FhirServer {
        let mut store = Store::default();
        data::seed(&mut store, &base);
        FhirServer { base, access, store: Mutex::new(store), sessions: Mutex::default() }
    }

    /// The base, absolute, without a trailing slash.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// All patients, as a list shows them.
    pub(super) fn patients(&self) -> Vec<ListedPatient> {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.all("Patient").iter().map(|patient| ListedPatient::read(patient)).collect()
    }

    /// The ID of the newest resource of a type that is about this patient.
    pub(super) fn last_of(&self, kind: &'static str, patient: &str) -> Option<String> {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let all = store.all(kind);
        let last = all.iter().rev().find(|resource| permit::concerns(&store, &self.base, resource, patient))?;
        last.get("id")?.as_str().map(ToOwned::to_owned)
    }

    /// Start, end and ID of the free slots of a practitioner; `None` where there is no such practitioner.
    pub(super) fn free_slots_of(&self, practitioner: &str) -> Option<Vec<Value>> {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.current("Practitioner", practitioner).ok()?;
        let wanted = format!("Practitioner/{practitioner}");
        let schedules: Vec<String> = store
            .all("Schedule")
            .iter()
            .filter(|schedule| {
                let actors = schedule.get("actor").and_then(Value::as_array);
                actors.is_some_and(|actors| actors.iter().any(|actor| actor.get("reference") == Some(&json!(wanted))))
            })
            .filter_map(|schedule| Some(format!("Schedule/{}", schedule.get("id")?.as_str()?)))
            .collect();
        let free = store.all("Slot").into_iter().filter(|slot| {
            let schedule = slot.pointer("/schedule/reference").and_then(Value::as_str).unwrap_or_default();
            slot.get("status") == Some(&json!("free")) && schedules.iter().any(|known| known == schedule)
        });
        Some(
            free.map(|slot| json!({ "SlotID": slot.get("id"), "Start": slot.get("start"), "End": slot.get("end") }))
                .collect(),
        )
    }
}

/// The FHIR base that asks for a token or a Basic credential.
pub(super) async fn authorized(
    State(shared): State<Arc<Shared>>,
    Extension(record): Extension<Record>,
    request: Request,
) -> Response {
    serve(&shared, &shared.fhir, FHIR_PATH, &record, request).await
}

/// The FHIR base that is open to all.
pub(super) async fn open(
    State(shared): State<Arc<Shared>>,
    Extension(record): Extension<Record>,
    request: Request,
) -> Response {
    serve(&shared, &shared.open_fhir, OPEN_FHIR_PATH, &record, request).await
}

async fn serve(shared: &Shared, server: &FhirServer, prefix: &str, record: &Record, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().strip_prefix(prefix).unwrap_or_default().trim_start_matches('/');
    let interaction = Interaction::parse(&parts.method, path);
    let public = interaction.as_ref().is_ok_and(Interaction::is_public);
    let caller = match server.access {
        _ if public => None,
        Access::Open => None,
        Access::Authorized => match bearer::authorize(shared, record, &parts.headers) {
            Ok(caller) => Some(caller),
            Err(error) => {
                record.refused(error.to_string());
                let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "login", "a valid access token is needed");
                let challenge = HeaderValue::from_static(error.challenge());
                return ([(WWW_AUTHENTICATE, challenge)], refusal).into_response();
            }
        },
    };
    let answered = async {
        let interaction = interaction?;
        let format = Format::wanted(&parts, &interaction)?;
        let body = axum::body::to_bytes(body, LARGEST_BODY)
            .await
            .map_err(|_| Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", "the body is too large"))?;
        if interaction == Interaction::Discovery {
            return Ok(axum::Json(discovery::smart_configuration(shared)).into_response());
        }
        if interaction == Interaction::Capabilities {
            let oauth = OauthUris { authorize: shared.authorization_url(), token: shared.token_url() };
            return Ok(match format {
                Format::Xml => {
                    let xml = capability::xml(&server.base, &oauth);
                    ([(CONTENT_TYPE, "application/fhir+xml; charset=utf-8")], xml).into_response()
                }
                Format::Json | Format::Native => {
                    render(Answer::ok(capability::json(&server.base, &oauth)), &Call::default())
                }
            });
        }
        let call = read_call(&parts, &interaction, &body, caller)?;
        let answer = server.perform(&interaction, &call)?;
        Ok(match (format, native(&answer)) {
            (Format::Native, Some(native)) => native,
            _ => render(answer, &call),
        })
    }
    .await;
    answered.unwrap_or_else(|refusal: Refusal| {
        record.refused(refusal.to_string());
        refusal.into_response()
    })
}

/// How an answer is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    /// The CapabilityStatement only.
    Xml,
    /// A Binary's own bytes.
    Native,
}

impl Format {
    /// Epic's ways: JSON has to be asked for where the CapabilityStatement is read, elsewhere there is nothing else.
    fn wanted(parts: &request::Parts, interaction: &Interaction) -> Result<Format, Refusal> {
        let parameter = pairs(parts.uri.query().unwrap_or_default().as_bytes())
            .into_iter()
            .find(|(name, _)| name == "_format")
            .map(|(_, value)| value);
        let accepted = match parameter {
            Some(format) => format,
            None => joined(&parts.headers, ACCEPT.as_str()),
        }
        .to_ascii_lowercase();
        let (json, xml) = (accepted.contains("json"), accepted.contains("xml"));
        let anything = accepted.is_empty() || accepted.contains("*/*") || accepted.contains("application/*");
        match interaction {
            Interaction::Capabilities if json => Ok(Format::Json),
            Interaction::Capabilities if xml || anything => Ok(Format::Xml),
            Interaction::Read { kind: "Binary", .. } if !json && !accepted.is_empty() => Ok(Format::Native),
            _ if json || anything => Ok(Format::Json),
            _ => {
                let text = "only application/fhir+json is answered here";
                Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, "not-supported", text))
            }
        }
    }
}

/// Collects what an interaction needs from headers, query and body.
fn read_call(
    parts: &request::Parts,
    interaction: &Interaction,
    body: &[u8],
    caller: Option<Caller>,
) -> Result<Call, Refusal> {
    let media_type = joined(&parts.headers, CONTENT_TYPE.as_str()).to_ascii_lowercase();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let unsupported = |expected: &str| {
        let text = format!("Content-Type is {essence:?}, it must be {expected}");
        Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported", text)
    };
    let searching_by_post = matches!(interaction, Interaction::Search { .. }) && parts.method == Method::POST;
    let parameters = if searching_by_post {
        // Epic's newer versions ignore the query of a search by POST.
        if !body.is_empty() && essence != "application/x-www-form-urlencoded" {
            return Err(unsupported("application/x-www-form-urlencoded"));
        }
        pairs(body)
    } else {
        pairs(parts.uri.query().unwrap_or_default().as_bytes())
    };
    let document = match interaction {
        Interaction::Create { .. } | Interaction::Update { .. } | Interaction::Bundle => {
            if !matches!(essence, "application/fhir+json" | "application/json") {
                return Err(unsupported("application/fhir+json"));
            }
            Some(json_document(body)?)
        }
        Interaction::Patch { .. } => {
            if essence != "application/json-patch+json" {
                return Err(unsupported("application/json-patch+json"));
            }
            Some(json_document(body)?)
        }
        Interaction::Capabilities
        | Interaction::Discovery
        | Interaction::Read { .. }
        | Interaction::VersionRead { .. }
        | Interaction::History { .. }
        | Interaction::Search { .. }
        | Interaction::Delete { .. } => None,
    };
    let (client_id, session) = caller.map(|caller| (caller.client_id, caller.session)).unzip();
    let header = |name: &str| Some(joined(&parts.headers, name)).filter(|value| !value.is_empty());
    Ok(Call {
        parameters,
        body: document,
        if_match: header(IF_MATCH.as_str()),
        if_none_match: header(IF_NONE_MATCH.as_str()),
        if_none_exist: header("if-none-exist"),
        prefer: joined(&parts.headers, "prefer"),
        assigned_id: None,
        client_id,
        session: session.flatten(),
    })
}

fn json_document(body: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::invalid(format!("the body is not JSON: {error}")))
}

fn pairs(form: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(form).into_owned().collect()
}

fn joined(headers: &HeaderMap, name: &str) -> String {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(", ")
}

/// A Binary's own bytes, where the answer is one.
fn native(answer: &Answer) -> Option<Response> {
    let binary = answer.body.as_ref()?;
    let media_type = HeaderValue::from_str(binary.get("contentType")?.as_str()?).ok()?;
    let bytes = STANDARD.decode(binary.get("data")?.as_str()?).ok()?;
    Some(([(CONTENT_TYPE, media_type)], bytes).into_response())
}

/// Writes an answer as `Prefer` asks (FHIR R4 §3.1.0.1.9).
fn render(answer: Answer, call: &Call) -> Response {
    let written = answer.location.is_some();
    let body = match answer.body {
        Some(_) if written && call.prefer.contains("return=minimal") => None,
        Some(_) if written && call.prefer.contains("return=OperationOutcome") => {
            Some(outcome::outcome("information", "informational", "done"))
        }
        body => body,
    };
    let mut response = match body {
        Some(body) => (answer.status, [(CONTENT_TYPE, FHIR_JSON)], body.to_string()).into_response(),
        None => answer.status.into_response(),
    };
    let headers = response.headers_mut();
    if let Some((number, at)) = answer.version {
        let modified = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        for (name, text) in [(ETAG, format!("W/\"{number}\"")), (LAST_MODIFIED, modified)] {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(name, value);
            }
        }
    }
    if let Some(location) = answer.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        headers.insert(LOCATION, location);
    }
    response
}
