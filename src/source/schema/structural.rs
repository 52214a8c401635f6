//! Structural schemas: what an API server does with an object before any CEL rule runs.
//!
//! A general JSON Schema validator knows neither strict unknown fields, nor that null means absent, nor the formats and
//! list types of Kubernetes, and its sentences are about schemas. Our schemas use a dozen keywords; this knows exactly
//! those, and refuses to compile any other, so that no rule of a schema is ever passed over.

use std::collections::{BTreeMap, HashSet};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use regex::Regex;
use serde_json::{Map, Value};

use super::Problem;
use super::words::{count, kind_of, nearest};

/// Findings beyond this many help nobody.
const MAX_PROBLEMS: usize = 50;

/// A schema, ready to check values.
#[derive(Debug)]
pub(super) struct Schema {
    shape: Shape,
    one_of: Vec<Value>,
    default: Option<Value>,
}

#[derive(Debug)]
enum Shape {
    Object { properties: BTreeMap<String, Schema>, required: Vec<String>, values: Option<Box<Schema>>, open: bool },
    Array { items: Box<Schema>, length: Bounds, list: List },
    Text { pattern: Option<Regex>, length: Bounds, time: bool },
    Integer { minimum: Option<f64>, maximum: Option<f64> },
    Number { minimum: Option<f64>, maximum: Option<f64> },
    Boolean,
    Any,
}

#[derive(Debug)]
struct Bounds {
    least: u64,
    most: Option<u64>,
}

#[derive(Debug)]
enum List {
    Atomic,
    Set,
    Map(Vec<String>),
}

/// A schema says something that this does not know.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A keyword, type or format without a check here.
    #[error("{path}: {what} is not supported")]
    Unsupported {
        /// The path of the field.
        path: String,
        /// What stands there.
        what: String,
    },
    /// A pattern that is no regular expression.
    #[error("{path}: {source}")]
    Pattern {
        /// The path of the field.
        path: String,
        /// What is wrong with it.
        source: regex::Error,
    },
}

impl Schema {
    pub(super) fn compile(schema: &JSONSchemaProps, path: &str) -> Result<Self, SchemaError> {
        let unsupported = |what: String| SchemaError::Unsupported { path: path.to_owned(), what };
        for (used, keyword) in [
            (schema.ref_path.is_some(), "$ref"),
            (schema.all_of.is_some(), "allOf"),
            (schema.any_of.is_some(), "anyOf"),
            (schema.one_of.is_some(), "oneOf"),
            (schema.not.is_some(), "not"),
            (schema.nullable == Some(true), "nullable"),
            (schema.additional_items.is_some(), "additionalItems"),
            (schema.pattern_properties.is_some(), "patternProperties"),
            (schema.dependencies.is_some(), "dependencies"),
            (schema.multiple_of.is_some(), "multipleOf"),
            (schema.exclusive_minimum.is_some() || schema.exclusive_maximum.is_some(), "exclusive bounds"),
            (schema.min_properties.is_some() || schema.max_properties.is_some(), "minProperties and maxProperties"),
            (schema.unique_items.is_some(), "uniqueItems"),
            (schema.x_kubernetes_int_or_string.is_some(), "x-kubernetes-int-or-string"),
            (schema.x_kubernetes_embedded_resource.is_some(), "x-kubernetes-embedded-resource"),
        ] {
            if used {
                return Err(unsupported(format!("the keyword {keyword}")));
            }
        }
        let length = |least: Option<i64>, most: Option<i64>| Bounds {
            least: least.and_then(|least| u64::try_from(least).ok()).unwrap_or(0),
            most: most.and_then(|most| u64::try_from(most).ok()),
        };
        let format = schema.format.as_deref();
        let shape = match (schema.type_.as_deref(), format) {
            (Some("object"), None) => Self::object(schema, path)?,
            (Some("array"), None) => {
                let items = match &schema.items {
                    Some(JSONSchemaPropsOrArray::Schema(items)) => Self::compile(items, &format!("{path}[]"))?,
                    Some(JSONSchemaPropsOrArray::Schemas(_)) | None => return Err(unsupported("an open array".into())),
                };
                let list = match schema.x_kubernetes_list_type.as_deref() {
                    None | Some("atomic") => List::Atomic,
                    Some("set") => List::Set,
                    Some("map") => List::Map(schema.x_kubernetes_list_map_keys.clone().unwrap_or_default()),
                    Some(other) => return Err(unsupported(format!("the list type {other}"))),
                };
                Shape::Array { items: Box::new(items), length: length(schema.min_items, schema.max_items), list }
            }
            (Some("string"), None | Some("date-time")) => {
                let pattern = schema
                    .pattern
                    .as_deref()
                    .map(Regex::new)
                    .transpose()
                    .map_err(|source| SchemaError::Pattern { path: path.to_owned(), source })?;
                let length = length(schema.min_length, schema.max_length);
                Shape::Text { pattern, length, time: format.is_some() }
            }
            (Some("integer"), None | Some("int64")) => {
                Shape::Integer { minimum: schema.minimum, maximum: schema.maximum }
            }
            (Some("integer"), Some("int32")) => Shape::Integer {
                minimum: Some(schema.minimum.unwrap_or(f64::MIN).max(f64::from(i32::MIN))),
                maximum: Some(schema.maximum.unwrap_or(f64::MAX).min(f64::from(i32::MAX))),
            },
            (Some("number"), None | Some("double")) => {
                Shape::Number { minimum: schema.minimum, maximum: schema.maximum }
            }
            (Some("boolean"), None) => Shape::Boolean,
            (None, None) if schema.x_kubernetes_preserve_unknown_fields == Some(true) => Shape::Any,
            (type_, format) => return Err(unsupported(format!("the type {type_:?} with the format {format:?}"))),
        };
        let one_of = schema.enum_.iter().flatten().map(|value| value.0.clone()).collect();
        Ok(Self { shape, one_of, default: schema.default.as_ref().map(|default| default.0.clone()) })
    }

    fn object(schema: &JSONSchemaProps, path: &str) -> Result<Shape, SchemaError> {
        let mut properties = BTreeMap::new();
        for (name, property) in schema.properties.iter().flatten() {
            properties.insert(name.clone(), Self::compile(property, &format!("{path}.{name}"))?);
        }
        let mut open = schema.x_kubernetes_preserve_unknown_fields == Some(true);
        let values = match &schema.additional_properties {
            Some(JSONSchemaPropsOrBool::Schema(values)) => Some(Box::new(Self::compile(values, &format!("{path}.*"))?)),
            Some(JSONSchemaPropsOrBool::Bool(any)) => {
                open |= any;
                None
            }
            None => None,
        };
        Ok(Shape::Object { properties, required: schema.required.clone().unwrap_or_default(), values, open })
    }

    /// Takes null for absent, as an API server does where a field is not nullable, and fills in defaults.
    pub(super) fn complete(&self, value: &mut Value) {
        match (&self.shape, value) {
            (Shape::Object { properties, values, .. }, Value::Object(object)) => {
                object.retain(|key, value| !value.is_null() || !(properties.contains_key(key) || values.is_some()));
                for (name, property) in properties {
                    if let Some(default) = &property.default
                        && !object.contains_key(name)
                    {
                        object.insert(name.clone(), default.clone());
                    }
                }
                for (key, value) in object.iter_mut() {
                    if let Some(schema) = properties.get(key).or(values.as_deref()) {
                        schema.complete(value);
                    }
                }
            }
            (Shape::Array { items, .. }, Value::Array(array)) => {
                for item in array {
                    items.complete(item);
                }
            }
            _ => {}
        }
    }

    /// Finds everything in a value that the schema does not allow.
    pub(super) fn check(&self, value: &Value, path: &str, problems: &mut Vec<Problem>) {
        if problems.len() >= MAX_PROBLEMS {
            return;
        }
        let wrong_type = |expected: &str| {
            let hint = match (expected, value) {
                ("text", Value::Bool(_) | Value::Number(_) | Value::Null) => {
                    ": put it in quotes (YAML takes words such as no, on and 12 for something else)"
                }
                _ => "",
            };
            Problem::value(path, format!("must be {expected}, not {}{hint}", kind_of(value)))
        };
        match (&self.shape, value) {
            (Shape::Object { .. }, Value::Object(object)) => self.check_object(object, path, problems),
            (Shape::Object { .. }, _) => problems.push(wrong_type("a mapping")),
            (Shape::Array { items, length, list }, Value::Array(array)) => {
                if let Some(finding) = length.finding(array.len(), "have", "entry", "entries") {
                    problems.push(Problem::value(path, finding));
                }
                for (index, item) in array.iter().enumerate() {
                    items.check(item, &format!("{path}[{index}]"), problems);
                }
                list.check(array, path, problems);
            }
            (Shape::Array { .. }, _) => problems.push(wrong_type("a list")),
            (Shape::Text { pattern, length, time }, Value::String(text)) => {
                if let Some(finding) = length.finding(text.chars().count(), "be", "character long", "characters long") {
                    problems.push(Problem::value(path, finding));
                } else if let Some(pattern) = pattern
                    && !pattern.is_match(text)
                {
                    problems.push(Problem::value(path, format!("must match {pattern}")));
                } else if *time && !is_time(text) {
                    problems.push(Problem::value(path, "must be an RFC 3339 time such as 2026-01-31T08:00:00Z".into()));
                }
            }
            (Shape::Text { .. }, _) => problems.push(wrong_type("text")),
            (Shape::Integer { minimum, maximum }, Value::Number(number)) if !number.is_f64() => {
                check_range(number.as_f64(), *minimum, *maximum, path, problems);
            }
            (Shape::Integer { .. }, _) => problems.push(wrong_type("a whole number")),
            (Shape::Number { minimum, maximum }, Value::Number(number)) => {
                check_range(number.as_f64(), *minimum, *maximum, path, problems);
            }
            (Shape::Number { .. }, _) => problems.push(wrong_type("a number")),
            (Shape::Boolean, Value::Bool(_)) | (Shape::Any, _) => {}
            (Shape::Boolean, _) => problems.push(wrong_type("true or false")),
        }
        if !self.one_of.is_empty() && !self.one_of.contains(value) && self.is_right_type(value) {
            let choices: Vec<_> = self
                .one_of
                .iter()
                .map(|choice| choice.as_str().map_or_else(|| choice.to_string(), ToOwned::to_owned))
                .collect();
            problems.push(Problem::value(path, format!("must be one of {}", choices.join(", "))));
        }
    }

    fn is_right_type(&self, value: &Value) -> bool {
        match self.shape {
            Shape::Object { .. } => value.is_object(),
            Shape::Array { .. } => value.is_array(),
            Shape::Text { .. } => value.is_string(),
            Shape::Integer { .. } | Shape::Number { .. } => value.is_number(),
            Shape::Boolean => value.is_boolean(),
            Shape::Any => true,
        }
    }

    fn check_object(&self, object: &Map<String, Value>, path: &str, problems: &mut Vec<Problem>) {
        let Shape::Object { properties, required, values, open } = &self.shape else { return };
        for name in required {
            if !object.contains_key(name) {
                problems.push(Problem::value(&join(path, name), "is required".into()));
            }
        }
        for (key, value) in object {
            let below = join(path, key);
            match properties.get(key).or(values.as_deref()) {
                Some(schema) => schema.check(value, &below, problems),
                None if *open => {}
                None if problems.len() >= MAX_PROBLEMS => return,
                None => {
                    let hint = nearest(key, properties.keys()).map(|name| format!(": did you mean {name}?"));
                    problems.push(Problem::key(&below, format!("unknown field{}", hint.unwrap_or_default())));
                }
            }
        }
    }
}

impl Bounds {
    fn finding(&self, length: usize, verb: &str, one: &str, many: &str) -> Option<String> {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        if length < self.least {
            return Some(if length == 0 && self.least == 1 {
                "must not be empty".into()
            } else {
                format!("must {verb} at least {}, not {length}", count(self.least, one, many))
            });
        }
        let most = self.most.filter(|most| length > *most)?;
        Some(format!("must {verb} at most {}, not {length}", count(most, one, many)))
    }
}

impl List {
    fn check(&self, array: &[Value], path: &str, problems: &mut Vec<Problem>) {
        let mut seen = HashSet::new();
        for (index, item) in array.iter().enumerate() {
            let identity = match self {
                Self::Atomic => return,
                Self::Set => item.to_string(),
                Self::Map(keys) => format!("{:?}", keys.iter().map(|key| item.get(key)).collect::<Vec<_>>()),
            };
            if !seen.insert(identity) {
                problems.push(Problem::value(&format!("{path}[{index}]"), "stands twice in the list".into()));
            }
        }
    }
}

fn check_range(
    number: Option<f64>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    path: &str,
    problems: &mut Vec<Problem>,
) {
    let Some(number) = number else { return };
    if let Some(minimum) = minimum.filter(|minimum| number < *minimum) {
        problems.push(Problem::value(path, format!("must be at least {minimum}")));
    }
    if let Some(maximum) = maximum.filter(|maximum| number > *maximum) {
        problems.push(Problem::value(path, format!("must be at most {maximum}")));
    }
}

/// RFC 3339, as Go's `time.RFC3339` reads it: no missing seconds, no blank instead of the T, a colon in the offset.
pub(super) fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let offset = bytes.get(19..).unwrap_or_default();
    separators.iter().all(|(index, separator)| bytes.get(*index) == Some(separator))
        && (offset.ends_with(b"Z") || offset.iter().rev().nth(2) == Some(&b':'))
        && text.parse::<jiff::Timestamp>().is_ok()
}

/// The path of a field below another.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
