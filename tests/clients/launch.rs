//! One app, told to a client library, and what must come of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use hearthgate::sandbox::FIRST_PATIENT;
use serde_json::{Value, json};

use crate::support::clinic::{Clinic, test_jwk, test_key};

/// Where `scripts/client-libraries` installs.
pub fn libraries() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = root.join("target/client-libraries");
    for file in ["requirements.txt", "package-lock.json"] {
        let pinned = fs::read(root.join("tests/clients").join(file)).unwrap();
        assert!(
            fs::read(installed.join("installed").join(file)).is_ok_and(|found| found == pinned),
            "the client libraries that tests/clients/{file} pins are not installed: run scripts/client-libraries"
        );
    }
    installed
}

/// An app as the scripts take it.
#[derive(Debug, Clone)]
pub struct Launch {
    document: Value,
}

impl Launch {
    fn new(clinic: &Clinic, client_id: &str, scope: &str) -> Launch {
        Launch {
            document: json!({
                "client_id": client_id,
                "issuer": clinic.issuer(),
                "fhir_base": clinic.fhir_base(),
                "scope": scope,
                "patient": FIRST_PATIENT,
            }),
        }
    }

    fn with(mut self, members: &Value) -> Launch {
        self.document.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self
    }

    /// A backend service.
    pub fn backend(clinic: &Clinic, key: &str) -> Launch {
        Launch::new(clinic, "sync", "system/Patient.rs").with(&json!({ "kind": "backend" })).signing(key)
    }

    fn signing(self, key: &str) -> Launch {
        let jwk = test_jwk(key);
        self.with(&json!({
            "method": "private_key_jwt", "key": test_key(key, "private.pem"), "kid": jwk["kid"], "algorithm": jwk["alg"],
        }))
    }

    /// Runs the script of a library with it; what it prints.
    pub async fn run(&self, program: &Path, script: &str) -> Value {
        let output = tokio::process::Command::new(program)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script))
            .arg(self.document.to_string())
            .env("CLIENT_LIBRARIES", libraries())
            // Whatever proxy the machine uses, the servers are here.
            .env("NO_PROXY", "127.0.0.1")
            // Authlib asks for https unless it is told that this is no production.
            .env("AUTHLIB_INSECURE_TRANSPORT", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", program.display()));
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script} failed:\n{told}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}:\n{told}"))
    }

    /// What must come of it: the right Patient, with the scope that was asked for.
    pub fn assert_found(found: &Value) {
        assert_eq!(
            (&found["patient"]["resourceType"], &found["patient"]["id"]),
            (&json!("Patient"), &json!(FIRST_PATIENT))
        );
        assert_eq!(found["token"]["token_type"].as_str().unwrap().to_lowercase(), "bearer");
        assert_eq!((&found["token"]["scope"], &found["claims"]), (&json!("system/Patient.rs"), &Value::Null));
    }
}
