//! The picture of the environment, as a page.

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State as Extract};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use crate::console::Shared;
use crate::console::access::Visitor;
use crate::console::error::PageError;
use crate::console::frame::{Frame, Section};
use crate::console::picture::{Part, Picture};
use crate::console::respond::versioned;
use crate::snapshot::{Kind, ObjectKey, ObjectReference};

/// Which part of the environment.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Narrowing {
    gateway: String,
}

#[derive(Template)]
#[template(path = "console/picture.html")]
struct Page {
    frame: Frame,
    picture: Picture,
    gateways: Vec<String>,
    chosen: String,
}

pub async fn get(
    Extract(shared): Extract<Shared>,
    Extension(visitor): Extension<Visitor>,
    Query(narrowing): Query<Narrowing>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let model = shared.model.borrow().clone();
    let frame = Frame::new(&shared, &model, &visitor, Section::Picture, "Picture")
        .kubectl("get hearthgate")
        .hearthgate(&shared, "status");
    versioned(&headers, &frame.tag.clone(), || {
        let namespace = frame.namespace.clone();
        let chosen = narrowing.gateway;
        let on = (!chosen.is_empty())
            .then(|| ObjectReference::new(Kind::Gateway, ObjectKey::new(namespace.clone(), chosen.clone())));
        let picture = Picture::of(&model, &namespace, &Part { on });
        let gateways = model.of_kind(Kind::Gateway, &namespace).map(|live| live.object.key.name.clone()).collect();
        Ok(Page { frame, picture, gateways, chosen }.render()?)
    })
}
