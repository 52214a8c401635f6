//! `examples/smart-launch` with more kinds of clients beside.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::standalone::Standalone;

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
        let mut server = Standalone::launch("smart-launch", &[]);
        // Tests of one binary share it, and connections do not outlive the test that opened them.
        server.client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .build()
            .unwrap();
        let own = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/apps.yaml")).unwrap();
        let own =
            own.replace("RSA_KEY", &test_jwk("rsa-1").to_string()).replace("EC_KEY", &test_jwk("ec-1").to_string());
        server.write("apps.yaml", &own);
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
