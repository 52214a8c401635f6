//! What Helm makes of the chart.

use hearthgate::source::document;
use serde_json::Value;

use super::control_plane::{Told, offline};

pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/hearthgate");

/// Renders the chart where no cluster looks.
pub async fn template(release: &str, namespace: &str, arguments: &[&str]) -> Told {
    let fixed = ["template", release, CHART, "--namespace", namespace, "--kube-version", "1.34.4"];
    offline("helm", &[&fixed, arguments].concat()).await
}

/// The objects of a rendered text.
pub fn objects(text: &str) -> Vec<Value> {
    let documents = document::parse(text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    documents.into_iter().map(|document| document.value).filter(|value| !value.is_null()).collect()
}

pub fn of<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// The command line of a Deployment's container.
pub fn arguments(objects: &[Value], deployment: &str) -> Vec<String> {
    let arguments = &of(objects, "Deployment", deployment)["spec"]["template"]["spec"]["containers"][0]["args"];
    serde_json::from_value(arguments.clone()).expect("a list of text")
}
