//! What is in a cluster at one moment, for a person who asks: the objects of our four kinds as they stand, with their
//! statuses. Secrets are not asked for: whoever may look at an installation need not be allowed to read them.

use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client};
use serde_json::{Map, Value, json};

use super::object::{Watched, is_ours};
use crate::api;
use crate::snapshot::live::LiveObject;
use crate::snapshot::resources::{Kind, ObjectKey, ObjectReference};
use crate::values::api_failure::ApiFailure;

/// One object, as the API server told it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// What it is and says, as a person would have applied it: `apiVersion`, `kind`, `metadata` and `spec`, without what
    /// servers and tools write into `metadata`.
    pub document: Value,
    /// When it was made, as it stands in `metadata.creationTimestamp`.
    pub created: Option<Value>,
    /// What deploys it from git, and would take back what is changed by hand.
    pub deployed_by: Option<&'static str>,
    /// Its live state.
    pub live: LiveObject,
}

/// Labels and annotations by which tools know what they deploy.
const MARKS: [(&str, &str); 4] = [
    ("argocd.argoproj.io/tracking-id", "Argo CD"),
    ("argocd.argoproj.io/instance", "Argo CD"),
    ("kustomize.toolkit.fluxcd.io/name", "Flux"),
    ("helm.toolkit.fluxcd.io/name", "Flux"),
];

/// Lists everything of a namespace, or of all. Sorted by kind, namespace and name.
pub async fn list(client: &Client, namespace: Option<&str>) -> Result<Vec<Listed>, ApiFailure> {
    let (adapters, gateways, apps, activations) = tokio::try_join!(
        of_kind::<api::DataAdapter>(client, namespace),
        of_kind::<api::Gateway>(client, namespace),
        of_kind::<api::App>(client, namespace),
        of_kind::<api::Activation>(client, namespace),
    )?;
    let mut all: Vec<Listed> = [adapters, gateways, apps, activations].into_iter().flatten().collect();
    all.sort_by(|one, other| one.live.object.cmp(&other.live.object));
    Ok(all)
}

async fn of_kind<Resource: Watched>(client: &Client, namespace: Option<&str>) -> Result<Vec<Listed>, ApiFailure> {
    let resource = ApiResource::erase::<Resource>(&());
    let objects: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let mut parameters = ListParams::default().limit(Resource::PAGE);
    let mut all = Vec::new();
    loop {
        let page = objects.list(&parameters).await?;
        all.extend(page.items.into_iter().filter_map(|object| listed(Resource::KIND, &resource, object)));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok(all),
        }
    }
}

/// Takes an object apart. Whatever has a name and a namespace is one.
fn listed(kind: Kind, resource: &ApiResource, object: DynamicObject) -> Option<Listed> {
    let DynamicObject { metadata, mut data, .. } = object;
    let key = ObjectKey::new(metadata.namespace?, metadata.name?);
    let mut named =
        Map::from_iter([("name".to_owned(), json!(key.name)), ("namespace".to_owned(), json!(key.namespace))]);
    let (annotations, labels) = (metadata.annotations.unwrap_or_default(), metadata.labels.unwrap_or_default());
    let deployed_by = MARKS.iter().find(|(mark, _)| annotations.contains_key(*mark) || labels.contains_key(*mark));
    let annotations: Map<String, Value> =
        annotations.into_iter().filter(|(name, _)| is_ours(name)).map(|(name, text)| (name, text.into())).collect();
    if !annotations.is_empty() {
        named.insert("annotations".to_owned(), annotations.into());
    }
    let status = data.get_mut("status").map(Value::take).unwrap_or_default();
    let spec = data.get_mut("spec").map(Value::take).unwrap_or_default();
    let references = references(kind, &key, &spec);
    let created = metadata.creation_timestamp.and_then(|time| serde_json::to_value(time).ok());
    let live = LiveObject::new(ObjectReference::new(kind, key), references, status);
    let document = json!({
        "apiVersion": resource.api_version, "kind": resource.kind, "metadata": named, "spec": spec,
    });
    let live = live.of(metadata.uid.unwrap_or_default(), metadata.generation.unwrap_or_default());
    Some(Listed { document, created, deployed_by: deployed_by.map(|(_, tool)| *tool), live })
}

/// What a spec refers to, Secrets apart: the same, in the same order, as the compiler's reports say.
fn references(kind: Kind, key: &ObjectKey, spec: &Value) -> Vec<ObjectReference> {
    let fields: &[(Kind, &str)] = match kind {
        Kind::Gateway => &[(Kind::DataAdapter, "dataAdapterRef")],
        Kind::Activation => &[(Kind::App, "appRef"), (Kind::Gateway, "gatewayRef")],
        Kind::DataAdapter | Kind::App | Kind::Secret | Kind::ConfigMap => &[],
    };
    let named = |(kind, field): &(Kind, &str)| {
        let name = spec.get(field)?.get("name")?.as_str()?;
        Some(ObjectReference::new(*kind, key.sibling(name)))
    };
    fields.iter().filter_map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_told_as_it_was_applied_with_its_status_apart() {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "hearthgate.dev/v1alpha1",
            "kind": "Activation",
            "metadata": {
                "name": "sync-at-epic", "namespace": "north", "uid": "0e0e", "generation": 3,
                "creationTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "7",
                "annotations": { "hearthgate.dev/ignore": "HG8001", "argocd.argoproj.io/tracking-id": "fleet:…" },
                "managedFields": [{ "manager": "kubectl", "operation": "Apply" }],
            },
            "spec": { "appRef": { "name": "sync" }, "gatewayRef": { "name": "epic" } },
            "status": { "observedGeneration": 3, "served": "1/1" },
        }))
        .unwrap();
        let listed = listed(Kind::Activation, &ApiResource::erase::<api::Activation>(&()), object).unwrap();
        let document = json!({
            "apiVersion": "hearthgate.dev/v1alpha1",
            "kind": "Activation",
            "metadata": {
                "name": "sync-at-epic", "namespace": "north", "annotations": { "hearthgate.dev/ignore": "HG8001" },
            },
            "spec": { "appRef": { "name": "sync" }, "gatewayRef": { "name": "epic" } },
        });
        assert_eq!(listed.document, document);
        assert_eq!(listed.deployed_by, Some("Argo CD"));
        assert_eq!(listed.created, Some(json!("2026-01-01T00:00:00Z")));
        let key = ObjectKey::new("north", "sync-at-epic");
        let references = vec![
            ObjectReference::new(Kind::App, key.sibling("sync")),
            ObjectReference::new(Kind::Gateway, key.sibling("epic")),
        ];
        let status = json!({ "observedGeneration": 3, "served": "1/1" });
        let live = LiveObject::new(ObjectReference::new(Kind::Activation, key), references, status);
        assert_eq!(listed.live, live.of("0e0e".into(), 3));
    }
}
