//! What a person must do at an EHR, since no YAML reaches there.

use std::collections::BTreeSet;

use serde::Serialize;

use super::super::report::ActivationDetail;
use super::super::{Compiled, ObjectKey, Report};
use super::urls::activation_detail;
use super::{KeyToMake, MovedUrl, UrlKind};
use crate::api::{self, activation::KeyPair};

/// Something that a person must do at an EHR.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The EHR, as people call it.
    pub ehr: String,
    /// The environment.
    pub namespace: String,
    /// The activation that it is about.
    pub activation: String,
    /// What to do, as a sentence.
    pub what: String,
}

pub(super) fn steps(old: &Compiled<'_>, new: &Compiled<'_>, keys: &[KeyToMake], urls: &[MovedUrl]) -> Vec<Step> {
    let mut steps = Vec::new();
    for (report, detail) in activations(new) {
        let key = &report.object.key;
        let before = old.report(&report.object).and_then(activation_detail);
        let mut own = Vec::new();
        own.extend(of_key(key, keys));
        own.extend(of_client_id(key, old, new, detail, before));
        own.extend(of_launch(detail, before));
        own.extend(of_withdrawn(key, old, new));
        own.extend(urls.iter().filter(|url| url.object == report.object).filter_map(of_moved));
        steps.extend(own.into_iter().map(|what| step(key, detail, what)));
    }
    for (report, detail) in activations(old) {
        let key = &report.object.key;
        let is_gone = !new.resources.activations.contains_key(key);
        if is_gone && (detail.has_key || detail.asks_for_tokens) {
            let what = "Have the registration removed: the activation that used it goes".to_owned();
            steps.push(step(key, detail, what));
        }
    }
    steps
}

fn activations<'compiled>(
    compiled: &Compiled<'compiled>,
) -> impl Iterator<Item = (&'compiled Report, &'compiled ActivationDetail)> + use<'compiled> {
    compiled.reports.iter().filter_map(|report| Some((report, activation_detail(report)?)))
}

fn step(key: &ObjectKey, detail: &ActivationDetail, what: String) -> Step {
    Step { ehr: detail.ehr_name.clone(), namespace: key.namespace.clone(), activation: key.name.clone(), what }
}

fn of_key(key: &ObjectKey, keys: &[KeyToMake]) -> Option<String> {
    let own = keys.iter().find(|own| own.namespace == key.namespace && own.activations.contains(&key.name))?;
    let (url, name) = (&own.jwks_url, &key.name);
    Some(if own.rotation {
        format!(
            "Nothing where the EHR fetches {url}: it learns the new key by itself. Where a PEM was uploaded, upload the new one: hearthgate pem {name}"
        )
    } else {
        format!(
            "Register App {} with the JWKS URL {url}; where the EHR takes a PEM only, upload it once it is made: hearthgate pem {name}",
            own.app
        )
    })
}

fn of_client_id(
    key: &ObjectKey,
    old: &Compiled<'_>,
    new: &Compiled<'_>,
    detail: &ActivationDetail,
    before: Option<&ActivationDetail>,
) -> Option<String> {
    if detail.awaits_client_id {
        let is_new = before.is_none_or(|before| !before.awaits_client_id);
        let what = "Ask for the client ID that the EHR gives, and commit it as backendAuth.clientId";
        return is_new.then(|| what.to_owned());
    }
    let client_id = |compiled: &Compiled<'_>| {
        compiled.snapshot.activations.get(key).and_then(|own| own.ehr_authentication.client_id().map(str::to_owned))
    };
    let (from, to) = (client_id(old)?, client_id(new)?);
    (from != to).then(|| {
        format!(
            "Make sure that client {to} is registered as {from} was: with the same key or secret, and the same scopes"
        )
    })
}

fn of_launch(detail: &ActivationDetail, before: Option<&ActivationDetail>) -> Option<String> {
    let (callback, launch) = (detail.callback_url.as_ref()?, detail.launch_url.as_ref()?);
    let is_new = before.is_none_or(|before| before.callback_url.is_none());
    is_new.then(|| format!("Register the redirect URI {callback} and the launch URL {launch}"))
}

/// Keys that leaked should go at the EHR too.
fn of_withdrawn(key: &ObjectKey, old: &Compiled<'_>, new: &Compiled<'_>) -> Option<String> {
    let withdrawn = |compiled: &Compiled<'_>| -> BTreeSet<String> {
        let own = compiled.resources.activations.get(key).and_then(|own| key_pair(own));
        own.map(|own| own.withdrawn.iter().cloned().collect()).unwrap_or_default()
    };
    let before = withdrawn(old);
    let added: Vec<String> = withdrawn(new).difference(&before).cloned().collect();
    (!added.is_empty()).then(|| format!("Have the withdrawn key removed (thumbprint {})", added.join(", ")))
}

fn key_pair(own: &api::Activation) -> Option<&KeyPair> {
    let method = &own.spec.ehr_authentication;
    let system = method.system.as_ref().and_then(|system| Some(&system.backend_auth.as_ref()?.key_pair));
    system.or_else(|| method.user.as_ref()?.key_pair.as_ref())
}

fn of_moved(url: &MovedUrl) -> Option<String> {
    let MovedUrl { from, to, .. } = url;
    let to = to.as_ref()?;
    Some(match url.url {
        UrlKind::JwksUrl => format!(
            "Replace the JWKS URL {from} by {to}: the EHR refuses us once what it remembers of the old one is forgotten"
        ),
        UrlKind::CallbackUrl => format!("Replace the redirect URI {from} by {to}"),
        UrlKind::LaunchUrl => format!("Replace the launch URL {from} by {to}"),
        UrlKind::Issuer => return None,
    })
}
