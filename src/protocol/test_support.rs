//! A small world to decide in: two gateways and the apps on them, compiled from YAML as everything else is.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::snapshot::data_adapter::{ExternalAuth, PrivateApiRoute};
use crate::snapshot::resources::{Secret, SecretUse};
use crate::snapshot::{ObjectKey, Platform, Resources, Snapshot, compile};
use crate::values::key::{Algorithm, GatewayIdentity, SigningKey, file, pem};
use crate::values::secret::SecretBytes;
use crate::values::url::{AddressPolicy, EndpointUrl};

/// The client secret of every app in the world: one that form encoding changes.
pub(crate) const SECRET: &str = "a+b/c%2F==-and-some-more";
/// The client ID of `schedule-sync`.
pub(crate) const CLIENT_ID: &str = "schedule-sync-client";

const OBJECTS: &str = r"
- {kind: DataAdapter, metadata: {name: epic-ehr}, spec: {dataSourceType: EpicR4External, fhirBaseUrl: FHIR_BASE,
   requestHeaders: [{name: X-Site, value: north}], backendAuthEnabled: true, externalAuth: {clientId: private-client,
   clientSecretRef: {name: private, key: basic}, apiEndpoint: PRIVATE_BASE, routes: [{methods: [GET], pathPrefix: /schedule}]}}}
- {kind: DataAdapter, metadata: {name: plain-ehr}, spec: {dataSourceType: FhirR4, fhirBaseUrl: FHIR_BASE}}
- {kind: Gateway, metadata: {name: epic}, spec: {dataAdapterRef: {name: epic-ehr}, operations: [$everything]}}
- {kind: Gateway, metadata: {name: plain}, spec: {dataAdapterRef: {name: plain-ehr}}}
- {kind: App, metadata: {name: schedule-sync}, spec: {clientType: BackendService, clientId: schedule-sync-client,
   scopes: [system/Patient.rs, system/Observation.read, system/Appointment.cruds, private-api],
   clientSecrets: [{secretRef: {name: app, key: secret}}]}}
- {kind: App, metadata: {name: mobile}, spec: {clientType: Public, clientId: mobile-client, scopes: [patient/Patient.rs],
   redirectUris: ['https://mobile.example.org/callback']}}
- {kind: App, metadata: {name: stranger}, spec: {clientType: BackendService, clientId: stranger-client,
   scopes: [system/Patient.rs], clientSecrets: [{secretRef: {name: app, key: secret}}]}}
- {kind: Activation, metadata: {name: sync-epic}, spec: {appRef: {name: schedule-sync}, gatewayRef: {name: epic},
   ehrAuthentication: {type: System, system: {basic: {clientSecretRef: {name: ehr, key: basic}}}}}}
- {kind: Activation, metadata: {name: sync-plain}, spec: {appRef: {name: schedule-sync}, gatewayRef: {name: plain},
   ehrAuthentication: {type: System, system: {none: {}}}}}
- {kind: Activation, metadata: {name: mobile-epic}, spec: {appRef: {name: mobile}, gatewayRef: {name: epic},
   ehrAuthentication: {type: System, system: {none: {}}}}}
";

/// Resources that a test may edit before it compiles them.
pub(crate) struct World {
    objects: Vec<Value>,
    with_signing_keys: bool,
}

impl World {
    /// The world in front of the EHR that is at `ehr` (FHIR at `ehr/fhir`, private APIs at `ehr/private`).
    pub(crate) fn before(ehr: &str) -> Self {
        let text =
            OBJECTS.replace("FHIR_BASE", &format!("'{ehr}/fhir'")).replace("PRIVATE_BASE", &format!("'{ehr}/private'"));
        Self { objects: serde_yaml::from_str(&text).unwrap(), with_signing_keys: true }
    }

    /// Changes one field of an object's spec, named by its JSON pointer's last part.
    pub(crate) fn set(mut self, kind: &str, name: &str, field: &str, value: Value) -> Self {
        let object =
            self.objects.iter_mut().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        object.unwrap()["spec"][field] = value;
        self
    }

    /// Puts another object there.
    pub(crate) fn and(mut self, object: Value) -> Self {
        self.objects.push(object);
        self
    }

    /// Gives an object another name, and so another UID.
    pub(crate) fn renamed(mut self, kind: &str, name: &str, to: &str) -> Self {
        let object =
            self.objects.iter_mut().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        object.unwrap()["metadata"]["name"] = to.into();
        self
    }

    /// Takes an object away.
    pub(crate) fn without(mut self, kind: &str, name: &str) -> Self {
        self.objects.retain(|object| object["kind"] != kind || object["metadata"]["name"] != name);
        self
    }

    /// Takes the gateways' own keys away.
    pub(crate) fn without_signing_keys(mut self) -> Self {
        self.with_signing_keys = false;
        self
    }

    pub(crate) fn compile(&self) -> Snapshot {
        compile(&self.resources(), &platform()).0
    }

    /// The objects as the compiler takes them.
    pub(crate) fn resources(&self) -> Resources {
        let mut secrets = BTreeMap::new();
        for (name, entry, text) in [
            ("app", "secret", SECRET),
            ("ehr", "basic", "ehr-user:ehr-password-0123456789"),
            ("private", "basic", "private-user:private-password-01"),
        ] {
            let key = ObjectKey::new("default", name);
            let data = BTreeMap::from([(entry.to_owned(), SecretBytes::from(text.to_owned()))]);
            let secret = Secret::new(key.clone(), SecretUse::Credential, BTreeMap::new(), data);
            secrets.insert(key, Arc::new(secret));
        }
        for (gateway, data) in ["epic", "plain"].into_iter().zip(&*GATEWAY_KEYS).filter(|_| self.with_signing_keys) {
            let identity = GatewayIdentity { gateway: gateway.into(), revision: 1 };
            let key = ObjectKey::new("default", identity.secret_name());
            let secret = Secret::new(key.clone(), SecretUse::GatewaySigning, identity.annotations(), data.clone());
            secrets.insert(key, Arc::new(secret));
        }
        Resources {
            data_adapters: self.all("DataAdapter"),
            gateways: self.all("Gateway"),
            apps: self.all("App"),
            activations: self.all("Activation"),
            secrets,
            ..Resources::default()
        }
    }

    fn all<Object: DeserializeOwned>(&self, kind: &str) -> BTreeMap<ObjectKey, Arc<Object>> {
        let of_kind = self.objects.iter().filter(|object| object["kind"] == kind);
        of_kind
            .map(|object| {
                let mut object = object.clone();
                let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                object["apiVersion"] = "hearthgate.dev/v1alpha1".into();
                object["metadata"]["namespace"] = "default".into();
                object["metadata"]["uid"] = format!("uid-of-{name}").into();
                object["metadata"]["generation"] = 1.into();
                (ObjectKey::new("default", name), Arc::new(serde_json::from_value(object).unwrap()))
            })
            .collect()
    }
}

/// The installation that the world is in.
pub(crate) fn platform() -> Platform {
    Platform {
        public_url: EndpointUrl::parse("https://gate.example.org").unwrap(),
        addresses: AddressPolicy::new(AddressPolicy::loopback_ranges()),
        public_hosts: BTreeMap::new(),
        makes_keys: true,
    }
}

/// The world with an EHR that nobody calls.
pub(crate) fn snapshot() -> Snapshot {
    World::before("http://127.0.0.1:9").compile()
}

/// A key that an app signs its assertions with.
pub(crate) struct AppKey(SigningKey);

impl AppKey {
    /// A new one, for ES384.
    pub(crate) fn generate() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap().to_pkcs8v1().unwrap();
        Self(SigningKey::from_pkcs8(pair.as_ref(), &[Algorithm::Es384]).unwrap())
    }

    /// An RSA key, always the same.
    pub(crate) fn rsa(algorithms: &'static [Algorithm]) -> Self {
        let pem = include_bytes!("../../tests/compile/keys/rsa-1/private.pem");
        Self(SigningKey::from_pem(pem, algorithms).unwrap())
    }

    /// Its public half with this `kid`.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let mut jwk = self.0.jwk();
        jwk["kid"] = kid.into();
        jwk
    }

    /// `{"keys": …}` of its public half with `kid` `key-1`.
    pub(crate) fn jwks(&self) -> Value {
        json!({"keys": [self.jwk("key-1")]})
    }

    /// A good header of its signatures, as `key-1`.
    pub(crate) fn header(&self) -> Value {
        json!({"alg": self.0.algorithm().as_str(), "kid": "key-1", "typ": "JWT"})
    }

    /// Whatever this is, signed.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// The same, for what is no JSON.
    pub(crate) fn sign_text(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.0.sign_bytes(signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Claims of a good assertion for gateway `epic`, in the manner of Inferno: `exp` exactly five minutes ahead, no `iat`.
pub(crate) fn claims(client_id: &str, jti: &str, now: Timestamp) -> Value {
    json!({"iss": client_id, "sub": client_id, "aud": "https://gate.example.org/default/epic/oauth2/token",
        "exp": now.as_second() + 300, "jti": jti})
}

/// An External auth with one route: `GET /schedule`.
pub(crate) fn external_auth(endpoint: &str) -> ExternalAuth {
    ExternalAuth {
        client_id_header: (HeaderName::from_static("epic-client-id"), HeaderValue::from_static("private-client")),
        authorization: "Basic cHJpdmF0ZQ==".into(),
        api_endpoint: EndpointUrl::parse(endpoint).unwrap(),
        routes: Some(vec![PrivateApiRoute { methods: vec![Method::GET], path_prefix: "/schedule".into() }]),
    }
}

static GATEWAY_KEYS: LazyLock<[BTreeMap<String, SecretBytes>; 2]> = LazyLock::new(|| {
    let private = |der: &[u8]| SecretBytes::from(pem::encode(pem::PRIVATE_KEY, der).to_string());
    let rsa: Pkcs8V1Der<'_> = RsaKeyPair::generate(KeySize::Rsa2048).unwrap().as_der().unwrap();
    let rs256 = private(rsa.as_ref());
    [0, 1].map(|_| {
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap().to_pkcs8v1().unwrap();
        BTreeMap::from([
            (file::ES256_PRIVATE_PEM.to_owned(), private(ec.as_ref())),
            (file::RS256_PRIVATE_PEM.to_owned(), rs256.clone()),
            (
                file::SEALING_KEY.to_owned(),
                SecretBytes::from("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned()),
            ),
        ])
    })
});
