//! Where the ready replicas are.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::values::api_failure::ApiFailure;

/// The port of the Service that leads to the admin listener.
const ADMIN_PORT: &str = "admin";
/// Labels an EndpointSlice with the Service that it belongs to.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// Between two attempts to watch.
const PAUSE: Duration = Duration::from_secs(2);

/// The proxies, as `--proxies` names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxies {
    /// The ready endpoints of a Service, at its port `admin`.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// These admin listeners, each `HOST:PORT`.
    Addresses(Vec<String>),
}

/// `--proxies` is neither.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither NAMESPACE/SERVICE nor a list HOST:PORT,… of admin listeners")]
pub struct ProxiesInvalid(String);

impl FromStr for Proxies {
    type Err = ProxiesInvalid;

    fn from_str(text: &str) -> Result<Self, ProxiesInvalid> {
        let invalid = || ProxiesInvalid(text.to_owned());
        if let Some((namespace, name)) = text.split_once('/') {
            let is_name = |name: &str| {
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            };
            if !is_name(namespace) || !is_name(name) {
                return Err(invalid());
            }
            return Ok(Self::Service { namespace: namespace.to_owned(), name: name.to_owned() });
        }
        let addresses: Vec<String> = text.split(',').map(|address| address.trim().to_owned()).collect();
        let is_address = |address: &String| {
            address
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
        };
        if addresses.iter().all(is_address) { Ok(Self::Addresses(addresses)) } else { Err(invalid()) }
    }
}

impl Proxies {
    /// The addresses of the ready replicas' admin listeners; `None` until they are known.
    pub(super) fn follow(self, client: Client, stop: CancellationToken) -> watch::Receiver<Option<Vec<String>>> {
        match self {
            Self::Addresses(addresses) => {
                let (sender, receiver) = watch::channel(Some(addresses));
                // Kept open as long as anybody counts.
                tokio::spawn(async move {
                    stop.cancelled().await;
                    drop(sender);
                });
                receiver
            }
            Self::Service { namespace, name } => {
                let (sender, receiver) = watch::channel(None);
                let slices = Api::namespaced(client, &namespace);
                tokio::spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = follow_slices(slices, &name, &sender) => {}
                    }
                });
                receiver
            }
        }
    }
}

async fn follow_slices(slices: Api<EndpointSlice>, service: &str, sender: &watch::Sender<Option<Vec<String>>>) {
    let config = watcher::Config::default().labels(&format!("{SERVICE_LABEL}={service}")).timeout(240);
    let mut stream = Box::pin(watcher(slices, config));
    let mut known: BTreeMap<String, EndpointSlice> = BTreeMap::new();
    let mut listed: BTreeMap<String, EndpointSlice> = BTreeMap::new();
    let mut told = String::new();
    let name = |slice: &EndpointSlice| slice.metadata.name.clone().unwrap_or_default();
    while let Some(event) = stream.next().await {
        match event {
            Ok(watcher::Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(watcher::Event::InitApply(slice)) => {
                listed.insert(name(&slice), slice);
                continue;
            }
            Ok(watcher::Event::InitDone) => known = std::mem::take(&mut listed),
            Ok(watcher::Event::Apply(slice)) => drop(known.insert(name(&slice), slice)),
            Ok(watcher::Event::Delete(slice)) => drop(known.remove(&name(&slice))),
            Err(error) => {
                let text = match &error {
                    watcher::Error::InitialListFailed(error)
                    | watcher::Error::WatchStartFailed(error)
                    | watcher::Error::WatchFailed(error) => ApiFailure::from(error).to_string(),
                    watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => error.to_string(),
                };
                if text != told {
                    tracing::warn!(service, "cannot watch the proxies' EndpointSlices: {text}");
                    told = text;
                }
                sleep(PAUSE).await;
                continue;
            }
        }
        let addresses = addresses(known.values());
        sender.send_if_modified(|sent| {
            let is_news = sent.as_ref() != Some(&addresses);
            *sent = Some(addresses);
            is_news
        });
    }
}

/// The admin listeners of the ready endpoints, each once.
fn addresses<'slices>(slices: impl Iterator<Item = &'slices EndpointSlice>) -> Vec<String> {
    let mut addresses = BTreeSet::new();
    for slice in slices {
        let ports = slice.ports.iter().flatten();
        let Some(port) = ports.filter(|port| port.name.as_deref() == Some(ADMIN_PORT)).find_map(|port| port.port)
        else {
            continue;
        };
        for endpoint in &slice.endpoints {
            // Absent means ready (discovery.k8s.io/v1, EndpointConditions).
            let is_ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
            // All addresses of one endpoint are the same replica.
            let Some(address) = endpoint.addresses.first().filter(|_| is_ready) else { continue };
            let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
            addresses.insert(format!("{host}:{port}"));
        }
    }
    addresses.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_proxies_are_a_service_or_a_list_of_addresses() {
        let service = Proxies::Service { namespace: "gateway".into(), name: "hearthgate-proxy".into() };
        assert_eq!("gateway/hearthgate-proxy".parse(), Ok(service));
        let listed = Proxies::Addresses(vec!["127.0.0.1:9090".into(), "[::1]:9091".into()]);
        assert_eq!("127.0.0.1:9090, [::1]:9091".parse(), Ok(listed));
        for wrong in ["", "gateway/", "a/b/c", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:9090,", ":80"] {
            assert_eq!(wrong.parse::<Proxies>(), Err(ProxiesInvalid(wrong.into())), "{wrong:?}");
        }
    }

    #[test]
    fn each_ready_replica_counts_once_at_its_admin_port() {
        let slice = |address_type: &str, endpoints: serde_json::Value| -> EndpointSlice {
            serde_json::from_value(json!({
                "addressType": address_type,
                "metadata": { "name": "x" },
                "ports": [{ "name": "http", "port": 8080 }, { "name": "admin", "port": 9090 }],
                "endpoints": endpoints,
            }))
            .unwrap()
        };
        let slices = [
            slice(
                "IPv4",
                json!([
                    { "addresses": ["10.0.0.2"], "conditions": { "ready": true } },
                    { "addresses": ["10.0.0.1"] },
                    { "addresses": ["10.0.0.3"], "conditions": { "ready": false } },
                ]),
            ),
            slice("IPv4", json!([{ "addresses": ["10.0.0.2"] }])),
            slice("IPv6", json!([{ "addresses": ["fd00::1"] }])),
        ];
        assert_eq!(addresses(slices.iter()), ["10.0.0.1:9090", "10.0.0.2:9090", "[fd00::1]:9090"]);
    }
}
