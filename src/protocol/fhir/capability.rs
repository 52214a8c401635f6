//! The EHR's CapabilityStatement as the gateway's: whoever discovers OAuth in it (SMART App Launch 1 did) must find our
//! token endpoint. With the EHR's in it, an app would carry its secret to the wrong place.

use serde_json::{Map, Value, json};

use crate::protocol::media_type;
use crate::protocol::oauth::discovery::smart_configuration;
use crate::snapshot::{Gateway, Snapshot};
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
/// interactions under some scope of its ceiling, and JSON.
pub fn secure(statement: &mut Value, snapshot: &Snapshot, gateway: &Gateway) -> Result<(), NoCapabilityStatement> {
    let members = statement
        .as_object_mut()
        .filter(|members| members.get("resourceType").and_then(Value::as_str) == Some("CapabilityStatement"));
    let members = members.ok_or(NoCapabilityStatement)?;
    members.values_mut().for_each(|member| move_to(gateway, member));
    if let Some(formats) = members.get_mut("format") {
        keep_texts(formats, |format| !format.is_empty() && media_type::format_is_json(format));
        if formats.as_array().is_some_and(Vec::is_empty) {
            // The statement must name one.
            *formats = json!(["application/fhir+json"]);
        }
    }
    if let Some(formats) = members.get_mut("patchFormat") {
        keep_texts(formats, |format| format == media_type::JSON_PATCH || media_type::is_json(format));
        if formats.as_array().is_some_and(Vec::is_empty) {
            members.remove("patchFormat");
        }
    }
    let uris = oauth_uris(snapshot, gateway);
    let rest = members.get_mut("rest").and_then(Value::as_array_mut);
    for rest in rest.into_iter().flatten().filter_map(Value::as_object_mut) {
        rest.insert(
            "security".into(),
            json!({
                "extension": [{
                    "url": OAUTH_URIS,
                    "extension": uris,
                }],
                "service": [{"coding": [{"system": SECURITY_SERVICES, "code": "SMART-on-FHIR"}]}],
            }),
        );
        restrict(rest, gateway);
    }
    Ok(())
}

/// What the discovery document says, in the words of the extension: the two must not differ.
fn oauth_uris(snapshot: &Snapshot, gateway: &Gateway) -> Vec<Value> {
    let discovered = smart_configuration(snapshot, gateway);
    let words = [
        ("authorize", "authorization_endpoint"),
        ("token", "token_endpoint"),
        ("introspect", "introspection_endpoint"),
        ("revoke", "revocation_endpoint"),
    ];
    let uris = words.into_iter().filter_map(|(word, member)| Some((word, discovered.get(member)?)));
    uris.map(|(word, uri)| json!({"url": word, "valueUri": uri})).collect()
}

fn keep_texts(texts: &mut Value, may_stay: impl Fn(&str) -> bool) {
    if let Some(texts) = texts.as_array_mut() {
        texts.retain(|text| text.as_str().is_some_and(&may_stay));
    }
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
    if let Some(interactions) = rest.get_mut("interaction").and_then(Value::as_array_mut) {
        interactions.retain(|interaction| match interaction.get("code").and_then(Value::as_str) {
            // Each entry is judged as if it came alone.
            Some("batch" | "transaction") => true,
            Some("search-system" | "history-system") => may_pass(gateway, "*", Permissions::SEARCH),
            _ => false,
        });
        if interactions.is_empty() {
            rest.remove("interaction");
        }
    }
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
    use rstest::rstest;

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
        assert_eq!(secure(&mut statement, &snapshot, gateway), Ok(()));
        assert_eq!(statement["rest"][0].get("operation"), None);
        assert_eq!(
            statement["rest"][0]["resource"],
            json!([
                {"type": "Patient", "interaction": codes(&["read", "vread", "search-type"]), "operation": [{"name": "everything"}]},
                {"type": "Slot", "interaction": codes(&["read", "vread"])},
            ])
        );
    }

    #[rstest]
    #[case(json!(["system/Patient.rs"]), &["batch"])]
    #[case(json!(["user/*.rs"]), &["batch", "search-system"])]
    fn interactions_of_the_system_and_formats_are_told_where_they_can_pass(
        #[case] ceiling: Value,
        #[case] left: &[&str],
    ) {
        let world = test_support::World::before("http://127.0.0.1:9");
        let snapshot = world.set("Gateway", "epic", "allowedScopes", ceiling).compile();
        let gateway = &snapshot.gateways[&ObjectKey::new("default", "epic")];
        let codes = |codes: &[&str]| -> Vec<Value> { codes.iter().map(|code| json!({"code": code})).collect() };
        let told = |format: Value, patch: Value, interactions: &[&str]| {
            json!({"resourceType": "CapabilityStatement", "format": format, "patchFormat": patch,
                "rest": [{"interaction": codes(interactions)}]})
        };
        let mut statement = told(
            json!(["xml", "json", "application/fhir+json", "application/fhir+xml", "text/turtle"]),
            json!(["application/json-patch+json", "application/xml-patch+xml"]),
            &["batch", "search-system", "unknown"],
        );
        assert_eq!(secure(&mut statement, &snapshot, gateway), Ok(()));
        statement["rest"][0].as_object_mut().unwrap().remove("security");
        assert_eq!(
            statement,
            told(json!(["json", "application/fhir+json"]), json!(["application/json-patch+json"]), left)
        );
        let mut of_xml = told(json!(["xml"]), json!(["application/xml-patch+xml"]), &["unknown"]);
        assert_eq!(secure(&mut of_xml, &snapshot, gateway), Ok(()));
        assert_eq!((&of_xml["format"], of_xml.get("patchFormat")), (&json!(["application/fhir+json"]), None));
        assert_eq!(of_xml["rest"][0].get("interaction"), None);
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
        assert_eq!(secure(&mut moved, &snapshot, gateway), Ok(()));
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
        assert_eq!(secure(&mut statement, &snapshot, gateway), Ok(()));
        assert!(!statement.to_string().contains("https://ehr/"));
        let uris = |statement: &Value| statement["rest"][0]["security"]["extension"][0]["extension"].clone();
        let uri = |word: &str, end: &str| json!({"url": word, "valueUri": format!("https://gate.example.org/default/epic/oauth2/{end}")});
        let for_systems = [uri("token", "token"), uri("introspect", "introspect"), uri("revoke", "revoke")];
        assert_eq!(uris(&statement), json!(for_systems));
        let user = json!({"type": "User", "user": {"clientId": "at-the-ehr",
            "authorizationUrl": "https://ehr.example.org/authorize", "tokenUrl": "https://ehr.example.org/token"}});
        let world = test_support::World::before("http://127.0.0.1:9");
        let with_users = world.set("Activation", "mobile-epic", "ehrAuthentication", user).compile();
        let gateway = &with_users.gateways[&ObjectKey::new("default", "epic")];
        assert_eq!(secure(&mut statement, &with_users, gateway), Ok(()));
        assert_eq!(uris(&statement)[0], uri("authorize", "authorize"));
        assert_eq!(secure(&mut json!({"resourceType": "Patient"}), &snapshot, gateway), Err(NoCapabilityStatement));
        assert_eq!(secure(&mut json!([]), &snapshot, gateway), Err(NoCapabilityStatement));
    }
}
