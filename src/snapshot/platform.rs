//! What the command line says about the whole installation.

use std::collections::BTreeMap;

use crate::values::url::{AddressPolicy, EndpointUrl};

/// One installation: all its environments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// The platform's public URL, without a slash at its end (`--public-url`).
    pub public_url: EndpointUrl,
    /// Which addresses may be called (`--allow-address`).
    pub addresses: AddressPolicy,
    /// Hosts besides the platform's that gateways may name, each with the namespace that may
    /// (`--allow-public-host HOST=NAMESPACE`).
    pub public_hosts: BTreeMap<String, String>,
    /// Whether missing keys are made (`--no-new-keys` turns that off).
    pub makes_keys: bool,
}

impl Platform {
    /// The public URL as paths are appended to it.
    pub fn base(&self) -> &str {
        self.public_url.without_slash()
    }

    /// The URL where an EHR fetches the public keys of a pair.
    pub fn key_set_url(&self, namespace: &str, pair: &str) -> String {
        format!("{}/{namespace}/keys/{pair}/jwks.json", self.base())
    }
}
