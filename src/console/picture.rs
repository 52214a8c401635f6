//! The picture of an environment: apps → activations → gateways → adapters → EHRs, laid out in columns.
//!
//! Pure arithmetic: activations stand below each other, grouped by gateway; everything else stands at the middle of what
//! it is joined to, pushed apart where it would overlap.

use std::collections::{BTreeMap, BTreeSet};

use super::model::Model;
use super::pages::{Link, address, of_adapter};
use super::state::State;
use crate::snapshot::live::LiveObject;
use crate::snapshot::{Kind, ObjectReference};

/// Activations that are drawn one by one; the worst first. The others are gathered, a box a gateway.
const DRAWN: usize = 40;
/// As many of one gateway where there are more than that in all: what hangs together stays on one screen.
const DRAWN_OF_A_GATEWAY: usize = 8;
/// The sizes of a box, and the distances between two.
pub const WIDTH: f64 = 158.0;
/// See [`WIDTH`].
pub const HEIGHT: f64 = 40.0;
const COLUMN: f64 = 196.0;
const ROW: f64 = 52.0;
const TOP: f64 = 46.0;
/// Characters that fit into a box.
const FITS: usize = 18;

/// What is drawn.
#[derive(Debug, Default)]
pub struct Picture {
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
    /// The columns' titles, and where they stand.
    pub columns: Vec<(f64, &'static str)>,
    /// The boxes.
    pub nodes: Vec<Node>,
    /// The lines between them.
    pub edges: Vec<Edge>,
}

/// A box.
#[derive(Debug)]
pub struct Node {
    /// Its left side.
    pub x: f64,
    /// Its upper side.
    pub y: f64,
    /// What stands in it, as far as it fits.
    pub text: String,
    /// What it is, in full, with its state.
    pub label: String,
    /// Its page.
    pub address: Option<String>,
    /// Its state.
    pub state: State,
}

impl Node {
    /// Where its mark stands.
    pub fn mark(&self) -> (f64, f64) {
        (self.x + 10.0, self.y + HEIGHT / 2.0 - 7.0)
    }

    /// Where its text begins.
    pub fn text_at(&self) -> (f64, f64) {
        (self.x + 30.0, self.y + HEIGHT / 2.0 + 4.5)
    }
}

/// A line from the right side of a box to the left side of another.
#[derive(Debug)]
pub struct Edge {
    /// Its path.
    pub path: String,
    /// The state of what it leads from.
    pub state: State,
}

/// Which part of an environment is drawn.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// Only what hangs on this object.
    pub on: Option<ObjectReference>,
}

/// A box before it has a place.
struct Draft {
    text: String,
    label: String,
    address: Option<String>,
    state: State,
    /// What it is joined to, in the next column.
    to: Vec<String>,
}

/// By an identity of its own, in drawing order.
type Column = Vec<(String, Draft)>;

impl Picture {
    /// Draws.
    pub fn of(model: &Model, namespace: &str, part: &Part) -> Self {
        let columns = columns(model, namespace, part);
        let titles = ["Apps", "Activations", "Gateways", "Data adapters", "EHRs"];
        let rows = columns.iter().map(Vec::len).max().unwrap_or_default();
        let places = places(&columns);
        let mut picture = Self {
            width: 4.0 * COLUMN + WIDTH + 2.0,
            height: TOP + ROW * float(rows.max(1)),
            columns: titles
                .into_iter()
                .enumerate()
                .map(|(index, title)| (COLUMN * float(index) + 1.0, title))
                .collect(),
            ..Self::default()
        };
        for (index, column) in columns.into_iter().enumerate() {
            let x = COLUMN * float(index) + 1.0;
            for (id, draft) in column {
                let Some(y) = places.get(&(index, id)).copied() else { continue };
                picture.height = picture.height.max(y + ROW);
                for to in &draft.to {
                    if let Some(end) = places.get(&(index + 1, to.clone())) {
                        picture.edges.push(edge(
                            x + WIDTH,
                            y + HEIGHT / 2.0,
                            x + COLUMN,
                            end + HEIGHT / 2.0,
                            draft.state,
                        ));
                    }
                }
                picture.nodes.push(Node {
                    x,
                    y,
                    text: draft.text,
                    label: draft.label,
                    address: draft.address,
                    state: draft.state,
                });
            }
        }
        picture
    }
}

fn edge(x1: f64, y1: f64, x2: f64, y2: f64, state: State) -> Edge {
    let middle = f64::midpoint(x1, x2);
    Edge { path: format!("M{x1:.1} {y1:.1}C{middle:.1} {y1:.1} {middle:.1} {y2:.1} {x2:.1} {y2:.1}"), state }
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn id(object: &ObjectReference) -> String {
    object.to_string()
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= FITS {
        return text.to_owned();
    }
    let short: String = text.chars().take(FITS - 1).collect();
    format!("{}…", short.trim_end())
}

fn draft(model: &Model, object: &ObjectReference, to: Vec<String>) -> Draft {
    let link = Link::to(model, object);
    let missing = if link.address.is_none() { ", does not exist" } else { "" };
    Draft {
        text: shortened(&link.title),
        label: format!("{} {}: {}{missing}", link.kind, link.title, link.state.label()),
        address: model.live.get(object).map(|_| address(object)),
        state: link.state,
        to,
    }
}

fn columns(model: &Model, namespace: &str, part: &Part) -> [Column; 5] {
    let is_wanted =
        |live: &LiveObject| part.on.as_ref().is_none_or(|on| live.object == *on || model.live.hangs_on(live, on));
    let mut activations: Vec<&LiveObject> =
        model.of_kind(Kind::Activation, namespace).filter(|live| is_wanted(live)).collect();
    activations.sort_by_cached_key(|live| State::of(live));
    let (drawn, gathered) = split(&activations, part.on.is_some());
    let all_of = |kind| model.of_kind(kind, namespace).map(|live| live.object.clone());
    // Everything that is joined to what is drawn; of the small columns, what is joined to nothing too.
    let joined: BTreeSet<ObjectReference> =
        activations.iter().flat_map(|live| model.live.chain(live)).cloned().collect();
    let mut gateways: BTreeSet<ObjectReference> =
        joined.iter().filter(|object| object.kind == Kind::Gateway).cloned().collect();
    let mut adapters: BTreeSet<ObjectReference> =
        joined.iter().filter(|object| object.kind == Kind::DataAdapter).cloned().collect();
    if part.on.is_none() {
        gateways.extend(all_of(Kind::Gateway));
        adapters.extend(all_of(Kind::DataAdapter));
    } else if let Some(on) = &part.on {
        if on.kind == Kind::Gateway {
            gateways.insert(on.clone());
        }
        gateways.extend(
            model.of_kind(Kind::Gateway, namespace).filter(|live| is_wanted(live)).map(|live| live.object.clone()),
        );
        if on.kind == Kind::DataAdapter {
            adapters.insert(on.clone());
        }
    }
    let adapter_of =
        |gateway: &ObjectReference| model.live.get(gateway).and_then(|live| live.reference(Kind::DataAdapter)).cloned();
    adapters.extend(gateways.iter().filter_map(adapter_of));
    // Gateways by their adapters, activations by their gateways: few lines cross.
    let mut gateways: Vec<ObjectReference> = gateways.into_iter().collect();
    gateways.sort_by_cached_key(|gateway| (adapter_of(gateway), gateway.clone()));

    let mut column_of_activations: Column = Vec::new();
    let mut apps: BTreeMap<ObjectReference, Vec<String>> = BTreeMap::new();
    for gateway in gateways.iter().map(Some).chain([None]) {
        let on_it = |live: &&&LiveObject| live.reference(Kind::Gateway) == gateway;
        for live in drawn.iter().filter(on_it) {
            if let Some(app) = live.reference(Kind::App) {
                apps.entry(app.clone()).or_default().push(id(&live.object));
            }
            let to = gateway.map(id).into_iter().collect();
            column_of_activations.push((id(&live.object), draft(model, &live.object, to)));
        }
        let more: Vec<_> = gathered.iter().filter(on_it).collect();
        if let (Some(gateway), Some(worst)) = (gateway, more.iter().map(|live| State::of(live)).min()) {
            let text = format!("{} more", more.len());
            let label = format!(
                "{} more activations on gateway {}; the worst: {}",
                more.len(),
                gateway.key.name,
                worst.label()
            );
            let address = format!("{}/activations?q={}", super::frame::base(namespace), gateway.key.name);
            let gathered = Draft { text, label, address: Some(address), state: worst, to: vec![id(gateway)] };
            column_of_activations.push((format!("more on {}", gateway.key.name), gathered));
        }
    }
    if part.on.is_none() && activations.len() <= DRAWN {
        for app in all_of(Kind::App).take(DRAWN) {
            apps.entry(app).or_default();
        }
    }
    let ehrs = adapters.iter().filter_map(|adapter| {
        let (url, state) = of_adapter(model, adapter)?;
        let host = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or(&url).to_owned();
        let said = match state {
            State::Ready => "reachable",
            State::Failing => "not reached",
            State::Action | State::Progress | State::Off => "not asked yet",
        };
        let label = format!("EHR at {url}: {said}");
        Some((format!("ehr {adapter}"), Draft { text: shortened(&host), label, address: None, state, to: Vec::new() }))
    });
    let ehrs = ehrs.collect();
    let adapters = adapters.iter().map(|adapter| (id(adapter), draft(model, adapter, vec![format!("ehr {adapter}")])));
    let adapters = adapters.collect();
    let gateways = gateways
        .iter()
        .map(|gateway| (id(gateway), draft(model, gateway, adapter_of(gateway).iter().map(id).collect())));
    let gateways = gateways.collect();
    let apps = apps.into_iter().map(|(app, to)| (id(&app), draft(model, &app, to))).collect();
    [apps, column_of_activations, gateways, adapters, ehrs]
}

/// Those that are drawn one by one, and those that are gathered.
fn split<'model>(
    activations: &[&'model LiveObject],
    is_of_one: bool,
) -> (Vec<&'model LiveObject>, Vec<&'model LiveObject>) {
    let most = if is_of_one || activations.len() <= DRAWN { DRAWN } else { DRAWN_OF_A_GATEWAY };
    let mut of_gateway: BTreeMap<Option<&ObjectReference>, usize> = BTreeMap::new();
    let (mut drawn, mut gathered) = (Vec::new(), Vec::new());
    for live in activations {
        let drawn_of_it = of_gateway.entry(live.reference(Kind::Gateway)).or_default();
        if drawn.len() < DRAWN && *drawn_of_it < most {
            *drawn_of_it += 1;
            drawn.push(*live);
        } else {
            gathered.push(*live);
        }
    }
    (drawn, gathered)
}

/// The upper side of each box, by column and identity.
fn places(columns: &[Column; 5]) -> BTreeMap<(usize, String), f64> {
    let [apps, activations, gateways, adapters, ehrs] = columns;
    let mut places = BTreeMap::new();
    for (index, (id, _)) in activations.iter().enumerate() {
        places.insert((1, id.clone()), TOP + ROW * float(index));
    }
    // To the right: at the middle of what leads there.
    for (index, column, before) in [(2, gateways, activations), (3, adapters, gateways), (4, ehrs, adapters)] {
        let wanted = column.iter().map(|(id, _)| {
            let from = before.iter().filter(|(_, draft)| draft.to.contains(id));
            middle(from.filter_map(|(from, _)| places.get(&(index - 1, from.clone())).copied()))
        });
        let wanted: Vec<Option<f64>> = wanted.collect();
        place(&mut places, index, column, &wanted);
    }
    // To the left: at the middle of what it leads to.
    let wanted: Vec<Option<f64>> = apps
        .iter()
        .map(|(_, draft)| middle(draft.to.iter().filter_map(|to| places.get(&(1, to.clone())).copied())))
        .collect();
    place(&mut places, 0, apps, &wanted);
    places
}

fn middle(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values {
        sum += value;
        count += 1.0;
    }
    (count > 0.0).then(|| sum / count)
}

/// From top to bottom, none higher than wanted and none upon another; what wants no place goes last.
fn place(places: &mut BTreeMap<(usize, String), f64>, index: usize, column: &Column, wanted: &[Option<f64>]) {
    let mut order: Vec<(f64, &String)> =
        column.iter().zip(wanted).map(|((id, _), wanted)| (wanted.unwrap_or(f64::MAX), id)).collect();
    order.sort_by(|one, other| one.0.total_cmp(&other.0).then_with(|| one.1.cmp(other.1)));
    let mut next = TOP;
    for (wanted, id) in order {
        let y = if wanted < f64::MAX { wanted.max(next) } else { next };
        places.insert((index, id.clone()), y);
        next = y + ROW;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::ObjectKey;
    use crate::snapshot::live::LiveStatus;
    use serde_json::json;

    fn live(kind: Kind, name: &str, references: &[(Kind, String)], ready: bool) -> LiveObject {
        let reference = |kind: Kind, name: &str| ObjectReference::new(kind, ObjectKey::new("north", name));
        let (status, reason) = if ready { ("True", "Ready") } else { ("False", "RefNotFound") };
        let condition = |kind: &str| {
            json!({ "type": kind, "status": status, "reason": reason, "message": "", "observedGeneration": 1,
                    "lastTransitionTime": "2026-01-01T00:00:00Z" })
        };
        let references = references.iter().map(|(kind, name)| reference(*kind, name)).collect();
        let conditions = json!({ "conditions": [condition("Ready"), condition("ResolvedRefs")] });
        LiveObject::new(reference(kind, name), references, conditions)
    }

    /// So many activations, in turn on two gateways in front of one adapter; the last one fails.
    fn model(activations: usize) -> Model {
        let adapter = [(Kind::DataAdapter, "ehr".to_owned())];
        let mut objects = vec![live(Kind::DataAdapter, "ehr", &[], true)];
        objects.extend(["east", "west"].map(|gateway| live(Kind::Gateway, gateway, &adapter, true)));
        for number in 0..activations {
            let (app, gateway) = (format!("app-{number:02}"), if number % 2 == 0 { "east" } else { "west" });
            objects.push(live(Kind::App, &app, &[], true));
            let references = [(Kind::App, app), (Kind::Gateway, gateway.to_owned())];
            objects.push(live(Kind::Activation, &format!("a-{number:02}"), &references, number + 1 < activations));
        }
        objects.sort_by(|one, other| one.object.cmp(&other.object));
        Model { live: std::sync::Arc::new(LiveStatus { objects, ..LiveStatus::default() }), ..Model::default() }
    }

    fn texts(picture: &Picture, column: usize) -> Vec<&str> {
        let in_column = |node: &&Node| (node.x - (COLUMN * float(column) + 1.0)).abs() < 0.1;
        picture.nodes.iter().filter(in_column).map(|node| node.text.as_str()).collect()
    }

    #[test]
    fn each_object_has_a_box_and_each_reference_a_line() {
        let picture = Picture::of(&model(3), "north", &Part::default());
        assert_eq!(texts(&picture, 0), ["app-00", "app-01", "app-02"]);
        assert_eq!(texts(&picture, 1), ["a-02", "a-00", "a-01"], "by gateway, the worst first");
        assert_eq!((texts(&picture, 2), texts(&picture, 3)), (vec!["east", "west"], vec!["ehr"]));
        assert_eq!(picture.edges.len(), 3 + 3 + 2);
        assert_eq!(Picture::of(&model(3), "south", &Part::default()).nodes.len(), 0);
    }

    #[test]
    fn of_many_the_worst_are_drawn_and_the_others_gathered_by_gateway() {
        let picture = Picture::of(&model(60), "north", &Part::default());
        let activations = texts(&picture, 1);
        assert_eq!(activations.len(), 2 * (DRAWN_OF_A_GATEWAY + 1));
        assert!(activations.contains(&"a-59"), "the one that fails is drawn");
        let gathered: Vec<_> = activations.into_iter().filter(|text| text.ends_with(" more")).collect();
        assert_eq!(gathered, ["22 more", "22 more"]);
        let on = Some(ObjectReference::new(Kind::Gateway, ObjectKey::new("north", "east")));
        assert_eq!(texts(&Picture::of(&model(60), "north", &Part { on }), 1).len(), 30, "of one, all that fit");
        for column in 0..5 {
            let x = COLUMN * float(column) + 1.0;
            let mut tops: Vec<f64> =
                picture.nodes.iter().filter(|node| (node.x - x).abs() < 0.1).map(|node| node.y).collect();
            tops.sort_by(f64::total_cmp);
            assert!(tops.is_sorted_by(|one, next| next - one >= HEIGHT), "boxes lie upon each other: {tops:?}");
            assert!(tops.iter().all(|top| top + HEIGHT <= picture.height));
        }
    }
}
