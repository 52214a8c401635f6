//! The app as Inferno plays it.

use std::fs;
use std::sync::{Arc, Weak};

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::support::clinic::{Clinic, test_jwk, test_key};
use crate::support::standalone::Answer;

pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The gateway under test, the same for all tests that run at a time.
pub async fn clinic() -> Arc<Clinic> {
    static RUNNING: Mutex<Weak<Clinic>> = Mutex::const_new(Weak::new());
    let mut running = RUNNING.lock().await;
    if let Some(clinic) = running.upgrade() {
        return clinic;
    }
    let clinic = Arc::new(Clinic::start().await);
    *running = Arc::downgrade(&clinic);
    clinic
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

/// Inferno's look at CORS.
pub fn assert_origin_allowed(answer: &Answer, origin: &str) {
    let allowed = answer.headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap());
    assert!(allowed == Some("*") || allowed == Some(origin), "{allowed:?}");
}
