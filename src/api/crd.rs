//! The CustomResourceDefinitions, as `crds/`, the chart and `hearthgate crds` hold them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSON};
use kube::CustomResourceExt;
use serde_json::json;

use super::{Activation, App, DataAdapter, Gateway, unseen};

/// All four definitions, in the order in which people meet them: adapter, gateway, app, activation.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    [DataAdapter::crd(), Gateway::crd(), App::crd(), Activation::crd()].map(with_status_default).into()
}

/// kube's derive emits no default on `status`. Without one, an object that nobody has looked at yet has no
/// `observedGeneration` at all, and tools take it for healthy.
fn with_status_default(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        let status = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
            .and_then(|root| root.properties.as_mut())
            .and_then(|properties| properties.get_mut("status"));
        if let Some(status) = status {
            status.default = Some(JSON(json!({ "observedGeneration": unseen() })));
        }
    }
    definition
}
