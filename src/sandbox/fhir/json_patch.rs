//! JSON Patch (RFC 6902), as FHIR's PATCH takes it.

use serde_json::Value;

/// So many operations a patch may hold.
const MOST_OPERATIONS: usize = 1000;

/// So much a patch may copy altogether, in bytes of JSON: a document copied into itself doubles each time.
const MOST_COPIED: usize = 4 * 1024 * 1024;

/// Why a patch cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PatchError {
    #[error("a patch is an array of at most 1000 operations")]
    NotAPatch,
    #[error("the operation {0:?} is not add, remove, replace, move, copy or test")]
    Operation(String),
    #[error("an operation lacks {0:?}")]
    Member(&'static str),
    #[error("the path {0:?} leads nowhere")]
    Path(String),
    #[error("the value at {0:?} is another one")]
    Test(String),
    #[error("the patch copies more than 4 MiB")]
    CopiesTooMuch,
    #[error("{0:?} cannot be moved into itself")]
    IntoItself(String),
}

/// Applies all operations, or none.
pub(super) fn apply(document: &Value, operations: &Value) -> Result<Value, PatchError> {
    let operations =
        operations.as_array().filter(|operations| operations.len() <= MOST_OPERATIONS).ok_or(PatchError::NotAPatch)?;
    let mut document = document.clone();
    let mut left = MOST_COPIED;
    for operation in operations {
        let text = |name: &'static str| operation.get(name).and_then(Value::as_str).ok_or(PatchError::Member(name));
        let value = || operation.get("value").cloned().ok_or(PatchError::Member("value"));
        let path = text("path")?;
        match text("op")? {
            "add" => add(&mut document, path, value()?)?,
            "remove" => {
                remove(&mut document, path)?;
            }
            "replace" => *at_mut(&mut document, path)? = value()?,
            "move" => {
                let from = text("from")?;
                if path.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
                    return Err(PatchError::IntoItself(from.to_owned()));
                }
                let moved = remove(&mut document, from)?;
                add(&mut document, path, moved)?;
            }
            "copy" => {
                let copied = at_mut(&mut document, text("from")?)?.clone();
                left = left.checked_sub(copied.to_string().len()).ok_or(PatchError::CopiesTooMuch)?;
                add(&mut document, path, copied)?;
            }
            "test" => {
                if *at_mut(&mut document, path)? != value()? {
                    return Err(PatchError::Test(path.to_owned()));
                }
            }
            other => return Err(PatchError::Operation(other.to_owned())),
        }
    }
    Ok(document)
}

fn at_mut<'a>(document: &'a mut Value, path: &str) -> Result<&'a mut Value, PatchError> {
    document.pointer_mut(path).ok_or_else(|| PatchError::Path(path.to_owned()))
}

fn add(document: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
    let nowhere = || PatchError::Path(path.to_owned());
    if path.is_empty() {
        *document = value;
        return Ok(());
    }
    let (parent, name) = split(path)?;
    match at_mut(document, parent)? {
        Value::Object(members) => {
            members.insert(name, value);
        }
        Value::Array(items) => {
            let index = if name == "-" { items.len() } else { index(&name).ok_or_else(nowhere)? };
            if index > items.len() {
                return Err(nowhere());
            }
            items.insert(index, value);
        }
        _ => return Err(nowhere()),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &str) -> Result<Value, PatchError> {
    let nowhere = || PatchError::Path(path.to_owned());
    let (parent, name) = split(path)?;
    match at_mut(document, parent)? {
        Value::Object(members) => members.shift_remove(&name).ok_or_else(nowhere),
        Value::Array(items) => {
            let index = index(&name).filter(|index| *index < items.len()).ok_or_else(nowhere)?;
            Ok(items.remove(index))
        }
        _ => Err(nowhere()),
    }
}

/// The parent's pointer and the last token, unescaped (RFC 6901 §4).
fn split(path: &str) -> Result<(&str, String), PatchError> {
    let (parent, token) = path.rsplit_once('/').ok_or_else(|| PatchError::Path(path.to_owned()))?;
    Ok((parent, token.replace("~1", "/").replace("~0", "~")))
}

/// An array index has no sign and no leading zero (RFC 6901 §4).
fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || (!token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit()));
    if plain { token.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(operations: &Value) -> Result<Value, PatchError> {
        apply(&json!({ "status": "booked", "list": [1, 2, 3], "a/b": "slash" }), operations)
    }

    #[test]
    fn every_operation_does_what_rfc_6902_says() {
        let operations = json!([
            { "op": "test", "path": "/status", "value": "booked" },
            { "op": "replace", "path": "/status", "value": "cancelled" },
            { "op": "add", "path": "/list/1", "value": 9 },
            { "op": "add", "path": "/list/-", "value": 4 },
            { "op": "remove", "path": "/list/0" },
            { "op": "copy", "from": "/list/0", "path": "/first" },
            { "op": "move", "from": "/a~1b", "path": "/moved" },
        ]);
        let expected = json!({ "status": "cancelled", "list": [9, 2, 3, 4], "first": 9, "moved": "slash" });
        assert_eq!(patched(&operations), Ok(expected));
    }

    #[test]
    fn an_operation_that_cannot_be_done_refuses_the_whole_patch() {
        let path = |path: &str| Err(PatchError::Path(path.to_owned()));
        assert_eq!(patched(&json!([{ "op": "remove", "path": "/none" }])), path("/none"));
        assert_eq!(patched(&json!([{ "op": "add", "path": "/list/9", "value": 1 }])), path("/list/9"));
        assert_eq!(patched(&json!([{ "op": "add", "path": "/list/01", "value": 1 }])), path("/list/01"));
        assert_eq!(patched(&json!([{ "op": "remove", "path": "" }])), path(""));
        assert_eq!(patched(&json!([{ "op": "replace", "path": "/status" }])), Err(PatchError::Member("value")));
        assert_eq!(patched(&json!({ "op": "add" })), Err(PatchError::NotAPatch));
        assert_eq!(
            patched(&json!([{ "op": "test", "path": "/status", "value": 1 }])),
            Err(PatchError::Test("/status".to_owned()))
        );
        assert_eq!(
            patched(&json!([{ "op": "move", "from": "/list", "path": "/list/0" }])),
            Err(PatchError::IntoItself("/list".to_owned()))
        );
    }
}
