//! Method and path → interaction (FHIR R4 §3.1.0 "RESTful API").

use http::Method;

use super::Denial;
use super::search::{self, Kind};
use crate::protocol::form;
use crate::protocol::media_type::{JSON_PATCH, essence, is_json};

/// The parts of a request that say what it asks for.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'request> {
    /// The method.
    pub method: &'request Method,
    /// The path below the FHIR base: empty, or beginning with a slash; checked by [`crate::protocol::path::check`].
    pub path: &'request str,
    /// The raw query.
    pub query: Option<&'request str>,
    /// `Content-Type`.
    pub content_type: Option<&'request str>,
    /// `If-None-Exist` (FHIR R4 §3.1.0.8.1), a query.
    pub if_none_exist: Option<&'request str>,
}

impl<'request> Parts<'request> {
    /// The ID in the path, where one may stand: the second segment.
    pub fn id(&self) -> Option<&'request str> {
        self.path.strip_prefix('/')?.split('/').nth(1).filter(|id| is_id(id))
    }

    /// The path's first segment.
    pub(super) fn first_segment(&self) -> Option<&'request str> {
        self.path.strip_prefix('/')?.split('/').next()
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interaction<'request> {
    /// `GET metadata`
    Capabilities,
    /// `GET Type/id`
    Read(&'request str),
    /// `GET Type/id/_history/version`
    VersionRead(&'request str),
    /// `GET Type/id/_history`
    HistoryInstance(&'request str),
    /// `GET Type/_history`
    HistoryType(&'request str),
    /// `GET _history`
    HistorySystem,
    /// `GET Type?…`
    SearchType(&'request str),
    /// `POST Type/_search`: the parameters stand in the body (and may stand in the query too).
    SearchTypeByPost(&'request str),
    /// `GET ?…`
    SearchSystem,
    /// `POST _search`
    SearchSystemByPost,
    /// `GET Type/id/Other?…`; `None`: `*`, every type.
    SearchCompartment(Option<&'request str>),
    /// `POST Type`
    Create(&'request str),
    /// `POST Type` with `If-None-Exist`
    ConditionalCreate(&'request str),
    /// `PUT Type/id`
    Update(&'request str),
    /// `PUT Type?…`
    ConditionalUpdate(&'request str),
    /// `PATCH Type/id`
    Patch(&'request str),
    /// `PATCH Type?…`
    ConditionalPatch(&'request str),
    /// `DELETE Type/id`
    Delete(&'request str),
    /// `DELETE Type?…`
    ConditionalDelete(&'request str),
    /// `POST` on the base: batch or transaction
    Batch,
    /// `$name`
    Operation {
        /// Its name, with the `$`.
        name: &'request str,
        /// What it is called on.
        target: OperationTarget<'request>,
    },
}

/// What an operation is called on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationTarget<'request> {
    /// The base.
    System,
    /// A type.
    Type(&'request str),
    /// A resource of a type.
    Instance(&'request str),
}

impl Interaction<'_> {
    /// The interaction's code, as a CapabilityStatement and the logs name it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Capabilities => "capabilities",
            Self::Read(_) => "read",
            Self::VersionRead(_) => "vread",
            Self::HistoryInstance(_) => "history-instance",
            Self::HistoryType(_) => "history-type",
            Self::HistorySystem => "history-system",
            Self::SearchType(_) | Self::SearchTypeByPost(_) => "search-type",
            Self::SearchSystem | Self::SearchSystemByPost => "search-system",
            Self::SearchCompartment(_) => "search-compartment",
            Self::Create(_) => "create",
            Self::ConditionalCreate(_) => "conditional-create",
            Self::Update(_) => "update",
            Self::ConditionalUpdate(_) => "conditional-update",
            Self::Patch(_) => "patch",
            Self::ConditionalPatch(_) => "conditional-patch",
            Self::Delete(_) => "delete",
            Self::ConditionalDelete(_) => "conditional-delete",
            Self::Batch => "batch",
            Self::Operation { .. } => "operation",
        }
    }

    /// The type of resources that it is about, where it is about one.
    pub const fn resource_type(&self) -> Option<&str> {
        match self {
            Self::Read(name)
            | Self::VersionRead(name)
            | Self::HistoryInstance(name)
            | Self::HistoryType(name)
            | Self::SearchType(name)
            | Self::SearchTypeByPost(name)
            | Self::Create(name)
            | Self::ConditionalCreate(name)
            | Self::Update(name)
            | Self::ConditionalUpdate(name)
            | Self::Patch(name)
            | Self::ConditionalPatch(name)
            | Self::Delete(name)
            | Self::ConditionalDelete(name)
            | Self::Operation { target: OperationTarget::Type(name) | OperationTarget::Instance(name), .. } => {
                Some(name)
            }
            Self::SearchCompartment(name) => *name,
            Self::Capabilities
            | Self::HistorySystem
            | Self::SearchSystem
            | Self::SearchSystemByPost
            | Self::Batch
            | Self::Operation { target: OperationTarget::System, .. } => None,
        }
    }

    /// Whether it starts a Bulk Data export.
    pub fn is_export(&self) -> bool {
        matches!(self, Self::Operation { name: "$export", .. })
    }

    /// Whether search parameters stand in the body, which must then be read before anything is decided.
    pub const fn has_form(&self) -> bool {
        matches!(self, Self::SearchTypeByPost(_) | Self::SearchSystemByPost)
    }

    /// Whether it names one resource by its ID, so that its answer would tell whether there is one.
    pub const fn names_one(&self) -> bool {
        match self {
            Self::Read(_)
            | Self::VersionRead(_)
            | Self::HistoryInstance(_)
            | Self::Update(_)
            | Self::Patch(_)
            | Self::Delete(_) => true,
            Self::Capabilities
            | Self::HistoryType(_)
            | Self::HistorySystem
            | Self::SearchType(_)
            | Self::SearchTypeByPost(_)
            | Self::SearchSystem
            | Self::SearchSystemByPost
            | Self::SearchCompartment(_)
            | Self::Create(_)
            | Self::ConditionalCreate(_)
            | Self::ConditionalUpdate(_)
            | Self::ConditionalPatch(_)
            | Self::ConditionalDelete(_)
            | Self::Batch
            | Self::Operation { .. } => false,
        }
    }

    /// Whether sending it twice does the same as sending it once.
    pub const fn is_safe(&self) -> bool {
        match self {
            Self::Capabilities
            | Self::Read(_)
            | Self::VersionRead(_)
            | Self::HistoryInstance(_)
            | Self::HistoryType(_)
            | Self::HistorySystem
            | Self::SearchType(_)
            | Self::SearchTypeByPost(_)
            | Self::SearchSystem
            | Self::SearchSystemByPost
            | Self::SearchCompartment(_) => true,
            Self::Create(_)
            | Self::ConditionalCreate(_)
            | Self::Update(_)
            | Self::ConditionalUpdate(_)
            | Self::Patch(_)
            | Self::ConditionalPatch(_)
            | Self::Delete(_)
            | Self::ConditionalDelete(_)
            | Self::Batch
            | Self::Operation { .. } => false,
        }
    }
}

/// Tells what a request asks for, or why it is not understood.
pub fn understand<'request>(parts: &Parts<'request>) -> Result<Interaction<'request>, Denial> {
    let interaction = by_method_and_path(parts)?;
    check_body_type(&interaction, parts)?;
    Ok(interaction)
}

fn by_method_and_path<'request>(parts: &Parts<'request>) -> Result<Interaction<'request>, Denial> {
    let below = parts.path.strip_prefix('/').unwrap_or(parts.path);
    let segments: Vec<&str> = if below.is_empty() { Vec::new() } else { below.splitn(6, '/').collect() };
    let method = match *parts.method {
        Method::HEAD => &Method::GET,
        _ => parts.method,
    };
    let is = |wanted: Method| *method == wanted;
    let calls = is(Method::GET) || is(Method::POST);
    Ok(match *segments.as_slice() {
        [] if is(Method::GET) => Interaction::SearchSystem,
        [] if is(Method::POST) => Interaction::Batch,
        ["metadata"] if is(Method::GET) => Interaction::Capabilities,
        ["_history"] if is(Method::GET) => Interaction::HistorySystem,
        ["_search"] if is(Method::POST) => Interaction::SearchSystemByPost,
        [name] if calls && is_operation(name) => Interaction::Operation { name, target: OperationTarget::System },
        [name] if is_type(name) => on_type(parts, method, name)?,
        [name, "_history"] if is_type(name) && is(Method::GET) => Interaction::HistoryType(name),
        [name, "_search"] if is_type(name) && is(Method::POST) => Interaction::SearchTypeByPost(name),
        [on, name] if calls && is_type(on) && is_operation(name) => {
            Interaction::Operation { name, target: OperationTarget::Type(on) }
        }
        [name, id] if is_type(name) && is_id(id) => match *method {
            Method::GET => Interaction::Read(name),
            Method::PUT => Interaction::Update(name),
            Method::PATCH => Interaction::Patch(name),
            Method::DELETE => Interaction::Delete(name),
            _ => return Err(Denial::NotUnderstood),
        },
        [name, id, "_history"] if is_type(name) && is_id(id) && is(Method::GET) => Interaction::HistoryInstance(name),
        [name, id, "_history", version] if is_type(name) && is_id(id) && is_id(version) && is(Method::GET) => {
            Interaction::VersionRead(name)
        }
        [on, id, name] if calls && is_type(on) && is_id(id) && is_operation(name) => {
            Interaction::Operation { name, target: OperationTarget::Instance(on) }
        }
        [on, id, "*"] if is_type(on) && is_id(id) && is(Method::GET) => Interaction::SearchCompartment(None),
        [on, id, name] if is_type(on) && is_id(id) && is_type(name) && is(Method::GET) => {
            Interaction::SearchCompartment(Some(name))
        }
        _ => return Err(Denial::NotUnderstood),
    })
}

fn on_type<'request>(
    parts: &Parts<'request>,
    method: &Method,
    name: &'request str,
) -> Result<Interaction<'request>, Denial> {
    let conditional = |interaction| {
        if search::has_criteria(parts.query)? { Ok(interaction) } else { Err(Denial::NoCriteria) }
    };
    match *method {
        Method::GET => Ok(Interaction::SearchType(name)),
        Method::POST if parts.if_none_exist.is_some() => Ok(Interaction::ConditionalCreate(name)),
        Method::POST => Ok(Interaction::Create(name)),
        Method::PUT => conditional(Interaction::ConditionalUpdate(name)),
        Method::PATCH => conditional(Interaction::ConditionalPatch(name)),
        Method::DELETE => conditional(Interaction::ConditionalDelete(name)),
        _ => Err(Denial::NotUnderstood),
    }
}

/// Bodies are FHIR JSON; a form that some servers would take for a search in place of a create is refused.
fn check_body_type(interaction: &Interaction<'_>, parts: &Parts<'_>) -> Result<(), Denial> {
    let given = parts.content_type.map(essence);
    let given = given.as_deref();
    let (fits, wanted) = match interaction {
        Interaction::SearchTypeByPost(_) | Interaction::SearchSystemByPost => {
            (given == Some(form::MEDIA_TYPE), form::MEDIA_TYPE)
        }
        Interaction::Create("Binary") | Interaction::Update("Binary") => (
            given.is_some_and(|given| given != form::MEDIA_TYPE && !given.ends_with("xml")),
            "any media type but forms",
        ),
        Interaction::Create(_)
        | Interaction::ConditionalCreate(_)
        | Interaction::Update(_)
        | Interaction::ConditionalUpdate(_)
        | Interaction::Batch => (given.is_some_and(is_json), "application/fhir+json"),
        Interaction::Patch(_) | Interaction::ConditionalPatch(_) => (
            given.is_some_and(|given| is_json(given) || given == JSON_PATCH),
            "application/json-patch+json or application/fhir+json",
        ),
        Interaction::Operation { .. } if *parts.method == Method::POST => {
            (given.is_none_or(is_json), "application/fhir+json")
        }
        Interaction::Capabilities
        | Interaction::Read(_)
        | Interaction::VersionRead(_)
        | Interaction::HistoryInstance(_)
        | Interaction::HistoryType(_)
        | Interaction::HistorySystem
        | Interaction::SearchType(_)
        | Interaction::SearchSystem
        | Interaction::SearchCompartment(_)
        | Interaction::Delete(_)
        | Interaction::ConditionalDelete(_)
        | Interaction::Operation { .. } => (true, ""),
    };
    if fits { Ok(()) } else { Err(Denial::ContentType { wanted }) }
}

impl Interaction<'_> {
    /// How its query is to be read.
    pub(super) const fn query_kind(&self) -> Kind {
        match self {
            Self::Capabilities
            | Self::Create(_)
            | Self::ConditionalCreate(_)
            | Self::Update(_)
            | Self::Patch(_)
            | Self::Delete(_)
            | Self::Batch => Kind::FormOfAnswer,
            Self::Operation { .. } => Kind::Operation,
            Self::Read(_)
            | Self::VersionRead(_)
            | Self::HistoryInstance(_)
            | Self::HistoryType(_)
            | Self::HistorySystem
            | Self::SearchType(_)
            | Self::SearchTypeByPost(_)
            | Self::SearchSystem
            | Self::SearchSystemByPost
            | Self::SearchCompartment(_)
            | Self::ConditionalUpdate(_)
            | Self::ConditionalPatch(_)
            | Self::ConditionalDelete(_) => Kind::Search,
        }
    }
}

/// Resource types are CamelCase ASCII words; whether FHIR knows the type is the EHR's to say.
pub(super) fn is_type(segment: &str) -> bool {
    segment.len() <= 64
        && segment.starts_with(|first: char| first.is_ascii_uppercase())
        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// An id: FHIR's characters and those that vendors add; longer than FHIR's 64, since Epic's are.
pub(super) fn is_id(segment: &str) -> bool {
    (1..=256).contains(&segment.len())
        && segment.starts_with(|first: char| first.is_ascii_alphanumeric() || matches!(first, '-' | '.' | '~'))
        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
}

fn is_operation(segment: &str) -> bool {
    segment.strip_prefix('$').is_some_and(|name| {
        name.len() <= 128
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}
