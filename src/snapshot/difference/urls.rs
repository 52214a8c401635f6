//! URLs that somebody outside has written down.

use serde::Serialize;

use super::super::report::{ActivationDetail, Detail};
use super::super::{Compiled, Kind, ObjectReference, Report};

/// A URL that moves, or that is not served any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MovedUrl {
    /// The object that it belongs to.
    #[serde(flatten)]
    pub object: ObjectReference,
    /// What it is.
    pub url: UrlKind,
    /// Who has it written down.
    pub known_to: WhoKnows,
    /// The EHR's name, where an EHR knows it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ehr: String,
    /// Before.
    pub from: String,
    /// After; absent: nothing is there any more.
    pub to: Option<String>,
}

/// What a URL is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum UrlKind {
    /// The public keys that the EHR fetches.
    JwksUrl,
    /// The gateway's public URL, its OAuth issuer: with it move the FHIR base and all OAuth endpoints.
    Issuer,
    /// Where the EHR sends users back to.
    CallbackUrl,
    /// What the EHR launches the app with.
    LaunchUrl,
}

impl UrlKind {
    /// What it is, in words.
    pub const fn title(self) -> &'static str {
        match self {
            Self::JwksUrl => "JWKS URL",
            Self::Issuer => "issuer and FHIR base",
            Self::CallbackUrl => "callback URL",
            Self::LaunchUrl => "launch URL",
        }
    }
}

/// Who has a URL written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum WhoKnows {
    /// The EHR's people.
    Ehr,
    /// The apps' developers.
    Apps,
}

type Get = fn(&ActivationDetail) -> Option<&String>;

/// The URLs of an activation that are registered at its EHR.
const KNOWN_TO_EHRS: [(UrlKind, Get); 3] = [
    (UrlKind::JwksUrl, |detail| detail.jwks_url.as_ref()),
    (UrlKind::CallbackUrl, |detail| detail.callback_url.as_ref()),
    (UrlKind::LaunchUrl, |detail| detail.launch_url.as_ref()),
];

pub(super) fn moved(old: &Compiled<'_>, new: &Compiled<'_>) -> Vec<MovedUrl> {
    let mut urls = Vec::new();
    for before in old.reports {
        let after = new.report(&before.object);
        match (before.object.kind, &before.detail) {
            (Kind::Gateway, Detail::Gateway { url, .. }) => {
                let to = after.and_then(gateway_url);
                let from = Some(url).filter(|url| !url.is_empty());
                urls.extend(one(before, UrlKind::Issuer, WhoKnows::Apps, "", from, to));
            }
            (Kind::Activation, Detail::Activation(detail)) => {
                let after = after.and_then(activation_detail);
                for (kind, get) in KNOWN_TO_EHRS {
                    let (from, to) = (get(detail), after.and_then(get));
                    urls.extend(one(before, kind, WhoKnows::Ehr, &detail.ehr_name, from, to));
                }
            }
            _ => {}
        }
    }
    urls
}

fn gateway_url(report: &Report) -> Option<&String> {
    match &report.detail {
        Detail::Gateway { url, .. } => Some(url),
        Detail::Other | Detail::DataAdapter { .. } | Detail::App { .. } | Detail::Activation(_) => None,
    }
}

pub(super) fn activation_detail(report: &Report) -> Option<&ActivationDetail> {
    match &report.detail {
        Detail::Activation(detail) => Some(detail),
        Detail::Other | Detail::DataAdapter { .. } | Detail::App { .. } | Detail::Gateway { .. } => None,
    }
}

fn one(
    report: &Report,
    url: UrlKind,
    known_to: WhoKnows,
    ehr: &str,
    from: Option<&String>,
    to: Option<&String>,
) -> Option<MovedUrl> {
    let from = from.filter(|from| Some(*from) != to)?;
    Some(MovedUrl {
        object: report.object.clone(),
        url,
        known_to,
        ehr: ehr.to_owned(),
        from: from.clone(),
        to: to.filter(|to| !to.is_empty()).cloned(),
    })
}
