//! A base URL, and what lies at or below it in whatever spelling.
//!
//! Where TLS ends in front of a server, it often does not know: it writes `http` in the links of its `https` base, or the
//! port that its proxy called. FHIR takes the two schemes for one identity (FHIR R4 RESTful API, "Service Base URL"); the
//! host's name has no case, and a scheme's own port may be written or not (RFC 3986 §6.2.2.1, §6.2.3). Any other port is
//! another place.

use memchr::memmem;

/// A base, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseUrl<'base> {
    text: &'base str,
    host: &'base str,
    /// The port, where it is not the scheme's own.
    port: Option<&'base str>,
    path: &'base str,
}

/// How a text that may go on begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// With the base, in so many bytes; there it ends.
    Base(usize),
    /// With something else.
    Other,
    /// So far like the base: what follows decides.
    Open,
}

impl<'base> BaseUrl<'base> {
    /// Of an absolute `http` or `https` URL without userinfo, query and fragment.
    pub fn new(text: &'base str) -> Self {
        let text = text.trim_end_matches('/');
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let (authority, path) = rest.split_at_checked(rest.find('/').unwrap_or(rest.len())).unwrap_or((rest, ""));
        let own = if scheme.eq_ignore_ascii_case("https") { "443" } else { "80" };
        let (host, port) = match authority.rsplit_once(':') {
            // The last colon of an IPv6 address stands within brackets.
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, Some(port)),
            Some(_) | None => (authority, None),
        };
        Self { text, host, port: port.filter(|port| !port.is_empty() && *port != own), path }
    }

    /// As it was written, without a slash at its end.
    pub const fn as_str(self) -> &'base str {
        self.text
    }

    /// Its path, without a slash at its end.
    pub const fn path(self) -> &'base str {
        self.path
    }

    /// Its scheme, host and port, as a base of their own.
    #[must_use]
    pub fn origin(self) -> Self {
        let length = self.text.len().saturating_sub(self.path.len());
        Self { text: self.text.get(..length).unwrap_or_default(), path: "", ..self }
    }

    /// What follows the base in a URL at or below it: nothing, or what begins with `/`, `?` or `#`.
    pub fn below(self, place: &str) -> Option<&str> {
        let rest = self.behind(place.as_bytes()).ok()?.len();
        let below = place.get(place.len().saturating_sub(rest)..)?;
        (below.is_empty() || below.starts_with(['/', '?', '#'])).then_some(below)
    }

    /// Whether a URL at or below it may stand anywhere in a JSON text. `false` is certain, and soon known.
    pub fn may_stand_in(self, text: &[u8]) -> bool {
        let host = self.host.as_bytes();
        let is_host = |at: usize| {
            let rest = text.get(at + 3..).unwrap_or_default();
            rest.get(..host.len()).is_some_and(|given| given.eq_ignore_ascii_case(host))
        };
        // JSON may write a slash as `\/`.
        memmem::find_iter(text, b"://").any(is_host) || memmem::find(text, br"\/").is_some()
    }

    /// How the inside of a JSON string begins, its slashes unescaped. The base ends before a separator, at the string's end
    /// and before any other escape.
    pub fn beginning(self, text: &[u8]) -> Beginning {
        match self.behind(text) {
            Err(beginning) => beginning,
            Ok([]) => Beginning::Open,
            Ok(rest @ [b'/' | b'?' | b'#' | b'"' | b'\\', ..]) => {
                Beginning::Base(text.len().saturating_sub(rest.len()))
            }
            Ok(_) => Beginning::Other,
        }
    }

    /// What stands behind the base, wherever it ends.
    fn behind(self, text: &[u8]) -> Result<&[u8], Beginning> {
        const ANY_CASE: fn(&[u8], &[u8]) -> bool = <[u8]>::eq_ignore_ascii_case;
        const EXACT: fn(&[u8], &[u8]) -> bool = <[u8] as PartialEq>::eq;
        let rest = strip(text, b"http", ANY_CASE)?;
        let rest = match rest.split_first() {
            None => return Err(Beginning::Open),
            Some((b's' | b'S', rest)) => rest,
            Some(_) => rest,
        };
        let rest = strip(strip(rest, b"://", EXACT)?, self.host.as_bytes(), ANY_CASE)?;
        let rest = match (self.port, rest) {
            (Some(port), _) => strip(strip(rest, b":", EXACT)?, port.as_bytes(), EXACT)?,
            (None, [b':', b'8', ..]) => strip(rest, b":80", EXACT)?,
            (None, [b':', ..]) => strip(rest, b":443", EXACT)?,
            (None, _) => rest,
        };
        strip(rest, self.path.as_bytes(), EXACT)
    }
}

/// Takes a beginning off; `Err` says whether the text is too short to tell.
fn strip<'text>(text: &'text [u8], wanted: &[u8], is_same: fn(&[u8], &[u8]) -> bool) -> Result<&'text [u8], Beginning> {
    let common = text.len().min(wanted.len());
    let (Some((given, rest)), Some(beginning)) = (text.split_at_checked(common), wanted.get(..common)) else {
        return Err(Beginning::Other);
    };
    if !is_same(given, beginning) {
        return Err(Beginning::Other);
    }
    if common < wanted.len() { Err(Beginning::Open) } else { Ok(rest) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[test]
    fn where_no_host_stands_no_url_stands() {
        let base = BaseUrl::new("https://ehr.example.org/fhir");
        for text in [
            "https://ehr.example.org/fhir",
            "HTTP://EHR.EXAMPLE.ORG/",
            r"https:\/\/ehr",
            r"https:/\/ehr",
            r"https:\//x",
        ] {
            assert!(base.may_stand_in(format!("{{\"a\":\"{text}\"}}").as_bytes()), "{text}");
        }
        for text in ["", "https://elsewhere.example.org/fhir", "ehr.example.org", "https://ehr.exam", r"a\nb"] {
            assert!(!base.may_stand_in(format!("{{\"a\":\"{text}\"}}").as_bytes()), "{text}");
        }
    }

    #[rstest]
    #[case("https://ehr.example.org/fhir", "https://ehr.example.org/fhir/Patient/1", Some("/Patient/1"))]
    #[case("https://ehr.example.org/fhir/", "http://ehr.example.org/fhir?page=2", Some("?page=2"))]
    #[case("http://ehr.example.org/fhir", "https://ehr.example.org/fhir", Some(""))]
    #[case("https://ehr.example.org/fhir", "HTTPS://EHR.Example.ORG/fhir#a", Some("#a"))]
    #[case("https://EHR.example.org/fhir", "https://ehr.example.org/fhir/", Some("/"))]
    #[case("https://ehr.example.org/fhir", "https://ehr.example.org:443/fhir/a", Some("/a"))]
    #[case("https://ehr.example.org:443/fhir", "https://ehr.example.org/fhir/a", Some("/a"))]
    #[case("https://ehr.example.org/fhir", "http://ehr.example.org:80/fhir/a", Some("/a"))]
    #[case("https://ehr.example.org/fhir", "http://ehr.example.org:443/fhir/a", Some("/a"))]
    #[case("https://ehr.example.org:8443/fhir", "http://ehr.example.org:8443/fhir/a", Some("/a"))]
    #[case("https://[2001:db8::1]/fhir", "http://[2001:DB8::1]:80/fhir/a", Some("/a"))]
    #[case("https://ehr.example.org", "http://ehr.example.org:80?a", Some("?a"))]
    #[case("https://ehr.example.org", "https://ehr.example.org:8080/a", None)]
    #[case("https://ehr.example.org/fhir", "https://ehr.example.org:8443/fhir/a", None)]
    #[case("https://ehr.example.org:8443/fhir", "https://ehr.example.org/fhir/a", None)]
    #[case("https://ehr.example.org:844/fhir", "https://ehr.example.org:8443/fhir/a", None)]
    #[case("https://ehr.example.org/fhir", "https://ehr.example.org/FHIR/a", None)]
    #[case("https://ehr.example.org/fhir", "https://ehr.example.org/fhirs/a", None)]
    #[case("https://ehr.example.org/fhir", "https://ehr.example.org@evil.example/fhir", None)]
    #[case("https://ehr.example.org/fhir", "https://ehr.example.org.evil.example/fhir", None)]
    #[case("https://ehr.example.org/fhir", "https://ehr.example.org:443@evil.example/fhir", None)]
    #[case("https://ehr.example.org/fhir", "httpx://ehr.example.org/fhir", None)]
    #[case("https://ehr.example.org/fhir", "https:/ehr.example.org/fhir", None)]
    #[case("https://ehr.example.org/fhir", "https://ehr.example.org", None)]
    #[case("https://ehr.example.org/fhir", "Patient/1", None)]
    #[case("https://ehr.example.org/fhir", "", None)]
    fn a_place_is_known_in_every_spelling_of_its_base(
        #[case] base: &str,
        #[case] place: &str,
        #[case] below: Option<&str>,
    ) {
        assert_eq!(BaseUrl::new(base).below(place), below);
    }

    #[test]
    fn an_origin_is_a_base_of_its_own() {
        let base = BaseUrl::new("https://ehr.example.org:8443/api/fhir/");
        assert_eq!((base.as_str(), base.path()), ("https://ehr.example.org:8443/api/fhir", "/api/fhir"));
        assert_eq!(base.origin(), BaseUrl::new("https://ehr.example.org:8443"));
    }

    proptest! {
        /// What a whole text is, its beginnings never deny, and every longer one repeats.
        #[test]
        fn a_beginning_is_decided_once(
            base in "https?://(a|[a-c]{2,4})(:443|:80|:8)?(/f)?",
            place in "https?://(a|[a-c]{2,4})(:443|:80|:8|:)?(/f)?[/?f\"]{1,2}",
        ) {
            let base = BaseUrl::new(&base);
            let mut decided = Beginning::Open;
            for length in 0..=place.len() {
                let beginning = base.beginning(&place.as_bytes()[..length]);
                prop_assert!(decided == Beginning::Open || beginning == decided, "{} {decided:?}", &place[..length]);
                decided = beginning;
            }
            let is_base = matches!(decided, Beginning::Base(_));
            let is_json = place.contains('"');
            prop_assert!(is_json || decided == Beginning::Open || is_base == base.below(&place).is_some());
        }
    }
}
