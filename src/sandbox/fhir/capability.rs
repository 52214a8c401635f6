//! The CapabilityStatement (FHIR R4), in JSON and in just enough XML to be what Epic answers to someone who asks for
//! nothing.

use serde_json::{Value, json};

use super::parameters;
use super::store::TYPES;

const OAUTH_URIS: &str = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris";

/// The endpoints that the extension `oauth-uris` names.
#[derive(Debug)]
pub(super) struct OauthUris {
    pub(super) authorize: String,
    pub(super) token: String,
}

/// The statement as JSON.
pub(super) fn json(base: &str, oauth: &OauthUris) -> Value {
    let interactions: Vec<Value> =
        ["read", "vread", "history-instance", "search-type", "create", "update", "patch", "delete"]
            .iter()
            .map(|code| json!({ "code": code }))
            .collect();
    let resources: Vec<Value> = TYPES
        .iter()
        .map(|kind| {
            let search: Vec<Value> = parameters::of(kind)
                .map(|parameter| json!({ "name": parameter.name, "type": parameter.sort.name() }))
                .collect();
            json!({
                "type": kind,
                "interaction": interactions,
                "versioning": "versioned-update",
                "readHistory": true,
                "updateCreate": true,
                "conditionalCreate": true,
                "searchParam": search,
            })
        })
        .collect();
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2027-01-04",
        "kind": "instance",
        "software": { "name": "Hearthgate simulated EHR", "version": env!("CARGO_PKG_VERSION") },
        "implementation": { "description": "Simulated EHR", "url": base },
        "fhirVersion": "4.0.1",
        "format": ["json", "xml"],
        "patchFormat": ["application/json-patch+json"],
        "rest": [{
            "mode": "server",
            "security": {
                "extension": [{ "url": OAUTH_URIS, "extension": [
                    { "url": "authorize", "valueUri": oauth.authorize },
                    { "url": "token", "valueUri": oauth.token },
                ] }],
                "service": [{ "coding": [{
                    "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                    "code": "SMART-on-FHIR",
                }] }],
            },
            "resource": resources,
            "interaction": [{ "code": "transaction" }, { "code": "batch" }],
        }],
    })
}

/// The statement as XML, without the list of types.
pub(super) fn xml(base: &str, oauth: &OauthUris) -> String {
    let (base, authorize, token) = (escaped(base), escaped(&oauth.authorize), escaped(&oauth.token));
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <CapabilityStatement xmlns=\"http://hl7.org/fhir\">\n\
         <status value=\"active\"/><date value=\"2027-01-04\"/><kind value=\"instance\"/>\n\
         <software><name value=\"Hearthgate simulated EHR\"/><version value=\"{version}\"/></software>\n\
         <implementation><description value=\"Simulated EHR\"/><url value=\"{base}\"/></implementation>\n\
         <fhirVersion value=\"4.0.1\"/><format value=\"json\"/><format value=\"xml\"/>\n\
         <rest><mode value=\"server\"/><security><extension url=\"{OAUTH_URIS}\"><extension url=\"authorize\">\
         <valueUri value=\"{authorize}\"/></extension><extension url=\"token\"><valueUri value=\"{token}\"/></extension>\
         </extension></security></rest>\n\
         </CapabilityStatement>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
