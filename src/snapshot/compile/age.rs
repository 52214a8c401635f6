//! Who was first: of objects that cannot all have what they ask for, the oldest wins.

use jiff::Timestamp;
use kube::api::ObjectMeta;

use super::super::ObjectKey;

/// Sorts objects by age. Without an API server nobody records when an object came to be: then the name decides, which
/// is at least the same every time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Age {
    created: Option<Timestamp>,
    key: ObjectKey,
}

impl Age {
    pub(super) fn of(metadata: &ObjectMeta, key: &ObjectKey) -> Self {
        Self { created: metadata.creation_timestamp.as_ref().map(|time| time.0), key: key.clone() }
    }
}

/// `uid` and `generation`, which every source fills in.
pub(super) fn identity(metadata: &ObjectMeta) -> (String, i64) {
    (metadata.uid.clone().unwrap_or_default(), metadata.generation.unwrap_or_default())
}
