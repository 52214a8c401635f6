//! `examples/smart-launch` with more kinds of clients beside, and a person with a browser.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hearthgate::sandbox::{DEMO_PASSWORD, FIRST_PATIENT};
use reqwest::{StatusCode, Url};
use serde_json::Value;

use super::shared::Shared;
use super::standalone::{Answer, Standalone};

/// Where the apps of the example live, unless a test serves them elsewhere.
pub const APPS: &str = "http://127.0.0.1:3000";

/// The gateway of the example with its apps.
pub struct Clinic {
    pub server: Standalone,
}

/// A file of the test keys.
pub fn test_key(name: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile/keys").join(name).join(file)
}

/// The public half of a test key.
pub fn test_jwk(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(test_key(name, "jwk.json")).unwrap()).unwrap()
}

impl Clinic {
    /// Starts it; every app is registered at the simulated EHR, and the backend's key is accepted there.
    pub async fn start() -> Self {
        Self::start_with_apps_at(APPS).await
    }

    /// The same for all tests of a binary that run at a time.
    pub async fn shared() -> Arc<Self> {
        static RUNNING: Shared<Clinic> = Shared::new();
        RUNNING.or_start(Self::start()).await
    }

    /// One of its own, with the apps at another origin.
    pub async fn start_with_apps_at(origin: &str) -> Self {
        let mut server = Standalone::launch("smart-launch", &[]);
        server.keep_no_connections();
        let own = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/apps.yaml")).unwrap();
        let own =
            own.replace("RSA_KEY", &test_jwk("rsa-1").to_string()).replace("EC_KEY", &test_jwk("ec-1").to_string());
        server.write("apps.yaml", &own);
        if origin != APPS {
            for file in ["ehr.yaml", "growth-chart.yaml", "discharge-letters.yaml"] {
                server.edit(file, APPS, origin);
            }
        }
        server.wait_ready().await;
        server.wait_condition("Activation", "sync-at-clinic", "Ready", "True", "Ready").await;
        for activation in ["growth-chart", "discharge-letters", "letters-signed"] {
            let name = format!("{activation}-at-clinic");
            server.wait_condition("Activation", &name, "Programmed", "True", "Programmed").await;
        }
        Self { server }
    }

    /// The gateway's public URL, which is its issuer.
    pub fn issuer(&self) -> String {
        self.server.public("/default/clinic")
    }

    /// The gateway's FHIR base.
    pub fn fhir_base(&self) -> String {
        format!("{}/fhir", self.issuer())
    }

    /// The smart-configuration.
    pub async fn smart_configuration(&self) -> Value {
        let url = format!("{}/.well-known/smart-configuration", self.fhir_base());
        self.server.send(self.server.client.get(url)).await.json()
    }
}

/// Someone at a browser, who logs in at the EHR and chooses a patient.
#[derive(Debug, Clone)]
pub struct Person {
    pub login: String,
    pub patient: String,
    pub denies: bool,
    /// By host and port, then by name.
    cookies: HashMap<String, BTreeMap<String, String>>,
}

impl Person {
    /// Dr Anna Cadence, who chooses the first patient.
    pub fn clinician() -> Self {
        Self {
            login: "anna.cadence".to_owned(),
            patient: FIRST_PATIENT.to_owned(),
            denies: false,
            cookies: HashMap::new(),
        }
    }

    /// Opens an address and goes on until it lies below `end`, which is returned without being opened; or until
    /// something is neither a redirect nor one of the EHR's pages: `Err` with that answer.
    pub async fn visit(&mut self, server: &Standalone, address: &str, end: &str) -> Result<Url, Answer> {
        self.go(server, Url::parse(address).unwrap(), None, end).await
    }

    /// The same, beginning with a form that is sent by POST.
    pub async fn submit(
        &mut self,
        server: &Standalone,
        address: &str,
        fields: &[(&str, &str)],
        end: &str,
    ) -> Result<Url, Answer> {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.go(server, Url::parse(address).unwrap(), Some(fields), end).await
    }

    async fn go(
        &mut self,
        server: &Standalone,
        mut url: Url,
        mut form: Option<Vec<(String, String)>>,
        end: &str,
    ) -> Result<Url, Answer> {
        for _ in 0..20 {
            let answer = self.open(server, &url, form.take()).await;
            if let Some(location) = answer.headers.get("location") {
                assert!(matches!(answer.status, StatusCode::FOUND | StatusCode::SEE_OTHER), "{}", answer.status);
                url = url.join(location.to_str().unwrap()).unwrap();
                if url.as_str().starts_with(end) {
                    return Ok(url);
                }
                continue;
            }
            let after = |text: &str| Some(answer.text.split_once(text)?.1.split_once('"')?.0.to_owned());
            let (Some(action), Some(interaction)) =
                (after("<form method=\"post\" action=\""), after("name=\"interaction\" value=\""))
            else {
                return Err(answer);
            };
            let mut fields = vec![("interaction", interaction)];
            if answer.text.contains("name=\"password\"") {
                fields.extend([("login", self.login.clone()), ("password", DEMO_PASSWORD.to_owned())]);
            } else {
                fields.push(("patient", self.patient.clone()));
            }
            fields.push(("decision", if self.denies { "deny" } else { "allow" }.to_owned()));
            url = url.join(&action).unwrap();
            form = Some(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        }
        panic!("more than twenty steps");
    }

    async fn open(&mut self, server: &Standalone, url: &Url, form: Option<Vec<(String, String)>>) -> Answer {
        let jar = self.cookies.entry(url.authority().to_owned()).or_default();
        let cookies: Vec<String> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = match form {
            None => server.client.get(url.clone()),
            Some(fields) => {
                let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
                let form = server.client.post(url.clone());
                form.header("Content-Type", "application/x-www-form-urlencoded").body(body)
            }
        };
        let answer = server.send(request.header("Cookie", cookies.join("; "))).await;
        for line in answer.headers.get_all("set-cookie") {
            let pair = line.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            jar.insert(name.to_owned(), value.to_owned());
        }
        answer
    }
}
