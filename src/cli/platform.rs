//! What the command line says about the whole installation: options that several commands share.

use clap::Args;
use ipnet::IpNet;

use super::known::Known;
use crate::snapshot::Platform;
use crate::values::url::{AddressPolicy, EndpointUrl, UrlError};

/// The public URL of a standalone server that was told no other.
const STANDALONE_URL: &str = "http://127.0.0.1:8080";

/// Options about the installation.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Installation")]
pub(super) struct PlatformOptions {
    /// The platform's public URL, as apps and EHRs reach it [default: that of --listen]
    #[arg(long, env = "HEARTHGATE_PUBLIC_URL")]
    public_url: Option<String>,
    /// Open a range of addresses (CIDR) that may be called, also by plain http; repeatable
    #[arg(long, value_name = "CIDR", env = "HEARTHGATE_ALLOW_ADDRESS", value_delimiter = ',')]
    allow_address: Vec<IpNet>,
    /// Let gateways of a namespace use another public host than the platform's; repeatable
    #[arg(long, value_name = "HOST=NAMESPACE", value_parser = host_and_namespace, value_delimiter = ',')]
    allow_public_host: Vec<(String, String)>,
}

fn host_and_namespace(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((host, namespace)) if !host.is_empty() && !namespace.is_empty() => {
            Ok((host.to_ascii_lowercase(), namespace.to_owned()))
        }
        _ => Err("write HOST=NAMESPACE, such as fhir.example.org=cardiology".into()),
    }
}

/// `--public-url` cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublicUrlInvalid {
    /// It is no URL.
    #[error("--public-url {text:?} {error}")]
    NoUrl {
        text: String,
        #[source]
        error: UrlError,
    },
    /// It is missing, and nothing else tells it.
    #[error("give --public-url: the URL as apps and EHRs reach it, the same for operate and proxy")]
    Missing,
}

impl PlatformOptions {
    /// What to say where URLs are shown that nobody outside has.
    pub(super) fn hint(&self) -> Option<String> {
        self.public_url
            .is_none()
            .then(|| "URLs begin with that of a standalone server: --public-url gives yours".to_owned())
    }

    /// The same installation at another public URL.
    pub(super) fn at(&self, public_url: &str) -> Self {
        Self { public_url: Some(public_url.to_owned()), ..self.clone() }
    }

    /// The platform of a cluster: several processes must agree on it, so none may guess its public URL.
    pub(super) fn of_cluster(&self) -> Result<Platform, PublicUrlInvalid> {
        if self.public_url.is_none() {
            return Err(PublicUrlInvalid::Missing);
        }
        self.platform("", false)
    }

    /// The platform where nothing is served and files are only looked at: as a standalone server would have it.
    pub(super) fn offline(&self) -> Result<Platform, PublicUrlInvalid> {
        self.platform(STANDALONE_URL, true)
    }

    /// The platform of a running installation that is looked at from outside: what the command line says, and for the
    /// rest what the installation has shown.
    pub(super) fn beside(&self, known: &Known) -> Result<Platform, PublicUrlInvalid> {
        let mut platform = self.platform(known.public_url.as_deref().unwrap_or(STANDALONE_URL), true)?;
        let opened = self.allow_address.iter().copied().chain(AddressPolicy::loopback_ranges());
        platform.addresses = AddressPolicy::new(opened.chain(known.addresses.iter().copied()));
        for (host, namespace) in &known.public_hosts {
            platform.public_hosts.entry(host.clone()).or_insert_with(|| namespace.clone());
        }
        Ok(platform)
    }

    /// The platform, where `served` is its URL without `--public-url`. `loopback`: whether this machine itself may be
    /// called without being asked (standalone and offline).
    pub(super) fn platform(&self, served: &str, loopback: bool) -> Result<Platform, PublicUrlInvalid> {
        let text = self.public_url.clone().unwrap_or_else(|| served.to_owned());
        let public_url = EndpointUrl::parse(&text).map_err(|error| PublicUrlInvalid::NoUrl { text, error })?;
        let opened = self.allow_address.iter().copied();
        let ranges = opened.chain(AddressPolicy::loopback_ranges().into_iter().filter(|_| loopback));
        Ok(Platform {
            public_url,
            addresses: AddressPolicy::new(ranges),
            public_hosts: self.allow_public_host.iter().cloned().collect(),
            makes_keys: true,
        })
    }
}
