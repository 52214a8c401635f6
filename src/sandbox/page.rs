//! How the simulated EHR's pages are sent: no script, no framing, nothing from elsewhere, nothing kept.

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, StatusCode};

/// Path of the one stylesheet.
pub(super) const STYLE_PATH: &str = "/interconnect/style.css";

/// There is no `form-action`: browsers hold it against every redirect that follows a form, and where the app behind the
/// gateway finally sends the user is not for the EHR to know. All that is written into the pages is escaped.
const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page.
pub(super) fn html(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => {
            let headers = [
                (CONTENT_TYPE, "text/html; charset=utf-8"),
                (CACHE_CONTROL, "no-store"),
                (http::header::CONTENT_SECURITY_POLICY, POLICY),
                (http::header::REFERRER_POLICY, "no-referrer"),
                (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            (status, headers, text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a page of the simulated EHR cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Sends the browser on with GET, whatever it came with (RFC 9700 §4.12: never 307).
pub(super) fn see_other(url: &str) -> Response {
    match HeaderValue::from_str(url) {
        Ok(url) => {
            let headers = [(LOCATION, url), (CACHE_CONTROL, HeaderValue::from_static("no-store"))];
            let privacy = [(http::header::REFERRER_POLICY, "no-referrer")];
            (StatusCode::SEE_OTHER, headers, privacy).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// `GET` of [`STYLE_PATH`].
pub(super) async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("../../templates/sandbox/style.css")).into_response()
}
