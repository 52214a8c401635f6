//! The lists: apps, gateways, adapters, activations. Searched, narrowed to a state, the worst first.

use std::collections::HashMap;

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State as Extract};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::parts::{Cause, Link, address, resources};
use crate::api::common::condition;
use crate::api::{ActivationStatus, AppStatus, ConditionStatus, DataAdapterStatus, GatewayStatus};
use crate::console::Shared;
use crate::console::access::Visitor;
use crate::console::error::PageError;
use crate::console::frame::{Frame, Section};
use crate::console::model::Model;
use crate::console::respond::versioned;
use crate::console::state::{Counts, State};
use crate::snapshot::live::LiveObject;
use crate::snapshot::{Kind, ObjectKey};

/// Rows on one page.
const ROWS: usize = 100;

/// What narrows a list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Narrowing {
    q: String,
    state: String,
    page: usize,
}

#[derive(Template)]
#[template(path = "console/list.html")]
struct Page {
    frame: Frame,
    heading: &'static str,
    intro: &'static str,
    columns: Vec<Column>,
    rows: Vec<Row>,
    narrowing: Narrowing,
    counts: Counts,
    found: usize,
    first: usize,
    last: usize,
    previous: Option<String>,
    next: Option<String>,
}

/// A column besides the name and the state.
struct Column {
    title: &'static str,
    /// Left out on a narrow screen.
    is_wide: bool,
}

struct Row {
    title: String,
    name: String,
    address: String,
    cells: Vec<Cell>,
    state: State,
    reason: String,
    cause: Option<String>,
}

/// What stands in a column.
struct Cell {
    text: String,
    address: Option<String>,
    is_code: bool,
    is_wide: bool,
    mark: Option<State>,
}

impl Cell {
    fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), address: None, is_code: false, is_wide: true, mark: None }
    }

    fn code(text: impl Into<String>) -> Self {
        Self { is_code: true, ..Self::text(text) }
    }

    fn link(model: &Model, live: &LiveObject, kind: Kind) -> Self {
        live.reference(kind).map_or_else(
            || Self::text(""),
            |object| {
                let link = Link::to(model, object);
                Self { address: link.address, ..Self::text(link.title) }
            },
        )
    }

    fn condition(live: &LiveObject, kind: &str, good: &str) -> Self {
        let Some(condition) = live.condition(kind) else { return Self::text("") };
        let (text, mark) = match condition.status {
            ConditionStatus::True => (good.to_owned(), State::Ready),
            ConditionStatus::False => (condition.reason.clone(), State::Failing),
            ConditionStatus::Unknown => (condition.reason.clone(), State::Progress),
        };
        Self { mark: Some(mark), ..Self::text(text) }
    }
}

macro_rules! list {
    ($($(#[$doc:meta])* $function:ident = $kind:expr;)+) => {
        $(
            $(#[$doc])*
            pub async fn $function(
                Extract(shared): Extract<Shared>,
                Extension(visitor): Extension<Visitor>,
                Query(narrowing): Query<Narrowing>,
                headers: HeaderMap,
            ) -> Result<Response, PageError> {
                list(&shared, &visitor, narrowing, &headers, $kind)
            }
        )+
    };
}

list! {
    /// `…/apps`
    apps = Kind::App;
    /// `…/gateways`
    gateways = Kind::Gateway;
    /// `…/adapters`
    adapters = Kind::DataAdapter;
    /// `…/activations`
    activations = Kind::Activation;
}

fn list(
    shared: &Shared,
    visitor: &Visitor,
    narrowing: Narrowing,
    headers: &HeaderMap,
    kind: Kind,
) -> Result<Response, PageError> {
    let model = shared.model.borrow().clone();
    let section = Section::of(kind);
    let frame = Frame::new(shared, &model, visitor, section, section.title())
        .kubectl(&format!("get {}", resources(kind)))
        .hearthgate(shared, "status");
    versioned(headers, &frame.tag.clone(), || {
        let namespace = frame.namespace.clone();
        let words: Vec<String> = narrowing.q.to_lowercase().split_whitespace().map(str::to_owned).collect();
        let on_each = activations_on_each(&model, kind, &namespace);
        let mut found: Vec<(State, &LiveObject)> = model
            .of_kind(kind, &namespace)
            .filter(|live| words.is_empty() || is_found(&searched(&model, live), &words))
            .map(|live| (State::of(live), live))
            .collect();
        let counts = Counts::of(found.iter().map(|(state, _)| *state));
        let chosen = State::parse(&narrowing.state);
        found.retain(|(state, _)| chosen.is_none_or(|chosen| chosen == *state));
        // Those of equal state stay in the order of their names.
        found.sort_by_key(|(state, _)| *state);
        let pages = found.len().div_ceil(ROWS).max(1);
        let page = narrowing.page.min(pages - 1);
        let first = page * ROWS;
        let rows: Vec<Row> =
            found.iter().skip(first).take(ROWS).map(|(state, live)| row(&model, live, *state, &on_each)).collect();
        let to = |page: usize| format!("{}/{}?{}", frame.base(), section.path(), query(&narrowing, page));
        Ok(Page {
            heading: section.title(),
            intro: intro(kind),
            columns: columns(kind),
            last: first + rows.len(),
            first: if rows.is_empty() { 0 } else { first + 1 },
            rows,
            counts,
            found: found.len(),
            previous: page.checked_sub(1).map(to),
            next: (page + 1 < pages).then(|| to(page + 1)),
            narrowing,
            frame,
        }
        .render()?)
    })
}

fn query(narrowing: &Narrowing, page: usize) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .append_pair("q", &narrowing.q)
        .append_pair("state", &narrowing.state)
        .append_pair("page", &page.to_string())
        .finish()
}

/// Everything of an object that a search looks at.
fn searched(model: &Model, live: &LiveObject) -> String {
    let mut text = format!("{} {}", live.object.key.name, model.display_name(&live.object));
    for reference in &live.references {
        text.push(' ');
        text.push_str(&reference.key.name);
    }
    let own = match live.object.kind {
        Kind::App => live.status_as::<AppStatus>().client_id,
        Kind::Gateway => live.status_as::<GatewayStatus>().url,
        Kind::DataAdapter | Kind::Activation | Kind::Secret | Kind::ConfigMap => None,
    };
    if let Some(own) = own {
        text.push(' ');
        text.push_str(&own);
    }
    text.to_lowercase()
}

fn is_found(text: &str, words: &[String]) -> bool {
    words.iter().all(|word| text.contains(word.as_str()))
}

const fn intro(kind: Kind) -> &'static str {
    match kind {
        Kind::App => "The registrations: who may ask for access, and how each proves who it is.",
        Kind::Gateway => "Where apps reach an EHR.",
        Kind::DataAdapter => "How an EHR is reached.",
        Kind::Activation => "Each app on each gateway, with the credentials that the EHR gave that pair.",
        Kind::Secret | Kind::ConfigMap => "",
    }
}

fn columns(kind: Kind) -> Vec<Column> {
    let titles: &[&'static str] = match kind {
        Kind::App => &["Type", "Client ID", "Activations", "Health"],
        Kind::Gateway => &["URL", "Data adapter", "Activations"],
        Kind::DataAdapter => &["EHR", "Software", "Activations", "Reachable"],
        Kind::Activation => &["App", "Gateway", "Key", "EHR", "Served"],
        Kind::Secret | Kind::ConfigMap => &[],
    };
    titles.iter().map(|title| Column { title, is_wide: true }).collect()
}

/// How many activations hang on each object of the list.
fn activations_on_each(model: &Model, kind: Kind, namespace: &str) -> HashMap<ObjectKey, usize> {
    let mut on_each = HashMap::new();
    if kind == Kind::Activation {
        return on_each;
    }
    for activation in model.of_kind(Kind::Activation, namespace) {
        for object in model.live.chain(activation).into_iter().filter(|object| object.kind == kind) {
            *on_each.entry(object.key.clone()).or_default() += 1;
        }
    }
    on_each
}

fn row(model: &Model, live: &LiveObject, state: State, on_each: &HashMap<ObjectKey, usize>) -> Row {
    let key = &live.object.key;
    let activations = || Cell::text(on_each.get(key).copied().unwrap_or_default().to_string());
    let resources = model.resources.as_deref();
    let cells = match live.object.kind {
        Kind::App => {
            let spec = resources.and_then(|resources| resources.apps.get(key)).map(|app| &app.spec);
            vec![
                Cell::text(spec.map(|spec| format!("{:?}", spec.client_type)).unwrap_or_default()),
                Cell::code(live.status_as::<AppStatus>().client_id.unwrap_or_default()),
                activations(),
                Cell::condition(live, condition::HEALTHY, "Healthy"),
            ]
        }
        Kind::Gateway => vec![
            Cell::code(live.status_as::<GatewayStatus>().url.unwrap_or_default()),
            Cell::link(model, live, Kind::DataAdapter),
            activations(),
        ],
        Kind::DataAdapter => {
            let spec = resources.and_then(|resources| resources.data_adapters.get(key)).map(|own| &own.spec);
            vec![
                Cell::code(spec.map(|spec| spec.fhir_base_url.0.clone()).unwrap_or_default()),
                Cell::text(live.status_as::<DataAdapterStatus>().software.unwrap_or_default()),
                activations(),
                Cell::condition(live, condition::REACHABLE, "Reachable"),
            ]
        }
        Kind::Activation => vec![
            Cell::link(model, live, Kind::App),
            Cell::link(model, live, Kind::Gateway),
            Cell::condition(live, condition::KEY_READY, "Ready"),
            Cell::condition(live, condition::EHR_AUTHENTICATED, "Accepts"),
            Cell::text(live.status_as::<ActivationStatus>().served.unwrap_or_default()),
        ],
        Kind::Secret | Kind::ConfigMap => Vec::new(),
    };
    let cause = Cause::of(model, live).map(|cause| {
        if cause.at.name == key.name {
            cause.message
        } else {
            format!("{} {}: {}", cause.at.kind, cause.at.name, cause.message)
        }
    });
    let reason = live.condition(condition::READY).filter(|_| state != State::Ready);
    Row {
        title: model.display_name(&live.object),
        name: key.name.clone(),
        address: address(&live.object),
        cells,
        state,
        reason: reason.map(|ready| ready.reason.clone()).unwrap_or_default(),
        cause: cause.filter(|_| state != State::Ready),
    }
}
