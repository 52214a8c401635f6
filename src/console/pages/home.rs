//! An environment's home: what there is, and what needs somebody.

use std::collections::BTreeMap;

use askama::Template;
use axum::Extension;
use axum::extract::State as Extract;
use axum::http::HeaderMap;
use axum::response::Response;

use super::parts::{Cause, Link};
use crate::api::common::condition;
use crate::api::{ActivationStatus, ConditionStatus};
use crate::console::Shared;
use crate::console::access::Visitor;
use crate::console::error::PageError;
use crate::console::frame::{Frame, Section};
use crate::console::model::Model;
use crate::console::respond::versioned;
use crate::console::state::{Counts, State};
use crate::snapshot::live::{LiveObject, LiveRejection};
use crate::snapshot::{Kind, ObjectReference};

/// Root causes that are shown at once, and objects that are named with each.
const CAUSES: usize = 20;
const NAMED: usize = 6;

#[derive(Template)]
#[template(path = "console/home.html")]
struct Page {
    frame: Frame,
    widgets: Vec<Widget>,
    troubles: Vec<Trouble>,
    more_troubles: usize,
    outside: Vec<Outside>,
    more_outside: usize,
    rejections: Vec<LiveRejection>,
    summary: String,
}

struct Widget {
    section: Section,
    counts: Counts,
}

/// Something of the world outside that does not answer as it should. It turns nobody's `Ready`.
struct Outside {
    link: Link,
    condition: &'static str,
    reason: String,
    message: String,
}

/// A root cause, and what hangs on it.
struct Trouble {
    state: State,
    cause: Cause,
    next_step: Option<String>,
    affected: Vec<Link>,
    more: usize,
}

pub async fn get(
    Extract(shared): Extract<Shared>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let model = shared.model.borrow().clone();
    let frame = Frame::new(&shared, &model, &visitor, Section::Home, "Home")
        .kubectl("get hearthgate")
        .hearthgate(&shared, "status");
    versioned(&headers, &frame.tag.clone(), || {
        let namespace = frame.namespace.clone();
        let of_kind = |section, kind| Widget { section, counts: counts(&model, kind, &namespace) };
        let widgets = vec![
            of_kind(Section::Apps, Kind::App),
            of_kind(Section::Activations, Kind::Activation),
            of_kind(Section::Gateways, Kind::Gateway),
            of_kind(Section::Adapters, Kind::DataAdapter),
        ];
        let mut troubles = troubles(&model, &namespace);
        let more_troubles = troubles.len().saturating_sub(CAUSES);
        troubles.truncate(CAUSES);
        let mut outside = outside(&model, &namespace);
        let more_outside = outside.len().saturating_sub(CAUSES);
        outside.truncate(CAUSES);
        let rejections = model
            .live
            .rejections
            .iter()
            .filter(|rejection| rejection.object.as_ref().is_none_or(|object| object.key.namespace == namespace));
        let rejections: Vec<_> = rejections.cloned().collect();
        let summary = summary(&widgets);
        Ok(Page { frame, widgets, troubles, more_troubles, outside, more_outside, rejections, summary }.render()?)
    })
}

/// EHRs that are not reached, apps that are not healthy, launch URIs that lead nowhere.
fn outside(model: &Model, namespace: &str) -> Vec<Outside> {
    let watched = [
        (Kind::DataAdapter, condition::REACHABLE),
        (Kind::App, condition::HEALTHY),
        (Kind::App, condition::LAUNCH_URI_REACHABLE),
    ];
    let of = |(kind, name): (Kind, &'static str)| {
        model.of_kind(kind, namespace).filter_map(move |live| {
            let told = live.condition(name).filter(|told| told.status == ConditionStatus::False)?;
            Some(Outside {
                link: Link::to(model, &live.object),
                condition: name,
                reason: told.reason.clone(),
                message: told.message.clone(),
            })
        })
    };
    watched.into_iter().flat_map(of).collect()
}

fn counts(model: &Model, kind: Kind, namespace: &str) -> Counts {
    Counts::of(model.of_kind(kind, namespace).map(State::of))
}

fn summary(widgets: &[Widget]) -> String {
    let in_state = |state| widgets.iter().map(|widget| widget.counts.in_state(state)).sum::<usize>();
    let said = |count: usize, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("1 object {one}")),
        count => Some(format!("{count} objects {many}")),
    };
    let parts: Vec<String> = [
        said(in_state(State::Failing), "is failing", "are failing"),
        said(in_state(State::Action), "needs somebody", "need somebody"),
        said(in_state(State::Progress), "is in progress", "are in progress"),
    ]
    .into_iter()
    .flatten()
    .collect();
    match parts.split_last() {
        None if widgets.iter().all(|widget| widget.counts.total() == 0) => "Nothing is here yet.".into(),
        None => "Everything works.".into(),
        Some((last, [])) => format!("{last}."),
        Some((last, others)) => format!("{} and {last}.", others.join(", ")),
    }
}

/// Everything that is not well, gathered under its root causes: the worst first, then the one with most on it.
fn troubles(model: &Model, namespace: &str) -> Vec<Trouble> {
    let kinds = [Kind::DataAdapter, Kind::Gateway, Kind::App, Kind::Activation];
    let unwell = kinds.into_iter().flat_map(|kind| model.of_kind(kind, namespace)).filter_map(|live| {
        let state = State::of(live);
        matches!(state, State::Failing | State::Action).then_some((live, state))
    });
    let mut by_cause: BTreeMap<(String, String), (State, Cause, Vec<&LiveObject>)> = BTreeMap::new();
    for (live, state) in unwell {
        let Some(cause) = Cause::of(model, live) else { continue };
        // Of activations with the same complaint about the same EHR, the first stands for all.
        let adapter = model.live.chain(live).into_iter().find(|object| object.kind == Kind::DataAdapter);
        let at = match adapter {
            Some(adapter) if cause.at.kind == "Activation" => format!("{adapter} {}", cause.reason),
            Some(_) | None => format!("{} {}", cause.at.kind, cause.at.name),
        };
        let key = (at, cause.message.clone());
        let (worst, _, affected) = by_cause.entry(key).or_insert_with(|| (state, cause, Vec::new()));
        *worst = (*worst).min(state);
        affected.push(live);
    }
    let mut troubles: Vec<Trouble> =
        by_cause.into_values().map(|(state, cause, affected)| trouble(model, state, cause, &affected)).collect();
    troubles.sort_by_key(|trouble| (trouble.state, std::cmp::Reverse(trouble.affected.len() + trouble.more)));
    troubles
}

fn trouble(model: &Model, state: State, cause: Cause, affected: &[&LiveObject]) -> Trouble {
    let is_cause =
        |object: &ObjectReference| super::parts::kind(object.kind) == cause.at.kind && object.key.name == cause.at.name;
    let next_step = affected
        .iter()
        .find(|live| is_cause(&live.object))
        .and_then(|live| live.status_as::<ActivationStatus>().next_step);
    let others: Vec<_> = affected.iter().filter(|live| !is_cause(&live.object)).collect();
    Trouble {
        state,
        next_step,
        more: others.len().saturating_sub(NAMED),
        affected: others.into_iter().take(NAMED).map(|live| Link::to(model, &live.object)).collect(),
        cause,
    }
}
