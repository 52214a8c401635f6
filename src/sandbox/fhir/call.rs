//! One FHIR interaction, taken out of an HTTP request or out of a Bundle's entry: both are served by the same code.

use std::sync::Arc;

use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::outcome::Refusal;
use super::store::TYPES;
use crate::sandbox::user_session::UserSession;

/// What is asked for (FHIR R4 §3.1.0, the RESTful API).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Interaction {
    Capabilities,
    Discovery,
    Read { kind: &'static str, id: String },
    VersionRead { kind: &'static str, id: String, version: u32 },
    History { kind: &'static str, id: String },
    Search { kind: &'static str },
    Create { kind: &'static str },
    Update { kind: &'static str, id: String },
    Patch { kind: &'static str, id: String },
    Delete { kind: &'static str, id: String },
    Bundle,
}

/// What came along with an interaction.
#[derive(Debug, Clone, Default)]
pub(super) struct Call {
    /// Search parameters in their order: of the URL for GET, of the body for `POST _search`.
    pub(super) parameters: Vec<(String, String)>,
    /// The resource, Bundle or JSON Patch.
    pub(super) body: Option<Value>,
    pub(super) if_match: Option<String>,
    pub(super) if_none_match: Option<String>,
    pub(super) if_none_exist: Option<String>,
    /// The `Prefer` header.
    pub(super) prefer: String,
    /// The ID that a transaction has promised to the other entries, for a create.
    pub(super) assigned_id: Option<String>,
    /// The client that asks; `None` on the open base.
    pub(super) client_id: Option<String>,
    /// The user behind it; `None` where the client asks for itself.
    pub(super) session: Option<Arc<UserSession>>,
}

/// What an interaction comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Option<Value>,
    /// For `ETag` and `Last-Modified`.
    pub(super) version: Option<(u32, jiff::Timestamp)>,
    /// Absolute, with version.
    pub(super) location: Option<String>,
}

impl Answer {
    /// 200 with a body.
    pub(super) fn ok(body: Value) -> Answer {
        Answer { status: StatusCode::OK, body: Some(body), version: None, location: None }
    }
}

impl Interaction {
    /// Reads method and path, the latter relative to the base, as it arrived, without a leading slash.
    pub(super) fn parse(method: &Method, path: &str) -> Result<Interaction, Refusal> {
        let segments: Vec<String> = path
            .trim_end_matches('/')
            .split('/')
            .map(|segment| percent_decode_str(segment).decode_utf8().map(std::borrow::Cow::into_owned))
            .collect::<Result<_, _>>()
            .map_err(|_| Refusal::invalid("the path is not UTF-8"))?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let reading = method == Method::GET || method == Method::HEAD;
        let refused = || {
            let text = format!("{method} is not possible here");
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "not-supported", text)
        };
        match segments.as_slice() {
            [""] if method == Method::POST => Ok(Interaction::Bundle),
            [""] if reading => Err(Refusal::not_supported("searching across all types is not supported")),
            ["metadata"] if reading => Ok(Interaction::Capabilities),
            [".well-known", "smart-configuration"] if reading => Ok(Interaction::Discovery),
            ["" | "metadata"] | [".well-known", ..] => Err(refused()),
            [kind] => {
                let kind = known(kind)?;
                match *method {
                    Method::GET | Method::HEAD => Ok(Interaction::Search { kind }),
                    Method::POST => Ok(Interaction::Create { kind }),
                    Method::PUT | Method::PATCH | Method::DELETE => {
                        Err(Refusal::not_supported("conditional update, patch and delete are not supported"))
                    }
                    _ => Err(refused()),
                }
            }
            [kind, "_search"] => {
                let kind = known(kind)?;
                if method == Method::POST { Ok(Interaction::Search { kind }) } else { Err(refused()) }
            }
            [kind, "_history"] => {
                known(kind)?;
                Err(Refusal::not_supported("the history of a whole type is not supported"))
            }
            [.., operation] if operation.starts_with('$') => {
                Err(Refusal::not_found(format!("the operation {operation} is not known")))
            }
            [kind, id] => {
                let (kind, id) = (known(kind)?, checked_id(id)?);
                match *method {
                    Method::GET | Method::HEAD => Ok(Interaction::Read { kind, id }),
                    Method::PUT => Ok(Interaction::Update { kind, id }),
                    Method::PATCH => Ok(Interaction::Patch { kind, id }),
                    Method::DELETE => Ok(Interaction::Delete { kind, id }),
                    _ => Err(refused()),
                }
            }
            [kind, id, "_history"] => {
                let (kind, id) = (known(kind)?, checked_id(id)?);
                if reading { Ok(Interaction::History { kind, id }) } else { Err(refused()) }
            }
            [kind, id, "_history", version] => {
                let (kind, id) = (known(kind)?, checked_id(id)?);
                let version = version.parse().map_err(|_| Refusal::not_found(format!("no version {version:?}")))?;
                if reading { Ok(Interaction::VersionRead { kind, id, version }) } else { Err(refused()) }
            }
            _ => Err(Refusal::not_found("nothing is here")),
        }
    }

    /// Whether it is open to all: SMART and FHIR ask that both documents be readable without a token.
    pub(super) fn is_public(&self) -> bool {
        matches!(self, Interaction::Capabilities | Interaction::Discovery)
    }
}

fn known(kind: &str) -> Result<&'static str, Refusal> {
    TYPES
        .iter()
        .find(|known| **known == kind)
        .copied()
        .ok_or_else(|| Refusal::not_found(format!("the resource type {kind:?} is not known")))
}

/// A FHIR `id`: 1 to 64 letters, digits, `-` and `.` (FHIR R4 §2.24.0.1).
pub(super) fn checked_id(id: &str) -> Result<String, Refusal> {
    let fits = (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    fits.then(|| id.to_owned()).ok_or_else(|| Refusal::invalid(format!("{id:?} is not a resource ID")))
}
