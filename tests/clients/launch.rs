//! One app, told to a client library, and what must come of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use hearthgate::sandbox::{DEMO_PASSWORD, FIRST_PATIENT, PRACTITIONER};
use serde_json::{Value, json};

use crate::support::clinic::{APPS, Clinic, test_jwk, test_key};

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

/// What the app is made with.
#[derive(Debug, Clone, Copy)]
pub enum Library {
    /// Python's.
    Authlib,
    /// JavaScript's, on Node.js.
    OpenidClient,
}

impl Library {
    /// What runs its script, and the script.
    fn command(self) -> (PathBuf, &'static str) {
        match self {
            Library::Authlib => (libraries().join("python/bin/python"), "authlib/client.py"),
            Library::OpenidClient => (PathBuf::from("node"), "openid-client/client.mjs"),
        }
    }
}

/// What an app is to the token endpoint.
#[derive(Debug, Clone, Copy)]
pub enum App {
    /// Proves nothing but PKCE.
    Public,
    /// Has a secret, and sends it by this method.
    WithSecret(&'static str),
    /// Has a key: this one of the test keys.
    WithKey(&'static str),
    /// The same, and acts without users.
    Backend(&'static str),
}

/// A launch as the scripts take it.
#[derive(Debug, Clone)]
pub struct Launch {
    document: Value,
}

impl Launch {
    /// A launch of this app by Dr Anna Cadence for the first patient.
    pub fn of(clinic: &Clinic, app: App) -> Launch {
        let launch = |client_id: &str, scope: &str, kind: &str| Launch {
            document: json!({
                "client_id": client_id,
                "issuer": clinic.issuer(),
                "fhir_base": clinic.fhir_base(),
                "scope": scope,
                "kind": kind,
                "patient": FIRST_PATIENT,
                "login": "anna.cadence",
                "password": DEMO_PASSWORD,
            }),
        };
        let kept_up = "launch/patient openid fhirUser offline_access patient/Patient.rs";
        match app {
            App::Public => launch("growth-chart", "launch/patient openid fhirUser patient/Patient.rs", "user")
                .with(&json!({ "method": "none", "redirect_uri": format!("{APPS}/app.html") })),
            App::WithSecret(method) => launch("discharge-letters", kept_up, "user").with(&json!({
                "method": method, "secret": "discharge-letters-secret-for-tests",
                "redirect_uri": format!("{APPS}/letters/callback"), "introspect": true,
            })),
            App::WithKey(key) => launch("letters-signed", kept_up, "user")
                .with(&json!({ "redirect_uri": format!("{APPS}/letters/callback"), "introspect": true }))
                .signing(key),
            App::Backend(key) => launch("sync", "system/Patient.rs", "backend").signing(key),
        }
    }

    fn with(mut self, members: &Value) -> Launch {
        self.document.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self
    }

    fn signing(self, key: &str) -> Launch {
        let jwk = test_jwk(key);
        self.with(&json!({
            "method": "private_key_jwt", "key": test_key(key, "private.pem"), "kid": jwk["kid"], "algorithm": jwk["alg"],
        }))
    }

    /// Runs the script of a library with it; what it prints.
    pub async fn run(&self, library: Library) -> Value {
        let (program, script) = library.command();
        let output = tokio::process::Command::new(&program)
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

    /// What every launch must bring: the right Patient; for users, who they are; what is to be kept up, renewed; and
    /// what is revoked, gone.
    pub fn assert_found(&self, clinic: &Clinic, found: &Value) {
        assert_eq!(
            (&found["patient"]["resourceType"], &found["patient"]["id"]),
            (&json!("Patient"), &json!(FIRST_PATIENT))
        );
        assert_eq!(found["token"]["token_type"].as_str().unwrap().to_lowercase(), "bearer");
        if self.document["kind"] == "backend" {
            assert_eq!((&found["token"]["scope"], &found["claims"]), (&json!("system/Patient.rs"), &Value::Null));
            return;
        }
        assert_eq!(found["token"]["patient"], FIRST_PATIENT);
        let granted: Vec<&str> = found["token"]["scope"].as_str().unwrap().split(' ').collect();
        for scope in self.document["scope"].as_str().unwrap().split(' ') {
            assert!(granted.contains(&scope), "{scope} is not in {granted:?}");
        }
        assert_eq!(
            (&found["claims"]["iss"], &found["claims"]["aud"]),
            (&json!(clinic.issuer()), &self.document["client_id"])
        );
        let user = format!("{}/Practitioner/{}", clinic.fhir_base(), PRACTITIONER);
        assert_eq!(found["claims"]["fhirUser"], user);
        if granted.contains(&"offline_access") {
            assert_eq!(found["renewed"]["status"], 200);
            assert_ne!(found["renewed"]["token"]["access_token"], found["token"]["access_token"]);
            assert_ne!(found["renewed"]["token"]["refresh_token"], found["token"]["refresh_token"]);
        }
        if self.document.get("introspect").is_some() {
            let introspection = &found["introspection"];
            assert_eq!(
                (&introspection["active"], &introspection["client_id"]),
                (&json!(true), &self.document["client_id"])
            );
            assert_eq!(introspection["patient"], FIRST_PATIENT);
            assert_eq!(found["after_revocation"], json!({ "active": false }));
        }
    }
}
