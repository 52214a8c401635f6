//! Which gateway a URL belongs to.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Gateway, KeyPair, ObjectKey};

/// Longest-prefix look-up of gateways by host and path, and of the EHR-facing key sets.
#[derive(Debug, Default)]
pub struct Routes {
    /// By host (lower case, with the port where it is not the scheme's own), then by path prefix.
    hosts: BTreeMap<String, BTreeMap<String, Target>>,
    /// The platform's own authority and path.
    platform: (String, String),
    key_sets: BTreeMap<ObjectKey, Arc<KeyPair>>,
}

/// What is at a gateway's URL.
#[derive(Clone, Debug)]
enum Target {
    Served(Arc<Gateway>),
    NotServed(ObjectKey),
}

/// Where a request's path leads.
#[derive(Clone, Debug)]
pub enum Place<'routes, 'path> {
    /// Into a gateway: the rest of the path begins with a slash or is empty.
    Gateway(&'routes Arc<Gateway>, &'path str),
    /// To a gateway that exists, but has a fault of its own.
    NotServed(&'routes ObjectKey),
    /// To the public keys of a pair.
    KeySet(&'routes Arc<KeyPair>),
    /// To `/.well-known/oauth-authorization-server<path of B>` of a gateway (RFC 8414 §3.1).
    AuthorizationServerMetadata(&'routes Arc<Gateway>),
}

impl Routes {
    /// Empty routes of a platform with this authority (`host`, or `host:port` where the port is not the scheme's own)
    /// and this path (without a slash at its end).
    pub(super) fn new(authority: String, path: String) -> Self {
        Self { platform: (authority, path), ..Self::default() }
    }

    /// Whether there is no gateway at all, not even one with a fault.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    pub(super) fn serve(&mut self, authority: String, path: String, gateway: Arc<Gateway>) {
        self.hosts.entry(authority).or_default().insert(path, Target::Served(gateway));
    }

    pub(super) fn refuse(&mut self, authority: String, path: String, gateway: ObjectKey) {
        self.hosts.entry(authority).or_default().entry(path).or_insert(Target::NotServed(gateway));
    }

    pub(super) fn publish(&mut self, pair: Arc<KeyPair>) {
        self.key_sets.insert(pair.key.clone(), pair);
    }

    /// Where a request leads. `authority` is what the client called (`Host` or `:authority`), in lower case; one that no
    /// gateway names is taken for the platform's own, since what stands before us may rewrite it. It decides where a
    /// request goes, never what is written into an answer.
    pub fn find<'path>(&self, authority: &str, path: &'path str) -> Option<Place<'_, 'path>> {
        const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";
        let gateways = self.hosts.get(authority).or_else(|| self.hosts.get(&self.platform.0));
        if let Some(issuer_path) = path.strip_prefix(WELL_KNOWN) {
            return match gateways?.get(issuer_path)? {
                Target::Served(gateway) => Some(Place::AuthorizationServerMetadata(gateway)),
                Target::NotServed(key) => Some(Place::NotServed(key)),
            };
        }
        if let Some(pair) = self.key_set(path) {
            return Some(Place::KeySet(pair));
        }
        let gateways = gateways?;
        // Prefixes end at a segment's border. No served gateway lies below another; one that is not served may lie
        // above or below a served one, and must not take its requests.
        let borders = path.match_indices('/').map(|(index, _)| index).chain([path.len()]);
        let mut not_served = None;
        for end in borders.rev() {
            let Some((prefix, rest)) = path.split_at_checked(end) else { continue };
            match gateways.get(prefix) {
                Some(Target::Served(gateway)) => return Some(Place::Gateway(gateway, rest)),
                Some(Target::NotServed(key)) => not_served = not_served.or(Some(Place::NotServed(key))),
                None => {}
            }
        }
        not_served
    }

    /// Each URL without its scheme, with what is there.
    pub(super) fn view(&self) -> serde_json::Value {
        let gateways = self.hosts.iter().flat_map(|(authority, paths)| {
            paths.iter().map(move |(path, target)| {
                let what = match target {
                    Target::Served(gateway) => format!("Gateway {}", gateway.key),
                    Target::NotServed(key) => format!("Gateway {key}, not served"),
                };
                (format!("{authority}{path}"), what)
            })
        });
        let (authority, path) = &self.platform;
        let key_sets = self.key_sets.keys().map(|key| {
            let url = format!("{authority}{path}/{}/keys/{}/jwks.json", key.namespace, key.name);
            (url, format!("key set of pair {key}"))
        });
        let routes: BTreeMap<String, String> = gateways.chain(key_sets).collect();
        routes.into_iter().map(|(url, what)| (url, serde_json::Value::String(what))).collect()
    }

    fn key_set(&self, path: &str) -> Option<&Arc<KeyPair>> {
        let (namespace, rest) = path.strip_prefix(self.platform.1.as_str())?.strip_prefix('/')?.split_once('/')?;
        let pair = rest.strip_prefix("keys/")?.strip_suffix("/jwks.json")?;
        self.key_sets.get(&ObjectKey::new(namespace, pair))
    }
}

#[cfg(test)]
mod tests;
