use super::super::{Platform, Resources, Snapshot, compile};
use super::*;
use crate::api;
use crate::values::url::{AddressPolicy, EndpointUrl};

/// A snapshot with these gateways (name, public URL) behind one adapter, in the namespace `default`.
fn snapshot(public_url: &str, gateways: &[(&str, Option<&str>)]) -> Snapshot {
    let mut resources = Resources::default();
    let metadata = |name: &str| serde_json::json!({ "name": name, "namespace": "default" });
    let adapter: api::DataAdapter = serde_json::from_value(serde_json::json!({
        "apiVersion": "hearthgate.dev/v1alpha1", "kind": "DataAdapter", "metadata": metadata("ehr"),
        "spec": { "dataSourceType": "FhirR4", "fhirBaseUrl": "https://fhir.example.org" },
    }))
    .unwrap();
    resources.data_adapters.insert(ObjectKey::new("default", "ehr"), Arc::new(adapter));
    for (name, url) in gateways {
        // One that begins with `faulty` has an adapter that does not exist.
        let adapter = if name.starts_with("faulty") { "nowhere" } else { "ehr" };
        let gateway: api::Gateway = serde_json::from_value(serde_json::json!({
            "apiVersion": "hearthgate.dev/v1alpha1", "kind": "Gateway", "metadata": metadata(name),
            "spec": { "dataAdapterRef": { "name": adapter }, "publicUrl": url },
        }))
        .unwrap();
        resources.gateways.insert(ObjectKey::new("default", *name), Arc::new(gateway));
    }
    let activation: api::Activation = serde_json::from_value(serde_json::json!({
        "apiVersion": "hearthgate.dev/v1alpha1", "kind": "Activation", "metadata": metadata("activation"),
        "spec": {
            "appRef": { "name": "sync" }, "gatewayRef": { "name": "epic" },
            "ehrAuthentication": { "type": "System", "system": { "backendAuth": { "keyPair": { "name": "pair" } } } },
        },
    }))
    .unwrap();
    resources.activations.insert(ObjectKey::new("default", "activation"), Arc::new(activation));
    let platform = Platform {
        public_url: EndpointUrl::parse(public_url).unwrap(),
        addresses: AddressPolicy::default(),
        public_hosts: BTreeMap::from([("fhir.clinic.example".into(), "default".into())]),
        makes_keys: true,
    };
    compile(&resources, &platform).0
}

/// What was found, in words.
fn find(snapshot: &Snapshot, authority: &str, path: &str) -> String {
    match snapshot.routes.find(authority, path) {
        None => "nothing".into(),
        Some(Place::Gateway(gateway, rest)) => format!("{} {rest}", gateway.key.name),
        Some(Place::NotServed(key)) => format!("{} is not served", key.name),
        Some(Place::KeySet(pair)) => format!("keys of {}", pair.key.name),
        Some(Place::AuthorizationServerMetadata(gateway)) => format!("metadata of {}", gateway.key.name),
    }
}

#[test]
fn a_path_leads_to_the_gateway_whose_segments_it_begins_with() {
    let snapshot = snapshot("https://hg.example.org", &[("epic", None), ("epic-2", None)]);
    let cases = [
        ("/default/epic/fhir/Patient/1", "epic /fhir/Patient/1"),
        ("/default/epic/", "epic /"),
        ("/default/epic", "epic "),
        ("/default/epic-2/oauth2/token", "epic-2 /oauth2/token"),
        ("/default/epic-3/fhir", "nothing"),
        ("/default/epi", "nothing"),
        ("/default", "nothing"),
        ("/", "nothing"),
        ("", "nothing"),
        ("//default/epic", "nothing"),
        ("/other/default/epic", "nothing"),
    ];
    for (path, found) in cases {
        assert_eq!(find(&snapshot, "hg.example.org", path), found, "{path}");
    }
}

#[test]
fn a_host_that_no_gateway_names_is_taken_for_the_platform() {
    let snapshot = snapshot(
        "https://hg.example.org",
        &[("epic", None), ("clinic", Some("https://fhir.clinic.example")), ("foreign", Some("https://lb.internal/x"))],
    );
    assert_eq!(find(&snapshot, "hg.example.org", "/default/epic/fhir"), "epic /fhir");
    assert_eq!(find(&snapshot, "10.0.0.7:8080", "/default/epic/fhir"), "epic /fhir");
    assert_eq!(find(&snapshot, "fhir.clinic.example", "/fhir"), "clinic /fhir");
    assert_eq!(find(&snapshot, "fhir.clinic.example", "/default/epic/fhir"), "clinic /default/epic/fhir");
    // A gateway that may not have a host must not take it away from the platform.
    assert_eq!(find(&snapshot, "lb.internal", "/default/epic/fhir"), "epic /fhir");
    assert_eq!(find(&snapshot, "lb.internal", "/x"), "nothing");
}

#[test]
fn well_known_metadata_is_found_by_the_whole_path_of_the_issuer() {
    let snapshot = snapshot(
        "https://hg.example.org/base",
        &[("epic", None), ("clinic", Some("https://fhir.clinic.example")), ("faulty", None)],
    );
    let cases = [
        ("hg.example.org", "/.well-known/oauth-authorization-server/base/default/epic", "metadata of epic"),
        ("hg.example.org", "/.well-known/oauth-authorization-server/base/default/epic/", "nothing"),
        ("hg.example.org", "/.well-known/oauth-authorization-server/base/default/epic/fhir", "nothing"),
        ("hg.example.org", "/.well-known/oauth-authorization-server", "nothing"),
        ("hg.example.org", "/.well-known/oauth-authorization-server/base/default/faulty", "faulty is not served"),
        ("fhir.clinic.example", "/.well-known/oauth-authorization-server", "metadata of clinic"),
    ];
    for (authority, path, found) in cases {
        assert_eq!(find(&snapshot, authority, path), found, "{authority}{path}");
    }
}

#[test]
fn key_sets_are_below_the_platforms_path_and_stand_before_gateways() {
    let snapshot =
        snapshot("https://hg.example.org/base", &[("epic", None), ("root", Some("https://hg.example.org/other"))]);
    let cases = [
        ("/base/default/keys/pair/jwks.json", "keys of pair"),
        ("/base/default/keys/pair/jwks.json/", "nothing"),
        ("/base/default/keys/nowhere/jwks.json", "nothing"),
        ("/base/other/keys/pair/jwks.json", "nothing"),
        ("/default/keys/pair/jwks.json", "nothing"),
        ("/basedefault/keys/pair/jwks.json", "nothing"),
    ];
    for (path, found) in cases {
        assert_eq!(find(&snapshot, "hg.example.org", path), found, "{path}");
        assert_eq!(find(&snapshot, "10.0.0.7", path), found, "{path}");
    }
}

#[test]
fn a_gateway_with_a_fault_says_so_at_its_own_url_and_takes_nothing_from_a_served_one() {
    let snapshot = snapshot(
        "https://hg.example.org",
        &[
            ("epic", None),
            ("faulty", None),
            ("faulty-above", Some("https://hg.example.org/default")),
            ("faulty-below", Some("https://hg.example.org/default/epic/fhir")),
        ],
    );
    assert_eq!(find(&snapshot, "hg.example.org", "/default/faulty/fhir"), "faulty is not served");
    assert_eq!(find(&snapshot, "hg.example.org", "/default/epic/fhir/Patient"), "epic /fhir/Patient");
    assert_eq!(find(&snapshot, "hg.example.org", "/default/elsewhere"), "nothing");
}
