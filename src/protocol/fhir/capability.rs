//! The EHR's CapabilityStatement as the gateway's: whoever discovers OAuth in it (SMART App Launch 1 did) must find our
//! token endpoint. With the EHR's in it, an app would carry its secret to the wrong place.

use serde_json::{Value, json};

use crate::snapshot::Gateway;

/// SMART App Launch 1.0.0, "Declaring support for oauth2 endpoints".
const OAUTH_URIS: &str = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris";
/// FHIR R4's code system for `rest.security.service`.
const SECURITY_SERVICES: &str = "http://terminology.hl7.org/CodeSystem/restful-security-service";

/// The document is something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the EHR's metadata is no CapabilityStatement")]
pub struct NoCapabilityStatement;

/// Puts the gateway's security in place of the EHR's.
pub fn secure(statement: &mut Value, gateway: &Gateway) -> Result<(), NoCapabilityStatement> {
    let members = statement
        .as_object_mut()
        .filter(|members| members.get("resourceType").and_then(Value::as_str) == Some("CapabilityStatement"));
    let rest = members.ok_or(NoCapabilityStatement)?.get_mut("rest").and_then(Value::as_array_mut);
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
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::test_support;
    use crate::snapshot::ObjectKey;

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
