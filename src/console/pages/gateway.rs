//! A gateway: where apps reach an EHR, what it lets through, and who is activated on it.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State as Extract};
use axum::http::HeaderMap;
use axum::response::Response;

use super::activation::Named;
use super::parts::{Cause, Fact, Link, facts, resource};
use crate::api::GatewayStatus;
use crate::api::common::condition;
use crate::console::Shared;
use crate::console::access::Visitor;
use crate::console::error::PageError;
use crate::console::frame::{Frame, Section, base};
use crate::console::respond::versioned;
use crate::console::state::{Counts, State};
use crate::snapshot::Kind;

/// Activations that are named at once.
const NAMED: usize = 50;

#[derive(Template)]
#[template(path = "console/gateway.html")]
struct Page {
    frame: Frame,
    name: String,
    title: String,
    state: State,
    reason: String,
    cause: Option<Cause>,
    adapter: Option<Link>,
    urls: Vec<(&'static str, String)>,
    /// `None`: no ceiling.
    allowed_scopes: Option<Vec<String>>,
    operations: Vec<String>,
    origins: Vec<String>,
    lifetime: u32,
    counts: Counts,
    activations: Vec<Link>,
    more: usize,
    all: String,
    activate: String,
    facts: Vec<Fact>,
}

pub async fn get(
    Extract(shared): Extract<Shared>,
    Extension(visitor): Extension<Visitor>,
    Path(Named { name }): Path<Named>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let model = shared.model.borrow().clone();
    let namespace = visitor.namespace.clone();
    let live = model.get(Kind::Gateway, &namespace, &name).ok_or_else(|| PageError::NoObject {
        kind: "gateway",
        namespace: namespace.clone(),
        name: name.clone(),
    })?;
    let target = resource(&live.object);
    let frame = Frame::new(&shared, &model, &visitor, Section::Gateways, model.display_name(&live.object))
        .kubectl(&format!("get {target} -o yaml"))
        .kubectl(&format!("get activations.hearthgate.dev --field-selector spec.gatewayRef.name={name}"))
        .hearthgate(&shared, &format!("status {name}"));
    versioned(&headers, &frame.tag.clone(), || {
        let gateway = model.resources.as_ref().and_then(|resources| resources.gateways.get(&live.object.key).cloned());
        let spec = gateway.as_deref().map(|gateway| &gateway.spec);
        let status: GatewayStatus = live.status_as();
        let urls = [
            ("Public URL", status.url),
            ("FHIR base", status.fhir_base_url),
            ("Token URL", status.token_url),
            ("SMART configuration", status.smart_configuration_url),
        ];
        let mut on: Vec<Link> = model.activations_on(&live.object).map(|own| Link::to(&model, &own.object)).collect();
        on.sort_by_key(|link| link.state);
        let counts = Counts::of(on.iter().map(|link| link.state));
        let more = on.len().saturating_sub(NAMED);
        on.truncate(NAMED);
        Ok(Page {
            title: frame.title.clone(),
            state: State::of(live),
            reason: live.condition(condition::READY).map(|ready| ready.reason.clone()).unwrap_or_default(),
            cause: Cause::of(&model, live),
            adapter: live.reference(Kind::DataAdapter).map(|adapter| Link::to(&model, adapter)),
            urls: urls.into_iter().filter_map(|(title, url)| Some((title, url?))).collect(),
            allowed_scopes: spec.and_then(|spec| spec.allowed_scopes.clone()),
            operations: spec.map(|spec| spec.operations.clone()).unwrap_or_default(),
            origins: spec
                .and_then(|spec| spec.cors.as_ref())
                .map(|cors| cors.allowed_origins.clone())
                .unwrap_or_default(),
            lifetime: spec.map(|spec| spec.access_token_lifetime_seconds).unwrap_or_default(),
            counts,
            activations: on,
            more,
            all: format!("{}/activations?q={name}", base(&namespace)),
            activate: format!("{}/activate?gateway={name}", base(&namespace)),
            facts: facts(live),
            name,
            frame,
        }
        .render()?)
    })
}
