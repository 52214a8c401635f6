//! A user's way through the pages, as a browser goes it.

use aws_lc_rs::digest::{SHA256, digest};

use super::*;
use crate::sandbox::{AUTHORIZE_PATH, DEMO_PASSWORD};

pub(super) const CALLBACK: &str = "https://gateway.test/default/epic/oauth2/callback";
pub(super) const LAUNCH_URL: &str = "https://gateway.test/default/epic/launch/chart";
pub(super) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// The FHIR base, which is the `aud` of an authorization request.
pub(super) fn fhir_base() -> String {
    format!("{BASE}{FHIR_PATH}")
}

pub(super) fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, VERIFIER.as_bytes()))
}

/// An EHR where [`CLIENT`] is a user-facing app.
pub(super) fn ehr_with(credential: Credential) -> Ehr {
    let ehr = Ehr::new();
    let registration = Registration {
        app_name: Some("Growth <Chart>".to_owned()),
        redirect_uris: vec![CALLBACK.to_owned()],
        launch_url: Some(LAUNCH_URL.to_owned()),
        ..Registration::new(CLIENT, credential)
    };
    ehr.shared.registry.register(registration).unwrap();
    ehr
}

/// A right authorization request for these scopes.
pub(super) fn request(scope: &str) -> Vec<(String, String)> {
    [
        ("response_type", "code"),
        ("client_id", CLIENT),
        ("redirect_uri", CALLBACK),
        ("scope", scope),
        ("state", "state-with-122-bits"),
        ("aud", &fhir_base()),
        ("code_challenge", &challenge()),
        ("code_challenge_method", "S256"),
        ("nonce", "n-0S6_WzA2Mj"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// The request with one parameter changed, or left out.
pub(super) fn changed(mut request: Vec<(String, String)>, name: &str, value: Option<&str>) -> Vec<(String, String)> {
    request.retain(|(present, _)| present != name);
    request.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    request
}

pub(super) fn encoded<Name: AsRef<str>, Value: AsRef<str>>(pairs: &[(Name, Value)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

impl Answered {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The value that the page's form carries.
    pub(super) fn interaction(&self) -> &str {
        let (_, rest) = self.text().split_once(r#"name="interaction" value=""#).expect("a page with a form");
        rest.split_once('"').unwrap().0
    }

    /// The parameters with which the user is sent back.
    pub(super) fn sent_back(&self) -> std::collections::BTreeMap<String, String> {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.text());
        let location = self.header("location").unwrap();
        let query = location.strip_prefix(CALLBACK).and_then(|rest| rest.strip_prefix('?'));
        url::form_urlencoded::parse(query.unwrap_or_else(|| panic!("{location}")).as_bytes()).into_owned().collect()
    }
}

impl Ehr {
    pub(super) async fn authorize<Name: AsRef<str>, Value: AsRef<str>>(&self, request: &[(Name, Value)]) -> Answered {
        self.get(&format!("{AUTHORIZE_PATH}?{}", encoded(request))).await
    }

    pub(super) async fn submit(&self, path: &str, form: &[(&str, &str)]) -> Answered {
        let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(encoded(form))).unwrap()).await
    }

    pub(super) async fn log_in(&self, page: &Answered, login: &str) -> Answered {
        let form =
            [("interaction", page.interaction()), ("login", login), ("password", DEMO_PASSWORD), ("decision", "allow")];
        self.submit(&format!("{AUTHORIZE_PATH}/login"), &form).await
    }

    pub(super) async fn choose(&self, page: &Answered, patient: &str) -> Answered {
        let form = [("interaction", page.interaction()), ("patient", patient), ("decision", "allow")];
        self.submit(&format!("{AUTHORIZE_PATH}/patient"), &form).await
    }

    /// A code for these scopes; staff choose `patient` where the EHR asks.
    pub(super) async fn code(&self, scope: &str, login: &str, patient: &str) -> String {
        let answered = self.log_in(&self.authorize(&request(scope)).await, login).await;
        let answered = match answered.status {
            StatusCode::OK => self.choose(&answered, patient).await,
            _ => answered,
        };
        answered.sent_back()["code"].clone()
    }

    /// Exchanges a code as the public client does.
    pub(super) async fn exchange(&self, code: &str) -> Answered {
        self.token_request(&[
            ("grant_type", "authorization_code"),
            ("client_id", CLIENT),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ])
        .await
    }

    pub(super) async fn refresh(&self, token: &str) -> Answered {
        self.token_request(&[("grant_type", "refresh_token"), ("client_id", CLIENT), ("refresh_token", token)]).await
    }

    /// The token endpoint's answer to a whole launch of the public client.
    pub(super) async fn launched(&self, scope: &str, login: &str, patient: &str) -> Value {
        let answered = self.exchange(&self.code(scope, login, patient).await).await;
        assert_eq!(answered.status, StatusCode::OK, "{:?}", self.last().reason);
        answered.json()
    }
}
