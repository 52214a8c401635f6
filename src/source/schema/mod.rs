//! What an API server does with a document: names, schema, defaults, CEL. Each with a sentence that names the field.
//!
//! Strict, as `kubectl apply` is: an unknown field is an error, since it is a mistyped one.

mod core;
mod metadata;
mod structural;
mod words;

use std::sync::{Arc, LazyLock};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::cel::{CompiledSchema, compile_schema, validate_compiled};
use serde_json::{Map, Value, json};

pub use self::metadata::DEFAULT_NAMESPACE;
use self::structural::Schema;
pub use self::structural::SchemaError;
use super::document::Place;
use crate::api::common::{GROUP, VERSION};
use crate::api::{self, crd};
use crate::snapshot::resources::{ConfigMap, Kind, ObjectKey, ObjectReference, Secret};

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field, such as `spec.scopes[0]`; empty for the whole object.
    pub path: String,
    /// What is wrong with it and what to do, without the field's name and never with a value.
    pub message: String,
    /// Which part of the field it is about.
    pub place: Place,
}

impl Problem {
    fn value(path: &str, message: String) -> Self {
        Self { path: path.to_owned(), message, place: Place::Value }
    }

    fn key(path: &str, message: String) -> Self {
        Self { path: path.to_owned(), message, place: Place::Key }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            formatter.write_str(&self.message)
        } else {
            write!(formatter, "{}: {}", self.path, self.message)
        }
    }
}

/// What a document is, before it is looked into. It may be a Secret, so `Debug` shows nothing of it.
#[derive(Clone, PartialEq)]
pub enum Document<'a> {
    /// Nothing at all.
    Empty,
    /// An object of a kind that is read.
    Object(Kind, &'a Map<String, Value>),
    /// A `v1/List` of further objects.
    List(&'a [Value]),
    /// Not for us, and why: one line is told about it.
    Foreign(String),
    /// Meant for us, but not an object that anything could be done with.
    Malformed(Problem),
}

impl std::fmt::Debug for Document<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => formatter.write_str("Empty"),
            Self::Object(kind, _) => write!(formatter, "Object({kind})"),
            Self::List(items) => write!(formatter, "List({})", items.len()),
            Self::Foreign(what) => write!(formatter, "Foreign({what:?})"),
            Self::Malformed(problem) => write!(formatter, "Malformed({problem})"),
        }
    }
}

/// Tells what a document is.
pub fn recognise(value: &Value) -> Document<'_> {
    let object = match value {
        Value::Null => return Document::Empty,
        Value::Object(object) => object,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Document::Foreign(format!("{} instead of an object", words::kind_of(value)));
        }
    };
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let ours = format!("{GROUP}/{VERSION}");
    let malformed = |path: &str, message: String| Document::Malformed(Problem::value(path, message));
    let kind = [Kind::DataAdapter, Kind::Gateway, Kind::App, Kind::Activation]
        .into_iter()
        .find(|kind| kind.as_str() == text("kind"));
    match (text("apiVersion"), kind, text("kind")) {
        (version, Some(kind), _) if version == ours => Document::Object(kind, object),
        (version, None, kind) if version == ours && kind.is_empty() => malformed("kind", "is required".into()),
        (version, None, _) if version == ours => {
            malformed("kind", "must be one of DataAdapter, Gateway, App, Activation".into())
        }
        (version, ..) if version == GROUP || version.starts_with(&format!("{GROUP}/")) => {
            malformed("apiVersion", format!("must be {ours}"))
        }
        ("v1", _, "Secret") => Document::Object(Kind::Secret, object),
        ("v1", _, "ConfigMap") => Document::Object(Kind::ConfigMap, object),
        ("v1", _, "List") => match object.get("items") {
            Some(Value::Array(items)) => Document::List(items),
            None | Some(Value::Null) => Document::List(&[]),
            Some(other) => malformed("items", format!("must be a list, not {}", words::kind_of(other))),
        },
        ("", Some(_), _) => malformed("apiVersion", format!("is required: write {ours}")),
        ("", None, "Secret" | "ConfigMap") => malformed("apiVersion", "is required: write v1".into()),
        ("", None, "") if object.get("metadata").is_some_and(Value::is_object) && object.contains_key("spec") => {
            malformed("apiVersion", "apiVersion and kind are required".into())
        }
        ("", None, "") => Document::Foreign("a document without apiVersion and kind".into()),
        (version, _, kind) => Document::Foreign(format!("{kind} of {version}")),
    }
}

/// An object that an API server would accept.
#[derive(Clone, Debug)]
pub struct Valid {
    /// Kind, namespace and name.
    pub reference: ObjectReference,
    /// Its content.
    pub content: Content,
}

/// What an object says.
#[derive(Clone, Debug)]
pub enum Content {
    /// One of our four kinds.
    Custom(Custom),
    /// A labelled Secret.
    Secret(Arc<Secret>),
    /// A labelled ConfigMap.
    ConfigMap(Arc<ConfigMap>),
    /// A Secret or ConfigMap without the label: it is known to be there, and not looked into.
    Unlabelled,
}

impl Content {
    /// An annotation, where it is an object whose annotations are read.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        match self {
            Self::Custom(own) => own.value.get("metadata")?.get("annotations")?.get(name)?.as_str(),
            Self::Secret(own) => own.annotations.get(name).map(String::as_str),
            Self::ConfigMap(_) | Self::Unlabelled => None,
        }
    }
}

/// An object of our four kinds, as JSON with its defaults filled in, and as a type.
#[derive(Clone, Debug)]
pub struct Custom {
    /// `apiVersion`, `kind`, `metadata` (name, namespace, labels, annotations) and `spec`.
    pub value: Value,
    /// The same as a type, without uid and generation.
    pub typed: Typed,
}

/// An object of our four kinds.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is the kind of that name")]
pub enum Typed {
    DataAdapter(Arc<api::DataAdapter>),
    Gateway(Arc<api::Gateway>),
    App(Arc<api::App>),
    Activation(Arc<api::Activation>),
}

/// Kind, namespace and name of a document, as far as they can be told, whatever else is wrong with it.
pub fn reference(kind: Kind, object: &Map<String, Value>) -> Option<ObjectReference> {
    metadata::key(object).map(|key| ObjectReference::new(kind, key))
}

/// Does what an API server does at a create: checks names, fills in defaults, checks schema and CEL.
///
/// Without findings of the schema, the CEL rules run; before that, they could not be trusted with the types.
pub fn validate(kind: Kind, object: &Map<String, Value>) -> Result<Valid, Vec<Problem>> {
    if matches!(kind, Kind::Secret | Kind::ConfigMap) && core::usage(object.get("metadata")).is_none() {
        let reference = reference(kind, object)
            .ok_or_else(|| vec![Problem::value("metadata.name", "is required, and must be a DNS name".into())])?;
        return Ok(Valid { reference, content: Content::Unlabelled });
    }
    let mut problems = Vec::new();
    let metadata = metadata::check(object, &mut problems);
    let key = metadata::key(object);
    let placeholder = || ObjectKey::new(DEFAULT_NAMESPACE, "");
    let content = match (kind, core::usage(object.get("metadata"))) {
        (Kind::Secret, Some(usage)) => {
            let key = key.clone().unwrap_or_else(placeholder);
            Some(Content::Secret(Arc::new(core::secret(key, usage, metadata, object, &mut problems))))
        }
        (Kind::ConfigMap, Some(_)) => {
            let key = key.clone().unwrap_or_else(placeholder);
            Some(Content::ConfigMap(Arc::new(core::config_map(key, object, &mut problems))))
        }
        (Kind::Secret | Kind::ConfigMap, None) => Some(Content::Unlabelled),
        (Kind::DataAdapter | Kind::Gateway | Kind::App | Kind::Activation, _) => {
            custom(kind, key.as_ref(), &metadata, object, &mut problems).map(Content::Custom)
        }
    };
    match (key, content) {
        (Some(key), Some(content)) if problems.is_empty() => {
            Ok(Valid { reference: ObjectReference::new(kind, key), content })
        }
        _ => Err(problems),
    }
}

/// The rules that compare an object with what it was before (`oldSelf`), as at an update.
pub fn validate_transition(kind: Kind, old: &Value, new: &Value) -> Result<(), Vec<Problem>> {
    let Some(rules) = rules(kind) else { return Ok(()) };
    cel(rules, new, Some(old))
}

fn custom(
    kind: Kind,
    key: Option<&ObjectKey>,
    metadata: &metadata::Metadata,
    object: &Map<String, Value>,
    problems: &mut Vec<Problem>,
) -> Option<Custom> {
    let rules = rules(kind)?;
    let mut value = Value::Object(
        object
            .iter()
            // Status is what we find out, not what a file says.
            .filter(|(field, _)| !matches!(field.as_str(), "apiVersion" | "kind" | "metadata" | "status"))
            .map(|(field, value)| (field.clone(), value.clone()))
            .collect(),
    );
    rules.schema.complete(&mut value);
    rules.schema.check(&value, "", problems);
    let key = key.filter(|_| problems.is_empty())?;
    let mut names =
        Map::from_iter([("name".to_owned(), json!(key.name)), ("namespace".to_owned(), json!(key.namespace))]);
    for (field, strings) in [("labels", &metadata.labels), ("annotations", &metadata.annotations)] {
        if !strings.is_empty() {
            names.insert(field.to_owned(), json!(strings));
        }
    }
    let value = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": kind.as_str(),
        "metadata": names,
        "spec": value.get("spec"),
    });
    if let Err(findings) = cel(rules, &value, None) {
        problems.extend(findings);
        return None;
    }
    let typed = match kind {
        Kind::DataAdapter => serde_json::from_value(value.clone()).map(|object| Typed::DataAdapter(Arc::new(object))),
        Kind::Gateway => serde_json::from_value(value.clone()).map(|object| Typed::Gateway(Arc::new(object))),
        Kind::App => serde_json::from_value(value.clone()).map(|object| Typed::App(Arc::new(object))),
        Kind::Activation => serde_json::from_value(value.clone()).map(|object| Typed::Activation(Arc::new(object))),
        Kind::Secret | Kind::ConfigMap => return None,
    };
    match typed {
        Ok(typed) => Some(Custom { value, typed }),
        // The schema is made from the type, so this is a defect of ours; it must still not pass, nor end the program.
        Err(error) => {
            problems.push(Problem::value("", format!("passes its schema, yet cannot be read: {error}")));
            None
        }
    }
}

fn cel(rules: &Rules, value: &Value, old: Option<&Value>) -> Result<(), Vec<Problem>> {
    let Err(errors) = validate_compiled(&rules.cel, value, old) else { return Ok(()) };
    let mut problems = Vec::new();
    for error in errors {
        let problem = Problem::value(&error.field_path, error.message);
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    Err(problems)
}

/// Schema and CEL of one kind, compiled once.
struct Rules {
    kind: Kind,
    schema: Schema,
    cel: CompiledSchema,
}

impl Rules {
    fn of(definition: &CustomResourceDefinition) -> Result<Self, SchemaError> {
        let unsupported = |what: &str| SchemaError::Unsupported { path: String::new(), what: what.to_owned() };
        let kind = [Kind::DataAdapter, Kind::Gateway, Kind::App, Kind::Activation]
            .into_iter()
            .find(|kind| kind.as_str() == definition.spec.names.kind)
            .ok_or_else(|| unsupported("the kind"))?;
        let mut root = definition
            .spec
            .versions
            .iter()
            .find(|version| version.name == VERSION)
            .and_then(|version| version.schema.as_ref())
            .and_then(|schema| schema.open_api_v3_schema.clone())
            .ok_or_else(|| unsupported("a version without a schema"))?;
        if let Some(properties) = &mut root.properties {
            properties.remove("status");
        }
        let cel = compile_schema(&serde_json::to_value(&root).map_err(|error| unsupported(&error.to_string()))?);
        if let Some(error) = first_error(&cel) {
            return Err(unsupported(&error));
        }
        Ok(Self { kind, schema: Schema::compile(&root, "")?, cel })
    }
}

fn first_error(schema: &CompiledSchema) -> Option<String> {
    schema.compilation_errors().first().map(ToString::to_string).or_else(|| {
        let below = schema.properties.values().chain(schema.items.as_deref());
        below.chain(schema.additional_properties.as_deref()).find_map(first_error)
    })
}

fn compile() -> Result<Vec<Rules>, SchemaError> {
    crd::definitions().iter().map(Rules::of).collect()
}

/// Proves that every schema and every CEL rule of ours can be checked here.
pub fn self_test() -> Result<(), SchemaError> {
    compile().map(drop)
}

fn rules(kind: Kind) -> Option<&'static Rules> {
    #[expect(clippy::expect_used, reason = "compiled from constants; `self_test` proves that they compile")]
    static ALL: LazyLock<Vec<Rules>> = LazyLock::new(|| compile().expect("the schemas compile"));
    ALL.iter().find(|rules| rules.kind == kind)
}
