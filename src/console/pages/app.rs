//! An app: its client ID, what it asks for and gets, where it is activated, and how to ask for a token.

use std::collections::BTreeSet;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State as Extract};
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;

use super::activation::Named;
use super::parts::{Cause, Fact, Link, facts, resource};
use crate::api::common::condition;
use crate::api::{self, ActivationStatus, AppStatus};
use crate::console::Shared;
use crate::console::access::Visitor;
use crate::console::error::PageError;
use crate::console::frame::{Frame, Section, base};
use crate::console::model::Model;
use crate::console::plot::Plot;
use crate::console::respond::versioned;
use crate::console::snippets::{self, Snippet};
use crate::console::state::State;
use crate::snapshot::Kind;
use crate::snapshot::live::LiveObject;

/// Which gateway the snippets are about.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct Choice {
    gateway: String,
}

#[derive(Template)]
#[template(path = "console/app.html")]
struct Page {
    frame: Frame,
    name: String,
    title: String,
    description: Option<String>,
    state: State,
    reason: String,
    cause: Option<Cause>,
    client_id: Option<String>,
    client_type: &'static str,
    proves: &'static str,
    launch_uri: Option<String>,
    health_uri: Option<String>,
    redirect_uris: Vec<String>,
    scopes: Vec<Scope>,
    activations: Vec<Activated>,
    activate: String,
    health: Option<Plot>,
    facts: Vec<Fact>,
    gateways: Vec<Gateway>,
    snippets: Vec<Snippet>,
}

/// A scope that the app asks for.
struct Scope {
    text: String,
    /// Where not all of it is granted, and by whom it is dropped.
    dropped: Vec<(String, String)>,
}

/// Where the app is activated.
struct Activated {
    activation: Link,
    gateway: Option<Link>,
    granted: Vec<String>,
    reason: String,
}

/// A gateway that snippets can be about.
struct Gateway {
    name: String,
    is_chosen: bool,
}

pub async fn get(
    Extract(shared): Extract<Shared>,
    Extension(visitor): Extension<Visitor>,
    Path(Named { name }): Path<Named>,
    Query(choice): Query<Choice>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let model = shared.model.borrow().clone();
    let namespace = visitor.namespace.clone();
    let live = model.get(Kind::App, &namespace, &name).ok_or_else(|| PageError::NoObject {
        kind: "app",
        namespace,
        name: name.clone(),
    })?;
    let target = resource(&live.object);
    let frame = Frame::new(&shared, &model, &visitor, Section::Apps, model.display_name(&live.object))
        .kubectl(&format!("get {target} -o yaml"))
        .hearthgate(&shared, &format!("status {name}"))
        .hearthgate(&shared, &format!("token {name}"));
    versioned(&headers, &frame.tag.clone(), || Ok(page(&model, live, frame, &choice.gateway).render()?))
}

fn page(model: &Model, live: &LiveObject, frame: Frame, gateway: &str) -> Page {
    let key = &live.object.key;
    let app = model.resources.as_ref().and_then(|resources| resources.apps.get(key).cloned());
    let spec = app.as_deref().map(|app| &app.spec);
    let on: Vec<&LiveObject> = model
        .of_kind(Kind::Activation, &key.namespace)
        .filter(|activation| activation.references.contains(&live.object))
        .collect();
    let connected: Vec<_> = on
        .iter()
        .filter_map(|activation| {
            let gateway = activation.reference(Kind::Gateway)?.key.name.clone();
            Some((gateway, activation.status_as::<ActivationStatus>().connection?))
        })
        .collect();
    let chosen = connected.iter().find(|(name, _)| name == gateway).or_else(|| connected.first());
    let text = |url: &Option<api::common::HttpUrl>| url.as_ref().map(|url| url.0.clone());
    let health = live.condition(condition::HEALTHY).map(|_| {
        let track = model.history.of(&live.object, condition::HEALTHY);
        Plot::of(&*track, "Health", Timestamp::now())
    });
    Page {
        title: frame.title.clone(),
        name: key.name.clone(),
        description: spec.and_then(|spec| spec.description.clone()),
        state: State::of(live),
        reason: live.condition(condition::READY).map(|ready| ready.reason.clone()).unwrap_or_default(),
        cause: Cause::of(model, live),
        client_id: live.status_as::<AppStatus>().client_id,
        client_type: spec.map_or("", |spec| client_type(spec.client_type)),
        proves: spec.map_or("", proves),
        launch_uri: spec.and_then(|spec| text(&spec.launch_uri)),
        health_uri: spec.and_then(|spec| text(&spec.health_uri)),
        redirect_uris: spec
            .and_then(|spec| spec.redirect_uris.as_ref())
            .map(|uris| uris.iter().map(|uri| uri.0.clone()).collect())
            .unwrap_or_default(),
        scopes: scopes(spec, &on),
        activations: on.iter().map(|activation| activated(model, activation)).collect(),
        activate: format!("{}/activate?app={}", base(&key.namespace), key.name),
        health,
        facts: facts(live),
        gateways: connected
            .iter()
            .map(|(name, _)| Gateway {
                name: name.clone(),
                is_chosen: chosen.is_some_and(|(chosen, _)| chosen == name),
            })
            .collect(),
        snippets: spec.zip(chosen).map(|(spec, (_, connection))| snippets::token(spec, connection)).unwrap_or_default(),
        frame,
    }
}

const fn client_type(client_type: api::ClientType) -> &'static str {
    match client_type {
        api::ClientType::Public => "Public app",
        api::ClientType::Confidential => "Confidential app",
        api::ClientType::BackendService => "Backend service (OAuth2 client credentials)",
    }
}

fn proves(spec: &api::AppSpec) -> &'static str {
    if spec.jwks_uri.is_some() {
        "a signed JWT; its keys are published by the app"
    } else if spec.jwks.is_some() {
        "a signed JWT; its keys stand in the registration"
    } else if spec.client_secrets.is_some() {
        "a client secret, held in a Secret"
    } else {
        "nothing: it runs on a user's device (PKCE)"
    }
}

fn scopes(spec: Option<&api::AppSpec>, activations: &[&LiveObject]) -> Vec<Scope> {
    let dropped: Vec<_> =
        activations.iter().flat_map(|activation| activation.status_as::<ActivationStatus>().dropped_scopes).collect();
    spec.into_iter()
        .flat_map(|spec| &spec.scopes)
        .map(|scope| {
            let resource = scope.rsplit_once('.').map_or(scope.as_str(), |(resource, _)| resource);
            let of_it = dropped.iter().filter(|lost| {
                lost.scope == *scope || lost.scope.rsplit_once('.').is_some_and(|(lost, _)| lost == resource)
            });
            let said: BTreeSet<(String, String)> =
                of_it.map(|lost| (lost.scope.clone(), lost.dropped_by.clone())).collect();
            Scope { text: scope.clone(), dropped: said.into_iter().collect() }
        })
        .collect()
}

fn activated(model: &Model, activation: &LiveObject) -> Activated {
    let connection = activation.status_as::<ActivationStatus>().connection;
    Activated {
        activation: Link::to(model, &activation.object),
        gateway: activation.reference(Kind::Gateway).map(|gateway| Link::to(model, gateway)),
        granted: connection.map(|connection| connection.granted_scopes).unwrap_or_default(),
        reason: activation.condition(condition::READY).map(|ready| ready.reason.clone()).unwrap_or_default(),
    }
}
