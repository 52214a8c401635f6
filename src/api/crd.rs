//! The CustomResourceDefinitions, as `crds/`, the chart and `hearthgate crds` hold them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::json;

use super::{Activation, App, DataAdapter, Gateway, unseen};

/// All four definitions, in the order in which people meet them: adapter, gateway, app, activation.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    [DataAdapter::crd(), Gateway::crd(), App::crd(), Activation::crd()].map(finished).into()
}

/// The files of `crds/`: name and content of each, in the order of [`definitions`].
pub fn files() -> Result<Vec<(String, String)>, serde_yaml::Error> {
    definitions()
        .iter()
        .map(|definition| {
            let name = format!("{}_{}.yaml", definition.spec.group, definition.spec.names.plural);
            Ok((name, serde_yaml::to_string(definition)?))
        })
        .collect()
}

/// All four definitions as one YAML stream, ready for `kubectl apply -f -`.
pub fn to_yaml() -> Result<String, serde_yaml::Error> {
    Ok(files()?.into_iter().map(|(_, content)| content).collect::<Vec<_>>().join("---\n"))
}

fn finished(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        let Some(root) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) else {
            continue;
        };
        tidy(root);
        // kube's derive emits no default on `status`. Without one, an object that nobody has looked at yet has no
        // `observedGeneration` at all, and tools take it for healthy.
        if let Some(status) = root.properties.as_mut().and_then(|properties| properties.get_mut("status")) {
            status.default = Some(JSON(json!({ "observedGeneration": unseen() })));
        }
    }
    definition
}

/// Takes out what the derive says and an API server reads differently.
fn tidy(schema: &mut JSONSchemaProps) {
    // With `nullable`, `clientSecrets: null` would satisfy a rule that asks `has(self.clientSecrets)`. Without it, an
    // API server takes null for absent, which is what people mean.
    schema.nullable = None;
    // Kubernetes does not know `uint32` and warns about it at every apply; the minimum of 0 says the same.
    if schema.format.as_deref() == Some("uint32") {
        schema.format = Some("int64".into());
    }
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        tidy(property);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => tidy(items),
        Some(JSONSchemaPropsOrArray::Schemas(schemas)) => schemas.iter_mut().for_each(tidy),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}
