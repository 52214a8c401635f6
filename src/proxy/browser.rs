//! What a browser gets on a user's launch: a redirect, a cookie that only this launch knows, or a page that says why not.

use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION, REFERRER_POLICY, SET_COOKIE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::body::{self, Body};
use super::refusal::Refusal;
use super::request_id::RequestId;
use crate::snapshot::Gateway;
use crate::store::StoreError;

const X_CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");

/// 256 random bits in base64url: for states, codes, nonces, verifiers and cookies.
pub(super) fn random_text() -> Result<String, StoreError> {
    let mut bytes = Zeroizing::new([0; 32]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| StoreError::NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes.as_slice()))
}

/// Sends the browser elsewhere with a GET, whatever it came with (RFC 9700 §4.12: 303, never 307).
pub(super) fn redirect(location: &str) -> Response<Body> {
    let mut response = Response::new(body::full(""));
    // What was registered or configured is ASCII, and what is appended is percent-encoded.
    match HeaderValue::from_str(location) {
        Ok(location) => {
            *response.status_mut() = StatusCode::SEE_OTHER;
            response.headers_mut().insert(LOCATION, location);
        }
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // The address holds a launch, a state or a code: the next page must not learn it.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// The cookie that binds a launch to the browser that began it. Each launch has its own, so that several may run at once.
pub(super) struct LaunchCookie<'launch> {
    pub(super) gateway: &'launch Gateway,
    /// The state that goes to the EHR.
    pub(super) state: &'launch str,
}

impl LaunchCookie<'_> {
    fn is_secure(&self) -> bool {
        self.gateway.issuer.starts_with("https://")
    }

    fn name(&self) -> String {
        let prefix = if self.is_secure() { "__Host-" } else { "" };
        let digest = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.state.as_bytes()));
        let digest: String = digest.chars().take(16).collect();
        format!("{prefix}hearthgate-launch-{digest}")
    }

    /// `__Host-` asks for `Secure` and the path `/`; without TLS the cookie stays with the callback.
    fn attributes(&self) -> String {
        if self.is_secure() {
            return "Path=/; Secure; HttpOnly; SameSite=Lax".to_owned();
        }
        let rest = self.gateway.issuer.split_once("://").map_or("", |(_, rest)| rest);
        let path = rest.find('/').and_then(|start| rest.get(start..)).unwrap_or("");
        format!("Path={path}/oauth2/callback; HttpOnly; SameSite=Lax")
    }

    /// Gives it to the browser.
    pub(super) fn set(&self, response: &mut Response<Body>, value: &str, seconds: i64) {
        put_cookie(response, &format!("{}={value}; Max-Age={seconds}; {}", self.name(), self.attributes()));
    }

    /// Takes it from the browser.
    pub(super) fn clear(&self, response: &mut Response<Body>) {
        put_cookie(response, &format!("{}=; Max-Age=0; {}", self.name(), self.attributes()));
    }

    /// Whether the browser shows it.
    pub(super) fn is_shown(&self, headers: &HeaderMap, expected: &str) -> bool {
        let name = self.name();
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut shown = cookies
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .filter(|(own, _)| *own == name);
        // Of two of the same name one is not ours.
        let (Some((_, value)), None) = (shown.next(), shown.next()) else { return false };
        value.as_bytes().ct_eq(expected.as_bytes()).into()
    }
}

fn put_cookie(response: &mut Response<Body>, text: &str) {
    // Names, digests and paths of URLs are ASCII.
    if let Ok(mut value) = HeaderValue::from_str(text) {
        value.set_sensitive(true);
        response.headers_mut().append(SET_COOKIE, value);
    }
}

/// What makes the page readable.
const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:2rem auto;padding:0 1rem}";

/// What the page may do: nothing but to be shown in [`STYLE`], whose SHA-256 stands here.
const POLICY: &str = "default-src 'none'; style-src 'sha256-bLN4DupNjHp6t4iv9WUjEao3ut/JRHinO3+7QzZ8FBU='; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// A page for a person: why there is no launch. It holds no script, and nothing that a request brought.
pub(super) fn page(refusal: &Refusal, request_id: &RequestId) -> Response<Body> {
    let text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>The app cannot be opened</title>\n\
         <style>{STYLE}</style>\n<main>\n<h1>The app cannot be opened</h1>\n<p>{}.</p>\n<p>{}</p>\n\
         <p>Code {}, request {}</p>\n</main>\n</html>\n",
        escaped(&capitalised(&refusal.message)),
        escaped(refusal.code.remedy()),
        refusal.code.number(),
        escaped(request_id.as_str()),
    );
    let mut response = Response::new(body::full(text));
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    let first: String = characters.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    first + characters.as_str()
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, character| {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn the_policy_permits_the_pages_own_style() {
        let digest = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
        assert!(POLICY.contains(&format!("style-src 'sha256-{digest}';")), "{digest}");
    }
}
