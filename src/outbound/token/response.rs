//! Token responses, read as leniently as EHRs write them.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::EhrTokenError;

/// Longest token response that is read, in bytes.
pub(super) const LONGEST: usize = 64 * 1024;

/// How long a token is taken to live where the EHR does not say (SMART asks for at most that).
const UNSAID_LIFETIME: Duration = Duration::from_secs(300);

/// Longest lifetime that is believed.
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// How much of the EHR's own description is kept, in characters.
const LONGEST_DESCRIPTION: usize = 200;

/// A token as the EHR gave it.
pub(super) struct Granted {
    pub(super) access_token: Zeroizing<String>,
    pub(super) lifetime: Duration,
    /// What was granted, as the EHR words it (Epic's `Patient.read` has no `system/`).
    pub(super) scope: Option<String>,
    /// Gets the next access token.
    pub(super) refresh_token: Option<Zeroizing<String>>,
    /// Who the user is, as the EHR says; not looked into.
    pub(super) id_token: Option<Zeroizing<String>>,
    /// All else: the launch's context.
    pub(super) members: Map<String, Value>,
}

/// Reads the answer of a token endpoint.
pub(super) fn read(status: StatusCode, body: &[u8], clock_skew_seconds: Option<i64>) -> Result<Granted, EhrTokenError> {
    let json = serde_json::from_slice::<Value>(body).ok();
    if status.is_success() {
        return granted(json);
    }
    let unusable = |reason: String| Err(EhrTokenError::UnusableAnswer { reason });
    if status.is_redirection() {
        return unusable(format!("it answered {} (a redirect, which is not followed)", status.as_u16()));
    }
    if status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) {
        return Err(EhrTokenError::Unavailable { status: status.as_u16(), retry_after: None });
    }
    let error = json.as_ref().and_then(|json| json.get("error")).and_then(Value::as_str).and_then(error_code);
    let is_plain_refusal = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if error.is_none() && !is_plain_refusal {
        return unusable(format!("it answered {}", status.as_u16()));
    }
    let description = json.as_ref().and_then(|json| json.get("error_description")).and_then(Value::as_str);
    Err(EhrTokenError::Refused {
        status: status.as_u16(),
        error,
        description: description.and_then(harmless),
        clock_skew_seconds,
    })
}

fn granted(json: Option<Value>) -> Result<Granted, EhrTokenError> {
    let unusable = |reason: &str| EhrTokenError::UnusableAnswer { reason: reason.to_owned() };
    let Some(Value::Object(mut members)) = json else { return Err(unusable("it is no JSON object")) };
    let access_token = match members.get_mut("access_token").map(Value::take) {
        Some(Value::String(token)) => Zeroizing::new(token),
        Some(_) | None => return Err(unusable("it holds no access_token")),
    };
    // RFC 6750 §2.1 allows less; what matters is that it fits into a header and nothing else does.
    if access_token.is_empty() || !access_token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable("its access_token is empty or holds characters that no header can"));
    }
    match members.get("token_type") {
        None | Some(Value::Null) => {}
        Some(Value::String(kind)) if kind.eq_ignore_ascii_case("bearer") => {}
        Some(_) => return Err(unusable("its token_type is not Bearer")),
    }
    let mut text = |name: &str| match members.remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        Some(_) | None => None,
    };
    let (refresh_token, id_token) = (text("refresh_token"), text("id_token"));
    let scope = match members.get("scope") {
        Some(Value::String(scope)) => Some(scope.clone()),
        Some(_) | None => None,
    };
    members.remove("access_token");
    Ok(Granted {
        access_token,
        lifetime: lifetime(members.get("expires_in")),
        scope,
        refresh_token: refresh_token.map(Zeroizing::new),
        id_token: id_token.map(Zeroizing::new),
        members,
    })
}

/// `expires_in`: a number, or a number in a string; anything else says nothing.
fn lifetime(value: Option<&Value>) -> Duration {
    let seconds = match value {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(_) | None => None,
    };
    seconds
        .filter(|seconds| seconds.is_finite() && *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .unwrap_or(UNSAID_LIFETIME)
        .min(LONGEST_LIFETIME)
}

/// An OAuth error code that is one: the rest is not passed on.
fn error_code(text: &str) -> Option<String> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (!text.is_empty() && text.len() <= 64 && text.bytes().all(word)).then(|| text.to_owned())
}

/// The EHR's own words, shortened; dropped if they might hold a credential of ours that it echoes.
fn harmless(text: &str) -> Option<String> {
    if text.contains("eyJ") || text.split(|character: char| character.is_whitespace()).any(|word| word.len() > 64) {
        return None;
    }
    let clean: String = text.chars().filter(|character| !character.is_control()).take(LONGEST_DESCRIPTION).collect();
    (!clean.trim().is_empty()).then_some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: &str) -> Result<(String, u64, Option<String>), EhrTokenError> {
        read(StatusCode::from_u16(status).unwrap(), body.as_bytes(), None)
            .map(|granted| (granted.access_token.to_string(), granted.lifetime.as_secs(), granted.scope))
    }

    #[test]
    fn answers_are_read_as_leniently_as_ehrs_write_them() {
        let token = |lifetime, scope: Option<&str>| Ok(("t".to_owned(), lifetime, scope.map(str::to_owned)));
        for (body, expected) in [
            (
                r#"{"access_token":"t","token_type":"bearer","expires_in":3600,"scope":"Patient.read"}"#,
                token(3600, Some("Patient.read")),
            ),
            (r#"{"access_token":"t","token_type":"Bearer","expires_in":"570"}"#, token(570, None)),
            (r#"{"access_token":"t","token_type":null,"scope":["a"]}"#, token(300, None)),
            (r#"{"access_token":"t","expires_in":0}"#, token(300, None)),
            (r#"{"access_token":"t","expires_in":-5}"#, token(300, None)),
            (r#"{"access_token":"t","expires_in":"soon"}"#, token(300, None)),
            (r#"{"access_token":"t","expires_in":1e300}"#, token(300, None)),
            (r#"{"access_token":"t","expires_in":999999999}"#, token(86400, None)),
        ] {
            assert_eq!(answered(200, body), expected, "{body}");
        }
    }

    #[test]
    fn what_is_no_token_response_is_told_without_its_content() {
        let unusable = |reason: &str| Err(EhrTokenError::UnusableAnswer { reason: reason.to_owned() });
        for (status, body, expected) in [
            (200, "<html>login</html>", unusable("it is no JSON object")),
            (200, "[]", unusable("it is no JSON object")),
            (200, r#"{"token":"t"}"#, unusable("it holds no access_token")),
            (200, r#"{"access_token":7}"#, unusable("it holds no access_token")),
            (
                200,
                "{\"access_token\":\"t\\r\\nX: y\"}",
                unusable("its access_token is empty or holds characters that no header can"),
            ),
            (200, r#"{"access_token":"t","token_type":"mac"}"#, unusable("its token_type is not Bearer")),
            (302, "", unusable("it answered 302 (a redirect, which is not followed)")),
            (404, "<html>", unusable("it answered 404")),
            (503, "", Err(EhrTokenError::Unavailable { status: 503, retry_after: None })),
            (429, r#"{"error":"slow_down"}"#, Err(EhrTokenError::Unavailable { status: 429, retry_after: None })),
        ] {
            assert_eq!(answered(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn a_refusal_keeps_the_code_and_harmless_words_alone() {
        let refused = |status, error: Option<&str>, description: Option<&str>| {
            Err(EhrTokenError::Refused {
                status,
                error: error.map(str::to_owned),
                description: description.map(str::to_owned),
                clock_skew_seconds: None,
            })
        };
        for (status, body, expected) in [
            (400, r#"{"error":"invalid_client","error_description":null}"#, refused(400, Some("invalid_client"), None)),
            (401, "", refused(401, None, None)),
            (403, "<html>forbidden</html>", refused(403, None, None)),
            (
                400,
                r#"{"error":"invalid_scope","error_description":"unknown\u0000 scope"}"#,
                refused(400, Some("invalid_scope"), Some("unknown scope")),
            ),
            (
                400,
                r#"{"error":"invalid_client","error_description":"bad assertion eyJhbGciOi"}"#,
                refused(400, Some("invalid_client"), None),
            ),
            (400, r#"{"error":"<script>"}"#, refused(400, None, None)),
            (409, r#"{"error":"invalid_grant"}"#, refused(409, Some("invalid_grant"), None)),
        ] {
            assert_eq!(answered(status, body), expected, "{status} {body}");
        }
    }
}
