//! The authorization request, checked: what may be answered by a redirect, and what only by a page.

use std::collections::BTreeMap;

use crate::sandbox::registration::{Registry, UserFacing};

/// What an app's browser brought, whole and right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sandbox) struct AuthorizeRequest {
    pub(in crate::sandbox) client_id: String,
    pub(in crate::sandbox) app: UserFacing,
    pub(in crate::sandbox) redirect_uri: String,
    pub(in crate::sandbox) scope: String,
    pub(in crate::sandbox) state: String,
    pub(in crate::sandbox) nonce: Option<String>,
    pub(in crate::sandbox) launch: Option<String>,
    /// The S256 challenge.
    pub(in crate::sandbox) challenge: Option<String>,
}

/// Why nobody can be sent back: the answer is a page (RFC 6749 §4.1.2.1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::sandbox) enum PageError {
    #[error("The form is not application/x-www-form-urlencoded.")]
    NotAForm,
    #[error("The parameter {0} is given twice.")]
    Twice(&'static str),
    #[error("No app is registered with the client ID {0:?}.")]
    UnknownClient(String),
    #[error("The redirect URI {0:?} is not registered for this app.")]
    UnknownRedirect(String),
    #[error("This page is too old, or was used already. Go back to the app and start again.")]
    NoInteraction,
}

/// Why the request is refused by a redirect (RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::sandbox) enum RequestError {
    #[error("the parameter {0:?} is given twice")]
    Twice(String),
    #[error("state is missing")]
    NoState,
    #[error("response_type is {0:?}, only code is known")]
    ResponseType(String),
    #[error("aud is {presented:?}, it must be this EHR's FHIR base {expected:?}")]
    Audience { presented: String, expected: String },
    #[error("scope is missing")]
    NoScope,
    #[error("a public client must send code_challenge (RFC 7636)")]
    NoChallenge,
    #[error("code_challenge_method is {0:?}, only S256 is known")]
    ChallengeMethod(String),
    #[error("code_challenge is not 43 characters of base64url, as S256 makes them")]
    Challenge,
    #[error("the scope launch and the parameter launch belong together")]
    LaunchAlone,
    #[error("the launch value is unknown, used up, expired, or another app's")]
    UnknownLaunch,
    #[error("prompt is none, and nobody is logged in")]
    LoginRequired,
    #[error("nothing of the scopes can be granted: {0:?}")]
    NothingGranted(String),
    #[error("the user said no")]
    Denied,
    #[error("the system gives no randomness")]
    NoRandomness,
}

impl RequestError {
    /// The `error` parameter.
    pub(in crate::sandbox) fn code(&self) -> &'static str {
        match self {
            RequestError::Twice(_)
            | RequestError::NoState
            | RequestError::Audience { .. }
            | RequestError::NoChallenge
            | RequestError::ChallengeMethod(_)
            | RequestError::Challenge
            | RequestError::LaunchAlone
            | RequestError::UnknownLaunch => "invalid_request",
            RequestError::ResponseType(_) => "unsupported_response_type",
            RequestError::NoScope | RequestError::NothingGranted(_) => "invalid_scope",
            RequestError::LoginRequired => "login_required",
            RequestError::Denied => "access_denied",
            RequestError::NoRandomness => "server_error",
        }
    }
}

/// Why a request is refused, and by which way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sandbox) enum Refused {
    Page(PageError),
    Redirect { redirect_uri: String, state: Option<String>, error: RequestError },
}

/// Checks a request; `form` is the query of a GET or the body of a POST.
pub(super) fn check(form: &[u8], registry: &Registry, fhir_base: &str) -> Result<AuthorizeRequest, Refused> {
    let mut parameters = BTreeMap::new();
    let mut twice = None;
    for (name, value) in url::form_urlencoded::parse(form).into_owned() {
        // RFC 6749 §3.1: without a value counts as omitted, and none may be given twice.
        if !value.is_empty() && parameters.insert(name.clone(), value).is_some() {
            match name.as_str() {
                "client_id" => return Err(Refused::Page(PageError::Twice("client_id"))),
                "redirect_uri" => return Err(Refused::Page(PageError::Twice("redirect_uri"))),
                _ => twice = Some(name),
            }
        }
    }
    let get = |name: &str| parameters.get(name).cloned();
    let client_id = get("client_id").unwrap_or_default();
    let app = registry
        .user_facing(&client_id)
        .filter(|app| !app.redirect_uris.is_empty())
        .ok_or_else(|| Refused::Page(PageError::UnknownClient(client_id.clone())))?;
    let redirect_uri = get("redirect_uri").unwrap_or_default();
    if !app.redirect_uris.contains(&redirect_uri) {
        return Err(Refused::Page(PageError::UnknownRedirect(redirect_uri)));
    }
    let state = get("state");
    let checked = || {
        if let Some(name) = twice {
            return Err(RequestError::Twice(name));
        }
        let response_type = get("response_type").unwrap_or_default();
        if response_type != "code" {
            return Err(RequestError::ResponseType(response_type));
        }
        let state = state.clone().ok_or(RequestError::NoState)?;
        let audience = get("aud").unwrap_or_default();
        if audience != fhir_base {
            return Err(RequestError::Audience { presented: audience, expected: fhir_base.to_owned() });
        }
        let scope = get("scope").ok_or(RequestError::NoScope)?;
        let challenge = challenge(get("code_challenge"), get("code_challenge_method"), app.public)?;
        let launch = get("launch");
        if launch.is_some() != scope.split(' ').any(|text| text == "launch") {
            return Err(RequestError::LaunchAlone);
        }
        if launch.is_none() && get("prompt").as_deref() == Some("none") {
            return Err(RequestError::LoginRequired);
        }
        Ok((state, scope, challenge, launch))
    };
    match checked() {
        Ok((state, scope, challenge, launch)) => {
            Ok(AuthorizeRequest { client_id, app, redirect_uri, scope, state, nonce: get("nonce"), launch, challenge })
        }
        Err(error) => Err(Refused::Redirect { redirect_uri, state, error }),
    }
}

fn challenge(
    challenge: Option<String>,
    method: Option<String>,
    required: bool,
) -> Result<Option<String>, RequestError> {
    match (challenge, method) {
        (None, None) if required => Err(RequestError::NoChallenge),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(RequestError::NoChallenge),
        // RFC 7636 §4.3: without a method it would be plain.
        (Some(_), method) if method.as_deref() != Some("S256") => {
            Err(RequestError::ChallengeMethod(method.unwrap_or_default()))
        }
        (Some(challenge), _) => {
            let coded = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            let right = challenge.len() == 43 && challenge.bytes().all(coded);
            if right { Ok(Some(challenge)) } else { Err(RequestError::Challenge) }
        }
    }
}
