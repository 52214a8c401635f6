//! An adapter: how an EHR is reached, and whether it is.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State as Extract};
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::Timestamp;

use super::activation::Named;
use super::parts::{Cause, Fact, Link, facts, resource};
use crate::api::common::condition;
use crate::api::{DataAdapterSpec, DataAdapterStatus};
use crate::console::Shared;
use crate::console::access::Visitor;
use crate::console::error::PageError;
use crate::console::frame::{Frame, Section};
use crate::console::plot::Plot;
use crate::console::respond::versioned;
use crate::console::state::{Counts, State};
use crate::snapshot::Kind;

#[derive(Template)]
#[template(path = "console/adapter.html")]
struct Page {
    frame: Frame,
    name: String,
    title: String,
    state: State,
    reason: String,
    cause: Option<Cause>,
    rows: Vec<Row>,
    reachable: Option<Plot>,
    gateways: Vec<Link>,
    counts: Counts,
    facts: Vec<Fact>,
}

/// A setting or finding.
struct Row {
    title: &'static str,
    text: String,
    is_code: bool,
}

pub async fn get(
    Extract(shared): Extract<Shared>,
    Extension(visitor): Extension<Visitor>,
    Path(Named { name }): Path<Named>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let model = shared.model.borrow().clone();
    let namespace = visitor.namespace.clone();
    let live = model.get(Kind::DataAdapter, &namespace, &name).ok_or_else(|| PageError::NoObject {
        kind: "data adapter",
        namespace: namespace.clone(),
        name: name.clone(),
    })?;
    let target = resource(&live.object);
    let frame = Frame::new(&shared, &model, &visitor, Section::Adapters, model.display_name(&live.object))
        .kubectl(&format!("get {target} -o yaml"))
        .hearthgate(&shared, &format!("status {name}"));
    versioned(&headers, &frame.tag.clone(), || {
        let resources = model.resources.as_ref();
        let adapter = resources.and_then(|resources| resources.data_adapters.get(&live.object.key).cloned());
        let reachable = live.condition(condition::REACHABLE).map(|_| {
            let track = model.history.of(&live.object, condition::REACHABLE);
            Plot::of(&*track, "EHR is reachable", Timestamp::now())
        });
        let gateways = model.of_kind(Kind::Gateway, &namespace).filter(|own| own.references.contains(&live.object));
        Ok(Page {
            title: frame.title.clone(),
            state: State::of(live),
            reason: live.condition(condition::READY).map(|ready| ready.reason.clone()).unwrap_or_default(),
            cause: Cause::of(&model, live),
            rows: adapter.map(|adapter| rows(&adapter.spec, live.status_as())).unwrap_or_default(),
            reachable,
            gateways: gateways.map(|own| Link::to(&model, &own.object)).collect(),
            counts: Counts::of(model.activations_on(&live.object).map(State::of)),
            facts: facts(live),
            name,
            frame,
        }
        .render()?)
    })
}

fn rows(spec: &DataAdapterSpec, status: DataAdapterStatus) -> Vec<Row> {
    let oauth = spec.oauth.as_ref();
    let external = spec.external_auth.as_ref();
    let row = |title, text: Option<String>, is_code| text.map(|text| Row { title, text, is_code });
    [
        row("Data source type", Some(format!("{:?}", spec.data_source_type)), false),
        row("FHIR base", Some(spec.fhir_base_url.0.clone()), true),
        row("FHIR version", status.fhir_version, false),
        row("Software", status.software, false),
        row("Token URL", oauth.and_then(|oauth| oauth.token_url.as_ref()).map(|url| url.0.clone()), true),
        row(
            "Authorization URL",
            oauth.and_then(|oauth| oauth.authorization_url.as_ref()).map(|url| url.0.clone()),
            true,
        ),
        row(
            "Backend auth",
            Some(if spec.backend_auth_enabled { "enabled, with External auth" } else { "by each activation" }.into()),
            false,
        ),
        row("Private APIs", external.map(|external| external.api_endpoint.0.clone()), true),
        row("External auth client ID", external.map(|external| external.client_id.clone()), true),
    ]
    .into_iter()
    .flatten()
    .collect()
}
