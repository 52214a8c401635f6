//! URLs that resources name, and the addresses that Hearthgate may call.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use url::{Host, Url};

use super::base_url::BaseUrl;

/// An absolute `http` or `https` URL without userinfo or fragment.
///
/// The text stays as it was written: forwarding appends to it and never builds a path through a parser.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointUrl {
    text: String,
    parsed: Url,
}

/// Why a text is no endpoint's URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL at all.
    #[error("is not an absolute URL: {0}")]
    Syntax(url::ParseError),
    /// Another scheme.
    #[error("must be an http or https URL")]
    Scheme,
    /// `user:password@`.
    #[error("must not hold a user or password")]
    UserInfo,
    /// `#…`.
    #[error("must not have a fragment")]
    Fragment,
    /// The parser had to mend something, so what is dialled would not be what was written.
    #[error("holds characters that do not belong in a URL")]
    Characters,
}

impl EndpointUrl {
    /// Checks the text.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let parsed = Url::parse(text).map_err(UrlError::Syntax)?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(UrlError::Scheme);
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(UrlError::UserInfo);
        }
        if parsed.fragment().is_some() {
            return Err(UrlError::Fragment);
        }
        if text.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'\\') {
            return Err(UrlError::Characters);
        }
        Ok(Self { text: text.into(), parsed })
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URL in its parsed form.
    pub fn url(&self) -> &Url {
        &self.parsed
    }

    /// Whether the connection is protected by TLS.
    pub fn is_https(&self) -> bool {
        self.parsed.scheme() == "https"
    }

    /// Host name in lower case, or the literal address without brackets.
    pub fn host(&self) -> String {
        match self.parsed.host() {
            Some(Host::Domain(name)) => name.to_ascii_lowercase(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => String::new(),
        }
    }

    /// The port, the scheme's own where none is written.
    pub fn port(&self) -> u16 {
        self.parsed.port_or_known_default().unwrap_or(443)
    }

    /// `host:port` as a `Host` header has it: without the scheme's own port.
    pub fn authority(&self) -> String {
        let host = self.parsed.host_str().unwrap_or_default();
        self.parsed.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// The address, where the host is one (in any of its disguises: decimal, octal, hexadecimal, IPv6-mapped).
    pub fn literal_address(&self) -> Option<IpAddr> {
        match self.parsed.host()? {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
            Host::Domain(_) => None,
        }
    }

    /// The URL as a base that others are known to lie below, however they spell it.
    pub fn base(&self) -> BaseUrl<'_> {
        BaseUrl::new(self.without_slash())
    }

    /// The path as written, without a slash at its end.
    pub fn path_without_slash(&self) -> &str {
        let rest = self.text.split_once("://").map_or("", |(_, rest)| rest);
        let path = rest.find('/').and_then(|start| rest.get(start..)).unwrap_or("");
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        path.trim_end_matches('/')
    }

    /// The text without a slash at its end: what paths are appended to.
    pub fn without_slash(&self) -> &str {
        self.text.trim_end_matches('/')
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.text)
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Which addresses may be called: the public ones, and the ranges that the installation opened (`--allow-address`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    allowed: Vec<IpNet>,
}

/// Why an address is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefusal {
    /// Not a public address, and no opened range holds it.
    #[error(
        "{0} is a loopback, link-local, private or otherwise special address; open it with --allow-address if it is meant"
    )]
    Special(IpAddr),
    /// Plain `http` to an address that no opened range holds.
    #[error("plain http is used only for addresses opened with --allow-address; use https")]
    PlainHttp,
}

impl AddressPolicy {
    /// Opens these ranges besides the public addresses.
    pub fn new(allowed: impl IntoIterator<Item = IpNet>) -> Self {
        Self { allowed: allowed.into_iter().collect() }
    }

    /// The loopback ranges, which standalone opens by itself.
    pub fn loopback_ranges() -> [IpNet; 2] {
        [IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8), IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128)]
    }

    /// Whether this address may be called, with TLS or without.
    pub fn judge(&self, address: IpAddr, https: bool) -> Result<(), AddressRefusal> {
        let address = address.to_canonical();
        if self.allowed.iter().any(|range| range.contains(&address)) {
            return Ok(());
        }
        if is_special(address) {
            return Err(AddressRefusal::Special(address));
        }
        if https { Ok(()) } else { Err(AddressRefusal::PlainHttp) }
    }

    /// What can be said of a URL before its name is resolved: literal addresses are judged; a name over plain `http`
    /// is left to the dialer, unless no range is opened at all.
    pub fn judge_literal(&self, url: &EndpointUrl) -> Result<(), AddressRefusal> {
        match url.literal_address() {
            Some(address) => self.judge(address, url.is_https()),
            None if !url.is_https() && self.allowed.is_empty() => Err(AddressRefusal::PlainHttp),
            None => Ok(()),
        }
    }
}

/// Addresses that are not the public internet (IANA special-purpose address registries, RFC 6890 and its updates).
fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_special_v4(address),
        IpAddr::V6(address) => is_special_v6(address),
    }
}

fn is_special_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || first == 0
        || first >= 240
        || (first == 100 && (64..128).contains(&second))
        || (first == 192 && second == 0 && third == 0)
        || (first == 192 && second == 88 && third == 99)
        || (first == 198 && (second == 18 || second == 19))
}

fn is_special_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let [first, second, ..] = segments;
    let embedded_v4 = |high: u16, low: u16| {
        let ([one, two], [three, four]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(one, two, three, four)
    };
    match segments {
        // NAT64 (RFC 6052) and 6to4 (RFC 3056) carry an IPv4 address: what it is decides.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => is_special_v4(embedded_v4(high, low)),
        _ => {
            // Only 2000::/3 is global unicast; in it, these are not.
            first & 0xe000 != 0x2000
                || (first == 0x2001 && second < 0x200)
                || (first == 0x2001 && second == 0xdb8)
                || (first == 0x3fff && second < 0x1000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(policy: &AddressPolicy, url: &str) -> Result<(), AddressRefusal> {
        policy.judge_literal(&EndpointUrl::parse(url).unwrap())
    }

    #[test]
    fn disguised_local_addresses_are_refused() {
        let policy = AddressPolicy::default();
        for url in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://169.254.169.254/",
            "https://10.1.2.3/",
            "https://100.64.0.1/",
            "https://0.0.0.0/",
            "https://[fe80::1]/",
            "https://[fd00::1]/",
            "https://[64:ff9b::7f00:1]/",
            "https://[2002:7f00:1::]/",
            "https://[::]/",
        ] {
            assert!(matches!(judged(&policy, url), Err(AddressRefusal::Special(_))), "{url}");
        }
        assert_eq!(judged(&policy, "https://8.8.8.8/"), Ok(()));
        assert_eq!(judged(&policy, "https://[2606:4700::1111]/"), Ok(()));
        assert_eq!(judged(&policy, "http://8.8.8.8/"), Err(AddressRefusal::PlainHttp));
        assert_eq!(judged(&policy, "http://ehr.example.org/"), Err(AddressRefusal::PlainHttp));
    }

    #[test]
    fn an_opened_range_permits_plain_http_to_it_alone() {
        let policy = AddressPolicy::new(AddressPolicy::loopback_ranges());
        assert_eq!(judged(&policy, "http://127.0.0.1:8090/fhir"), Ok(()));
        assert_eq!(judged(&policy, "http://[::1]:8090/fhir"), Ok(()));
        assert!(judged(&policy, "http://10.0.0.1/").is_err());
        assert_eq!(judged(&policy, "http://8.8.8.8/"), Err(AddressRefusal::PlainHttp));
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        let refused = |text: &str| EndpointUrl::parse(text).unwrap_err();
        assert_eq!(refused("ftp://a/"), UrlError::Scheme);
        assert_eq!(refused("https://user@a/"), UrlError::UserInfo);
        assert_eq!(refused("https://a/#b"), UrlError::Fragment);
        assert_eq!(refused("https://a\\b/"), UrlError::Characters);
        assert!(matches!(refused("/a"), UrlError::Syntax(_)));
    }

    #[test]
    fn paths_are_kept_as_written() {
        let url = EndpointUrl::parse("https://ehr.example.org:8443/a/%2e/b/").unwrap();
        assert_eq!(url.path_without_slash(), "/a/%2e/b");
        assert_eq!(url.authority(), "ehr.example.org:8443");
        assert_eq!(EndpointUrl::parse("https://ehr.example.org").unwrap().path_without_slash(), "");
    }
}
