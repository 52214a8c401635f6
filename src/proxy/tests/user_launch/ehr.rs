//! An EHR with users: strict where the specifications are, and it remembers what it gave.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ::http::Response;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};

use super::super::ehr::{self, Ehr, Reached};
use crate::protocol::form;
use crate::protocol::oauth::pkce::Challenge;
use crate::values::key::{Algorithm, JwsHeader, SigningKey};

pub(super) const EHR_CLIENT: &str = "our-client-at-the-ehr";

/// What the EHR was asked for by way of the browser.
#[derive(Clone, Debug)]
pub(super) struct Request(pub(super) BTreeMap<String, String>);

impl Request {
    pub(super) fn of(location: &str) -> Self {
        let (_, query) = location.split_once('?').unwrap();
        let mut parameters = BTreeMap::new();
        for pair in form::pairs(query.as_bytes()) {
            let (name, value) = pair.unwrap();
            assert_eq!(parameters.insert(name.clone().into_owned(), value.into_owned()), None, "{name} twice");
        }
        Self(parameters)
    }

    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

/// How it behaves. A test changes what it is about.
pub(super) struct Habits {
    /// What stands in token responses besides the tokens; `scope` too.
    pub(super) context: Value,
    pub(super) expires_in: i64,
    pub(super) gives_refresh_tokens: bool,
    /// Changes id_token claims; `null` leaves one out.
    pub(super) id_token: Value,
    /// Signs them with another key than is published.
    pub(super) signs_wrongly: bool,
    /// Answers 401 to this access token.
    pub(super) refused_token: Option<String>,
    /// Answers `invalid_grant` to every refresh.
    pub(super) session_is_over: bool,
    /// Answers 503 at its token endpoint.
    pub(super) is_away: bool,
}

#[derive(Default)]
struct Issued {
    codes: BTreeMap<String, Request>,
    refresh_tokens: BTreeMap<String, Request>,
    access_tokens: Vec<String>,
    serial: u32,
}

/// The EHR.
#[derive(Clone)]
pub(super) struct UserEhr {
    issued: Arc<Mutex<Issued>>,
    pub(super) habits: Arc<Mutex<Habits>>,
    key: SigningKey,
    other_key: SigningKey,
}

fn signing_key() -> SigningKey {
    let der = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap().to_pkcs8v1().unwrap();
    SigningKey::from_pkcs8(der.as_ref(), &[Algorithm::Es256]).unwrap()
}

impl UserEhr {
    pub(super) fn new() -> Self {
        let context = json!({
            "patient": "p-1", "encounter": "e-1", "need_patient_banner": true, "intent": "reconcile", "tenant": "north",
            "smart_style_url": "https://ehr.example.org/style.json",
        });
        let habits = Habits {
            context,
            expires_in: 3600,
            gives_refresh_tokens: true,
            id_token: json!({}),
            signs_wrongly: false,
            refused_token: None,
            session_is_over: false,
            is_away: false,
        };
        Self {
            issued: Arc::default(),
            habits: Arc::new(Mutex::new(habits)),
            key: signing_key(),
            other_key: signing_key(),
        }
    }

    pub(super) async fn start(&self) -> Ehr {
        let own = self.clone();
        Ehr::answering(move |reached| own.answer(reached)).await
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Habits)) {
        change(&mut self.habits.lock().unwrap());
    }

    /// A user logs in there and permits: the code.
    pub(super) fn code(&self, location: &str) -> String {
        let request = Request::of(location);
        assert_eq!(request.get("response_type"), "code");
        assert_eq!(request.get("client_id"), EHR_CLIENT);
        assert_eq!(request.get("redirect_uri"), "https://gate.example.org/default/epic/oauth2/callback");
        assert_eq!(request.get("code_challenge_method"), "S256");
        assert!(request.get("state").len() >= 43 && Challenge::parse(request.get("code_challenge")).is_some());
        let mut issued = self.issued.lock().unwrap();
        issued.serial += 1;
        let code = format!("ehr-code-{}", issued.serial);
        issued.codes.insert(code.clone(), request);
        code
    }

    /// How many access tokens it gave.
    pub(super) fn given(&self) -> usize {
        self.issued.lock().unwrap().access_tokens.len()
    }

    fn answer(&self, reached: &Reached) -> Response<Full<Bytes>> {
        let base = format!("http://{}", reached.header("host").unwrap());
        let path = reached.target.split('?').next().unwrap();
        match (reached.method.as_str(), path) {
            ("GET", "/fhir/.well-known/smart-configuration") => plain(
                200,
                &json!({
                    "issuer": base, "jwks_uri": format!("{base}/keys"), "token_endpoint": format!("{base}/token"),
                    "authorization_endpoint": format!("{base}/login?tenant=1"),
                }),
            ),
            ("GET", "/keys") => plain(200, &json!({ "keys": [self.key.jwk()] })),
            ("POST", "/token") => self.token(reached, &base),
            (_, path) if path.starts_with("/fhir/") => self.fhir(reached),
            _ => plain(404, &json!({})),
        }
    }

    fn fhir(&self, reached: &Reached) -> Response<Full<Bytes>> {
        let token = reached.header("authorization").and_then(|header| header.strip_prefix("Bearer "));
        let known = token.is_some_and(|token| {
            let refused = self.habits.lock().unwrap().refused_token.clone();
            self.issued.lock().unwrap().access_tokens.iter().any(|own| own == token)
                && refused.as_deref() != Some(token)
        });
        if !known {
            return ehr::json(401, "{}");
        }
        ehr::json(200, r#"{"resourceType":"Patient","id":"p-1"}"#)
    }

    fn token(&self, reached: &Reached, base: &str) -> Response<Full<Bytes>> {
        let habits = self.habits.lock().unwrap();
        if habits.is_away {
            return plain(503, &json!({}));
        }
        assert_eq!(reached.header("content-type"), Some("application/x-www-form-urlencoded"));
        let body = std::str::from_utf8(&reached.body).unwrap();
        let form = Request::of(&format!("?{body}"));
        let refused = |word: &str| plain(400, &json!({ "error": word }));
        if form.get("client_id") != EHR_CLIENT {
            return refused("invalid_client");
        }
        let mut issued = self.issued.lock().unwrap();
        let request = match form.get("grant_type") {
            "authorization_code" => {
                let Some(request) = issued.codes.remove(form.get("code")) else { return refused("invalid_grant") };
                let challenge = Challenge::parse(request.get("code_challenge")).unwrap();
                if request.get("redirect_uri") != form.get("redirect_uri")
                    || !challenge.is_met_by(form.get("code_verifier"))
                {
                    return refused("invalid_grant");
                }
                request
            }
            "refresh_token" => match issued.refresh_tokens.remove(form.get("refresh_token")) {
                Some(request) if !habits.session_is_over => request,
                Some(_) | None => return refused("invalid_grant"),
            },
            _ => return refused("unsupported_grant_type"),
        };
        issued.serial += 1;
        let access_token = format!("ehr-access-{}", issued.serial);
        issued.access_tokens.push(access_token.clone());
        let mut answer = json!({
            "access_token": access_token, "token_type": "bearer", "expires_in": habits.expires_in,
            "scope": request.get("scope"),
        });
        if habits.gives_refresh_tokens {
            let refresh_token = format!("ehr-refresh-{}", issued.serial);
            answer["refresh_token"] = json!(refresh_token);
            issued.refresh_tokens.insert(refresh_token, request.clone());
        }
        if request.get("scope").split(' ').any(|scope| scope == "openid") {
            answer["id_token"] = json!(self.id_token(&habits, base, request.get("nonce")));
        }
        merge(&mut answer, &habits.context);
        plain(200, &answer)
    }

    fn id_token(&self, habits: &Habits, base: &str, nonce: &str) -> String {
        let now = jiff::Timestamp::now().as_second();
        let mut claims = json!({
            "iss": base, "sub": "dr-who", "aud": EHR_CLIENT, "exp": now + 300, "iat": now, "nonce": nonce,
            "fhirUser": format!("{base}/fhir/Practitioner/pr-1"),
        });
        merge(&mut claims, &habits.id_token);
        let key = if habits.signs_wrongly { &self.other_key } else { &self.key };
        key.sign(&JwsHeader { typ: Some("JWT"), jku: None }, &claims).unwrap()
    }
}

/// Members replaced, and left out where they are `null`.
fn merge(into: &mut Value, changes: &Value) {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(name);
        } else {
            into[name] = value.clone();
        }
    }
}

fn plain(status: u16, json: &Value) -> Response<Full<Bytes>> {
    ehr::answer(status, &[("content-type", "application/json")], &json.to_string())
}
