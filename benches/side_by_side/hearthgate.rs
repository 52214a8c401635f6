//! Hearthgate as its users run it: the binary, serving a directory.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::keys::Key;
use super::process::{Process, free_port, wait_for};
use super::wrk::Form;

/// The app that gets tokens, here and at the peers.
pub const CLIENT_ID: &str = "bench";
/// Its secret.
pub const SECRET: &str = "a-secret-of-enough-length-0123456789";

/// A running server.
pub struct Hearthgate {
    pub process: Process,
    pub port: u16,
    directory: TempDir,
}

/// The app that shows an assertion instead.
pub const CLIENT_WITH_A_KEY: &str = "bench-with-a-key";

/// What an app posts to get a token.
pub const GRANT: fn() -> Form = || Form {
    authorization: format!("Basic {}", STANDARD.encode(format!("{CLIENT_ID}:{SECRET}"))),
    body: "grant_type=client_credentials".into(),
};

/// The program to measure: the one that was built with this bench, unless `HEARTHGATE_BENCH_PROGRAM` names another, such
/// as the last release.
pub fn program() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_hearthgate"));
    std::env::var_os("HEARTHGATE_BENCH_PROGRAM").map_or_else(|| built.to_owned(), PathBuf::from)
}

/// Serves one gateway in front of the EHR, whose activations need no credentials there: nginx sends none either. `key`
/// is that of the app that shows assertions.
pub fn start(ehr: SocketAddr, key: &Key) -> Hearthgate {
    let directory = tempfile::tempdir().unwrap();
    let resources = format!(
        r#"
apiVersion: hearthgate.dev/v1alpha1
kind: DataAdapter
metadata: {{name: ehr}}
spec: {{dataSourceType: FhirR4, fhirBaseUrl: "http://{ehr}/fhir"}}
---
apiVersion: hearthgate.dev/v1alpha1
kind: Gateway
metadata: {{name: gate}}
spec: {{dataAdapterRef: {{name: ehr}}, accessTokenLifetimeSeconds: 3600}}
---
apiVersion: hearthgate.dev/v1alpha1
kind: App
metadata: {{name: app}}
spec:
  clientType: BackendService
  clientId: {CLIENT_ID}
  scopes: ["system/*.rs"]
  clientSecrets: [{{secretRef: {{name: app, key: secret}}}}]
---
apiVersion: v1
kind: Secret
metadata: {{name: app, labels: {{hearthgate.dev/use: credential}}}}
stringData: {{secret: {SECRET}}}
---
apiVersion: hearthgate.dev/v1alpha1
kind: Activation
metadata: {{name: active}}
spec:
  appRef: {{name: app}}
  gatewayRef: {{name: gate}}
  ehrAuthentication: {{type: System, system: {{none: {{}}}}}}
---
apiVersion: hearthgate.dev/v1alpha1
kind: App
metadata: {{name: app-with-a-key}}
spec:
  clientType: BackendService
  clientId: {CLIENT_WITH_A_KEY}
  scopes: ["system/*.rs"]
  jwks: {jwks}
---
apiVersion: hearthgate.dev/v1alpha1
kind: Activation
metadata: {{name: active-with-a-key}}
spec:
  appRef: {{name: app-with-a-key}}
  gatewayRef: {{name: gate}}
  ehrAuthentication: {{type: System, system: {{none: {{}}}}}}
"#,
        jwks = json!({ "keys": [key.signing().jwk()] })
    );
    fs::write(directory.path().join("all.yaml"), resources).unwrap();
    let port = free_port();
    let admin = free_port();
    let process = Process::start(
        Command::new(program())
            .arg("serve")
            .arg(directory.path())
            .args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", &format!("127.0.0.1:{admin}")])
            .args(["--log", "warn"]),
    );
    wait_for(port);
    Hearthgate { process, port, directory }
}

impl Hearthgate {
    pub fn fhir(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/default/gate/fhir{path}", self.port)
    }

    pub fn token_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/default/gate/oauth2/token", self.port)
    }

    /// The key that its tokens are signed with. Waits for it.
    pub fn key(&self) -> Key {
        self.token();
        Key::of_the_gateway(&self.directory.path().join(".hearthgate"))
    }

    /// A token that outlives the bench. Waits for the gateway's keys.
    pub fn token(&self) -> String {
        let Form { authorization, body } = GRANT();
        for _ in 0..200 {
            let output = Command::new("curl")
                .args(["-s", "-H", &format!("Authorization: {authorization}"), "-d", &body, &self.token_endpoint()])
                .output()
                .expect("curl must be installed");
            let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            if let Some(token) = answer["access_token"].as_str() {
                return token.to_owned();
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("no token within ten seconds");
    }
}
