//! The EHR's CapabilityStatement as the gateway's: whoever discovers OAuth in it (SMART App Launch 1 did) must find our
//! token endpoint. With the EHR's in it, an app would carry its secret to the wrong place.

use serde_json::{Map, Value, json};

use crate::snapshot::Gateway;
use crate::values::scope::Permissions;

/// SMART App Launch 1.0.0, "Declaring support for oauth2 endpoints".
const OAUTH_URIS: &str = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris";
/// FHIR R4's code system for `rest.security.service`.
const SECURITY_SERVICES: &str = "http://terminology.hl7.org/CodeSystem/restful-security-service";

/// The document is something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the EHR's metadata is no CapabilityStatement")]
pub struct NoCapabilityStatement;

/// Puts the gateway's security in place of the EHR's, and leaves only what can pass: operations that the gateway lists,
/// and interactions under some scope of its ceiling.
pub fn secure(statement: &mut Value, gateway: &Gateway) -> Result<(), NoCapabilityStatement> {
    let members = statement
        .as_object_mut()
        .filter(|members| members.get("resourceType").and_then(Value::as_str) == Some("CapabilityStatement"));
    let members = members.ok_or(NoCapabilityStatement)?;
    members.values_mut().for_each(|member| move_to(gateway, member));
    let rest = members.get_mut("rest").and_then(Value::as_array_mut);
    for rest in rest.into_iter().flatten().filter_map(Value::as_object_mut) {
        rest.insert(
            "security".into(),
            json!({
                "extension": [{
                    "url": OAUTH_URIS,
                    "extension": [{"url": "token", "valueUri": gateway.token_endpoint}],
                }],
                "service": [{"coding": [{"system": SECURITY_SERVICES, "code": "SMART-on-FHIR"}]}],
            }),
        );
        restrict(rest, gateway);
    }
    Ok(())
}

/// Whatever begins with the EHR's base leads to the gateway. Here canonical URLs do too, which stay in other resources:
/// some EHRs (HAPI) name the definitions of their operations below the address that they are called at.
fn move_to(gateway: &Gateway, value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(rest) = gateway.data_adapter.fhir_base.base().below(text) {
                *text = format!("{}{rest}", gateway.fhir_base);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| move_to(gateway, item)),
        Value::Object(members) => members.values_mut().for_each(|member| move_to(gateway, member)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn restrict(rest: &mut Map<String, Value>, gateway: &Gateway) {
    keep_operations(rest, gateway);
    let Some(resources) = rest.get_mut("resource").and_then(Value::as_array_mut) else { return };
    for resource in resources.iter_mut().filter_map(Value::as_object_mut) {
        keep_operations(resource, gateway);
        let resource_type = resource.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(interactions) = resource.get_mut("interaction").and_then(Value::as_array_mut) {
            interactions.retain(|interaction| {
                let code = interaction.get("code").and_then(Value::as_str).unwrap_or_default();
                permission_of(code).is_some_and(|permission| may_pass(gateway, &resource_type, permission))
            });
        }
    }
    resources.retain(|resource| {
        let count = |name: &str| resource.get(name).and_then(Value::as_array).map(Vec::len);
        count("interaction") != Some(0) || count("operation").is_some_and(|count| count > 0)
    });
}

fn keep_operations(place: &mut Map<String, Value>, gateway: &Gateway) {
    let Some(operations) = place.get_mut("operation").and_then(Value::as_array_mut) else { return };
    operations.retain(|operation| {
        let name = operation.get("name").and_then(Value::as_str).unwrap_or_default();
        gateway.operations.contains(&format!("${}", name.trim_start_matches('$')))
    });
    if operations.is_empty() {
        place.remove("operation");
    }
}

/// The permission that an interaction of a type needs (SMART App Launch 2.2).
fn permission_of(code: &str) -> Option<Permissions> {
    Some(match code {
        "read" | "vread" | "history-instance" => Permissions::READ,
        "update" | "patch" => Permissions::UPDATE,
        "delete" => Permissions::DELETE,
        "create" => Permissions::CREATE,
        "search-type" | "history-type" => Permissions::SEARCH,
        _ => return None,
    })
}

fn may_pass(gateway: &Gateway, resource_type: &str, permission: Permissions) -> bool {
    gateway.allowed_scopes.as_ref().is_none_or(|ceiling| {
        ceiling.resources().any(|scope| scope.is_about(resource_type) && scope.permissions.contains(permission))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::test_support;
    use crate::snapshot::ObjectKey;

    #[test]
    fn only_what_can_pass_is_told() {
        let world = test_support::World::before("http://127.0.0.1:9");
        let snapshot =
            world.set("Gateway", "epic", "allowedScopes", json!(["system/Patient.rs", "user/Slot.r"])).compile();
        let gateway = &snapshot.gateways[&ObjectKey::new("default", "epic")];
        let codes = |codes: &[&str]| -> Vec<Value> { codes.iter().map(|code| json!({"code": code})).collect() };
        let all = codes(&["read", "vread", "search-type", "create", "update", "delete", "unknown"]);
        let operations = json!([{"name": "everything"}, {"name": "match"}]);
        let mut statement = json!({"resourceType": "CapabilityStatement", "rest": [{"operation": [{"name": "export"}],
        "resource": [
            {"type": "Patient", "interaction": all, "operation": operations}, {"type": "Slot", "interaction": all},
            {"type": "Encounter", "interaction": all},
        ]}]});
        assert_eq!(secure(&mut statement, gateway), Ok(()));
        assert_eq!(statement["rest"][0].get("operation"), None);
        assert_eq!(
            statement["rest"][0]["resource"],
            json!([
                {"type": "Patient", "interaction": codes(&["read", "vread", "search-type"]), "operation": [{"name": "everything"}]},
                {"type": "Slot", "interaction": codes(&["read", "vread"])},
            ])
        );
    }

    #[test]
    fn definitions_at_the_ehrs_address_are_at_the_gateways() {
        let world = test_support::World::before("https://ehr.example.org");
        let snapshot = world.set("Gateway", "epic", "operations", json!(["$everything"])).compile();
        let gateway = &snapshot.gateways[&ObjectKey::new("default", "epic")];
        let statement = |base: &str, beside: &str| {
            let operation =
                |base: &str| json!({"name": "everything", "definition": format!("{base}/OperationDefinition/1")});
            json!({"resourceType": "CapabilityStatement", "implementation": {"url": base},
                "instantiates": ["http://hl7.org/fhir/us/core/CapabilityStatement/us-core-server", format!("{base}-2/a")],
                "rest": [{"resource": [{"type": "Patient", "operation": [operation(base), operation(beside)]}]}]})
        };
        let mut moved = statement("https://ehr.example.org/fhir", "https://ehr.example.org/fhirs");
        assert_eq!(secure(&mut moved, gateway), Ok(()));
        moved["rest"][0].as_object_mut().unwrap().remove("security");
        let mut expected = statement(&gateway.fhir_base, "https://ehr.example.org/fhirs");
        expected["instantiates"][1] = json!("https://ehr.example.org/fhir-2/a");
        assert_eq!(moved, expected);
    }

    #[test]
    fn the_token_endpoint_is_the_gateways() {
        let snapshot = test_support::snapshot();
        let gateway = &snapshot.gateways[&ObjectKey::new("default", "epic")];
        let mut statement = json!({"resourceType": "CapabilityStatement", "rest": [{"mode": "server", "security":
            {"extension": [{"url": OAUTH_URIS, "extension": [{"url": "token", "valueUri": "https://ehr/token"}]}]}}]});
        assert_eq!(secure(&mut statement, gateway), Ok(()));
        assert!(!statement.to_string().contains("https://ehr/"));
        let uri = &statement["rest"][0]["security"]["extension"][0]["extension"][0]["valueUri"];
        assert_eq!(uri, "https://gate.example.org/default/epic/oauth2/token");
        assert_eq!(secure(&mut json!({"resourceType": "Patient"}), gateway), Err(NoCapabilityStatement));
        assert_eq!(secure(&mut json!([]), gateway), Err(NoCapabilityStatement));
    }
}
