//! The app as Inferno plays it: three sorts of clients, two sorts of launches.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearthgate::sandbox::FIRST_PATIENT;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::clinic::{APPS, Clinic, Person, test_jwk, test_key};
use crate::support::standalone::Answer;

pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub const STATE: &str = "1b1f2a3c-7d4e-4f50-8a61-9b2c3d4e5f60";
/// Where the app's pages come from, as its browser says.
pub const ORIGIN: &str = APPS;

/// How the app authenticates at the token endpoint (Inferno's `auth_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    Public,
    Symmetric,
    Asymmetric,
}

/// How the app starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Standalone,
    Ehr,
    /// Standalone, the authorization request sent by POST.
    Post,
}

/// A launch that has come to its end.
pub struct Launched {
    pub clinic: Arc<Clinic>,
    pub client: Client,
    /// What the EHR started the app with.
    pub started_with: Option<BTreeMap<String, String>>,
    /// What the user was sent back with.
    pub redirect: BTreeMap<String, String>,
    /// The token endpoint's answer.
    pub token: Answer,
}

impl Client {
    pub fn id(self) -> &'static str {
        match self {
            Client::Public => "growth-chart",
            Client::Symmetric => "discharge-letters",
            Client::Asymmetric => "letters-signed",
        }
    }

    /// What the client is called at the EHR.
    fn ehr_id(self) -> String {
        format!("3d1c2b90-{}", self.id())
    }

    pub fn redirect_uri(self) -> String {
        match self {
            Client::Public => format!("{APPS}/app.html"),
            Client::Symmetric | Client::Asymmetric => format!("{APPS}/letters/callback"),
        }
    }

    fn launch_uri(self) -> String {
        match self {
            Client::Public => format!("{APPS}/launch.html"),
            Client::Symmetric | Client::Asymmetric => format!("{APPS}/letters/launch"),
        }
    }

    pub fn scope(self, how: How) -> String {
        let context = if how == How::Ehr { "launch" } else { "launch/patient" };
        match self {
            Client::Public => format!("{context} openid fhirUser patient/Patient.rs patient/Observation.rs"),
            Client::Symmetric | Client::Asymmetric => format!("{context} openid fhirUser offline_access patient/*.rs"),
        }
    }
}

/// An assertion as Inferno's `ClientAssertionBuilder` makes it: RS384, exactly five minutes, no `iat`.
pub fn assertion(client_id: &str, audience: &str) -> String {
    let claims = json!({
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "exp": Timestamp::now().as_second() + 300,
        "jti": uuid::Uuid::new_v4().simple().to_string(),
    });
    let mut header = Header::new(Algorithm::RS384);
    header.kid = test_jwk("rsa-1")["kid"].as_str().map(ToOwned::to_owned);
    let pem = fs::read(test_key("rsa-1", "private.pem")).unwrap();
    encode(&header, &claims, &EncodingKey::from_rsa_pem(&pem).unwrap()).unwrap()
}

pub fn encoded(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

impl Clinic {
    pub async fn endpoint(&self, name: &str) -> String {
        self.smart_configuration().await[name].as_str().unwrap_or_else(|| panic!("no {name}")).to_owned()
    }

    /// Posts a form to the token endpoint as this client.
    pub async fn token_request(&self, client: Client, form: &[(&str, &str)]) -> Answer {
        let endpoint = self.endpoint("token_endpoint").await;
        let mut form = form.to_vec();
        let request = self.server.client.post(&endpoint);
        let assertion = assertion(client.id(), &endpoint);
        let request = match client {
            Client::Public => {
                form.push(("client_id", client.id()));
                request.header("Origin", ORIGIN)
            }
            Client::Symmetric => request.basic_auth(client.id(), Some("discharge-letters-secret-for-tests")),
            Client::Asymmetric => {
                form.extend([("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion.as_str())]);
                request
            }
        };
        let request = request.header("Content-Type", "application/x-www-form-urlencoded").body(encoded(&form));
        self.server.send(request).await
    }

    /// Launches an app and exchanges the code.
    pub async fn launch(self: &Arc<Self>, client: Client, how: How) -> Launched {
        let mut person = Person::clinician();
        let started_with = match how {
            How::Ehr => Some(self.start_out_of_the_ehr(&mut person, client).await),
            How::Standalone | How::Post => None,
        };
        let redirect_uri = client.redirect_uri();
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, VERIFIER.as_bytes()));
        let (scope, base) = (client.scope(how), self.fhir_base());
        let mut request = vec![
            ("response_type", "code"),
            ("client_id", client.id()),
            ("redirect_uri", &redirect_uri),
            ("scope", &scope),
            ("state", STATE),
            ("aud", &base),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        if let Some(given) = &started_with {
            request.push(("launch", &given["launch"]));
        }
        let endpoint = self.endpoint("authorization_endpoint").await;
        let back = if how == How::Post {
            person.submit(&self.server, &endpoint, &request, &redirect_uri).await
        } else {
            person.visit(&self.server, &format!("{endpoint}?{}", encoded(&request)), &redirect_uri).await
        };
        let back = back.unwrap_or_else(|answer| panic!("{}: {}", answer.status, answer.text));
        let redirect: BTreeMap<String, String> = back.query_pairs().into_owned().collect();
        let code = redirect.get("code").unwrap_or_else(|| panic!("{back}"));
        let token = self
            .token_request(
                client,
                &[
                    ("grant_type", "authorization_code"),
                    ("code", code),
                    ("redirect_uri", &redirect_uri),
                    ("code_verifier", VERIFIER),
                ],
            )
            .await;
        assert_eq!(token.status, StatusCode::OK, "{}", token.text);
        Launched { clinic: Arc::clone(self), client, started_with, redirect, token }
    }

    /// The EHR opens the app's launch URL.
    async fn start_out_of_the_ehr(&self, person: &mut Person, client: Client) -> BTreeMap<String, String> {
        let order = json!({
            "clientId": client.ehr_id(), "user": person.login, "patient": FIRST_PATIENT, "encounter": true,
        });
        let launches = self.server.client.post(self.server.sandbox("/sandbox/launches"));
        let launches = launches.header("Content-Type", "application/json").body(order.to_string());
        let ordered = self.server.send(launches).await.json();
        let url = ordered["url"].as_str().unwrap_or_else(|| panic!("{ordered}"));
        let started = person.visit(&self.server, url, &client.launch_uri()).await;
        let started = started.unwrap_or_else(|answer| panic!("{}: {}", answer.status, answer.text));
        started.query_pairs().into_owned().collect()
    }
}

impl Launched {
    pub fn token(&self) -> Value {
        self.token.json()
    }

    pub fn text(&self, member: &str) -> String {
        self.token()[member].as_str().unwrap_or_else(|| panic!("no {member} in {}", self.token.text)).to_owned()
    }

    pub async fn refresh(&self, scope: Option<&str>) -> Answer {
        let token = self.text("refresh_token");
        let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
        form.extend(scope.map(|scope| ("scope", scope)));
        self.clinic.token_request(self.client, &form).await
    }
}

/// Inferno's `TokenPayloadValidation`: the members that are there have their types, and `token_type` is Bearer.
pub fn assert_token_body(body: &Value, required: &[&str]) {
    for member in required {
        let present = match &body[*member] {
            Value::String(text) => !text.is_empty(),
            Value::Number(_) => true,
            _ => false,
        };
        assert!(present, "{member} is missing in {body}");
    }
    for member in ["access_token", "token_type", "scope", "refresh_token"] {
        assert!(body.get(member).is_none_or(Value::is_string), "{member} in {body}");
    }
    assert!(body.get("expires_in").is_none_or(Value::is_number), "{body}");
    assert!(body["token_type"].as_str().unwrap().eq_ignore_ascii_case("bearer"));
}

/// Inferno's `smart_token_response_headers`.
pub fn assert_uncached(answer: &Answer) {
    assert!(answer.headers["cache-control"].to_str().unwrap().contains("no-store"));
    assert!(answer.headers["pragma"].to_str().unwrap().contains("no-cache"));
}

/// Inferno's look at CORS.
pub fn assert_origin_allowed(answer: &Answer, origin: &str) {
    let allowed = answer.headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap());
    assert!(allowed == Some("*") || allowed == Some(origin), "{allowed:?}");
}
