//! The authorization request (RFC 6749 §4.1.1, SMART App Launch 2.2 "Obtain authorization code"): who asks, where the
//! answer goes, and whether the user may be sent on to the EHR.
//!
//! Two kinds of refusal, and the difference is all of the security here. What is wrong with the client or its redirect URI
//! is told to the person on a page: nobody is redirected to an address that is not registered, letter by letter. All
//! else is told to the app by a redirect.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use jiff::Timestamp;

use super::pkce::{self, Challenge};
use super::redirect;
use super::user_scopes;
use crate::protocol::form;
use crate::snapshot::activation::User;
use crate::snapshot::{Activation, App, EhrAuthentication, Gateway, NotLive, Snapshot};
use crate::values::code::Code;
use crate::values::scope::ScopeSet;

/// No authorization request is longer.
pub const MAXIMUM_LENGTH: usize = 16 * 1024;
/// More parameters than that make no request of anybody's.
const MOST_PARAMETERS: usize = 64;

/// A good request.
#[derive(Debug)]
pub struct Authorization {
    /// The activation that the launch is for.
    pub activation: Arc<Activation>,
    /// What the app wants to find again.
    pub asked: Asked,
    /// The `launch` that the app was started with by us, still to be looked up.
    pub launch: Option<String>,
    /// What may be granted of what was asked for.
    pub scopes: ScopeSet,
}

/// What an app asked for: kept until the EHR sends the user back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The client.
    pub client_id: String,
    /// Where the answer goes; registered.
    pub redirect_uri: String,
    /// Passed back.
    pub state: String,
    /// What the code's presenter must prove.
    pub challenge: Challenge,
    /// OpenID's, for the id_token.
    pub nonce: Option<String>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Told on a page: there is no address that this may be told to.
    #[error(transparent)]
    OnPage(#[from] PageFault),
    /// Told to the app.
    #[error("{fault}")]
    ByRedirect {
        /// A registered redirect URI.
        redirect_uri: String,
        /// The app's state, where it sent one.
        state: Option<String>,
        /// What is wrong.
        fault: Fault,
    },
}

/// What is told on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageFault {
    /// No form, too long, or too many parameters.
    #[error("the authorization request cannot be read")]
    Unreadable,
    /// No app of this platform.
    #[error("the authorization request names no client that is known here, or names it twice")]
    Client,
    /// Not among the client's.
    #[error("the redirect URI of the authorization request is not registered for this client, letter by letter")]
    RedirectUri,
}

/// What is told to the app.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A parameter is missing.
    #[error("the parameter {0} is missing")]
    ParameterMissing(&'static str),
    /// A parameter stands there twice.
    #[error("a parameter is repeated")]
    ParameterRepeated,
    /// Not `code`.
    #[error("response_type must be code")]
    ResponseType,
    /// Not `query`.
    #[error("response_mode must be query")]
    ResponseMode,
    /// `request` (RFC 9101 §10.2).
    #[error("request objects are not supported")]
    RequestObject,
    /// `request_uri` (RFC 9101 §10.2).
    #[error("request objects are not supported")]
    RequestUri,
    /// Not `S256`, and absent means `plain`.
    #[error("code_challenge_method must be S256")]
    ChallengeMethod,
    /// No SHA-256 in base64url.
    #[error("code_challenge must be the SHA-256 of the verifier in base64url")]
    Challenge,
    /// Another FHIR base, or none.
    #[error("aud must be this gateway's FHIR base")]
    Audience,
    /// There is no activation of the app on this gateway.
    #[error("the app is not activated on this gateway")]
    NotActivated,
    /// There is one, without effect now.
    #[error("the app's activation on this gateway is not in effect now")]
    NotLive(NotLive),
    /// It has no users.
    #[error("the app's activation on this gateway does not launch with users of the EHR")]
    SystemOnly,
    /// Nothing of what was asked for may be granted.
    #[error("nothing of the requested scope may be granted")]
    ScopeUnavailable,
}

impl PageFault {
    /// The code of the refusal.
    pub const fn code(self) -> Code {
        match self {
            Self::Unreadable => Code::MalformedAuthorizationRequest,
            Self::Client | Self::RedirectUri => Code::RedirectRefused,
        }
    }
}

impl Fault {
    /// The code of the refusal.
    pub const fn code(&self) -> Code {
        match self {
            Self::ParameterMissing(_)
            | Self::ParameterRepeated
            | Self::ResponseType
            | Self::ResponseMode
            | Self::RequestObject
            | Self::RequestUri
            | Self::ChallengeMethod
            | Self::Challenge
            | Self::Audience => Code::MalformedAuthorizationRequest,
            Self::NotActivated | Self::SystemOnly => Code::ClientUnauthorized,
            Self::NotLive(NotLive::Suspended(_)) => Code::ActivationSuspended,
            Self::NotLive(NotLive::NotYet(_) | NotLive::Over(_)) => Code::ActivationOutsideWindow,
            Self::ScopeUnavailable => Code::ScopeUnavailable,
        }
    }

    /// RFC 6749's word for it (§4.1.2.1).
    pub const fn word(&self) -> &'static str {
        match self {
            Self::ParameterMissing(_)
            | Self::ParameterRepeated
            | Self::ResponseMode
            | Self::ChallengeMethod
            | Self::Challenge
            | Self::Audience => "invalid_request",
            Self::ResponseType => "unsupported_response_type",
            Self::RequestObject => "request_not_supported",
            Self::RequestUri => "request_uri_not_supported",
            Self::NotActivated | Self::NotLive(_) | Self::SystemOnly => "unauthorized_client",
            Self::ScopeUnavailable => "invalid_scope",
        }
    }
}

/// The request's parameters. One without a value counts as left out (RFC 6749 §3.1); unknown ones are ignored.
#[derive(Default)]
struct Parameters {
    known: Vec<(String, String)>,
    repeated: Vec<String>,
}

impl Parameters {
    fn read(text: &[u8]) -> Result<Self, PageFault> {
        if text.len() > MAXIMUM_LENGTH {
            return Err(PageFault::Unreadable);
        }
        let mut parameters = Self::default();
        for pair in form::pairs(text) {
            let (name, value) = pair.map_err(|_| PageFault::Unreadable)?;
            if parameters.known.iter().any(|(known, _)| *known == name) {
                parameters.repeated.push(name.into_owned());
            } else if parameters.known.len() < MOST_PARAMETERS {
                parameters.known.push((name.into_owned(), value.into_owned()));
            } else {
                return Err(PageFault::Unreadable);
            }
        }
        Ok(parameters)
    }

    fn is_repeated(&self, name: &str) -> bool {
        self.repeated.iter().any(|repeated| repeated == name)
    }

    fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.known.iter().find(|(known, _)| known == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    fn required(&self, name: &'static str) -> Result<&str, Fault> {
        self.get(name).ok_or(Fault::ParameterMissing(name))
    }
}

/// Decides. `parameters` is the query, or the form of a POST.
pub fn decide(
    snapshot: &Snapshot,
    gateway: &Gateway,
    parameters: &[u8],
    now: Timestamp,
) -> Result<Authorization, Refused> {
    let parameters = Parameters::read(parameters)?;
    let client_id = parameters.get("client_id").filter(|_| !parameters.is_repeated("client_id"));
    let app = client_id.and_then(|client_id| snapshot.app_by_client_id(client_id)).ok_or(PageFault::Client)?;
    let redirect_uri = parameters.get("redirect_uri").filter(|_| !parameters.is_repeated("redirect_uri"));
    // Compared as bytes: whatever reads URLs reads some of them otherwise than the next that reads URLs.
    let redirect_uri = redirect_uri
        .and_then(|uri| app.redirect_uris.iter().find(|registered| registered.as_bytes() == uri.as_bytes()))
        .ok_or(PageFault::RedirectUri)?;
    let state = parameters.get("state").filter(|_| !parameters.is_repeated("state"));
    judge(snapshot, gateway, app, redirect_uri, &parameters, now).map_err(|fault| Refused::ByRedirect {
        redirect_uri: redirect_uri.clone(),
        state: state.map(str::to_owned),
        fault,
    })
}

fn judge(
    snapshot: &Snapshot,
    gateway: &Gateway,
    app: &App,
    redirect_uri: &str,
    parameters: &Parameters,
    now: Timestamp,
) -> Result<Authorization, Fault> {
    if !parameters.repeated.is_empty() {
        return Err(Fault::ParameterRepeated);
    }
    if parameters.get("request").is_some() {
        return Err(Fault::RequestObject);
    }
    if parameters.get("request_uri").is_some() {
        return Err(Fault::RequestUri);
    }
    if parameters.required("response_type")? != "code" {
        return Err(Fault::ResponseType);
    }
    if parameters.get("response_mode").is_some_and(|mode| mode != "query") {
        return Err(Fault::ResponseMode);
    }
    let state = parameters.required("state")?;
    let audience = parameters.required("aud")?;
    if audience.strip_suffix('/').unwrap_or(audience) != gateway.fhir_base {
        return Err(Fault::Audience);
    }
    let challenge = parameters.required("code_challenge")?;
    if parameters.get("code_challenge_method") != Some(pkce::METHOD) {
        return Err(Fault::ChallengeMethod);
    }
    let challenge = Challenge::parse(challenge).ok_or(Fault::Challenge)?;
    let activation = snapshot.activation_of(&gateway.key, &app.key).ok_or(Fault::NotActivated)?;
    activation.live_at(now).map_err(Fault::NotLive)?;
    user_of(activation).ok_or(Fault::SystemOnly)?;
    let scopes = user_scopes::requested(activation, parameters.get("scope"));
    if scopes.is_empty() {
        return Err(Fault::ScopeUnavailable);
    }
    Ok(Authorization {
        activation: Arc::clone(activation),
        asked: Asked {
            client_id: app.client_id.clone(),
            redirect_uri: redirect_uri.to_owned(),
            state: state.to_owned(),
            challenge,
            nonce: parameters.get("nonce").map(str::to_owned),
        },
        launch: parameters.get("launch").map(str::to_owned),
        scopes,
    })
}

/// How an activation launches with users of its EHR; `None` if it does not.
pub fn user_of(activation: &Activation) -> Option<&User> {
    match &activation.ehr_authentication {
        EhrAuthentication::User(user) => Some(user),
        EhrAuthentication::BackendAuth(_)
        | EhrAuthentication::ClientCredentials(_)
        | EhrAuthentication::Basic(_)
        | EhrAuthentication::None => None,
    }
}

/// Our own secrets on the way to the EHR and back.
#[derive(Clone, Serialize, Deserialize)]
pub struct EhrLeg {
    /// What we prove to the EHR's token endpoint.
    pub verifier: String,
    /// What the EHR's id_token must hold.
    pub nonce: String,
    /// What the EHR was asked for.
    pub scope: String,
    /// The EHR started the app.
    pub is_ehr_launch: bool,
}

/// Where a gateway has EHRs send users back to.
pub fn callback(gateway: &Gateway) -> String {
    format!("{}/oauth2/callback", gateway.issuer)
}

/// The EHR's authorization endpoint with our request in it. `launch` is the EHR's own.
pub fn ehr_request(
    endpoint: &str,
    activation: &Activation,
    user: &User,
    leg: &EhrLeg,
    state: &str,
    launch: Option<&str>,
) -> String {
    let callback = callback(&activation.gateway);
    let challenge = Challenge::of(&leg.verifier);
    let asks_who = user_scopes::owes_id_token(&leg.scope, None);
    redirect::with_parameters(
        endpoint,
        [
            ("response_type", Some("code")),
            ("client_id", Some(user.client_id.as_str())),
            ("redirect_uri", Some(callback.as_str())),
            ("scope", Some(leg.scope.as_str())),
            ("state", Some(state)),
            ("aud", Some(activation.gateway.data_adapter.fhir_base.without_slash())),
            ("code_challenge", Some(challenge.as_str())),
            ("code_challenge_method", Some(pkce::METHOD)),
            ("nonce", asks_who.then_some(leg.nonce.as_str())),
            ("launch", launch),
        ],
    )
}
