//! Launches with a user of the EHR, from the authorization request to the FHIR read.

mod authorize;
mod callback;
mod code;
mod ehr;
mod ehr_launch;
mod ehr_tokens;
mod first;
mod refresh;

use std::collections::BTreeMap;

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::json;
use url::form_urlencoded;

use self::ehr::{EHR_CLIENT, Request as EhrRequest, UserEhr};
use super::*;
use crate::protocol::jwt;
use crate::proxy::forward::{Credentials, Draft, Outgoing};
use crate::proxy::request_id::RequestId;
use crate::snapshot::ObjectKey;
use crate::values::code::Code;

const CLIENT: &str = "mobile-client";
const REDIRECT_URI: &str = "https://mobile.example.org/callback";
const FHIR: &str = "https://gate.example.org/default/epic/fhir";
const ISSUER: &str = "https://gate.example.org/default/epic";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const SCOPE: &str = "openid fhirUser launch/patient offline_access patient/Patient.rs";

/// The world, with the app `mobile` launched by users.
fn with_users(world: World) -> World {
    let user = json!({ "type": "User", "user": { "clientId": EHR_CLIENT } });
    let scopes: Vec<&str> = "openid fhirUser launch launch/patient launch/encounter offline_access online_access \
                             patient/Patient.rs patient/Observation.read user/Patient.rs system/Patient.rs"
        .split_whitespace()
        .collect();
    world.set("Activation", "mobile-epic", "ehrAuthentication", user).set("App", "mobile", "scopes", json!(scopes)).set(
        "App",
        "mobile",
        "launchUri",
        json!("https://mobile.example.org/launch?from=ehr"),
    )
}

/// A gateway in front of an EHR with users, and an app.
struct Launches {
    setup: Setup,
    ehr: UserEhr,
}

impl Launches {
    async fn new() -> Self {
        Self::with(|world| world).await
    }

    async fn with(edit: impl FnOnce(World) -> World) -> Self {
        let ehr = UserEhr::new();
        let setup = Setup::in_front_of(ehr.start().await, |world| edit(with_users(world))).await;
        Self { setup, ehr }
    }

    /// A good authorization request, with some of it changed; `None` leaves a parameter out.
    async fn authorize(&self, changes: &[(&str, Option<&str>)]) -> Answer {
        self.setup.ask("GET", &format!("/epic/oauth2/authorize?{}", request(changes)), &[], "").await
    }

    /// The browser comes back from the EHR, with the cookie that it got.
    async fn come_back(&self, sent_on: &Answer, query: &str) -> Answer {
        let cookie = sent_on.header("set-cookie").unwrap().split(';').next().unwrap();
        self.setup.ask("GET", &format!("/epic/oauth2/callback?{query}"), &[("cookie", cookie)], "").await
    }

    /// A launch up to the code that the app gets.
    async fn code(&self, changes: &[(&str, Option<&str>)]) -> String {
        let sent_on = self.authorize(changes).await;
        let location = sent_on.header("location").unwrap();
        let (code, state) = (self.ehr.code(location), EhrRequest::of(location).get("state").to_owned());
        let back = self.come_back(&sent_on, &format!("code={code}&state={state}")).await;
        assert_eq!(back.status, 303, "{back:?}");
        let told = EhrRequest::of(back.header("location").unwrap());
        assert_eq!((told.get("state"), told.get("iss")), ("s t+a/t=e", ISSUER), "{told:?}");
        assert_eq!(told.0.get("error"), None, "{told:?}");
        told.get("code").to_owned()
    }

    async fn ask_token(&self, form: &[(&str, Option<&str>)]) -> Answer {
        let pairs = form.iter().filter_map(|(name, value)| Some((name, (*value)?)));
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.setup.ask("POST", "/epic/oauth2/token", &[FORM], &body).await
    }

    async fn redeem(&self, code: &str) -> Answer {
        self.ask_token(&[
            ("grant_type", Some("authorization_code")),
            ("code", Some(code)),
            ("redirect_uri", Some(REDIRECT_URI)),
            ("client_id", Some(CLIENT)),
            ("code_verifier", Some(VERIFIER)),
        ])
        .await
    }

    async fn refresh(&self, token: &str) -> Answer {
        let token = ("refresh_token", Some(token));
        self.ask_token(&[("grant_type", Some("refresh_token")), token, ("client_id", Some(CLIENT))]).await
    }

    /// The token response of a whole launch.
    async fn tokens(&self, changes: &[(&str, Option<&str>)]) -> Value {
        let answer = self.redeem(&self.code(changes).await).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// A call to the EHR with the session of an access token: the status, or the code of the refusal.
    async fn call(&self, access_token: &Value) -> Result<u16, Code> {
        let snapshot = self.setup.snapshot.load_full().unwrap();
        let gateway = &snapshot.gateways[&ObjectKey::new("default", "epic")];
        let verified = jwt::verify(access_token.as_str().unwrap(), gateway).unwrap();
        let bearer = jwt::judge(&verified, &snapshot, gateway, Timestamp::now()).unwrap();
        let proxy = &self.setup.proxy;
        if proxy.is_revoked(gateway, &bearer, Timestamp::now()) {
            return Err(Code::TokenRevoked);
        }
        let draft = Draft {
            method: ::http::Method::GET,
            target: format!("{}/fhir/Patient/p-1", self.setup.ehr.url),
            headers: HeaderMap::new(),
            body: Outgoing::Whole(Bytes::new()),
        };
        let credentials = Credentials::Session(&bearer.activation, bearer.session.as_ref().unwrap());
        let answer = proxy.forward(&gateway.data_adapter, &credentials, draft, &RequestId::of(&HeaderMap::new())).await;
        answer.map(|answer| answer.status().as_u16()).map_err(|error| error.refusal().code)
    }

    /// The world as it was, edited.
    fn publish(&self, edit: impl FnOnce(World) -> World) {
        self.setup.publish(|world| edit(with_users(world)));
    }
}

/// What a redirect to the app tells: the error, and nothing but what belongs there.
fn told(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{answer:?}");
    let location = answer.header("location").unwrap();
    assert!(location.starts_with(&format!("{REDIRECT_URI}?")), "{location}");
    let told = EhrRequest::of(location);
    assert_eq!(told.get("iss"), ISSUER, "{told:?}");
    assert_eq!(told.0.get("code"), None, "{told:?}");
    assert!(told.get("error_description").starts_with("HG"), "{told:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    told.get("error").to_owned()
}

/// Status and code of a page, which leads nowhere.
fn on_page(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("location"), None, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(answer.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    let page = std::str::from_utf8(&answer.body).unwrap();
    let (_, rest) = page.split_once("Code ").unwrap();
    (answer.status, rest.chars().take(6).collect())
}

/// Status and word of a refusal of the token endpoint.
fn refused(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    (answer.status, answer.json()["error"].as_str().unwrap_or("none").to_owned())
}

/// A good authorization request, with some of it changed.
fn request(changes: &[(&str, Option<&str>)]) -> String {
    let mut parameters = BTreeMap::from([
        ("response_type", "code"),
        ("client_id", CLIENT),
        ("redirect_uri", REDIRECT_URI),
        ("scope", SCOPE),
        ("state", "s t+a/t=e"),
        ("aud", FHIR),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("nonce", "the app's nonce"),
    ]);
    for (name, value) in changes {
        match value {
            Some(value) => parameters.insert(name, value),
            None => parameters.remove(name),
        };
    }
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

/// The claims of a JWT, unverified.
fn claims(token: &Value) -> Value {
    let payload = token.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}
