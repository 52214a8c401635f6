//! Tests through the whole router. Here are the EHR under test and the assertions it is sent; the rules are in the files.

mod controls;
mod fhir;
mod fhir_writes;
mod id_token;
mod key_set_url;
mod launch;
mod private_api;
mod registration_page;
mod serving;
mod token;
mod user_fhir;
mod user_support;
mod user_token;

use std::sync::{Arc, LazyLock};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaKeyPair,
};
use axum::Router;
use axum::body::{Body, to_bytes};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Credential, FHIR_PATH, LogEntry, Registration, Settings, Shared, TOKEN_PATH, router};

const BASE: &str = "http://ehr.test";
const CLIENT: &str = "b7c21f0e-client";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A simulated EHR without a listener.
pub(super) struct Ehr {
    router: Router,
    shared: Arc<Shared>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {:?}", self.body))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Ehr {
    fn new() -> Ehr {
        Ehr::with(Settings::default())
    }

    fn with(settings: Settings) -> Ehr {
        let shared = Arc::new(Shared::new(settings, BASE.to_owned()));
        Ehr { router: router(Arc::clone(&shared)), shared }
    }

    fn register(&self, credential: Credential) {
        let registration = Registration::new(CLIENT, credential);
        self.shared.registry.register(registration).unwrap();
    }

    async fn send(&self, request: Request<Body>) -> Answered {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        Answered { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answered {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn post_json(&self, path: &str, body: &Value) -> Answered {
        self.with_json("POST", path, body, &[]).await
    }

    async fn with_json(&self, method: &str, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answered {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    async fn token_request(&self, form: &[(&str, &str)]) -> Answered {
        self.token_request_with(form, &[]).await
    }

    async fn token_request_with(&self, form: &[(&str, &str)], headers: &[(&str, &str)]) -> Answered {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = Request::post(TOKEN_PATH).header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    async fn assert_with(&self, draft: &Draft) -> Answered {
        self.assert_raw(&draft.signed()).await
    }

    async fn assert_raw(&self, assertion: &str) -> Answered {
        self.token_request(&[
            ("grant_type", "client_credentials"),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion),
        ])
        .await
    }

    /// A live access token of [`CLIENT`].
    async fn token(&self) -> String {
        let answered = self.assert_with(&Draft::new(&RSA)).await;
        answered.json()["access_token"].as_str().unwrap().to_owned()
    }

    async fn fhir(&self, token: &str, path: &str) -> Answered {
        let request = Request::get(format!("{FHIR_PATH}{path}")).header("authorization", format!("Bearer {token}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    fn log(&self) -> Vec<LogEntry> {
        self.shared.log.after(0)
    }

    fn last(&self) -> LogEntry {
        self.log().pop().unwrap()
    }
}

/// A key of a client under test.
pub(super) enum Key {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
}

static RSA: LazyLock<Key> = LazyLock::new(|| Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));
static OTHER_RSA: LazyLock<Key> = LazyLock::new(|| Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));
static P256: LazyLock<Key> =
    LazyLock::new(|| Key::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()));
static P384: LazyLock<Key> =
    LazyLock::new(|| Key::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()));

impl Key {
    fn jwk(&self, kid: &str) -> Value {
        let coded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Key::Rsa(pair) => {
                let public: PublicKeyComponents<Vec<u8>> = pair.public_key().into();
                json!({ "kty": "RSA", "kid": kid, "use": "sig", "n": coded(&public.n), "e": coded(&public.e) })
            }
            Key::P256(pair) | Key::P384(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if matches!(self, Key::P256(_)) { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "kid": kid, "use": "sig", "crv": curve, "x": coded(x), "y": coded(y) })
            }
        }
    }

    fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk("key-1")] })
    }

    /// SubjectPublicKeyInfo as PEM.
    fn pem(&self) -> String {
        let der = match self {
            Key::Rsa(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Key::P256(pair) | Key::P384(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
        };
        let lines: Vec<String> =
            STANDARD.encode(der).as_bytes().chunks(64).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding = match algorithm {
                    "RS256" => &RSA_PKCS1_SHA256,
                    "RS512" => &RSA_PKCS1_SHA512,
                    _ => &RSA_PKCS1_SHA384,
                };
                pair.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
            Key::P256(pair) | Key::P384(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
        }
    }
}

/// An assertion in the making, valid until something is changed.
pub(super) struct Draft {
    key: &'static Key,
    header: Value,
    claims: Value,
}

impl Draft {
    fn new(key: &'static Key) -> Draft {
        let now = Timestamp::now().as_second();
        let algorithm = match key {
            Key::Rsa(_) => "RS384",
            Key::P256(_) => "ES256",
            Key::P384(_) => "ES384",
        };
        Draft {
            key,
            header: json!({ "alg": algorithm, "kid": "key-1", "typ": "JWT" }),
            claims: json!({
                "iss": CLIENT,
                "sub": CLIENT,
                "aud": format!("{BASE}{TOKEN_PATH}"),
                "iat": now,
                "exp": now + 240,
                "jti": uuid::Uuid::new_v4().to_string(),
            }),
        }
    }

    fn header(mut self, name: &str, value: impl Into<Value>) -> Draft {
        self.header[name] = value.into();
        self
    }

    fn claim(mut self, name: &str, value: impl Into<Value>) -> Draft {
        self.claims[name] = value.into();
        self
    }

    /// A claim that is a time, in seconds from now.
    fn time(self, name: &str, seconds_from_now: i64) -> Draft {
        self.claim(name, Timestamp::now().as_second() + seconds_from_now)
    }

    fn without(mut self, name: &str) -> Draft {
        self.header.as_object_mut().unwrap().remove(name);
        self.claims.as_object_mut().unwrap().remove(name);
        self
    }

    fn signed(&self) -> String {
        signed(self.key, &self.header.to_string(), &self.claims.to_string())
    }
}

/// A compact JWS of any two texts.
fn signed(key: &Key, header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let algorithm = serde_json::from_str::<Value>(header).unwrap_or_default()["alg"].as_str().unwrap_or("").to_owned();
    let signature = key.sign(&algorithm, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}
