//! Who gains or loses what.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::super::access::{Access, State, access};
use super::super::{Compiled, NotLive};
use crate::values::scope::{Permissions, ResourceScope, Scope, ScopeSet};

/// One app on one gateway, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessChange {
    /// The environment.
    pub namespace: String,
    /// The app.
    pub app: String,
    /// The gateway.
    pub gateway: String,
    /// The activation.
    pub activation: String,
    /// In one word.
    pub effect: Effect,
    /// Scopes, operations and private APIs that it gains.
    pub gained: Vec<String>,
    /// Those that it loses.
    pub lost: Vec<String>,
    /// Why, where the reason is no list of scopes: suspended, over, a fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// When it has effect, where that changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// What becomes of an app's access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// It had none.
    Gains,
    /// It has none any more.
    Loses,
    /// More than before.
    Widened,
    /// Less than before.
    Narrowed,
    /// More of one and less of another.
    Changed,
    /// The same, at other times.
    Rescheduled,
}

/// When access has effect, before and after; in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Before; absent: there was no access.
    pub from: Option<String>,
    /// After.
    pub to: String,
}

/// What an app may do, as it can be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    scopes: ScopeSet,
    /// Operations and private APIs, in words.
    others: Vec<String>,
}

pub(super) fn changes(old: &Compiled<'_>, new: &Compiled<'_>, now: Timestamp) -> Vec<AccessChange> {
    let (before, after) = (access(old, now), access(new, now));
    let (before, after) = (by_pair(&before), by_pair(&after));
    let pairs: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
    pairs.into_iter().filter_map(|pair| change(before.get(&pair).copied(), after.get(&pair).copied())).collect()
}

type Pair<'access> = (&'access str, &'access str, &'access str);

/// Of several activations of one app on one gateway only one is in order: that one.
fn by_pair(all: &[Access]) -> BTreeMap<Pair<'_>, &Access> {
    let mut by_pair: BTreeMap<Pair<'_>, &Access> = BTreeMap::new();
    for own in all {
        let held = by_pair.entry((&own.namespace, &own.app, &own.gateway)).or_insert(own);
        if matches!(held.state, State::Faulty { .. }) {
            *held = own;
        }
    }
    by_pair
}

fn change(before: Option<&Access>, after: Option<&Access>) -> Option<AccessChange> {
    let named = after.or(before)?;
    let (was, is) = (before.map(held).unwrap_or_default(), after.map(held).unwrap_or_default());
    let window = window(before, after).filter(|_| is != Held::default() || was == is);
    let gained = beyond(&is, &was);
    let lost = beyond(&was, &is);
    let nothing = Held::default();
    let effect = match (gained.is_empty(), lost.is_empty()) {
        (true, true) if window.is_some() && is != nothing => Effect::Rescheduled,
        (true, true) => return None,
        (false, _) if was == nothing => Effect::Gains,
        (_, false) if is == nothing => Effect::Loses,
        (false, true) => Effect::Widened,
        (true, false) => Effect::Narrowed,
        (false, false) => Effect::Changed,
    };
    let because = match effect {
        Effect::Loses => match after {
            None => Some(format!("Activation {} is removed", named.activation)),
            Some(after) => idle(after).or_else(|| Some("the ceilings leave nothing".to_owned())),
        },
        Effect::Gains => before.and_then(idle).map(|idle| format!("before: {idle}")),
        Effect::Widened | Effect::Narrowed | Effect::Changed | Effect::Rescheduled => None,
    };
    Some(AccessChange {
        namespace: named.namespace.clone(),
        app: named.app.clone(),
        gateway: named.gateway.clone(),
        activation: named.activation.clone(),
        effect,
        gained,
        lost,
        because,
        window,
    })
}

/// Why an activation gives nothing, apart from its beginning, which is still to come.
fn idle(access: &Access) -> Option<String> {
    match &access.state {
        State::InEffect | State::NotLive(NotLive::NotYet(_)) => None,
        State::NotLive(NotLive::Suspended(_) | NotLive::Over(_)) | State::Faulty { .. } => {
            Some(access.state.to_string())
        }
    }
}

/// What it gives now, or will once its time has come.
fn held(access: &Access) -> Held {
    if idle(access).is_some() {
        return Held::default();
    }
    let operations = access.operations.iter().map(|name| format!("operation {name}"));
    let private_apis = access.private_apis.iter().map(|what| format!("private API {what}"));
    Held { scopes: access.scopes.clone(), others: operations.chain(private_apis).collect() }
}

fn window(before: Option<&Access>, after: Option<&Access>) -> Option<Window> {
    let bounds = |access: Option<&Access>| access.map_or((None, None), |own| (own.not_before, own.expires_at));
    let (from, to) = (bounds(before), bounds(after));
    (from != to && after.is_some()).then(|| Window { from: before.map(|_| in_words(from)), to: in_words(to) })
}

fn in_words((start, end): (Option<Timestamp>, Option<Timestamp>)) -> String {
    match (start, end) {
        (None, None) => "always".to_owned(),
        (Some(start), None) => format!("from {start}"),
        (None, Some(end)) => format!("until {end}"),
        (Some(start), Some(end)) => format!("from {start} until {end}"),
    }
}

/// What `one` permits and `other` does not.
fn beyond(one: &Held, other: &Held) -> Vec<String> {
    let scopes = one.scopes.iter().filter_map(|scope| uncovered(scope, &other.scopes)).map(|scope| scope.to_string());
    let others = one.others.iter().filter(|what| !other.others.contains(what)).cloned();
    scopes.chain(others).collect()
}

/// The part of a scope that a set does not cover; of a resource scope, the permissions.
fn uncovered(scope: &Scope, by: &ScopeSet) -> Option<Scope> {
    let Scope::Resource(own) = scope else {
        return (!by.covers(scope)).then(|| scope.clone());
    };
    let with = |permissions| ResourceScope { permissions, ..own.clone() };
    let missing = own
        .permissions
        .each()
        .filter(|permission| !by.covers(&Scope::Resource(with(*permission))))
        .fold(Permissions::NONE, Permissions::union);
    (!missing.is_empty()).then(|| Scope::Resource(with(missing)))
}
