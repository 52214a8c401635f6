//! A fleet as large platforms have it: ten gateways, a tenth as many apps as activations, and a key pair an app.

#![allow(dead_code, reason = "each user uses a part of it")]

use std::path::Path;
use std::sync::Arc;

use hearthgate::api;
use hearthgate::snapshot::resources::{Secret, SecretUse};
use hearthgate::snapshot::{ObjectKey, Platform, Resources};
use hearthgate::values::key::{PairIdentity, PairKind, file};
use hearthgate::values::secret::SecretBytes;
use hearthgate::values::url::{AddressPolicy, EndpointUrl};
use kube::ResourceExt as _;
use serde::de::DeserializeOwned;

const GATEWAYS: usize = 10;

/// The fleet's YAML, a text an object.
pub struct Fleet {
    adapters: Vec<String>,
    gateways: Vec<String>,
    apps: Vec<String>,
    activations: Vec<String>,
    size: usize,
}

/// The fleet's objects.
pub struct Parsed {
    adapters: Vec<api::DataAdapter>,
    gateways: Vec<api::Gateway>,
    apps: Vec<api::App>,
    activations: Vec<api::Activation>,
}

fn read<Object: DeserializeOwned>(texts: &[String]) -> Vec<Object> {
    texts.iter().map(|text| serde_saphyr::from_str(text).expect("an object")).collect()
}

impl Fleet {
    /// A fleet of so many activations.
    pub fn of(size: usize) -> Self {
        let mut fleet =
            Self { adapters: Vec::new(), gateways: Vec::new(), apps: Vec::new(), activations: Vec::new(), size };
        let head = |kind: &str, name: &str| {
            format!(
                "apiVersion: hearthgate.dev/v1alpha1\nkind: {kind}\nmetadata:\n  name: {name}\n  namespace: fleet\n  uid: {kind}-{name}\n  generation: 1\nspec:\n"
            )
        };
        let put = |texts: &mut Vec<String>, kind: &str, name: &str, spec: &str| {
            texts.push(format!("{}{spec}", head(kind, name)));
        };
        for number in 0..GATEWAYS {
            let spec = format!(
                "  dataSourceType: EpicR4External\n  fhirBaseUrl: https://ehr-{number}.example.org/api/FHIR/R4\n  oauth:\n    tokenUrl: https://ehr-{number}.example.org/oauth2/token\n"
            );
            put(&mut fleet.adapters, "DataAdapter", &format!("ehr-{number}"), &spec);
            let spec = format!(
                "  dataAdapterRef:\n    name: ehr-{number}\n  allowedScopes:\n    - system/*.rs\n    - system/Appointment.cruds\n"
            );
            put(&mut fleet.gateways, "Gateway", &format!("gateway-{number}"), &spec);
        }
        for number in 0..size.div_ceil(GATEWAYS) {
            let spec = format!(
                "  displayName: App {number}\n  clientType: BackendService\n  jwksUri: https://app-{number}.example.org/jwks.json\n  scopes:\n    - system/Patient.rs\n    - system/Schedule.rs\n    - system/Slot.rs\n    - system/Appointment.cruds\n"
            );
            put(&mut fleet.apps, "App", &format!("app-{number}"), &spec);
        }
        for number in 0..size {
            let (app, gateway) = (number / GATEWAYS, number % GATEWAYS);
            let spec = format!(
                "  appRef:\n    name: app-{app}\n  gatewayRef:\n    name: gateway-{gateway}\n  scopes:\n    - system/*.rs\n    - system/Appointment.cruds\n  ehrAuthentication:\n    type: System\n    system:\n      backendAuth:\n        clientId: client-{number}\n        keyPair:\n          name: app-{app}\n          algorithm: ES384\n"
            );
            put(&mut fleet.activations, "Activation", &format!("activation-{number}"), &spec);
        }
        fleet
    }

    /// The YAML of all objects.
    pub fn yaml(&self) -> impl Iterator<Item = &str> {
        let all = [&self.adapters, &self.gateways, &self.apps, &self.activations];
        all.into_iter().flatten().map(String::as_str)
    }

    /// Reads the YAML.
    pub fn parse(&self) -> Parsed {
        Parsed {
            adapters: read(&self.adapters),
            gateways: read(&self.gateways),
            apps: read(&self.apps),
            activations: read(&self.activations),
        }
    }

    /// The objects with the Secrets of their key pairs, as a source delivers them.
    pub fn resources(&self) -> Resources {
        let parsed = self.parse();
        let mut resources = Resources::default();
        let key = |name: String| ObjectKey::new("fleet", name);
        resources.data_adapters = parsed.adapters.into_iter().map(|own| (key(own.name_any()), Arc::new(own))).collect();
        resources.gateways = parsed.gateways.into_iter().map(|own| (key(own.name_any()), Arc::new(own))).collect();
        resources.apps = parsed.apps.into_iter().map(|own| (key(own.name_any()), Arc::new(own))).collect();
        resources.activations =
            parsed.activations.into_iter().map(|own| (key(own.name_any()), Arc::new(own))).collect();
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile/keys/ec-1");
        let read = |name: &str| SecretBytes::new(std::fs::read(directory.join(name)).expect("a test key"));
        for number in 0..self.size.div_ceil(GATEWAYS) {
            let name = format!("app-{number}");
            let identity = PairIdentity { app: name.clone(), pair: name, revision: 1, kind: PairKind::P384 };
            let data = file::OF_A_PAIR.into_iter().map(|name| (name.to_owned(), read(name))).collect();
            let key = key(identity.secret_name());
            let secret = Secret::new(key.clone(), SecretUse::KeyPair, identity.annotations(), data);
            resources.secrets.insert(key, Arc::new(secret));
        }
        resources
    }

    /// An installation that makes keys and opens nothing.
    pub fn platform() -> Platform {
        Platform {
            public_url: EndpointUrl::parse("https://hg.example.org").expect("a URL"),
            addresses: AddressPolicy::default(),
            public_hosts: std::collections::BTreeMap::new(),
            makes_keys: true,
        }
    }
}
