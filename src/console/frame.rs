//! What stands around every page: where one is, where one can go, and the same from a terminal.

use askama::Template;

use super::Shared;
use super::access::Visitor;
use super::model::Model;
use crate::snapshot::Kind;

/// A part of an environment, as the navigation names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The home page.
    Home,
    /// Apps.
    Apps,
    /// Activations.
    Activations,
    /// Gateways.
    Gateways,
    /// Adapters.
    Adapters,
    /// The picture.
    Picture,
}

impl Section {
    /// In the order of the navigation.
    pub const ALL: [Self; 6] =
        [Self::Home, Self::Apps, Self::Activations, Self::Gateways, Self::Adapters, Self::Picture];

    /// Its name.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Home => "Home",
            Self::Apps => "Apps",
            Self::Activations => "Activations",
            Self::Gateways => "Gateways",
            Self::Adapters => "Data adapters",
            Self::Picture => "Picture",
        }
    }

    /// Its address below the environment's.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Home => "",
            Self::Apps => "apps",
            Self::Activations => "activations",
            Self::Gateways => "gateways",
            Self::Adapters => "adapters",
            Self::Picture => "picture",
        }
    }

    /// Where objects of a kind are.
    pub const fn of(kind: Kind) -> Self {
        match kind {
            Kind::App => Self::Apps,
            Kind::Activation => Self::Activations,
            Kind::Gateway => Self::Gateways,
            Kind::DataAdapter => Self::Adapters,
            Kind::Secret | Kind::ConfigMap => Self::Home,
        }
    }
}

/// What stands around a page.
pub struct Frame {
    /// Of the page.
    pub title: String,
    /// The environment.
    pub namespace: String,
    /// The environments to go to.
    pub environments: Vec<String>,
    /// Where one is.
    pub section: Section,
    /// Who is there, where that is known.
    pub person: Option<String>,
    /// The version that is shown, as an entity tag.
    pub tag: String,
    /// The header that asks for another version only, as htmx takes it.
    pub known: String,
    /// The address to ask for news of; empty: the page does not change by itself.
    pub own_address: String,
    /// Whether the world outside is asked elsewhere.
    pub is_standby: bool,
    /// The same from a terminal.
    pub lines: Lines,
}

/// The same from a terminal.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// With kubectl.
    pub kubectl: Vec<String>,
    /// With hearthgate.
    pub hearthgate: Vec<String>,
    /// Whether there is a cluster; else kubectl's lines are those for later.
    pub in_cluster: bool,
}

impl Frame {
    /// A frame around a page of an environment.
    pub fn new(shared: &Shared, model: &Model, visitor: &Visitor, section: Section, title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            namespace: visitor.namespace.clone(),
            environments: visitor.environments.clone(),
            section,
            person: visitor.person.as_ref().map(|person| person.name.clone()),
            known: known(&tag(shared, model)),
            tag: tag(shared, model),
            own_address: visitor.address.clone(),
            is_standby: model.is_standby,
            lines: Lines { in_cluster: shared.terminal.in_cluster, ..Lines::default() },
        }
    }

    /// The same without asking for news: what is typed into a page must not vanish.
    #[must_use]
    pub fn still(self) -> Self {
        Self { own_address: String::new(), ..self }
    }

    /// With the line that checks what a form writes.
    #[must_use]
    pub fn check(mut self) -> Self {
        self.lines.hearthgate.push("hearthgate check .".to_owned());
        self
    }

    /// With a line of kubectl; `-n` is added.
    #[must_use]
    pub fn kubectl(mut self, line: &str) -> Self {
        self.lines.kubectl.push(format!("kubectl {line} -n {}", self.namespace));
        self
    }

    /// With a line of hearthgate; `-n` is added, and what reaches this installation.
    #[must_use]
    pub fn hearthgate(mut self, shared: &Shared, line: &str) -> Self {
        let options = &shared.terminal.options;
        let space = if options.is_empty() { "" } else { " " };
        self.lines.hearthgate.push(format!("hearthgate {line} -n {}{space}{options}", self.namespace));
        self
    }

    /// The address of this environment.
    pub fn base(&self) -> String {
        base(&self.namespace)
    }
}

/// The address of an environment.
pub fn base(namespace: &str) -> String {
    format!("/console/environments/{namespace}")
}

/// The entity tag of a version of the model.
pub fn tag(shared: &Shared, model: &Model) -> String {
    format!("\"{}-{}\"", shared.boot, model.version)
}

/// The header that asks for another version than this one only, as htmx takes it.
pub fn known(tag: &str) -> String {
    serde_json::json!({ "If-None-Match": tag }).to_string()
}

/// A page with a sentence.
#[derive(Template)]
#[template(path = "console/plain.html")]
pub struct Plain {
    /// Its title.
    pub title: &'static str,
    /// The sentence.
    pub message: String,
}
