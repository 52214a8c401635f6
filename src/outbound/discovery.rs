//! An EHR's SMART configuration: where its token and authorization endpoints are, when nobody wrote it down.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING};
use http::{HeaderValue, Request};
use http_body_util::Empty;
use serde_json::Value;

use super::client::read_short;
use super::{Clock, EPIC_CLIENT_ID, EhrClient, EhrTokenError, epic_client_id};
use crate::snapshot::DataAdapter;
use crate::values::url::{AddressPolicy, EndpointUrl};

/// How long a configuration is believed.
const FRESH: Duration = Duration::from_secs(3600);

/// Longest configuration that is read, in bytes.
const LONGEST: usize = 64 * 1024;

/// What an EHR's SMART configuration tells (SMART App Launch 2.2, "Conformance").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmartConfiguration {
    /// Where tokens are asked for.
    pub token_endpoint: EndpointUrl,
    /// Where users log in.
    pub authorization_endpoint: Option<EndpointUrl>,
    /// The EHR's issuer, for id_tokens.
    pub issuer: Option<String>,
    /// The EHR's key set, for id_tokens.
    pub jwks_uri: Option<EndpointUrl>,
    /// What may sign client assertions (`token_endpoint_auth_signing_alg_values_supported`); `None`: not told.
    pub signing_algorithms: Option<Vec<String>>,
    /// How clients may prove who they are (`token_endpoint_auth_methods_supported`); `None`: not told.
    pub auth_methods: Option<Vec<String>>,
    /// The EHR names its issuer in every answer to an authorization request (RFC 9207 §3).
    pub names_issuer: bool,
}

/// The FHIR base, and the client ID that went along.
type Asked = (String, Option<String>);

/// When it was read, and what it said.
type Known = (Duration, Arc<SmartConfiguration>);

/// Reads SMART configurations and remembers them for an hour. A clone shares what is remembered.
#[derive(Clone)]
pub struct Discovery {
    client: EhrClient,
    clock: Arc<dyn Clock>,
    known: Arc<Mutex<HashMap<Asked, Known>>>,
}

impl Discovery {
    /// Nothing is known yet.
    pub fn new(client: EhrClient, clock: Arc<dyn Clock>) -> Self {
        Self { client, clock, known: Arc::default() }
    }

    /// The configuration of this EHR. Epic tells a client its own URLs where it has some, so the client ID goes along.
    pub async fn of(
        &self,
        adapter: &DataAdapter,
        client_id: Option<&str>,
    ) -> Result<Arc<SmartConfiguration>, EhrTokenError> {
        match self.known(adapter, client_id) {
            Some(configuration) => Ok(configuration),
            None => self.anew(adapter, client_id).await,
        }
    }

    /// The same, read now whatever is remembered.
    pub async fn anew(
        &self,
        adapter: &DataAdapter,
        client_id: Option<&str>,
    ) -> Result<Arc<SmartConfiguration>, EhrTokenError> {
        let (header, asked) = question(adapter, client_id);
        let now = self.clock.elapsed();
        let configuration = Arc::new(self.read(adapter, header).await?);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (since, _)| now.saturating_sub(*since) < FRESH);
        known.insert(asked, (now, Arc::clone(&configuration)));
        Ok(configuration)
    }

    /// The configuration of this EHR, if it was read within the hour: never asks.
    pub fn known(&self, adapter: &DataAdapter, client_id: Option<&str>) -> Option<Arc<SmartConfiguration>> {
        let (_, asked) = question(adapter, client_id);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, configuration) = known.get(&asked)?;
        (self.clock.elapsed().saturating_sub(*since) < FRESH).then(|| Arc::clone(configuration))
    }

    async fn read(
        &self,
        adapter: &DataAdapter,
        epic_client_id: Option<HeaderValue>,
    ) -> Result<SmartConfiguration, EhrTokenError> {
        let url = format!("{}/.well-known/smart-configuration", adapter.fhir_base.without_slash());
        let unusable = |reason: String| EhrTokenError::UnusableAnswer {
            reason: format!("its SMART configuration gives no token URL: {reason}; write tokenUrl"),
        };
        let json = read_json(&self.client, adapter, &url, epic_client_id).await.map_err(|error| match error {
            JsonError::Unusable(reason) => unusable(reason),
            JsonError::Failed(error) => error,
        })?;
        parse(&json, self.client.addresses()).map_err(unusable)
    }
}

/// Why a JSON document of an EHR was not read.
pub(super) enum JsonError {
    /// There is no answer.
    Failed(EhrTokenError),
    /// There is one, and it is no such document.
    Unusable(String),
}

/// Reads a JSON document that an EHR shows to all.
pub(super) async fn read_json(
    client: &EhrClient,
    adapter: &DataAdapter,
    url: &str,
    epic_client_id: Option<HeaderValue>,
) -> Result<Value, JsonError> {
    let unusable = |reason: &str| JsonError::Unusable(reason.to_owned());
    let mut request =
        Request::get(url).body(Empty::<Bytes>::new()).map_err(|_| unusable("the URL cannot be called as written"))?;
    let headers = request.headers_mut();
    for (name, value) in &adapter.request_headers {
        headers.append(name.clone(), value.clone());
    }
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(value) = epic_client_id {
        headers.insert(EPIC_CLIENT_ID, value);
    }
    let response = client.send(adapter, request).await.map_err(|error| JsonError::Failed(error.into()))?;
    let status = response.status();
    if status.is_server_error() {
        return Err(JsonError::Failed(EhrTokenError::Unavailable { status: status.as_u16(), retry_after: None }));
    }
    if !status.is_success() {
        return Err(JsonError::Unusable(format!("it answered {}", status.as_u16())));
    }
    let body = read_short(response.into_body(), LONGEST, adapter.timeouts.idle).await;
    let body = body.map_err(|error| JsonError::Failed(error.into()))?;
    serde_json::from_slice(&body).map_err(|_| unusable("it is no JSON"))
}

fn parse(json: &Value, addresses: &AddressPolicy) -> Result<SmartConfiguration, String> {
    let url = |member: &str| -> Result<Option<EndpointUrl>, String> {
        let Some(text) = json.get(member).and_then(Value::as_str) else { return Ok(None) };
        let url = EndpointUrl::parse(text).map_err(|error| format!("{member} {error}"))?;
        addresses.judge_literal(&url).map_err(|refusal| format!("{member} is not called: {refusal}"))?;
        Ok(Some(url))
    };
    Ok(SmartConfiguration {
        token_endpoint: url("token_endpoint")?.ok_or("it has no token_endpoint")?,
        authorization_endpoint: url("authorization_endpoint").unwrap_or_default(),
        signing_algorithms: words(json, "token_endpoint_auth_signing_alg_values_supported"),
        auth_methods: words(json, "token_endpoint_auth_methods_supported"),
        issuer: json.get("issuer").and_then(Value::as_str).map(str::to_owned),
        jwks_uri: url("jwks_uri").unwrap_or_default(),
        names_issuer: json
            .get("authorization_response_iss_parameter_supported")
            .and_then(Value::as_bool)
            .unwrap_or_default(),
    })
}

/// What is sent along, and under what the answer is remembered.
fn question(adapter: &DataAdapter, client_id: Option<&str>) -> (Option<HeaderValue>, Asked) {
    let header = epic_client_id(adapter, client_id);
    let asked = (adapter.fhir_base.as_str().to_owned(), header.as_ref().and(client_id).map(str::to_owned));
    (header, asked)
}

/// Longest list, and longest word in it, that is taken over: they are shown to people.
const MOST_WORDS: usize = 16;
const LONGEST_WORD: usize = 32;

/// A list of plain words; what else stands in it is left out.
fn words(json: &Value, member: &str) -> Option<Vec<String>> {
    let is_plain = |word: &&str| {
        word.len() <= LONGEST_WORD
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    };
    let list = json.get(member)?.as_array()?;
    Some(list.iter().filter_map(Value::as_str).filter(is_plain).take(MOST_WORDS).map(str::to_owned).collect())
}

impl fmt::Debug for Discovery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Discovery")
    }
}
