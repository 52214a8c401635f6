//! What this machine sees: whether the server is ready, and whether public URLs answer as apps and EHRs need them.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use jiff::Timestamp;
use reqwest::Client;
use serde_json::Value;

use super::super::live::{LiveOptions, Place, client};
use super::check::{Check, Group};
use crate::api::{ActivationStatus, GatewayStatus};
use crate::outbound::clock::clock_skew;
use crate::proxy::metrics::tells_store_reachable;
use crate::snapshot::Kind;
use crate::snapshot::live::LiveStatus;
use crate::values::key::holds_kid;

/// Longest time for one answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Questions at once.
const AT_ONCE: usize = 16;
/// Assertions and tokens are judged by the clock; this much is tolerated by most. Seconds.
const TOLERABLE: i64 = 30;

/// Whether the server that is asked is alive and ready.
pub(super) async fn server(live: &LiveOptions) -> Vec<Check> {
    let Place::Server(server) = live.place() else { return Vec::new() };
    let server = server.trim_end_matches('/');
    let Ok(client) = client(PATIENCE) else { return Vec::new() };
    let Ok(live) = client.get(format!("{server}/livez")).send().await else {
        // Told when its status is asked for.
        return Vec::new();
    };
    if !live.status().is_success() {
        return vec![Check::failed(Group::Server, format!("{server} answers {} to /livez", live.status().as_u16()))];
    }
    let ready = client.get(format!("{server}/readyz")).send().await;
    let mut checks = vec![match ready {
        Ok(ready) if ready.status().is_success() => Check::fine(Group::Server, format!("{server} is live and ready")),
        Ok(_) | Err(_) => Check::failed(Group::Server, format!("{server} is live and not ready"))
            .with_hint("Keys are being made, or the store of sessions is away: its log says which."),
    }];
    checks.extend(store(&client, server).await);
    checks
}

/// Whether the server reaches its store. `None`: it has none (an operator), or does not say.
async fn store(client: &Client, server: &str) -> Option<Check> {
    let metrics = client.get(format!("{server}/metrics")).send().await.ok()?.text().await.ok()?;
    Some(if tells_store_reachable(&metrics)? {
        Check::fine(Group::Server, "its store of codes, sessions and revocations answers")
    } else {
        Check::failed(Group::Server, "its store of codes, sessions and revocations is away")
            .with_hint("Look at the Valkey, and at what lies between. Until then what needs it is answered 503.")
    })
}

/// Whether what is public answers.
pub(super) async fn urls(status: &LiveStatus) -> Vec<Check> {
    let Ok(client) = client(PATIENCE) else { return Vec::new() };
    let gateways = status.of_kind(Kind::Gateway).filter_map(|live| {
        let url = live.status_as::<GatewayStatus>().smart_configuration_url?;
        Some(Question { name: live.object.to_string(), url, wants: Wants::Configuration })
    });
    let mut questions: Vec<Question> = gateways.collect();
    for live in status.of_kind(Kind::Activation) {
        let activation: ActivationStatus = live.status_as();
        let (Some(url), Some(key)) = (activation.jwks_url, activation.keys.last()) else { continue };
        // Activations that share a pair share its URL.
        if !questions.iter().any(|question| question.url == url) {
            questions.push(Question { name: live.object.to_string(), url, wants: Wants::Key(key.kid.clone()) });
        }
    }
    let asked = futures_util::stream::iter(questions).map(|question| question.ask(&client)).buffered(AT_ONCE);
    let answers: Vec<(Check, Option<i64>)> = asked.collect().await;
    let skew = answers.iter().find_map(|(_, skew)| *skew);
    let mut checks: Vec<Check> = answers.into_iter().map(|(check, _)| check).collect();
    checks.extend(skew.map(clock));
    checks
}

struct Question {
    name: String,
    url: String,
    wants: Wants,
}

enum Wants {
    /// A SMART configuration, for apps.
    Configuration,
    /// A key set with this key, for EHRs.
    Key(String),
}

impl Question {
    /// The finding, and by how many seconds the other clock is ahead of this machine's.
    async fn ask(self, client: &Client) -> (Check, Option<i64>) {
        let started = Instant::now();
        let Self { name, url, wants } = self;
        let response = match client.get(&url).send().await {
            Ok(response) => response,
            Err(error) => {
                let reason = if error.is_timeout() { "no answer within 3 s".to_owned() } else { causes(&error) };
                let check = Check::failed(Group::Urls, format!("{name}: {url} is not reached: {reason}"));
                return (
                    check.with_hint("DNS, certificate, ingress, --public-url: whoever calls sees the same."),
                    None,
                );
            }
        };
        let skew = clock_skew(response.headers(), Timestamp::now());
        let status = response.status();
        let body = response.json::<Value>().await.ok();
        let fits = body.as_ref().is_some_and(|body| wants.fits(body));
        let check = if status.is_success() && fits {
            let milliseconds = started.elapsed().as_millis();
            Check::fine(Group::Urls, format!("{name}: {url} answers in {milliseconds} ms"))
        } else {
            let finding = format!("{name}: {url} answers {} and {}", status.as_u16(), wants.missing());
            Check::failed(Group::Urls, finding)
                .with_hint("Something else is served there: another installation, or a proxy in between.")
        };
        (check, skew)
    }
}

impl Wants {
    fn fits(&self, body: &Value) -> bool {
        match self {
            Self::Configuration => body.get("token_endpoint").is_some(),
            Self::Key(kid) => holds_kid(body, kid),
        }
    }

    const fn missing(&self) -> &'static str {
        match self {
            Self::Configuration => "no SMART configuration",
            Self::Key(_) => "no key set with the newest key",
        }
    }
}

fn clock(skew: i64) -> Check {
    if skew.abs() <= TOLERABLE {
        return Check::fine(Group::Clock, "this machine and the installation agree on the time");
    }
    Check::failed(Group::Clock, format!("this machine and the installation differ by {} seconds", skew.abs()))
        .with_hint("Set both by NTP: assertions and tokens live for minutes.")
}

/// The innermost cause: what reqwest says around it names the URL once more.
fn causes(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
