//! What pages need besides: embedded, and served under names that change with their content.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const STYLE: &str = include_str!("assets/console.css");
const SCRIPT: &str = include_str!("assets/console.js");
const ICON: &str = include_str!("assets/icon.svg");
/// htmx 2.0.11, as its npm package `htmx.org` ships it (Zero-Clause BSD; `assets/htmx.LICENSE.txt`).
const HTMX: &str = include_str!("assets/htmx.min.js");

/// idiomorph 0.8.0 with its extension for htmx, as its npm package `idiomorph` ships it (Zero-Clause BSD;
/// `assets/idiomorph.LICENSE.txt`): news changes what changed and nothing else, so that focus and selection stay.
const MORPH: &str = include_str!("assets/idiomorph.min.js");

/// The names of the embedded files.
pub struct Names {
    /// The style sheet.
    pub style: String,
    /// Our own few lines of script.
    pub script: String,
    /// htmx.
    pub htmx: String,
    /// idiomorph.
    pub morph: String,
    /// The icon.
    pub icon: String,
}

/// What the pages call them.
pub static NAMES: LazyLock<Names> = LazyLock::new(|| Names {
    style: name("console", STYLE, "css"),
    script: name("console", SCRIPT, "js"),
    htmx: name("htmx", HTMX, "js"),
    morph: name("idiomorph", MORPH, "js"),
    icon: name("icon", ICON, "svg"),
});

fn name(stem: &str, content: &str, ending: &str) -> String {
    let hash = digest(&SHA256, content.as_bytes());
    let short = hash.as_ref().get(..9).unwrap_or_default();
    format!("{stem}-{}.{ending}", URL_SAFE_NO_PAD.encode(short))
}

pub async fn get(Path(file): Path<String>) -> Response {
    let known = [
        (&NAMES.style, STYLE, "text/css; charset=utf-8"),
        (&NAMES.script, SCRIPT, "text/javascript; charset=utf-8"),
        (&NAMES.htmx, HTMX, "text/javascript; charset=utf-8"),
        (&NAMES.morph, MORPH, "text/javascript; charset=utf-8"),
        (&NAMES.icon, ICON, "image/svg+xml"),
    ];
    match known.into_iter().find(|(name, ..)| **name == file) {
        Some((_, content, media_type)) => {
            let headers = [(CONTENT_TYPE, media_type), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
            (headers, content).into_response()
        }
        None => (StatusCode::NOT_FOUND, "no such file\n").into_response(),
    }
}
