//! Is the EHR there, is an app's link reachable, is the app healthy.
//!
//! The targets are named in resources, so nothing of an answer's body is ever shown: only what was understood of a
//! CapabilityStatement, and status codes. Redirects are not followed.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use serde::Deserialize;

use super::client::{ReadError, read_short};
use super::{CallError, EPIC_CLIENT_ID, EhrClient, epic_client_id};
use crate::snapshot::DataAdapter;
use crate::snapshot::data_adapter::Timeouts;
use crate::values::code::Code;
use crate::values::key::holds_kid;
use crate::values::url::EndpointUrl;

/// Longest CapabilityStatement that is read, in bytes. Large servers list every resource with every parameter.
const LONGEST_METADATA: usize = 16 * 1024 * 1024;

/// Longest key set of ours, in bytes: more than any number of revisions makes.
const LONGEST_KEY_SET: usize = 256 * 1024;

/// Longest time that the body of a CapabilityStatement may take.
const METADATA_PATIENCE: Duration = Duration::from_secs(30);

/// How long an app's links may take.
const LINK_TIMEOUTS: Timeouts =
    Timeouts { connect: Duration::from_secs(5), request: Duration::from_secs(10), idle: Duration::from_secs(5) };

/// Longest text that is taken over from a CapabilityStatement, in characters.
const LONGEST_NAME: usize = 128;

/// What a CapabilityStatement tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The FHIR version, such as `4.0.1`.
    pub fhir_version: String,
    /// Name and version of the software, where told.
    pub software: Option<String>,
}

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProbeFailure {
    /// One of the HG60xx codes.
    pub code: Code,
    /// What is so, for a person; nothing of the answer's body.
    pub message: String,
}

impl ProbeFailure {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<CallError> for ProbeFailure {
    fn from(error: CallError) -> Self {
        let code = match &error {
            CallError::AddressNotAllowed { .. } => Code::ProbeAddressNotAllowed,
            CallError::Tls(_) | CallError::TlsSettings(_) => Code::TlsFailed,
            CallError::Connect(_) | CallError::Timeout { .. } | CallError::Broken(_) | CallError::RequestBody => {
                Code::Unreachable
            }
        };
        Self::new(code, error.to_string())
    }
}

/// Reads the EHR's CapabilityStatement (FHIR R4 `capabilities`). `client_id` goes along as `Epic-Client-ID` where the kind
/// of EHR asks for it: without it, Epic may describe another client's view.
pub async fn capabilities(
    client: &EhrClient,
    adapter: &DataAdapter,
    client_id: Option<&str>,
) -> Result<Capabilities, ProbeFailure> {
    let url = format!("{}/metadata", adapter.fhir_base.without_slash());
    let mut request = request(Method::GET, &url)?;
    let headers = request.headers_mut();
    for (name, value) in &adapter.request_headers {
        headers.append(name.clone(), value.clone());
    }
    headers.insert(ACCEPT, HeaderValue::from_static("application/fhir+json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(value) = epic_client_id(adapter, client_id) {
        headers.insert(EPIC_CLIENT_ID, value);
    }
    let response = client.send(adapter, request).await?;
    let status = response.status();
    if status.is_server_error() {
        return Err(ProbeFailure::new(Code::Unreachable, format!("{url} answered {}", status.as_u16())));
    }
    if !status.is_success() {
        return Err(ProbeFailure::new(
            Code::NotFhirR4,
            format!("{url} answered {} instead of a CapabilityStatement", status.as_u16()),
        ));
    }
    match read_short(response.into_body(), LONGEST_METADATA, METADATA_PATIENCE).await {
        Ok(body) => understood(&url, &body),
        Err(error @ ReadError::TooLong { .. }) => Err(ProbeFailure::new(Code::NotFhirR4, format!("{url}: {error}"))),
        Err(error @ (ReadError::Timeout { .. } | ReadError::Broken)) => {
            Err(ProbeFailure::new(Code::Unreachable, format!("{url}: {error}")))
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CapabilityStatement {
    resource_type: String,
    fhir_version: Option<String>,
    software: Option<Software>,
}

#[derive(Deserialize)]
struct Software {
    name: Option<String>,
    version: Option<String>,
}

fn understood(url: &str, body: &[u8]) -> Result<Capabilities, ProbeFailure> {
    let refused = |what: &str| Err(ProbeFailure::new(Code::NotFhirR4, format!("{url} answered {what}")));
    let Ok(statement) = serde_json::from_slice::<CapabilityStatement>(body) else {
        return refused("something that is no FHIR resource in JSON");
    };
    if statement.resource_type != "CapabilityStatement" {
        return refused("another resource than a CapabilityStatement");
    }
    let Some(fhir_version) = statement.fhir_version.as_deref().and_then(shown) else {
        return refused("a CapabilityStatement without fhirVersion");
    };
    if fhir_version != "4.0" && !fhir_version.starts_with("4.0.") {
        return refused(&format!("a CapabilityStatement of FHIR {fhir_version}, which is not R4 (4.0.x)"));
    }
    let software = statement.software.and_then(|software| {
        let parts = [software.name, software.version];
        let words: Vec<String> = parts.iter().flatten().filter_map(|part| shown(part)).collect();
        (!words.is_empty()).then(|| words.join(" "))
    });
    Ok(Capabilities { fhir_version, software })
}

/// Text of the EHR that people may see in status: short and printable.
fn shown(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|character| !character.is_control()).take(LONGEST_NAME).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Whether an app's launch URI is a reachable link: anything but an error answers, also "log in first". Some servers know
/// no HEAD, so what HEAD does not settle, GET does.
pub async fn launch_uri(client: &EhrClient, uri: &EndpointUrl) -> Result<(), ProbeFailure> {
    let is_reachable = |status: StatusCode| {
        status.is_success()
            || status.is_redirection()
            || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
    };
    let head = link(client, Method::HEAD, uri).await?.status();
    if is_reachable(head) {
        return Ok(());
    }
    let get = link(client, Method::GET, uri).await?.status();
    if is_reachable(get) {
        return Ok(());
    }
    Err(ProbeFailure::new(Code::Unreachable, format!("{uri} answered {}", get.as_u16())))
}

/// What is wrong with the public key set of ours that an EHR is to fetch, seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySetProblem {
    /// It was not reached. An EHR may reach it all the same: routers do not always let a site call its own public address.
    Unreached(String),
    /// What answered is not the key set that holds the key.
    Wrong(String),
}

/// Whether the key set that an EHR fetches holds this key.
pub async fn key_set(client: &EhrClient, url: &EndpointUrl, kid: &str) -> Result<(), KeySetProblem> {
    let wrong = |what: &str| KeySetProblem::Wrong(format!("{url} {what}"));
    let unreached = |failure: ProbeFailure| KeySetProblem::Unreached(failure.message);
    let response = link(client, Method::GET, url).await.map_err(unreached)?;
    let status = response.status();
    if !status.is_success() {
        return Err(wrong(&format!("answers {} from here", status.as_u16())));
    }
    let body = read_short(response.into_body(), LONGEST_KEY_SET, LINK_TIMEOUTS.idle).await;
    let body = body.map_err(|error| KeySetProblem::Unreached(format!("{url}: {error}")))?;
    let set: serde_json::Value =
        serde_json::from_slice(&body).map_err(|_| wrong("answers something else than a key set"))?;
    if holds_kid(&set, kid) {
        Ok(())
    } else {
        Err(wrong("answers a key set without this key: something else, or an old copy of it, is served there"))
    }
}

/// Whether an app's health URI answers with success.
pub async fn health_uri(client: &EhrClient, uri: &EndpointUrl) -> Result<(), ProbeFailure> {
    let status = link(client, Method::GET, uri).await?.status();
    if status.is_success() {
        Ok(())
    } else {
        Err(ProbeFailure::new(Code::Unhealthy, format!("{uri} answered {}", status.as_u16())))
    }
}

async fn link(client: &EhrClient, method: Method, uri: &EndpointUrl) -> Result<Response<Incoming>, ProbeFailure> {
    Ok(client.send_elsewhere(LINK_TIMEOUTS, request(method, uri.as_str())?).await?)
}

fn request(method: Method, url: &str) -> Result<Request<Empty<Bytes>>, ProbeFailure> {
    Request::builder()
        .method(method)
        .uri(url)
        .header(ACCEPT, "*/*")
        .body(Empty::new())
        .map_err(|_| ProbeFailure::new(Code::Unreachable, format!("{url} cannot be called as written")))
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;
    use crate::outbound::testing::{Ehr, World};

    fn read(body: &str) -> Result<Capabilities, String> {
        understood("https://ehr/metadata", body.as_bytes()).map_err(|failure| failure.message)
    }

    #[test]
    fn a_capability_statement_of_r4_is_understood_and_nothing_else() {
        let found = |version: &str, software: Option<&str>| {
            Ok(Capabilities { fhir_version: version.to_owned(), software: software.map(str::to_owned) })
        };
        let refused = |what: &str| Err(format!("https://ehr/metadata answered {what}"));
        for (body, expected) in [
            (
                r#"{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1","software":{"name":"Epic","version":"May 2026"}}"#,
                found("4.0.1", Some("Epic May 2026")),
            ),
            (r#"{"resourceType":"CapabilityStatement","fhirVersion":"4.0.0"}"#, found("4.0.0", None)),
            (
                r#"{"resourceType":"CapabilityStatement","fhirVersion":"4.3.0"}"#,
                refused("a CapabilityStatement of FHIR 4.3.0, which is not R4 (4.0.x)"),
            ),
            (
                r#"{"resourceType":"CapabilityStatement","fhirVersion":"4.00"}"#,
                refused("a CapabilityStatement of FHIR 4.00, which is not R4 (4.0.x)"),
            ),
            (r#"{"resourceType":"CapabilityStatement"}"#, refused("a CapabilityStatement without fhirVersion")),
            (r#"{"resourceType":"Patient"}"#, refused("another resource than a CapabilityStatement")),
            ("<html>", refused("something that is no FHIR resource in JSON")),
            (r#"{"secret":"in the metadata service"}"#, refused("something that is no FHIR resource in JSON")),
        ] {
            assert_eq!(read(body), expected, "{body}");
        }
    }

    #[tokio::test]
    async fn a_link_is_reachable_when_anything_but_an_error_answers() {
        for (head, get, expected) in [
            (200, 500, Ok(())),
            (302, 500, Ok(())),
            (401, 500, Ok(())),
            (403, 500, Ok(())),
            (405, 200, Ok(())),
            (501, 303, Ok(())),
            (404, 404, Err(404)),
            (500, 500, Err(500)),
        ] {
            let ehr = Ehr::start(move |arrived| {
                let status = if arrived.method == Method::HEAD { head } else { get };
                (StatusCode::from_u16(status).unwrap(), [("location", "/elsewhere")]).into_response()
            })
            .await;
            let uri = EndpointUrl::parse(&ehr.url("/launch")).unwrap();
            let client = EhrClient::new(World::new().platform.addresses);
            let expected =
                expected.map_err(|status| ProbeFailure::new(Code::Unreachable, format!("{uri} answered {status}")));
            assert_eq!(launch_uri(&client, &uri).await, expected, "{head} {get}");
            assert_eq!(ehr.count("/elsewhere"), 0);
        }
    }

    #[tokio::test]
    async fn health_is_success_alone() {
        for (status, expected) in [(204, Ok(())), (302, Err(())), (503, Err(()))] {
            let ehr = Ehr::start(move |_| StatusCode::from_u16(status).unwrap().into_response()).await;
            let uri = EndpointUrl::parse(&ehr.url("/health")).unwrap();
            let client = EhrClient::new(World::new().platform.addresses);
            let expected =
                expected.map_err(|()| ProbeFailure::new(Code::Unhealthy, format!("{uri} answered {status}")));
            assert_eq!(health_uri(&client, &uri).await, expected);
        }
    }

    #[tokio::test]
    async fn a_link_to_the_inside_is_refused_by_name_of_the_rule() {
        let client = EhrClient::new(crate::values::url::AddressPolicy::default());
        let ehr = Ehr::start(|_| StatusCode::OK.into_response()).await;
        let uri = EndpointUrl::parse(&format!("https://localhost:{}/", ehr.address.port())).unwrap();
        assert_eq!(launch_uri(&client, &uri).await.unwrap_err().code, Code::ProbeAddressNotAllowed);
        assert!(ehr.arrived().is_empty());
    }
}
