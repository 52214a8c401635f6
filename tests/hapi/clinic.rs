//! A gateway in front of HAPI. The simulated EHR issues the tokens, as if HAPI were the FHIR side of it.

use std::net::SocketAddr;
use std::sync::Arc;

use hearthgate::sandbox::{
    AUTHORIZE_PATH, Credential, DEMO_PASSWORD, FIRST_PATIENT, Handle, Registration, Sandbox, Settings, TOKEN_PATH,
};
use reqwest::StatusCode;
use reqwest::header::{LOCATION, SET_COOKIE};
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::{Url, form_urlencoded};

use crate::hapi::{Hapi, link, resources};
use crate::support::guarded::free_port;
use crate::support::shared::Shared;
use crate::support::standalone::{Answer, Standalone};

const BASE: &str = "/default/clinic";
const REDIRECT_URI: &str = "http://127.0.0.1:3000/portal/callback";
const SYNC_SECRET: &str = "sync-secret-for-tests";
const PORTAL_SECRET: &str = "portal-secret-for-tests";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// The patient who logs in.
pub const PATIENT: &str = FIRST_PATIENT;

/// The gateway, and what stands behind it.
pub struct Clinic {
    pub hapi: &'static Hapi,
    pub server: Standalone,
    _stop: DropGuard,
}

impl Clinic {
    /// The one that all tests share that run at a time.
    pub async fn open() -> Arc<Self> {
        static RUNNING: Shared<Clinic> = Shared::new();
        RUNNING.or_start(Self::start()).await
    }

    async fn start() -> Self {
        let hapi = Hapi::shared().await;
        let login = format!("http://127.0.0.1:{}", free_port());
        let settings = Settings {
            listen: login.trim_start_matches("http://").parse::<SocketAddr>().unwrap(),
            // To users and apps the EHR is one: its FHIR base is HAPI's.
            public_url: Some(hapi.origin()),
            ..Settings::default()
        };
        let (ehr, stop) = log_in_at(settings);

        let mut server = Standalone::launch("", &[]);
        server.keep_no_connections();
        let jwks = server.public("/default/keys/sync-at-clinic/jwks.json");
        ehr.register(Registration::new("sync-at-hapi", Credential::JwksUrl(jwks))).unwrap();
        let credential = Credential::ClientSecret("portal-at-hapi-for-tests".to_owned().into());
        let redirect_uris = vec![server.public(&format!("{BASE}/oauth2/callback"))];
        ehr.register(Registration { redirect_uris, ..Registration::new("portal-at-hapi", credential) }).unwrap();
        server.write("clinic.yaml", &yaml(hapi, &login));
        server.wait_ready().await;
        server.wait_condition("Activation", "sync-at-clinic", "Ready", "True", "Ready").await;
        server.wait_condition("Activation", "portal-at-clinic", "Programmed", "True", "Programmed").await;
        Self { hapi, server, _stop: stop }
    }

    /// The gateway's FHIR base.
    pub fn base(&self) -> String {
        self.server.public(&format!("{BASE}/fhir"))
    }

    /// A request to the gateway; `url` may be below its FHIR base.
    pub fn request(&self, method: &str, url: &str, token: &str) -> reqwest::RequestBuilder {
        let url = if url.starts_with("http") { url.to_owned() } else { format!("{}{url}", self.base()) };
        self.server.client.request(method.parse().unwrap(), url).bearer_auth(token)
    }

    /// Sends a request; nothing in the answer may show where HAPI is.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = self.server.send(request).await;
        let address = self.hapi.address();
        assert!(!answer.text.contains(&address), "HAPI's address in {}", answer.text);
        for (name, value) in &answer.headers {
            let value = value.to_str().unwrap();
            assert!(!value.contains(&address) && !value.contains("HAPI"), "HAPI in {name}: {value}");
        }
        answer
    }

    /// `GET`, below the FHIR base.
    pub async fn get(&self, token: &str, url: &str) -> Answer {
        self.send(self.request("GET", url, token)).await
    }

    /// All that a search finds, page by page.
    pub async fn find_all(&self, token: &str, path: &str) -> Vec<Value> {
        let mut found = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(url) = next {
            let page = self.get(token, &url).await;
            assert_eq!(page.status, StatusCode::OK, "{url}: {}", page.text);
            let page = page.json();
            found.extend(resources(&page));
            next = link(&page, "next");
            assert!(next.as_ref().is_none_or(|next| next.starts_with(&self.base())), "{next:?}");
        }
        found
    }

    /// A token of the backend service.
    pub async fn service(&self, scope: &str) -> String {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        self.token("sync", SYNC_SECRET, &form).await
    }

    /// A token of the portal, in which [`PATIENT`] has logged in.
    pub async fn patient(&self, scope: &str) -> String {
        let (base, scope) = (self.base(), format!("launch/patient {scope}"));
        let query = encoded(&[
            ("response_type", "code"),
            ("client_id", "portal"),
            ("redirect_uri", REDIRECT_URI),
            ("scope", &scope),
            ("state", "the-state-of-the-portal"),
            ("aud", &base),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]);
        let client = &self.server.client;
        let sent_on = client.get(self.server.public(&format!("{BASE}/oauth2/authorize?{query}"))).send().await.unwrap();
        let cookie = sent_on.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        let login = location(&sent_on);
        assert!(login.path() == AUTHORIZE_PATH, "{login}");
        let page = client.get(login.clone()).send().await.unwrap().text().await.unwrap();
        let interaction = page.split("name=\"interaction\" value=\"").nth(1).unwrap_or_else(|| panic!("{page}"));
        let interaction = interaction.split('"').next().unwrap();
        let form = encoded(&[
            ("interaction", interaction),
            ("login", "camila.lopez"),
            ("password", DEMO_PASSWORD),
            ("decision", "allow"),
        ]);
        let login = login.join(&format!("{AUTHORIZE_PATH}/login")).unwrap();
        let logged_in = client.post(login).header("content-type", FORM).body(form).send().await.unwrap();
        let back = client.get(location(&logged_in)).header("cookie", cookie).send().await.unwrap();
        let back = location(&back);
        let code = back.query_pairs().find(|(name, _)| name == "code").unwrap_or_else(|| panic!("{back}")).1;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", REDIRECT_URI),
            ("code_verifier", VERIFIER),
        ];
        self.token("portal", PORTAL_SECRET, &form).await
    }

    async fn token(&self, app: &str, secret: &str, form: &[(&str, &str)]) -> String {
        let answer = self.server.token_answer("clinic", app, secret, &encoded(form)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }
}

/// Starts the part of the EHR that issues tokens, on a thread of its own: it outlives the test that starts it.
fn log_in_at(settings: Settings) -> (Handle, DropGuard) {
    let (tell, told) = std::sync::mpsc::channel();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let sandbox = Sandbox::bind(settings).await.unwrap();
            tell.send(sandbox.handle()).unwrap();
            sandbox.serve(stopped).await;
        });
    });
    (told.recv().unwrap(), stop.drop_guard())
}

/// The media type of forms.
pub const FORM: &str = "application/x-www-form-urlencoded";

fn location(answer: &reqwest::Response) -> Url {
    let location = answer.headers().get(LOCATION).unwrap_or_else(|| panic!("{answer:?}"));
    location.to_str().unwrap().parse().unwrap()
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn yaml(hapi: &Hapi, login: &str) -> String {
    format!(
        r#"
apiVersion: hearthgate.dev/v1alpha1
kind: DataAdapter
metadata: {{name: hapi}}
spec:
  dataSourceType: FhirR4
  fhirBaseUrl: {base}
  oauth: {{tokenUrl: "{login}{TOKEN_PATH}", authorizationUrl: "{login}{AUTHORIZE_PATH}"}}
---
apiVersion: hearthgate.dev/v1alpha1
kind: Gateway
metadata: {{name: clinic}}
spec:
  dataAdapterRef: {{name: hapi}}
  operations: ["$everything", "$export"]
---
apiVersion: hearthgate.dev/v1alpha1
kind: App
metadata: {{name: sync}}
spec:
  clientType: BackendService
  clientId: sync
  scopes: ["system/*.cruds"]
  clientSecrets: [{{secretRef: {{name: secrets, key: sync}}}}]
---
apiVersion: hearthgate.dev/v1alpha1
kind: Activation
metadata: {{name: sync-at-clinic}}
spec:
  appRef: {{name: sync}}
  gatewayRef: {{name: clinic}}
  ehrAuthentication:
    type: System
    system:
      backendAuth:
        clientId: sync-at-hapi
        audience: {origin}{TOKEN_PATH}
        keyPair: {{algorithm: ES384}}
---
apiVersion: hearthgate.dev/v1alpha1
kind: App
metadata: {{name: portal}}
spec:
  clientType: Confidential
  clientId: portal
  redirectUris: ["{REDIRECT_URI}"]
  scopes: [launch/patient, "patient/*.cruds"]
  clientSecrets: [{{secretRef: {{name: secrets, key: portal}}}}]
---
apiVersion: hearthgate.dev/v1alpha1
kind: Activation
metadata: {{name: portal-at-clinic}}
spec:
  appRef: {{name: portal}}
  gatewayRef: {{name: clinic}}
  ehrAuthentication:
    type: User
    user: {{clientId: portal-at-hapi, clientSecretRef: {{name: secrets, key: at-hapi}}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: secrets, labels: {{hearthgate.dev/use: credential}}}}
stringData: {{sync: {SYNC_SECRET}, portal: {PORTAL_SECRET}, at-hapi: portal-at-hapi-for-tests}}
"#,
        base = hapi.base(),
        origin = hapi.origin(),
    )
}
