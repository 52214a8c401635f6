//! What holds of every compilation, whatever the resources: no panic, no secret, no surprise for bystanders, no new key
//! in the place of a lost one.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says no by panicking, and its helpers are part of it"
)]

#[path = "support/compile_input.rs"]
#[expect(dead_code, reason = "the pairs need more of it than the properties")]
mod compile_input;

#[path = "support/scale.rs"]
mod scale;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use compile_input::key_files;
use hearthgate::api;
use hearthgate::snapshot::digest::Digests;
use hearthgate::snapshot::resources::{Observed, Rejection, Secret, SecretUse};
use hearthgate::snapshot::{
    Compiler, Kind, ObjectKey, ObjectReference, Platform, Published, Report, Resources, Snapshot, compile,
};
use hearthgate::values::code::Code;
use hearthgate::values::key::{Certificate, GatewayIdentity, PairIdentity, PairKind, file};
use hearthgate::values::scope::{Scope, ScopeSet};
use hearthgate::values::secret::SecretBytes;
use hearthgate::values::url::{AddressPolicy, EndpointUrl};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use scale::Fleet;
use serde_json::{Value, json};

const NAMESPACES: [&str; 2] = ["one", "two"];
const NAMES: [&str; 3] = ["a", "b", "c"];
const CREDENTIALS: [&str; 3] = ["credential", "limited", "wrong-use"];
/// Begins every secret value, so that one that shows up somewhere is seen.
const CANARY: &str = "CANARY";

/// Test keys that pairs are made of, with their kinds.
const KEYS: [(&str, PairKind); 3] =
    [("rsa-1", PairKind::Rsa2048), ("rsa-2", PairKind::Rsa2048), ("ec-1", PairKind::P384)];

/// Thumbprints of [`KEYS`].
static THUMBPRINTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let certificate = |key| Certificate::from_pem(key_files(key, &file::OF_A_PAIR)[file::CERTIFICATE_PEM].expose());
    KEYS.iter().map(|(key, _)| certificate(key).unwrap().public().thumbprint().to_string()).collect()
});

/// Key Secrets of every owner and kind. One value of each, so that a thousand cases parse no key twice.
static KEY_SECRETS: LazyLock<Vec<Arc<Secret>>> = LazyLock::new(|| {
    let mut secrets = Vec::new();
    for namespace in NAMESPACES {
        for (key, kind) in KEYS {
            for (pair, app) in NAMES.iter().flat_map(|pair| NAMES.map(|app| (*pair, app))) {
                for revision in 1..=2 {
                    let identity = PairIdentity { app: app.into(), pair: pair.into(), revision, kind };
                    secrets.push(Arc::new(Secret::new(
                        ObjectKey::new(namespace, identity.secret_name()),
                        SecretUse::KeyPair,
                        identity.annotations(),
                        key_files(key, &file::OF_A_PAIR),
                    )));
                }
            }
        }
        for (gateway, key) in NAMES.iter().flat_map(|gateway| ["gateway-1", "gateway-2"].map(|key| (*gateway, key))) {
            let identity = GatewayIdentity { gateway: gateway.into(), revision: 1 };
            secrets.push(Arc::new(Secret::new(
                ObjectKey::new(namespace, identity.secret_name()),
                SecretUse::GatewaySigning,
                identity.annotations(),
                key_files(key, &file::OF_A_GATEWAY),
            )));
        }
    }
    secrets
});

// ——— Anything that people and machines may deliver

fn weird() -> impl Strategy<Value = String> {
    prop_oneof![".{0,12}", select(vec!["", " ", "\0", "..", "/", "%00", "☃", "https://", "a b"]).prop_map(String::from)]
}

/// Nearly always one of these words.
fn word(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![40 => select(words).prop_map(String::from), 1 => weird()]
}

/// Nearly always the first namespace, so that objects meet.
fn namespace() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(NAMESPACES[0]), 1 => Just(NAMESPACES[1])]
}

fn url() -> impl Strategy<Value = String> {
    let good = word(&["https://ehr.example.org/fhir", "https://ehr.example.org:8443/a/", "https://other.example.org"]);
    let bad = select(vec![
        "http://127.0.0.1:1/x",
        "https://10.0.0.1/",
        "https://[::ffff:7f00:1]/",
        "https://0x7f.1/",
        "ftp://x",
        "https://user@x/",
    ]);
    prop_oneof![12 => good, 1 => bad.prop_map(String::from)]
}

fn public_url() -> impl Strategy<Value = String> {
    word(&[
        "https://hg.example.org",
        "https://hg.example.org/one",
        "https://hg.example.org/one/a",
        "https://hg.example.org/one/a/b",
        "https://hg.example.org/two/keys",
        "https://hg.example.org/x",
        "https://clinic.example/x",
        "https://foreign.example/x",
        "http://hg.example.org/y",
        "https://hg.example.org/.well-known/x",
    ])
}

fn scopes() -> impl Strategy<Value = Vec<String>> {
    let scope = word(&[
        "system/*.cruds",
        "system/*.read",
        "system/Patient.rs",
        "system/Observation.rs?category=laboratory",
        "patient/*.rs",
        "openid",
        "launch",
        "private-api",
    ]);
    vec(scope, 0..5)
}

fn name() -> impl Strategy<Value = String> {
    word(&NAMES)
}

fn secret_reference() -> impl Strategy<Value = Value> {
    let name = prop_oneof![5 => Just("credential".to_owned()), 1 => word(&CREDENTIALS)];
    let entry = word(&["short", "basic", "base64", "binary", "pem", "tls.crt"]);
    (name, prop_oneof![5 => Just("secret".to_owned()), 2 => Just("basic".to_owned()), 2 => entry])
        .prop_map(|(name, key)| json!({ "name": name, "key": key }))
}

fn metadata(name: impl Strategy<Value = String>) -> impl Strategy<Value = Value> {
    (name, namespace(), option::of(1_u8..9), 1..3_i64).prop_map(|(name, namespace, month, generation)| {
        json!({
            "name": name,
            "namespace": namespace,
            "generation": generation,
            "uid": format!("uid-{namespace}-{name}"),
            "creationTimestamp": month.map(|month| format!("2026-0{month}-01T00:00:00Z")),
        })
    })
}

fn object(kind: &'static str, metadata: &Value, spec: Value) -> Value {
    json!({ "apiVersion": "hearthgate.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": without_null(spec) })
}

fn without_null(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, member)| !member.is_null())
            .map(|(name, member)| (name, without_null(member)))
            .collect(),
        other => other,
    }
}

fn data_adapter(name: impl Strategy<Value = String>) -> impl Strategy<Value = Value> {
    let external_auth = (weird(), secret_reference(), url(), word(&["Epic-Client-ID", "X-Client"]), any::<bool>());
    let external_auth = external_auth.prop_map(|(client_id, secret, url, header, base64)| {
        let encoding = if base64 { "Base64" } else { "Plain" };
        json!({ "clientId": client_id, "clientSecretRef": secret, "apiEndpoint": url, "clientIdHeader": header, "encoding": encoding })
    });
    let tls = (option::of(secret_reference()), option::of(word(&CREDENTIALS))).prop_map(|(bundle, certificate)| {
        json!({
            "caBundleRef": bundle.map(|bundle| json!({ "kind": "Secret", "name": bundle["name"], "key": bundle["key"] })),
            "clientCertificateRef": certificate.map(|name| json!({ "name": name })),
        })
    });
    let headers = vec((word(&["X-Tenant"]), word(&["value", "\t"])), 0..2);
    (
        metadata(name),
        url(),
        option::of(url()),
        option::of(external_auth),
        option::weighted(0.2, tls),
        headers,
        suspend(),
    )
        .prop_map(|(metadata, url, token_url, external_auth, tls, headers, suspend)| {
            let headers: Vec<_> = headers.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
            object(
                "DataAdapter",
                &metadata,
                json!({
                    "dataSourceType": "EpicR4External",
                    "fhirBaseUrl": url,
                    "oauth": token_url.map(|url| json!({ "tokenUrl": url })),
                    "backendAuthEnabled": external_auth.is_some(),
                    "externalAuth": external_auth,
                    "tls": tls,
                    "requestHeaders": headers,
                    "suspend": suspend,
                }),
            )
        })
}

fn suspend() -> impl Strategy<Value = bool> {
    proptest::bool::weighted(0.1)
}

fn gateway(name: impl Strategy<Value = String>) -> impl Strategy<Value = Value> {
    (metadata(name), self::name(), option::weighted(0.4, public_url()), option::of(scopes()), 1..3, suspend()).prop_map(
        |(metadata, adapter, url, scopes, revision, suspend)| {
            object(
                "Gateway",
                &metadata,
                json!({
                    "dataAdapterRef": { "name": adapter },
                    "publicUrl": url,
                    "allowedScopes": scopes,
                    "signingKeys": { "revision": revision },
                    "suspend": suspend,
                }),
            )
        },
    )
}

fn app(name: impl Strategy<Value = String>) -> impl Strategy<Value = Value> {
    let client_type = select(vec!["Public", "Confidential", "BackendService"]);
    let jwks = select(vec![json!({}), json!([1]), json!({ "keys": [{ "kty": "RSA" }] })]);
    let jwks = option::weighted(0.1, jwks);
    let client_id = option::weighted(0.7, word(&["chosen", "other"]));
    let secrets = vec(secret_reference(), 0..2);
    (metadata(name), client_type, client_id, scopes(), secrets, option::of(url()), jwks, suspend()).prop_map(
        |(metadata, client_type, client_id, scopes, secrets, url, jwks, suspend)| {
            let secrets: Vec<_> = secrets.into_iter().map(|secret| json!({ "secretRef": secret })).collect();
            object(
                "App",
                &metadata,
                json!({
                    "clientType": client_type,
                    "clientId": client_id,
                    "scopes": scopes,
                    "clientSecrets": secrets,
                    "launchUri": url,
                    "jwks": jwks,
                    "suspend": suspend,
                }),
            )
        },
    )
}

fn thumbprints() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![3 => Just(Vec::new()), 2 => subsequence(THUMBPRINTS.clone(), 0..3)]
}

fn key_pair(pair: impl Strategy<Value = String>) -> impl Strategy<Value = Value> {
    let source = word(&["a-key-1", "brought", "credential"]).prop_map(|name| json!({ "name": name }));
    let revision = prop_oneof![1..4_u32, Just(u32::MAX), Just(0)];
    (option::of(pair), any::<bool>(), revision, thumbprints(), thumbprints(), option::weighted(0.15, source)).prop_map(
        |(name, ec, revision, pins, withdrawn, source)| {
            without_null(json!({
                "name": name,
                "algorithm": if ec { "ES384" } else { "RS384" },
                "revision": revision,
                "thumbprints": pins,
                "withdrawn": withdrawn,
                "secretRef": source,
            }))
        },
    )
}

fn ehr_authentication(pair: impl Strategy<Value = String> + Clone) -> impl Strategy<Value = Value> {
    let system = |method: Value| json!({ "type": "System", "system": without_null(method) });
    let backend = (option::of(weird()), option::of(url()), key_pair(pair.clone())).prop_map(move |(id, url, pair)| {
        system(json!({ "backendAuth": without_null(json!({ "clientId": id, "tokenUrl": url, "keyPair": pair })) }))
    });
    let credentials = (secret_reference(), option::of(url())).prop_map(move |(secret, url)| {
        let auth = json!({ "clientId": "c", "clientSecretRef": secret, "tokenUrl": url });
        system(json!({ "clientCredentials": without_null(auth) }))
    });
    let basic = secret_reference().prop_map(move |secret| system(json!({ "basic": { "clientSecretRef": secret } })));
    let user = (option::of(secret_reference()), option::of(key_pair(pair)), option::of(scopes()), option::of(url()));
    let user = user.prop_map(|(secret, pair, scopes, url)| {
        let user = json!({
            "clientId": "c", "clientSecretRef": secret, "keyPair": pair, "scopes": scopes, "authorizationUrl": url,
        });
        json!({ "type": "User", "user": without_null(user) })
    });
    let others = select(vec![json!({ "type": "System", "system": { "none": {} } }), json!({ "type": "User" })]);
    prop_oneof![5 => backend, 1 => credentials, 1 => basic, 2 => user, 2 => others]
}

fn activation(
    name: impl Strategy<Value = String>,
    pair: impl Strategy<Value = String> + Clone,
) -> impl Strategy<Value = Value> {
    let moment = || option::weighted(0.2, word(&["2026-01-01T00:00:00Z", "2027-01-01T00:00:00+02:00"]));
    let window = (moment(), moment());
    (
        metadata(name),
        self::name(),
        self::name(),
        option::weighted(0.5, scopes()),
        window,
        ehr_authentication(pair),
        suspend(),
    )
        .prop_map(|(metadata, app, gateway, scopes, (from, to), authentication, suspend)| {
            object(
                "Activation",
                &metadata,
                json!({
                    "appRef": { "name": app },
                    "gatewayRef": { "name": gateway },
                    "scopes": scopes,
                    "notBefore": from,
                    "expiresAt": to,
                    "ehrAuthentication": authentication,
                    "suspend": suspend,
                }),
            )
        })
}

/// Objects that are in order, so that there is something to hang on.
fn sound() -> impl Strategy<Value = Vec<Value>> {
    let of = |name: &str| {
        let metadata =
            json!({ "name": name, "namespace": NAMESPACES[0], "generation": 1, "uid": format!("sound-{name}") });
        let adapter = json!({ "dataSourceType": "FhirR4", "fhirBaseUrl": "https://ehr.example.org/fhir" });
        let app = json!({
            "clientType": "BackendService", "jwksUri": "https://app.example.org/jwks", "scopes": ["system/*.rs", "private-api"],
        });
        [
            object("DataAdapter", &metadata, adapter),
            object("Gateway", &metadata, json!({ "dataAdapterRef": { "name": name } })),
            object("App", &metadata, app),
        ]
    };
    subsequence(NAMES.iter().flat_map(|name| of(name)).collect::<Vec<_>>(), 4..=9)
}

fn objects() -> impl Strategy<Value = Vec<Value>> {
    let activation_name = || word(&["a", "b", "c", "d", "e"]);
    let activations = vec(activation(activation_name(), name().boxed()), 1..7);
    let others = (
        vec(data_adapter(name()), 0..4),
        vec(gateway(name()), 0..4),
        vec(app(word(&["a", "b", "c", "d", "e"])), 0..4),
        activations,
    );
    (sound(), others).prop_map(|(sound, (adapters, gateways, apps, activations))| {
        [sound, adapters, gateways, apps, activations].concat()
    })
}

fn credentials() -> Vec<Arc<Secret>> {
    let text = |tail: &str| SecretBytes::from(format!("{CANARY}{tail}"));
    let data = || {
        BTreeMap::from([
            ("secret".to_owned(), text("-a-long-enough-secret")),
            ("short".to_owned(), text("-short")),
            ("basic".to_owned(), text("-user:password")),
            ("base64".to_owned(), SecretBytes::from("Q0FOQVJZOkNBTkFSWQ==".to_owned())),
            ("binary".to_owned(), SecretBytes::new(vec![0xff; 20])),
            ("pem".to_owned(), text("-----BEGIN CERTIFICATE-----")),
            ("tls.crt".to_owned(), SecretBytes::from("-----BEGIN CERTIFICATE-----".to_owned())),
            ("tls.key".to_owned(), text("-----BEGIN PRIVATE KEY-----")),
        ])
    };
    let secret = |namespace: &str, name: &str, usage, hosts: Option<&str>| {
        let annotations = hosts.map(|hosts| (api::common::ALLOWED_HOSTS_ANNOTATION.to_owned(), hosts.to_owned()));
        Arc::new(Secret::new(ObjectKey::new(namespace, name), usage, annotations.into_iter().collect(), data()))
    };
    let all = |namespace| {
        [
            secret(namespace, "credential", SecretUse::Credential, None),
            secret(namespace, "limited", SecretUse::Credential, Some("ehr.example.org")),
            secret(namespace, "wrong-use", SecretUse::KeyPair, None),
            secret(namespace, "brought", SecretUse::KeyPair, None),
        ]
    };
    NAMESPACES.into_iter().flat_map(all).collect()
}

fn observed() -> impl Strategy<Value = Observed> {
    let state = select(vec!["Pending", "Signing", "Retiring", "Retired", "Withdrawn", "Lost"]);
    let key = (0..3_usize, 1..4_u32, state).prop_map(|(key, revision, state)| {
        let thumbprint = &THUMBPRINTS[key];
        json!({ "revision": revision, "kid": thumbprint, "thumbprint": thumbprint, "state": state, "secretName": "x" })
    });
    let activation = select(vec!["one/a", "one/b", "one/c", "one/d", "two/a", "two/b"]);
    let activations = proptest::collection::btree_map(activation, vec(key, 0..3), 0..5);
    let gateways = proptest::collection::btree_map(select(vec!["one/a", "two/b"]), 1..3_u32, 0..2);
    (activations, gateways).prop_map(|(activations, gateways)| {
        let activations: BTreeMap<_, _> =
            activations.into_iter().map(|(name, keys)| (name, json!({ "keys": keys }))).collect();
        serde_json::from_value(json!({ "activations": activations, "gateways": gateways })).unwrap()
    })
}

fn rejections() -> impl Strategy<Value = Vec<Rejection>> {
    let kind = select(vec![Kind::App, Kind::Gateway, Kind::Secret]);
    let rejection = (option::of((kind, name())), weird()).prop_map(|(object, message)| Rejection {
        object: object.map(|(kind, name)| ObjectReference::new(kind, ObjectKey::new("one", name))),
        code: Code::InvalidSpec,
        message,
        location: hearthgate::snapshot::resources::Location { file: "x.yaml".into(), line: 1, column: 1 },
    });
    vec(rejection, 0..2)
}

#[derive(Clone, Debug)]
struct World {
    objects: Vec<Value>,
    secrets: Vec<Arc<Secret>>,
    observed: Observed,
    rejections: Vec<Rejection>,
    makes_keys: bool,
}

fn world() -> impl Strategy<Value = World> {
    let secrets = subsequence(KEY_SECRETS.clone(), 0..40);
    (objects(), secrets, observed(), rejections(), proptest::bool::weighted(0.9)).prop_map(
        |(objects, secrets, observed, rejections, makes_keys)| World {
            objects,
            secrets,
            observed,
            rejections,
            makes_keys,
        },
    )
}

impl World {
    fn resources(&self) -> Resources {
        let mut resources = Resources::default();
        for object in &self.objects {
            let name = |field: &str| object["metadata"][field].as_str().unwrap().to_owned();
            let key = ObjectKey::new(name("namespace"), name("name"));
            let object = object.clone();
            // The first of a name stays, so that objects that are added at the end change none.
            match object["kind"].as_str().unwrap() {
                "DataAdapter" => {
                    resources
                        .data_adapters
                        .entry(key)
                        .or_insert_with(|| Arc::new(serde_json::from_value(object).unwrap()));
                }
                "Gateway" => {
                    resources.gateways.entry(key).or_insert_with(|| Arc::new(serde_json::from_value(object).unwrap()));
                }
                "App" => {
                    resources.apps.entry(key).or_insert_with(|| Arc::new(serde_json::from_value(object).unwrap()));
                }
                _ => {
                    resources
                        .activations
                        .entry(key)
                        .or_insert_with(|| Arc::new(serde_json::from_value(object).unwrap()));
                }
            }
        }
        for secret in credentials().iter().chain(&self.secrets) {
            resources.secrets.insert(secret.key.clone(), Arc::clone(secret));
        }
        resources.observed = self.observed.clone();
        resources.rejections.clone_from(&self.rejections);
        resources
    }

    fn compile(&self) -> (Snapshot, Vec<Report>) {
        compile(&self.resources(), &self.platform())
    }

    fn digests(&self) -> Arc<Digests> {
        digests(self.compile())
    }

    /// Everything that is served and told, as text.
    fn text(&self) -> String {
        text(self.compile())
    }

    fn platform(&self) -> Platform {
        Platform {
            public_url: EndpointUrl::parse("https://hg.example.org").unwrap(),
            addresses: AddressPolicy::default(),
            public_hosts: BTreeMap::from([("clinic.example".into(), "one".into())]),
            makes_keys: self.makes_keys,
        }
    }
}

fn digests<Told: Into<Arc<Report>>>((snapshot, reports): (Snapshot, Vec<Told>)) -> Arc<Digests> {
    Published::new(snapshot, reports, Vec::new()).digests()
}

/// Everything that is served and told, as text.
fn text<Told: Into<Arc<Report>>>((snapshot, reports): (Snapshot, Vec<Told>)) -> String {
    let reports: Vec<Arc<Report>> = reports.into_iter().map(Into::into).collect();
    let now = "2026-06-01T00:00:00Z".parse().unwrap();
    let verdicts: Vec<_> = reports.iter().map(|report| report.at(now)).collect();
    let told: Vec<Report> = reports.iter().map(|report| Report::clone(report)).collect();
    let view = snapshot.view();
    let digests = digests((snapshot, reports));
    let digests: Vec<_> = digests.iter().map(|(object, digest)| format!("{object} {digest}")).collect();
    json!([view, told, verdicts, digests]).to_string()
}

/// What chance changes.
struct Chance(TestRng);

impl Chance {
    fn one_in(&mut self, many: u32) -> bool {
        self.0.next_u32().is_multiple_of(many)
    }

    /// Some of what is there goes, or becomes what it is elsewhere; what is only elsewhere may come.
    fn edit<Key: Clone + Ord, Value: Clone>(
        &mut self,
        here: &mut BTreeMap<Key, Value>,
        elsewhere: &BTreeMap<Key, Value>,
    ) {
        let keys: BTreeSet<Key> = here.keys().chain(elsewhere.keys()).cloned().collect();
        for key in keys {
            match elsewhere.get(&key) {
                Some(other) if self.one_in(8) => drop(here.insert(key, other.clone())),
                Some(_) | None if self.one_in(16) => drop(here.remove(&key)),
                Some(_) | None => {}
            }
        }
    }

    fn edit_all(&mut self, here: &mut Resources, elsewhere: &Resources) {
        self.edit(&mut here.data_adapters, &elsewhere.data_adapters);
        self.edit(&mut here.gateways, &elsewhere.gateways);
        self.edit(&mut here.apps, &elsewhere.apps);
        self.edit(&mut here.activations, &elsewhere.activations);
        self.edit(&mut here.secrets, &elsewhere.secrets);
        self.edit(&mut here.config_maps, &elsewhere.config_maps);
        self.edit(&mut here.observed.activations, &elsewhere.observed.activations);
        self.edit(&mut here.observed.gateways, &elsewhere.observed.gateways);
        if self.one_in(4) {
            here.rejections.clone_from(&elsewhere.rejections);
        }
    }
}

/// Kids that a pair publishes.
fn published(jwks: &str) -> BTreeSet<String> {
    let jwks: Value = serde_json::from_str(jwks).unwrap();
    jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// Changes an object so that it has a fault of its own.
fn with_fault(mut object: Value) -> Value {
    let (field, value) = match object["kind"].as_str().unwrap() {
        "DataAdapter" => ("fhirBaseUrl", json!("https://127.0.0.1/")),
        "Gateway" => ("allowedScopes", json!(["everything"])),
        _ => ("scopes", json!(["everything"])),
    };
    object["spec"][field] = value;
    object
}

proptest! {
    // Each is sixteen compilations.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_compiled_after_edits_is_what_a_first_compilation_gives(worlds in vec(world(), 2..5), seed in any::<[u8; 32]>()) {
        let mut chance = Chance(TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
        let (mut resources, platform) = (worlds[0].resources(), worlds[0].platform());
        let mut compiler = Compiler::new(platform.clone());
        let mut terse = Compiler::new(platform.clone()).without_reports();
        for world in worlds.iter().cycle().take(8) {
            chance.edit_all(&mut resources, &world.resources());
            let expected = digests(compile(&resources, &platform));
            let (snapshot, reports) = terse.compile(&resources);
            prop_assert_eq!(snapshot.view(), compile(&resources, &platform).0.view());
            prop_assert_eq!(Published::new(snapshot, reports, Vec::new()).digests(), expected);
            prop_assert_eq!(text(compiler.compile(&resources)), text(compile(&resources, &platform)));
        }
    }
}

proptest! {
    #[test]
    fn the_order_of_the_input_does_not_matter(world in world()) {
        let mut reversed = world.clone();
        let mut names = BTreeSet::new();
        reversed.objects.retain(|object| names.insert((object["kind"].to_string(), object["metadata"]["namespace"].to_string(), object["metadata"]["name"].to_string())));
        reversed.objects.reverse();
        prop_assert_eq!(world.text(), reversed.text());
    }

    #[test]
    fn an_object_is_served_exactly_if_its_report_says_so(world in world()) {
        let (snapshot, reports) = world.compile();
        for report in &reports {
            let served = match report.object.kind {
                Kind::DataAdapter => snapshot.data_adapters.contains_key(&report.object.key),
                Kind::Gateway => snapshot.gateways.contains_key(&report.object.key),
                Kind::App => snapshot.apps.contains_key(&report.object.key),
                Kind::Activation => snapshot.activations.contains_key(&report.object.key),
                Kind::Secret | Kind::ConfigMap => continue,
            };
            prop_assert_eq!(served, report.is_usable(), "{:?}", report);
        }
        let resources = world.resources();
        let objects = resources.data_adapters.len() + resources.gateways.len() + resources.apps.len() + resources.activations.len();
        let reported: BTreeSet<_> = reports.iter().map(|report| &report.object).collect();
        prop_assert_eq!(reported.len(), reports.len());
        prop_assert!(reports.iter().filter(|report| report.generation > 0).count() >= objects);
        for (key, activation) in &snapshot.activations {
            prop_assert!(snapshot.apps.contains_key(&activation.app.key), "{key} hangs on an app that is not served");
            prop_assert!(snapshot.gateways.contains_key(&activation.gateway.key), "{key} hangs on a gateway that is not served");
        }
    }

    #[test]
    fn an_object_with_a_fault_of_its_own_changes_nothing_for_bystanders(
        world in world(),
        bad in prop_oneof![
            data_adapter(Just("bad".to_owned())).boxed(),
            gateway(Just("bad".to_owned())).boxed(),
            app(Just("bad".to_owned())).boxed(),
            activation(Just("bad".to_owned()), Just("bad".to_owned())).boxed(),
        ],
    ) {
        let bad = with_fault(bad);
        let mut with_bad = world.clone();
        with_bad.objects.push(bad);
        let (before, after) = (world.digests(), with_bad.digests());
        let ((snapshot, reports), (with_bad, reports_with_bad)) = (world.compile(), with_bad.compile());
        let reports_with_bad: BTreeMap<_, _> = reports_with_bad.into_iter().map(|report| (report.object.clone(), report)).collect();
        // Whether anything refers to a Secret is also the bad object's doing.
        for report in reports.iter().filter(|report| report.object.kind != Kind::Secret) {
            prop_assert_eq!(Some(report), reports_with_bad.get(&report.object));
        }
        let (view, view_with_bad) = (snapshot.view(), with_bad.view());
        for (section, entries) in view.as_object().unwrap() {
            for (name, entry) in entries.as_object().unwrap() {
                let entry_with_bad = &view_with_bad[section][name];
                // Of several gateways that claim one URL and cannot be served, any may be named as the one at fault.
                if section == "routes" && [entry, entry_with_bad].iter().all(|entry| entry.to_string().contains("not served")) {
                    continue;
                }
                prop_assert_eq!(entry, entry_with_bad, "{} {}", section, name);
            }
        }
        for (object, digest) in before.iter() {
            prop_assert_eq!(Some(digest), after.get(object));
        }
    }

    #[test]
    fn a_ceiling_is_never_more_than_any_of_the_three(world in world()) {
        let resources = world.resources();
        let (snapshot, _) = world.compile();
        for (key, activation) in &snapshot.activations {
            let own = resources.activations[key].spec.scopes.as_ref();
            let own = own.map(|own| own.iter().map(|text| text.parse::<Scope>().unwrap()).collect::<ScopeSet>());
            for scope in activation.ceiling.iter() {
                prop_assert!(activation.app.scopes.covers(scope), "{scope} is more than App");
                prop_assert!(activation.gateway.allowed_scopes.as_ref().is_none_or(|allowed| allowed.covers(scope)), "{scope} is more than Gateway");
                prop_assert!(own.as_ref().is_none_or(|own| own.covers(scope)), "{scope} is more than Activation");
            }
        }
    }

    #[test]
    fn no_key_is_made_in_the_place_of_one_that_was(world in world()) {
        let resources = world.resources();
        let (snapshot, reports) = world.compile();
        let in_conflict = |key: &ObjectKey| {
            let object = ObjectReference::new(Kind::Activation, key.clone());
            let report = reports.iter().find(|report| report.object == object).unwrap();
            report.findings.iter().any(|finding| finding.code == Code::KeyPairConflict)
        };
        for (pair, own) in &snapshot.key_pairs {
            let Some(missing) = &own.missing else { continue };
            prop_assert!(world.makes_keys);
            let name = pair.sibling(&missing.identity.secret_name());
            prop_assert!(!resources.secrets.contains_key(&name), "{name} is there");
            let members: Vec<_> = resources.activations.iter().filter_map(|(key, activation)| {
                let authentication = &activation.spec.ehr_authentication;
                let backend = authentication.system.as_ref().and_then(|system| system.backend_auth.as_ref());
                let spec = backend.map(|auth| &auth.key_pair).or_else(|| authentication.user.as_ref()?.key_pair.as_ref())?;
                let is_member = key.sibling(spec.name.as_deref().unwrap_or(&key.name)) == *pair && !in_conflict(key);
                is_member.then_some((key, spec))
            }).collect();
            prop_assert!(!members.is_empty());
            let withdrawn: BTreeSet<_> = members.iter().flat_map(|(_, spec)| &spec.withdrawn).collect();
            let existing: BTreeSet<_> = own.revisions.iter().map(|own| own.thumbprint.to_string()).collect();
            for (key, spec) in members {
                for pin in spec.thumbprints.iter().filter(|pin| !withdrawn.contains(pin)) {
                    prop_assert!(existing.contains(pin), "{pin} is pinned by {key} and missing");
                }
                let recorded = resources.observed.activations.get(&key.to_string());
                for recorded in recorded.iter().flat_map(|recorded| &recorded.keys) {
                    prop_assert!(recorded.revision < missing.identity.revision, "{key} records {recorded:?}");
                }
            }
            prop_assert!(own.revisions.iter().all(|own| own.revision < missing.identity.revision));
        }
    }

    #[test]
    fn what_signs_is_published_and_losing_status_only_adds_to_it(world in world()) {
        let mut forgetful = world.clone();
        forgetful.observed = Observed::default();
        let ((snapshot, _), (without_status, _)) = (world.compile(), forgetful.compile());
        for compiled in [&snapshot, &without_status] {
            for activation in compiled.activations.values() {
                let Some((pair, Some(signing))) = activation.ehr_authentication.key_pair() else { continue };
                prop_assert!(published(&pair.jwks).contains(&signing.thumbprint.to_string()));
            }
        }
        for (key, pair) in &snapshot.key_pairs {
            let kept = published(&without_status.key_pairs[key].jwks);
            prop_assert!(published(&pair.jwks).is_subset(&kept), "{key}");
        }
    }

    #[test]
    fn a_withdrawn_key_neither_signs_nor_is_published(world in world()) {
        let resources = world.resources();
        let (snapshot, _) = world.compile();
        for (key, activation) in &snapshot.activations {
            let Some((pair, signing)) = activation.ehr_authentication.key_pair() else { continue };
            let authentication = &resources.activations[key].spec.ehr_authentication;
            let backend = authentication.system.as_ref().and_then(|system| system.backend_auth.as_ref());
            let spec = backend.map(|auth| &auth.key_pair).or_else(|| authentication.user.as_ref()?.key_pair.as_ref()).unwrap();
            for withdrawn in &spec.withdrawn {
                prop_assert!(signing.is_none_or(|signing| signing.thumbprint.to_string() != *withdrawn));
                prop_assert!(!published(&pair.jwks).contains(withdrawn));
            }
        }
    }

    #[test]
    fn no_secret_shows(world in world()) {
        let compiled = world.compile();
        let shown = format!("{} {:?}", world.text(), compiled);
        for secret in [CANARY, "Q0FOQVJZ", "BEGIN PRIVATE KEY"] {
            prop_assert!(!shown.contains(secret), "{secret} shows");
        }
        for (key, _) in KEYS {
            let pem = key_files(key, &[file::PRIVATE_PEM]);
            let body = pem[file::PRIVATE_PEM].expose_str().unwrap().lines().nth(1).unwrap();
            prop_assert!(!shown.contains(body), "the private key {key} shows");
        }
    }

    #[test]
    fn the_time_of_the_next_change_is_ahead_and_nothing_changes_before(world in world(), second in 1_760_000_000..1_800_000_000_i64) {
        let now = jiff::Timestamp::from_second(second).unwrap();
        for report in world.compile().1 {
            let next = report.next_change(now);
            prop_assert!(next.is_none_or(|next| next > now));
            let before = next.map_or(now.saturating_add(jiff::SignedDuration::from_hours(100_000)).unwrap(), |next| {
                next.checked_sub(jiff::SignedDuration::from_nanos(1)).unwrap()
            });
            prop_assert_eq!(report.at(now), report.at(before));
        }
    }
}

/// Or else compiling what has not changed would be no less work than compiling it for the first time.
#[test]
fn an_edit_among_many_leaves_the_others_the_very_ones_they_were() {
    let fleet = Fleet::of(100);
    let (mut resources, mut compiler) = (fleet.resources(), Compiler::new(Fleet::platform()));
    let (before, _) = compiler.compile(&resources);
    let (key, edited) = resources.activations.first_key_value().map(|(key, own)| (key.clone(), own.clone())).unwrap();
    let mut edited = Arc::unwrap_or_clone(edited);
    edited.spec.scopes = Some(vec!["system/Patient.r".into()]);
    resources.activations.insert(key.clone(), Arc::new(edited));
    let (after, _) = compiler.compile(&resources);
    let pair = after.activations[&key].ehr_authentication.key_pair().unwrap().0.key.clone();
    let mut anew = BTreeSet::new();
    for (key, activation) in &after.activations {
        if !Arc::ptr_eq(activation, &before.activations[key]) {
            anew.insert(activation.ehr_authentication.key_pair().unwrap().0.key.clone());
        }
    }
    assert_eq!(anew, BTreeSet::from([pair]), "nothing but what shares its key pair");
    assert!(after.apps.iter().all(|(key, app)| Arc::ptr_eq(app, &before.apps[key])));
    assert!(after.gateways.iter().all(|(key, gateway)| Arc::ptr_eq(gateway, &before.gateways[key])));
}

/// Neither the spec nor the report says anything of it, and yet a replica that has not heard of it serves otherwise.
#[test]
fn a_rotated_secret_is_another_digest_of_its_app_and_of_what_hangs_on_that_and_of_nothing_else() {
    let with = |secret: &str| {
        let text = format!(
            "include: [ehr, sync]\n---\n\
             kind: Activation\nmetadata: {{name: sync-at-gateway}}\nspec:\n  \
             appRef: {{name: sync}}\n  gatewayRef: {{name: gateway}}\n  \
             ehrAuthentication: {{type: System, system: {{none: {{}}}}}}\n---\n\
             kind: Secret\nmetadata: {{name: sync-client, labels: {{hearthgate.dev/use: credential}}}}\n\
             stringData: {{secret: {secret}}}\n"
        );
        let input = compile_input::read(&text);
        digests(compile(&input.resources, &input.platform))
    };
    let (before, after) = (with("the-first-of-two-secrets"), with("the-second-of-two-secrets"));
    let changed = before.iter().filter(|(object, digest)| after[object] != **digest);
    let changed: Vec<String> = changed.map(|(object, _)| object.to_string()).collect();
    assert_eq!(changed, ["App default/sync", "Activation default/sync-at-gateway"]);
    assert_eq!(before.len(), 4);
}

/// Properties of things that never come to be would hold of anything.
#[test]
fn the_worlds_hold_what_the_properties_are_about() {
    const WORLDS: usize = 400;
    let mut runner = TestRunner::deterministic();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..WORLDS {
        let world = world().new_tree(&mut runner).unwrap().current();
        let (snapshot, reports) = world.compile();
        let activations = || snapshot.activations.values();
        let signs = activations().any(|own| matches!(own.ehr_authentication.key_pair(), Some((_, Some(_)))));
        let code = |code| reports.iter().flat_map(|report| &report.findings).any(|finding| finding.code == code);
        for (what, holds) in [
            ("an activation is served", activations().next().is_some()),
            ("a ceiling leaves something", activations().any(|own| !own.ceiling.is_empty())),
            ("a key signs", signs),
            ("a key is made", snapshot.key_pairs.values().any(|pair| pair.missing.is_some())),
            ("a key is lost", code(Code::KeyLost)),
            ("a key is withdrawn", code(Code::KeyWithdrawn)),
            ("a key is another's", code(Code::KeyBelongsToAnother)),
            ("a client ID is taken", code(Code::ClientIdConflict)),
            ("a URL is taken", code(Code::PublicUrlConflict)),
            ("a pair is taken", code(Code::KeyPairConflict)),
            ("an activation is there twice", code(Code::DuplicateActivation)),
            ("a reference leads nowhere", code(Code::RefNotFound)),
        ] {
            *counts.entry(what).or_default() += usize::from(holds);
        }
    }
    let rare: Vec<_> = counts.iter().filter(|(_, count)| **count < WORLDS / 100).collect();
    assert!(rare.is_empty(), "of {WORLDS} worlds, only so many have {rare:?}; all: {counts:?}");
}

/// By hand (`cargo test --test compile_properties -- --ignored --nocapture`), since a busy machine measures anything;
/// `cargo bench --bench compile` measures in earnest.
#[test]
#[ignore = "measures time"]
fn ten_times_the_activations_take_about_ten_times_as_long() {
    let least = |run: &dyn Fn()| {
        let time = |()| {
            let start = Instant::now();
            run();
            start.elapsed()
        };
        (0..3).map(|_| time(())).min().unwrap()
    };
    let measure = |activations| {
        let fleet = Fleet::of(activations);
        let (resources, platform) = (fleet.resources(), Fleet::platform());
        let (snapshot, reports) = compile(&resources, &platform);
        assert_eq!(snapshot.activations.len(), activations);
        assert!(reports.iter().all(|report| report.findings.is_empty()), "a fleet is in order");
        let compiling = least(&|| drop(compile(&resources, &platform)));
        let parsing = least(&|| drop(fleet.parse()));
        let with_digests = least(&|| {
            digests(compile(&resources, &platform));
        });
        let digests = with_digests.saturating_sub(compiling);
        println!("{activations}: compile {compiling:?}, parse {parsing:?}, digests {digests:?}");
        (compiling, digests)
    };
    let (small, large) = (measure(1_000), measure(10_000));
    for (small, large) in [(small.0, large.0), (small.1, large.1)] {
        assert!(large < small.max(Duration::from_millis(1)) * 15, "{small:?} grew to {large:?}");
    }
}
