//! HAPI FHIR, started afresh for this test binary.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use hearthgate::sandbox::FHIR_PATH;
use reqwest::Client;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::support::built::built;
use crate::support::guarded::{Guarded, free_port, tail};
use crate::support::standalone::Answer;

/// Its data is written at every start: half a minute, and more on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(600);
/// The token of the tests themselves, by which their calls are told apart from the gateway's.
const OWN_TOKEN: &str = "of-the-tests";

/// A running HAPI FHIR server.
pub struct Hapi {
    port: u16,
    client: Client,
    _process: Guarded,
}

/// A request that reached it, and was not a test's own.
#[derive(Clone, Debug)]
pub struct Reached {
    /// Method, and what stands below the FHIR base, with its query.
    pub target: String,
    pub headers: BTreeMap<String, Vec<String>>,
}

impl Hapi {
    /// The one that all tests of this binary share.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Hapi> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    async fn start() -> Self {
        // Refused where a gateway of this binary has installed it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let built = tokio::task::spawn_blocking(|| built("hapi", "FHIR server").join("build")).await.expect("it ends");
        let directory = tempfile::Builder::new().prefix("hearthgate-hapi-").tempdir().expect("a directory").keep();
        let port = free_port();
        let log = directory.join("log");
        let mut process = Guarded::start(
            Command::new("java")
                // It lives for minutes: what compiles fast beats what runs fast.
                .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx1g", "-cp"])
                .arg(format!("{0}/hapi-1.jar:{0}/libraries/*", built.display()))
                .args(["dev.hearthgate.hapi.Server", &port.to_string(), FHIR_PATH]),
            &log,
            Some(&directory),
        );
        let since = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let gone = process.has_ended() || since.elapsed() > START_WITHIN;
            assert!(!gone, "HAPI FHIR did not start:\n{}", tail(&log));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Tests of one binary share it, and connections do not outlive the test that opened them.
        let client = Client::builder().no_proxy().pool_max_idle_per_host(0).build().expect("a client");
        Self { port, client, _process: process }
    }

    /// `http://127.0.0.1:<port>`
    pub fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What no answer of the gateway's may show.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The FHIR base.
    pub fn base(&self) -> String {
        format!("{}{FHIR_PATH}", self.origin())
    }

    /// What it answers to those who ask it directly; `url` may be below the base.
    pub async fn get(&self, url: &str) -> Answer {
        let url = if url.starts_with("http") { url.to_owned() } else { format!("{}{url}", self.base()) };
        let response = self.client.get(url).bearer_auth(OWN_TOKEN).send().await.expect("HAPI answers");
        Answer {
            status: response.status(),
            headers: response.headers().clone(),
            text: response.text().await.expect("text"),
        }
    }

    /// All that a search finds, page by page.
    pub async fn find_all(&self, path: &str) -> Vec<Value> {
        let mut found = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(url) = next {
            let page = self.get(&url).await.json();
            found.extend(resources(&page));
            next = link(&page, "next");
        }
        found
    }

    /// What reached it since the beginning, the tests' own calls left out.
    pub async fn log(&self) -> Vec<Reached> {
        let answer = self.client.get(format!("{}/log", self.origin())).send().await.expect("HAPI answers");
        let log: Vec<Value> = answer.json().await.expect("JSON");
        let reached = log.into_iter().map(|entry| {
            let text = |name: &str| entry[name].as_str().map(str::to_owned);
            let path = text("path").unwrap();
            let path = path.strip_prefix(FHIR_PATH).unwrap_or(&path);
            Reached {
                target: format!(
                    "{} {path}{}",
                    text("method").unwrap(),
                    text("query").map_or(String::new(), |query| format!("?{query}"))
                ),
                headers: serde_json::from_value(entry["headers"].clone()).unwrap(),
            }
        });
        reached.filter(|reached| reached.bearer() != Some(OWN_TOKEN)).collect()
    }
}

impl Reached {
    /// The token that it came with.
    pub fn bearer(&self) -> Option<&str> {
        self.headers.get("authorization")?.first()?.strip_prefix("Bearer ")
    }
}

/// The resources of a Bundle.
pub fn resources(bundle: &Value) -> Vec<Value> {
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    entries.into_iter().map(|mut entry| entry["resource"].take()).collect()
}

/// Where a Bundle's link leads.
pub fn link(bundle: &Value, relation: &str) -> Option<String> {
    let links = bundle["link"].as_array()?;
    links.iter().find(|link| link["relation"] == relation)?["url"].as_str().map(str::to_owned)
}

/// `Type/id` of each record of the clinic, in order. What other tests make meanwhile is left out: HAPI numbers it.
pub fn names(resources: &[Value]) -> Vec<String> {
    let name = |resource: &Value| {
        let id = resource["id"].as_str().unwrap_or("?");
        id.parse::<u64>().is_err().then(|| format!("{}/{id}", resource["resourceType"].as_str().unwrap()))
    };
    let mut names: Vec<String> = resources.iter().filter_map(name).collect();
    names.sort();
    names
}
