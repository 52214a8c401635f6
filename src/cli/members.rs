//! JSON objects without the members that say nothing.

use serde_json::{Map, Value};

/// The members that have a value: neither `null` nor an empty list.
pub(super) fn members<const COUNT: usize>(all: [(&str, Value); COUNT]) -> Value {
    let given = all.into_iter().filter(|(_, value)| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => true,
    });
    Value::Object(given.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}
