//! Two replicas in front of one EHR, with an app that has a key and a secret.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hearthgate::keys::make::make_gateway_keys;
use hearthgate::keys::secret::gateway_secret;
use hearthgate::outbound::{EhrClient, EhrOutcomes, EhrTokens, SystemClock};
use hearthgate::protocol::jwt::{self, Session, Subject};
use hearthgate::proxy::{Limits, Metrics, Proxy};
use hearthgate::snapshot::resources::{Secret, SecretUse};
use hearthgate::snapshot::{ObjectKey, Platform, Resources, Snapshot, compile};
use hearthgate::store::{FamilyId, Kind, Records, Sealer, Store};
use hearthgate::values::key::{Algorithm, GatewayIdentity, JwsHeader, SigningKey};
use hearthgate::values::scope::ScopeSet;
use hearthgate::values::secret::SecretBytes;
use hearthgate::values::url::{AddressPolicy, EndpointUrl};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::valkey::Valkey;

pub const CLIENT_ID: &str = "backend";
pub const SECRET: &str = "a-secret-of-the-tests-0123456789";
const BASE: &str = "https://gate.example.org/default/gate";

/// The whole of it.
pub struct Installation {
    pub replicas: [Replica; 2],
    pub server: Valkey,
    key: SigningKey,
    _directory: TempDir,
}

/// One process, as it were.
pub struct Replica {
    proxy: Proxy,
    pub store: Arc<dyn Store>,
    snapshot: Arc<Snapshot>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The status, and OAuth's word.
    pub fn refusal(&self) -> (u16, String) {
        (self.status, self.json()["error"].as_str().unwrap_or_default().to_owned())
    }

    pub fn access_token(&self) -> String {
        self.json()["access_token"].as_str().unwrap_or_else(|| panic!("no token: {self:?}")).to_owned()
    }
}

impl Installation {
    pub async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let server = Valkey::start(directory.path(), &[]);
        let key = signing_key();
        let snapshot = Arc::new(snapshot(&start_ehr().await, &key));
        let replicas = [Replica::new(&snapshot, &server), Replica::new(&snapshot, &server)];
        for replica in &replicas {
            eventually("its revocations are there", Duration::from_secs(5), async || {
                replica.store.revocations().synced()
            })
            .await;
        }
        Self { replicas, server, key, _directory: directory }
    }

    /// The body of a token request with a fresh assertion.
    pub fn assertion(&self, jti: &str) -> String {
        let claims = json!({"iss": CLIENT_ID, "sub": CLIENT_ID, "aud": format!("{BASE}/oauth2/token"),
            "exp": Timestamp::now().as_second() + 300, "jti": jti});
        let assertion = self.key.sign(&JwsHeader { typ: Some("JWT"), jku: None }, &claims).unwrap();
        format!(
            "grant_type=client_credentials&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer&client_assertion={assertion}"
        )
    }
}

impl Replica {
    fn new(snapshot: &Arc<Snapshot>, server: &Valkey) -> Self {
        let client = EhrClient::new(snapshot.platform.addresses.clone());
        let tokens = EhrTokens::new(client.clone(), Arc::new(SystemClock), Arc::new(EhrOutcomes::default()));
        let store: Arc<dyn Store> = Arc::new(server.store());
        let published = Arc::new(ArcSwapOption::from(Some(Arc::clone(snapshot))));
        let metrics = Arc::new(Metrics::default());
        let proxy = Proxy::new(published, tokens, client, Arc::clone(&store), metrics, Limits::default());
        Self { proxy, store, snapshot: Arc::clone(snapshot) }
    }

    /// A form, posted below the gateway's URL.
    pub async fn post(&self, path: &str, with_secret: bool, body: &str) -> Answer {
        let mut request = Request::post(format!("/default/gate{path}"))
            .header("host", "gate.example.org")
            .header("content-type", "application/x-www-form-urlencoded");
        if with_secret {
            let credential = STANDARD.encode(format!("{CLIENT_ID}:{SECRET}"));
            request = request.header("authorization", format!("Basic {credential}"));
        }
        self.send(request.body(Full::from(body.to_owned())).unwrap()).await
    }

    pub async fn token(&self) -> String {
        self.post("/oauth2/token", true, "grant_type=client_credentials").await.access_token()
    }

    pub async fn introspect(&self, token: &str) -> Answer {
        self.post("/oauth2/introspect", true, &format!("token={token}")).await
    }

    pub async fn revoke(&self, token: &str) -> Answer {
        self.post("/oauth2/revoke", true, &format!("token={token}")).await
    }

    /// The status of a FHIR read with this token.
    pub async fn read(&self, token: &str) -> u16 {
        let request = Request::get("/default/gate/fhir/Patient/1")
            .header("host", "gate.example.org")
            .header("authorization", format!("Bearer {token}"));
        self.send(request.body(Full::default()).unwrap()).await.status
    }

    /// A session of the app as the grants with a user leave it: its access token and its refresh token.
    pub async fn session(&self) -> (String, String) {
        let key = |name: &str| ObjectKey::new("default", name);
        let activation = &self.snapshot.activations[&key("active")];
        let signing = self.snapshot.gateways[&key("gate")].signing.current.as_ref().unwrap();
        let sealer = Sealer::new("default/gate", &signing.keys.sealing, []);
        let records = Records::new(Arc::clone(&self.store), Arc::new(sealer));
        let (id, now) = (FamilyId::random().unwrap(), Timestamp::now());
        let until = now + SignedDuration::from_hours(1);
        let session = json!({"activation": activation.uid, "user": null, "context": {"patient": "p-1"}, "ehr": {}});
        records.put(Kind::Session, &id.to_string(), &session, until, now).await.unwrap();
        let grant =
            json!({"activation": activation.uid, "client_id": CLIENT_ID, "scope": "system/Patient.rs launch/patient"});
        let refresh = records.start_family(id, &grant, until, now).await.unwrap().unwrap();
        let session = Session { id: id.to_string(), patient: Some("p-1".into()) };
        let subject = Subject::User { sub: "user".into(), session };
        let scopes = ScopeSet::parse("system/Patient.rs launch/patient").unwrap();
        let access = jwt::issue(activation, subject, &scopes, now, &uuid::Uuid::new_v4().to_string()).unwrap();
        (access.token.expose_secret().to_owned(), refresh.expose_secret().to_owned())
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let response = self.proxy.handle(request, IpAddr::V4(Ipv4Addr::LOCALHOST)).await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }
}

/// Waits until something holds, for at most so long, and says how long it took.
pub async fn eventually(what: &str, at_most: Duration, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < at_most, "{what}: not within {at_most:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begun.elapsed()
}

fn signing_key() -> SigningKey {
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap().to_pkcs8v1().unwrap();
    SigningKey::from_pkcs8(pair.as_ref(), &[Algorithm::Es384]).unwrap()
}

/// One patient behind every URL.
async fn start_ehr() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let patient = || async { ([("content-type", "application/fhir+json")], r#"{"resourceType":"Patient","id":"1"}"#) };
    let router = axum::Router::new().fallback(patient);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

fn snapshot(ehr: &str, key: &SigningKey) -> Snapshot {
    let mut resources = Resources::default();
    let at = |name: &str| ObjectKey::new("default", name);
    resources.data_adapters.insert(
        at("ehr"),
        object("DataAdapter", "ehr", &json!({"dataSourceType": "FhirR4", "fhirBaseUrl": format!("{ehr}/fhir")})),
    );
    resources.gateways.insert(at("gate"), object("Gateway", "gate", &json!({"dataAdapterRef": {"name": "ehr"}})));
    let app = json!({"clientType": "BackendService", "clientId": CLIENT_ID, "scopes": ["system/Patient.rs", "launch/patient"],
        "jwks": {"keys": [key.jwk()]}, "clientSecrets": [{"secretRef": {"name": "app", "key": "secret"}}]});
    resources.apps.insert(at("app"), object("App", "app", &app));
    let activation = json!({"appRef": {"name": "app"}, "gatewayRef": {"name": "gate"},
        "ehrAuthentication": {"type": "System", "system": {"none": {}}}});
    resources.activations.insert(at("active"), object("Activation", "active", &activation));

    let data = BTreeMap::from([("secret".to_owned(), SecretBytes::from(SECRET.to_owned()))]);
    let secret = Secret::new(at("app"), SecretUse::Credential, BTreeMap::new(), data);
    resources.secrets.insert(at("app"), Arc::new(secret));
    let identity = GatewayIdentity { gateway: "gate".into(), revision: 1 };
    let made = gateway_secret("default", &identity, make_gateway_keys().unwrap());
    let signing = Secret::new(at(&made.name), SecretUse::GatewaySigning, made.annotations, made.data);
    resources.secrets.insert(at(&made.name), Arc::new(signing));

    let platform = Platform {
        public_url: EndpointUrl::parse("https://gate.example.org").unwrap(),
        addresses: AddressPolicy::new(AddressPolicy::loopback_ranges()),
        public_hosts: BTreeMap::new(),
        makes_keys: true,
    };
    let (snapshot, reports) = compile(&resources, &platform);
    assert!(reports.iter().all(|report| report.errors().next().is_none()), "{reports:#?}");
    snapshot
}

fn object<Kind: DeserializeOwned>(kind: &str, name: &str, spec: &Value) -> Arc<Kind> {
    let metadata = json!({"name": name, "namespace": "default", "uid": name, "generation": 1});
    let object = json!({"apiVersion": "hearthgate.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
    Arc::new(serde_json::from_value(object).unwrap())
}
