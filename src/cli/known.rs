//! What a running installation shows of itself, for whoever looks from outside: a command does not know with which options
//! its operator runs, nor may it read Secrets, but it sees what the operator has found in order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use crate::api::common::condition;
use crate::api::{ActivationStatus, ConditionStatus, GatewayStatus};
use crate::snapshot::live::LiveObject;
use crate::snapshot::{Kind, ObjectReference};
use crate::source::kubernetes::listing::Listed;
use crate::values::url::EndpointUrl;

/// What is known of an installation.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Its public URL, as its key sets and gateways have it.
    pub(super) public_url: Option<String>,
    /// Literal addresses that it has accepted.
    pub(super) addresses: BTreeSet<IpNet>,
    /// Hosts of gateways that it has accepted, each with its namespace.
    pub(super) public_hosts: BTreeMap<String, String>,
    /// When objects were made: the older one wins a conflict.
    pub(super) ages: BTreeMap<ObjectReference, Time>,
    /// Objects whose references all lead somewhere, to Secrets too.
    pub(super) resolved: BTreeSet<ObjectReference>,
    /// What deploys objects from git.
    pub(super) deployed_by: BTreeMap<ObjectReference, &'static str>,
}

impl Known {
    /// What the objects of a cluster show.
    pub(super) fn of_cluster(listed: &[Listed]) -> Self {
        let mut known = Self { public_url: public_url(listed.iter().map(|own| &own.live)), ..Self::default() };
        for Listed { document, created, deployed_by, live } in listed {
            let created = created.clone().and_then(|created| serde_json::from_value(created).ok());
            known.ages.extend(created.map(|created| (live.object.clone(), created)));
            known.deployed_by.extend(deployed_by.map(|tool| (live.object.clone(), tool)));
            if holds(live, condition::RESOLVED_REFS) {
                known.resolved.insert(live.object.clone());
            }
            if holds(live, condition::ACCEPTED) {
                let spec = document.get("spec").unwrap_or(&Value::Null);
                known.addresses.extend(literal_addresses(spec).into_iter().map(IpNet::from));
                let chosen = spec.get("publicUrl").and_then(Value::as_str);
                if let Some(url) = chosen.and_then(|url| EndpointUrl::parse(url).ok()) {
                    known.public_hosts.insert(url.host(), live.object.key.namespace.clone());
                }
            }
        }
        known
    }
}

fn holds(live: &LiveObject, condition: &str) -> bool {
    live.condition(condition).is_some_and(|condition| condition.status == ConditionStatus::True)
}

/// The platform's public URL. Key sets always stand below it; gateways do where they have no URL of their own.
pub(super) fn public_url<'live>(all: impl Iterator<Item = &'live LiveObject> + Clone) -> Option<String> {
    let of_key_sets = all.clone().filter(|live| live.object.kind == Kind::Activation).find_map(|live| {
        let url = live.status_as::<ActivationStatus>().jwks_url?;
        let (base, _) = url.rsplit_once(&format!("/{}/keys/", live.object.key.namespace))?;
        Some(base.to_owned())
    });
    of_key_sets.or_else(|| {
        all.filter(|live| live.object.kind == Kind::Gateway).find_map(|live| {
            let url = live.status_as::<GatewayStatus>().url?;
            let base = url.strip_suffix(&format!("/{}/{}", live.object.key.namespace, live.object.key.name))?;
            Some(base.to_owned())
        })
    })
}

/// The addresses in the URLs of a spec, whatever their fields.
fn literal_addresses(value: &Value) -> Vec<IpAddr> {
    match value {
        Value::String(text) => {
            EndpointUrl::parse(text).ok().and_then(|url| url.literal_address()).into_iter().collect()
        }
        Value::Array(items) => items.iter().flat_map(literal_addresses).collect(),
        Value::Object(members) => members.values().flat_map(literal_addresses).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::ObjectKey;
    use serde_json::json;

    fn listed(kind: Kind, name: &str, spec: &Value, status: &Value) -> Listed {
        let object = ObjectReference::new(kind, ObjectKey::new("north", name));
        let live = LiveObject::new(object, Vec::new(), status.clone());
        Listed {
            document: json!({ "spec": spec }),
            created: Some(json!("2026-01-01T00:00:00Z")),
            deployed_by: None,
            live,
        }
    }

    fn conditions(accepted: &str) -> Value {
        let one = |kind: &str| {
            json!({
                "type": kind, "status": accepted, "reason": "X", "message": "", "observedGeneration": 1,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        };
        json!([one("Accepted"), one("ResolvedRefs")])
    }

    #[test]
    fn an_installation_shows_its_public_url_and_what_it_lets_through() {
        let adapter = |address: &str| json!({ "fhirBaseUrl": format!("http://{address}/fhir") });
        let all = [
            listed(
                Kind::DataAdapter,
                "inside",
                &adapter("10.1.2.3:8443"),
                &json!({ "conditions": conditions("True") }),
            ),
            listed(Kind::DataAdapter, "refused", &adapter("10.9.9.9"), &json!({ "conditions": conditions("False") })),
            listed(
                Kind::Gateway,
                "epic",
                &json!({ "publicUrl": "https://fhir.north.example.org" }),
                &json!({ "conditions": conditions("True"), "url": "https://fhir.north.example.org" }),
            ),
            listed(Kind::Gateway, "cerner", &json!({}), &json!({ "url": "https://hg.example.org/base/north/cerner" })),
        ];
        let known = Known::of_cluster(&all);
        assert_eq!(known.public_url.as_deref(), Some("https://hg.example.org/base"));
        assert_eq!(known.addresses, [IpNet::from("10.1.2.3".parse::<IpAddr>().unwrap())].into());
        let hosts = BTreeMap::from([("fhir.north.example.org".to_owned(), "north".to_owned())]);
        assert_eq!(known.public_hosts, hosts);
        assert_eq!(known.resolved.len(), 2);
        assert_eq!(known.ages.len(), 4);
        let keys = json!({ "jwksUrl": "https://keys.example.org/north/keys/sync/jwks.json" });
        let [_, _, epic, cerner] = all;
        let all = [epic, cerner, listed(Kind::Activation, "sync", &json!({}), &keys)];
        assert_eq!(Known::of_cluster(&all).public_url.as_deref(), Some("https://keys.example.org"));
    }
}
