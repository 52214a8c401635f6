//! What tests of everything that calls out share: resources to compile, and an EHR that says what it is told to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::keys::KeySecret;
use crate::keys::make::{make_gateway_keys, make_pair};
use crate::keys::secret::{gateway_secret, pair_secret};
use crate::snapshot::resources::{Observed, Secret, SecretUse};
use crate::snapshot::{Activation, ObjectKey, Platform, Published, Resources, compile};
use crate::values::key::{GatewayIdentity, PairIdentity, PairKind};
use crate::values::secret::SecretBytes;
use crate::values::url::{AddressPolicy, EndpointUrl};

/// Resources that are put together piece by piece.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) resources: Resources,
    pub(crate) platform: Platform,
}

impl World {
    /// Nothing, on a platform that may call loopback.
    pub(crate) fn new() -> Self {
        let platform = Platform {
            public_url: EndpointUrl::parse("https://gate.example.org").unwrap(),
            addresses: AddressPolicy::new(AddressPolicy::loopback_ranges()),
            public_hosts: BTreeMap::new(),
            makes_keys: true,
        };
        Self { resources: Resources::default(), platform }
    }

    /// App `app`, Gateway `gate`, DataAdapter `ehr` (called "Mercy") at this FHIR base.
    pub(crate) fn with_ehr(fhir_base: &str, kind: &str) -> Self {
        Self::new()
            .put(&json!({"kind": "DataAdapter", "metadata": {"name": "ehr"},
                "spec": {"displayName": "Mercy", "dataSourceType": kind, "fhirBaseUrl": fhir_base}}))
            .put(&json!({"kind": "Gateway", "metadata": {"name": "gate"}, "spec": {"dataAdapterRef": {"name": "ehr"}}}))
            .put(&json!({"kind": "App", "metadata": {"name": "app"},
                "spec": {"clientType": "BackendService", "scopes": ["system/Patient.rs"],
                         "clientSecrets": [{"secretRef": {"name": "client", "key": "secret"}}]}}))
            .secret("client", "secret", "a secret that is long enough")
    }

    /// Puts an object of one of our kinds into namespace `default`, with a UID made of kind and name.
    pub(crate) fn put(mut self, object: &Value) -> Self {
        let mut object = object.clone();
        let kind = object["kind"].as_str().unwrap().to_owned();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        object["apiVersion"] = json!("hearthgate.dev/v1alpha1");
        object["metadata"]["namespace"] = json!("default");
        if object["metadata"].get("uid").is_none() {
            object["metadata"]["uid"] = json!(format!("{kind}-{name}"));
        }
        if object["metadata"].get("generation").is_none() {
            object["metadata"]["generation"] = json!(1);
        }
        let key = ObjectKey::new("default", name);
        let resources = &mut self.resources;
        match kind.as_str() {
            "DataAdapter" => {
                resources.data_adapters.insert(key, Arc::new(serde_json::from_value(object).unwrap()));
            }
            "Gateway" => {
                resources.gateways.insert(key, Arc::new(serde_json::from_value(object).unwrap()));
            }
            "App" => {
                resources.apps.insert(key, Arc::new(serde_json::from_value(object).unwrap()));
            }
            "Activation" => {
                resources.activations.insert(key, Arc::new(serde_json::from_value(object).unwrap()));
            }
            other => panic!("no kind of ours: {other}"),
        }
        self
    }

    /// Activation `act` of the app at the gateway, with this method of `system`.
    pub(crate) fn activated(self, system: &Value) -> Self {
        self.put(&json!({"kind": "Activation", "metadata": {"name": "act"}, "spec": {
            "appRef": {"name": "app"}, "gatewayRef": {"name": "gate"},
            "ehrAuthentication": {"type": "System", "system": system}}}))
    }

    /// The same with backendAuth on an ES384 pair, whose key is made.
    pub(crate) fn backend(self, token_url: Option<&str>, client_id: Option<&str>) -> Self {
        self.activated(&backend_auth(token_url, client_id, 1)).key(1)
    }

    /// A Secret for credentials.
    pub(crate) fn secret(mut self, name: &str, key: &str, value: &str) -> Self {
        let name = ObjectKey::new("default", name);
        let data = BTreeMap::from([(key.to_owned(), SecretBytes::from(value.to_owned()))]);
        let secret = Secret::new(name.clone(), SecretUse::Credential, BTreeMap::new(), data);
        self.resources.secrets.insert(name, Arc::new(secret));
        self
    }

    /// The key of pair `act` at this revision, freshly made.
    pub(crate) fn key(mut self, revision: u32) -> Self {
        let secret = pair_of(revision);
        let name = ObjectKey::new("default", secret.name.clone());
        let secret = Secret::new(name.clone(), SecretUse::KeyPair, secret.annotations, secret.data);
        self.resources.secrets.insert(name, Arc::new(secret));
        self
    }

    /// The own keys of the gateway `gate` at this revision, freshly made.
    pub(crate) fn gateway_keys(mut self, revision: u32) -> Self {
        let identity = GatewayIdentity { gateway: "gate".into(), revision };
        let secret = gateway_secret("default", &identity, make_gateway_keys().unwrap());
        let name = ObjectKey::new("default", secret.name.clone());
        let secret = Secret::new(name.clone(), SecretUse::GatewaySigning, secret.annotations, secret.data);
        self.resources.secrets.insert(name, Arc::new(secret));
        self
    }

    /// With this read back.
    pub(crate) fn observed(mut self, observed: &Observed) -> Self {
        self.resources.observed = observed.clone();
        self
    }

    pub(crate) fn published(&self) -> Published {
        let (snapshot, reports) = compile(&self.resources, &self.platform);
        Published::new(snapshot, reports, self.resources.rejections.clone())
    }

    /// Activation `act`, which must be in order.
    pub(crate) fn activation(&self) -> Arc<Activation> {
        let published = self.published();
        let found = published.snapshot.activations.get(&ObjectKey::new("default", "act"));
        Arc::clone(found.unwrap_or_else(|| panic!("not in order: {:#?}", published.reports)))
    }
}

/// `system.backendAuth` with an ES384 pair.
pub(crate) fn backend_auth(token_url: Option<&str>, client_id: Option<&str>, revision: u32) -> Value {
    let mut auth = json!({"keyPair": {"algorithm": "ES384", "revision": revision}});
    if let Some(url) = token_url {
        auth["tokenUrl"] = json!(url);
    }
    if let Some(id) = client_id {
        auth["clientId"] = json!(id);
    }
    json!({"backendAuth": auth})
}

/// A key of pair `act` of App `app`.
pub(crate) fn pair_of(revision: u32) -> KeySecret {
    let identity = PairIdentity { app: "app".into(), pair: "act".into(), revision, kind: PairKind::P384 };
    let material = make_pair(identity.kind, "app", "2026-06-10T12:00:00Z".parse().unwrap()).unwrap();
    pair_secret("default", &identity, material)
}

/// What arrived at the EHR.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Arrived {
    /// The form's parameters.
    pub(crate) fn form(&self) -> BTreeMap<String, String> {
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

type Answer = Box<dyn FnMut(&Arrived) -> Response + Send>;

/// An EHR that answers as it is told and remembers what arrived.
#[derive(Clone)]
pub(crate) struct Ehr {
    pub(crate) address: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    answer: Arc<Mutex<Answer>>,
}

impl Ehr {
    /// An EHR on a free port of loopback.
    pub(crate) async fn start(answer: impl FnMut(&Arrived) -> Response + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ehr = Self {
            address: listener.local_addr().unwrap(),
            arrived: Arc::default(),
            answer: Arc::new(Mutex::new(Box::new(answer))),
        };
        let router = axum::Router::new().fallback(serve).with_state(ehr.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        ehr
    }

    /// One that gives tokens `token-1`, `token-2`, … that live five minutes.
    pub(crate) async fn giving_tokens() -> Self {
        let mut count = 0;
        Self::start(move |_| {
            count += 1;
            token(&format!("token-{count}"), 300)
        })
        .await
    }

    /// Answers differently from now on.
    pub(crate) fn now_answers(&self, answer: impl FnMut(&Arrived) -> Response + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What arrived, in order.
    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, path: &str) -> usize {
        self.arrived().iter().filter(|arrived| arrived.path == path).count()
    }
}

async fn serve(State(ehr): State<Ehr>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let arrived = Arrived {
        method: head.method,
        path: head.uri.to_string(),
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    };
    ehr.arrived.lock().unwrap().push(arrived.clone());
    let mut answer = ehr.answer.lock().unwrap();
    answer(&arrived)
}

/// A token response.
pub(crate) fn token(token: &str, lifetime: u64) -> Response {
    let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": lifetime, "scope": "Patient.read"});
    axum::Json(body).into_response()
}

/// Epic's refusal.
pub(crate) fn invalid_client() -> Response {
    let body = json!({"error": "invalid_client", "error_description": null});
    (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
}
