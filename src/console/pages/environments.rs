//! `/console/`: the environments; with one, its home.

use askama::Template;
use axum::Extension;
use axum::extract::State as Extract;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};

use crate::console::access::Visitor;
use crate::console::error::PageError;
use crate::console::frame::{base, known, tag};
use crate::console::respond::versioned;
use crate::console::state::{Counts, State};
use crate::console::{Shared, model::Model};
use crate::snapshot::Kind;

#[derive(Template)]
#[template(path = "console/environments.html")]
struct Page {
    known: String,
    person: Option<String>,
    environments: Vec<Environment>,
}

struct Environment {
    name: String,
    address: String,
    apps: usize,
    counts: Counts,
}

pub async fn get(
    Extract(shared): Extract<Shared>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    if let [only] = visitor.environments.as_slice() {
        return Ok(Redirect::to(&format!("{}/", base(only))).into_response());
    }
    let model = shared.model.borrow().clone();
    let tag = tag(&shared, &model);
    versioned(&headers, &tag.clone(), || {
        let environments = visitor.environments.iter().map(|name| environment(&model, name)).collect();
        let person = visitor.person.as_ref().map(|person| person.name.clone());
        Ok(Page { known: known(&tag), person, environments }.render()?)
    })
}

fn environment(model: &Model, name: &str) -> Environment {
    Environment {
        name: name.to_owned(),
        address: format!("{}/", base(name)),
        apps: model.of_kind(Kind::App, name).count(),
        counts: Counts::of(model.of_kind(Kind::Activation, name).map(State::of)),
    }
}
