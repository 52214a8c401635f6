//! The body of `/status`: everything that is told, with what refers to what.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::control::ObjectStatus;
use crate::snapshot::{ObjectReference, Published};

/// Puts statuses and the latest compilation together.
pub(super) fn document(directory: &Path, published: Option<&Arc<Published>>, statuses: &[ObjectStatus]) -> Value {
    let references: HashMap<&ObjectReference, &Vec<ObjectReference>> = published
        .iter()
        .flat_map(|published| &published.reports)
        .map(|report| (&report.object, &report.references))
        .collect();
    let objects: Vec<Value> = statuses
        .iter()
        .map(|status| {
            json!({
                "kind": status.object.kind,
                "namespace": status.object.key.namespace,
                "name": status.object.key.name,
                "uid": status.uid,
                "generation": status.generation,
                "references": references.get(&status.object),
                "status": status.status,
            })
        })
        .collect();
    let rejections = published.map(|published| &published.rejections);
    json!({ "directory": directory, "objects": objects, "rejections": rejections })
}
