//! One status, by server-side apply.

use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client, Resource};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::api;
use crate::control::ObjectStatus;
use crate::snapshot::Kind;
use crate::values::api_failure::ApiFailure;

/// Owns what we write, by the rules of server-side apply.
const FIELD_MANAGER: &str = "hearthgate";
/// How often one status is tried before the next pass tries again.
const ATTEMPTS: u32 = 5;
/// The first wait, doubled with each one after.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest that an API server is obeyed when it asks to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Applies statuses.
pub(super) struct Applier {
    client: Client,
}

impl Applier {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Makes the status of an object what is given, and nothing else of it. A conflict, a full or a failing API server
    /// is asked again; one that is away is not.
    pub(super) async fn apply(&self, status: &ObjectStatus) -> Result<(), ApiFailure> {
        let Some(resource) = resource(status.object.kind) else { return Ok(()) };
        let key = &status.object.key;
        let objects: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &key.namespace, &resource);
        let patch = Patch::Apply(json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            // The UID makes sure that an object which was deleted and made anew does not inherit a status.
            "metadata": { "name": key.name, "namespace": key.namespace, "uid": status.uid },
            "status": status.status,
        }));
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let mut attempt = 0_u32;
        loop {
            let failure = match timeout(PATIENCE, objects.patch_status(&key.name, &parameters, &patch)).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => ApiFailure::from(error),
                Err(_) => ApiFailure::TimedOut,
            };
            attempt += 1;
            let is_away = matches!(failure, ApiFailure::Unreachable(_) | ApiFailure::TimedOut);
            if attempt >= ATTEMPTS || is_away || !failure.is_passing() || is_another_object(&failure) {
                return Err(failure);
            }
            sleep(wait(attempt, &failure)).await;
        }
    }
}

/// Whether the object has another UID than the one that the status is about.
pub(super) fn is_another_object(failure: &ApiFailure) -> bool {
    let ApiFailure::Refused { message, .. } = failure else { return false };
    failure.is_conflict() && message.contains("uid mismatch")
}

fn wait(attempt: u32, failure: &ApiFailure) -> Duration {
    let own = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1).min(10)));
    let asked = failure.retry_after_seconds().map(|seconds| Duration::from_secs(seconds.into())).unwrap_or_default();
    own.max(asked).min(LONGEST_WAIT)
}

fn resource(kind: Kind) -> Option<ApiResource> {
    match kind {
        Kind::DataAdapter => Some(api_resource::<api::DataAdapter>()),
        Kind::Gateway => Some(api_resource::<api::Gateway>()),
        Kind::App => Some(api_resource::<api::App>()),
        Kind::Activation => Some(api_resource::<api::Activation>()),
        Kind::Secret | Kind::ConfigMap => None,
    }
}

fn api_resource<Of: Resource<DynamicType = ()>>() -> ApiResource {
    ApiResource::erase::<Of>(&())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, message: &str, retry_after_seconds: Option<u32>) -> ApiFailure {
        ApiFailure::Refused { code, reason: String::new(), message: message.into(), retry_after_seconds }
    }

    #[test]
    fn the_api_server_says_how_long_to_wait_up_to_a_limit() {
        assert_eq!(wait(1, &refused(500, "", None)), FIRST_WAIT);
        assert_eq!(wait(3, &refused(500, "", None)), FIRST_WAIT * 4);
        assert_eq!(wait(1, &refused(429, "", Some(2))), Duration::from_secs(2));
        assert_eq!(wait(1, &refused(429, "", Some(600))), LONGEST_WAIT);
    }

    #[test]
    fn an_object_made_anew_is_told_from_an_edit_in_between() {
        let anew =
            "Operation cannot be fulfilled on activations.hearthgate.dev \"x\": uid mismatch: the provided object";
        assert!(is_another_object(&refused(409, anew, None)));
        assert!(!is_another_object(&refused(409, "the object has been modified", None)));
    }
}
