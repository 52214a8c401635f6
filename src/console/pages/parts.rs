//! What several pages show: objects in a line, conditions, chains.

use crate::api::{Condition, ConditionStatus};
use crate::console::frame::{Section, base};
use crate::console::model::Model;
use crate::console::state::State;
use crate::snapshot::live::{LiveObject, RootCause};
use crate::snapshot::{Kind, ObjectReference};
use crate::values::code::Code;

/// An object as a link.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its kind in words.
    pub kind: &'static str,
    /// The name that people gave it.
    pub title: String,
    /// Its own name.
    pub name: String,
    /// Its page; `None`: it does not exist.
    pub address: Option<String>,
    /// Its state.
    pub state: State,
}

impl Link {
    /// To an object, whether it exists or not.
    pub fn to(model: &Model, object: &ObjectReference) -> Self {
        Self {
            kind: kind(object.kind),
            title: model.display_name(object),
            name: object.key.name.clone(),
            address: model.live.get(object).map(|_| address(object)),
            state: model.state(object),
        }
    }
}

/// A kind in words.
pub const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::DataAdapter => "Data adapter",
        Kind::Gateway => "Gateway",
        Kind::App => "App",
        Kind::Activation => "Activation",
        Kind::Secret => "Secret",
        Kind::ConfigMap => "ConfigMap",
    }
}

/// The address of an object's page.
pub fn address(object: &ObjectReference) -> String {
    format!("{}/{}/{}", base(&object.key.namespace), Section::of(object.kind).path(), object.key.name)
}

/// How kubectl names an object, in full: short names clash with other projects'.
pub fn resource(object: &ObjectReference) -> String {
    format!("{}/{}", resources(object.kind), object.key.name)
}

/// How kubectl names the objects of a kind.
pub const fn resources(kind: Kind) -> &'static str {
    match kind {
        Kind::DataAdapter => "dataadapters.hearthgate.dev",
        Kind::Gateway => "fhirgateways.hearthgate.dev",
        Kind::App => "smartapps.hearthgate.dev",
        Kind::Activation => "activations.hearthgate.dev",
        Kind::Secret => "secrets",
        Kind::ConfigMap => "configmaps",
    }
}

/// A condition as it is shown.
#[derive(Clone, Debug)]
pub struct Fact {
    /// Which.
    pub name: String,
    /// `True`, `False` or `Unknown`.
    pub status: ConditionStatus,
    /// Its reason.
    pub reason: String,
    /// Its message.
    pub message: String,
    /// Since when.
    pub since: String,
}

impl Fact {
    fn of(condition: &Condition) -> Self {
        Self {
            name: condition.type_.clone(),
            status: condition.status,
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            since: condition.last_transition_time.clone(),
        }
    }

    /// The state whose mark stands before it.
    pub const fn state(&self) -> State {
        match self.status {
            ConditionStatus::True => State::Ready,
            ConditionStatus::False => State::Failing,
            ConditionStatus::Unknown => State::Progress,
        }
    }

    /// When it became so, as people write it.
    pub fn since_text(&self) -> String {
        self.since.parse().map_or_else(|_| self.since.clone(), moment)
    }
}

/// A moment as people write it; the time zone is UTC.
pub fn moment(at: jiff::Timestamp) -> String {
    at.strftime("%-d %b %Y, %H:%M:%S UTC").to_string()
}

/// All conditions of an object.
pub fn facts(live: &LiveObject) -> Vec<Fact> {
    live.conditions().iter().map(Fact::of).collect()
}

/// What must be mended before anything else can be, as it is shown.
#[derive(Clone, Debug)]
pub struct Cause {
    /// Where the fault is.
    pub at: Link,
    /// The reason; empty where the object does not exist.
    pub reason: String,
    /// What is wrong.
    pub message: String,
    /// The code that explains the reason.
    pub code: Option<&'static str>,
    /// What a person does about it.
    pub remedy: Option<&'static str>,
}

impl Cause {
    /// Of an object that is not ready.
    pub fn of(model: &Model, live: &LiveObject) -> Option<Self> {
        let cause = model.live.root_cause(live)?;
        let (reason, message) = match &cause {
            RootCause::Missing(object) => (String::new(), format!("{object} does not exist.")),
            RootCause::Fault { condition, .. } => (condition.reason.clone(), condition.message.clone()),
        };
        Some(Self {
            at: Link::to(model, cause.object()),
            reason,
            message,
            code: cause.code().map(Code::number),
            remedy: cause.code().map(Code::remedy),
        })
    }
}

/// Every link of the chain that an object hangs on, nearest first.
pub fn chain(model: &Model, live: &LiveObject) -> Vec<Link> {
    model.live.chain(live).into_iter().map(|object| Link::to(model, object)).collect()
}
