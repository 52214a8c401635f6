//! How clients prove who they are at the token endpoint (RFC 6749 §2.3), and where they introspect and revoke: exactly
//! one way a request. Which way a client may use is its registration's to say: what it has no secret or key for, it
//! cannot use; an app that has both may use either, so that it can move to keys without an outage.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::{Choice, ConstantTimeEq as _};

use super::OAuthError;
use super::client_assertion::{self, AssertionRefused, ClientAssertion};
use super::token_request::ClientParameters;
use crate::api::ClientType;
use crate::protocol::form;
use crate::snapshot::{App, Snapshot};

/// How a client tried to authenticate, as far as the answer depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// With a secret, or with nothing.
    Secret,
    /// With a signed assertion (RFC 7523).
    Assertion,
}

/// What a request brings to authenticate its client.
#[derive(Debug)]
pub enum Credential {
    /// A client ID and a secret. More than one pair where the header can be read in two ways: RFC 6749 §2.3.1 asks for
    /// both parts to be form-encoded (Go, Spring and openid-client do so), while many send them as they are (curl,
    /// Postman, Authlib). Each reading is tried.
    Secret(Vec<(String, SecretString)>),
    /// A client ID alone: what a public client sends.
    ClientId(String),
    /// A signed assertion (RFC 7523). Whether it proves its client, whoever has the keys finds out.
    Assertion(ClientAssertion),
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Credential {
    /// Finds the credential. `authorization` yields the values of all `Authorization` headers.
    pub fn read<'request>(
        mut authorization: impl Iterator<Item = &'request [u8]>,
        request: &ClientParameters,
    ) -> Result<Self, OAuthError> {
        let header = authorization.next();
        if authorization.next().is_some() {
            return Err(OAuthError::AuthorizationMalformed);
        }
        let assertion = request.client_assertion.is_some() || request.client_assertion_type.is_some();
        let ways = [header.is_some(), request.client_secret.is_some(), assertion];
        if ways.into_iter().filter(|used| *used).count() > 1 {
            return Err(OAuthError::SeveralClientAuthentications);
        }
        if let Some(header) = header {
            let pairs = read_basic(header).ok_or(OAuthError::AuthorizationMalformed)?;
            if request.client_id.as_ref().is_some_and(|named| !pairs.iter().any(|(client_id, _)| client_id == named)) {
                return Err(OAuthError::SeveralClientAuthentications);
            }
            return Ok(Self::Secret(pairs));
        }
        if assertion {
            let kind = request.client_assertion_type.as_deref();
            let kind = kind.ok_or(OAuthError::ParameterMissing("client_assertion_type"))?;
            let text = request.client_assertion.as_ref().ok_or(OAuthError::ParameterMissing("client_assertion"))?;
            if kind != client_assertion::TYPE {
                return Err(OAuthError::AssertionRefused(AssertionRefused::Type));
            }
            let assertion = ClientAssertion::parse(text.expose_secret(), request.client_id.as_deref());
            return assertion.map(Self::Assertion).map_err(OAuthError::AssertionRefused);
        }
        match (&request.client_id, &request.client_secret) {
            (Some(client_id), Some(secret)) => Ok(Self::Secret(vec![(client_id.clone(), secret.clone())])),
            (Some(client_id), None) => Ok(Self::ClientId(client_id.clone())),
            (None, Some(_)) => Err(OAuthError::ParameterMissing("client_id")),
            (None, None) => Err(OAuthError::ClientAuthenticationFailed(Scheme::Secret)),
        }
    }

    /// The client ID that it names, for logs and limits: what was said, not what is true.
    pub fn claimed_client_id(&self) -> Option<&str> {
        match self {
            Self::Secret(pairs) => pairs.first().map(|(client_id, _)| client_id.as_str()),
            Self::ClientId(client_id) => Some(client_id),
            Self::Assertion(assertion) => Some(assertion.client_id()),
        }
    }
}

/// The app that has this secret; `pairs` are the ways to read one header. Takes as long whether there is one or not.
pub fn by_secret(snapshot: &Snapshot, pairs: &[(String, SecretString)]) -> Result<Arc<App>, OAuthError> {
    let mut authenticated = None;
    for (client_id, secret) in pairs {
        let app = snapshot.app_by_client_id(client_id);
        if bool::from(is_secret_of(app.map(Arc::as_ref), secret)) {
            authenticated = app;
        }
    }
    authenticated.cloned().ok_or(OAuthError::ClientAuthenticationFailed(Scheme::Secret))
}

/// The public client of this ID: it has nothing to check, and what it may do is little.
pub fn by_client_id(snapshot: &Snapshot, client_id: &str) -> Result<Arc<App>, OAuthError> {
    let app = snapshot.app_by_client_id(client_id).filter(|app| app.client_type == ClientType::Public);
    app.cloned().ok_or(OAuthError::ClientAuthenticationFailed(Scheme::Secret))
}

/// The readings of `Basic …`; `None` if there is none.
fn read_basic(header: &[u8]) -> Option<Vec<(String, SecretString)>> {
    let (scheme, encoded) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = BASE64.decode(encoded.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (client_id, secret) = (decoded.get(..colon)?, decoded.get(colon + 1..)?);
    let mut pairs = Vec::with_capacity(2);
    if let (Ok(client_id), Ok(secret)) = (form::decode(client_id), form::decode(secret)) {
        pairs.push((client_id.into_owned(), SecretString::from(secret.into_owned())));
    }
    if decoded.iter().any(|byte| matches!(byte, b'%' | b'+'))
        && let (Ok(client_id), Ok(secret)) = (std::str::from_utf8(client_id), std::str::from_utf8(secret))
    {
        pairs.push((client_id.to_owned(), SecretString::from(secret)));
    }
    (!pairs.is_empty()).then_some(pairs)
}

/// Compares with every secret of the app, and always with as many: how long it takes tells neither whether the client
/// exists, nor how many secrets it has, nor where they differ. Digests are compared, so that lengths don't tell either.
fn is_secret_of(app: Option<&App>, secret: &SecretString) -> Choice {
    /// An app has one secret, or two while one is replaced.
    const SECRETS: usize = 2;
    let digest_of = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
    let presented = digest_of(secret.expose_secret());
    let known = app.map_or(&[][..], |app| &app.client_secrets);
    let mut found = Choice::from(0);
    for index in 0..SECRETS.max(known.len()) {
        let (text, counts) = known.get(index).map_or(("", 0), |known| (known.expose_secret(), 1));
        found |= presented.as_ref().ct_eq(digest_of(text).as_ref()) & Choice::from(counts);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::oauth::token_request::TokenRequest;
    use crate::protocol::test_support::{self, CLIENT_ID, SECRET, World};
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    fn authenticated(authorization: &[&str], body: &str) -> Result<String, OAuthError> {
        let request = TokenRequest::parse(Some(form::MEDIA_TYPE), body.as_bytes()).unwrap();
        let snapshot = test_support::snapshot();
        let app = match Credential::read(authorization.iter().map(|value| value.as_bytes()), &request.client)? {
            Credential::Secret(pairs) => by_secret(&snapshot, &pairs)?,
            Credential::ClientId(client_id) => by_client_id(&snapshot, &client_id)?,
            Credential::Assertion(assertion) => panic!("not in these tests: {assertion:?}"),
        };
        Ok(app.key.name.clone())
    }

    #[test]
    fn a_basic_secret_is_accepted_raw_and_form_encoded() {
        let encoded: String = form_urlencoded(SECRET);
        assert_ne!(encoded, SECRET);
        for secret in [SECRET, &encoded] {
            let header = basic(&format!("{CLIENT_ID}:{secret}"));
            assert_eq!(authenticated(&[&header], ""), Ok("schedule-sync".into()));
            assert_eq!(authenticated(&[&header.replace("Basic", "basic")], ""), Ok("schedule-sync".into()));
            assert_eq!(authenticated(&[header.trim_end_matches('=')], ""), Ok("schedule-sync".into()));
        }
    }

    fn form_urlencoded(text: &str) -> String {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    }

    #[test]
    fn a_secret_in_the_body_is_accepted() {
        let body = format!("client_id={CLIENT_ID}&client_secret={}", form_urlencoded(SECRET));
        assert_eq!(authenticated(&[], &body), Ok("schedule-sync".into()));
    }

    #[test]
    fn unknown_client_and_wrong_secret_are_told_the_same() {
        let failed = Err(OAuthError::ClientAuthenticationFailed(Scheme::Secret));
        for header in [
            basic(&format!("{CLIENT_ID}:wrong")),
            basic(&format!("{CLIENT_ID}:")),
            basic(&format!("nobody:{SECRET}")),
            basic("nobody:"),
            // A public client has no secret, so none is right: not even the empty one.
            basic("mobile-client:"),
        ] {
            assert_eq!(authenticated(&[&header], ""), failed);
        }
        assert_eq!(authenticated(&[], &format!("client_id={CLIENT_ID}")), failed);
        assert_eq!(authenticated(&[], "client_id=nobody"), failed);
        assert_eq!(authenticated(&[], ""), failed);
    }

    #[test]
    fn a_public_client_is_known_by_its_id() {
        assert_eq!(authenticated(&[], "client_id=mobile-client"), Ok("mobile".into()));
    }

    #[test]
    fn two_ways_at_once_are_refused() {
        let header = basic(&format!("{CLIENT_ID}:{SECRET}"));
        let several = Err(OAuthError::SeveralClientAuthentications);
        assert_eq!(authenticated(&[&header], "client_id=a&client_secret=b"), several);
        assert_eq!(authenticated(&[&header], "client_assertion=a"), several);
        assert_eq!(authenticated(&[], "client_id=a&client_secret=b&client_assertion_type=c"), several);
        assert_eq!(authenticated(&[&header], "client_id=another"), several);
        assert_eq!(authenticated(&[&header], &format!("client_id={CLIENT_ID}")), Ok("schedule-sync".into()));
    }

    #[test]
    fn malformed_headers_are_refused() {
        let refused = Err(OAuthError::AuthorizationMalformed);
        for header in ["Basic", "Basic !", "Bearer a", &basic("no-colon"), "Basic \u{ff}"] {
            assert_eq!(authenticated(&[header], ""), refused, "{header}");
        }
        let good = basic(&format!("{CLIENT_ID}:{SECRET}"));
        assert_eq!(authenticated(&[&good, &good], ""), refused);
    }

    #[test]
    fn an_assertion_needs_both_of_its_parameters_and_the_one_type() {
        let refused = |body: &str| authenticated(&[], body).unwrap_err();
        assert_eq!(refused("client_assertion=b"), OAuthError::ParameterMissing("client_assertion_type"));
        assert_eq!(refused("client_assertion_type=a"), OAuthError::ParameterMissing("client_assertion"));
        let of = OAuthError::AssertionRefused;
        assert_eq!(refused("client_assertion_type=a&client_assertion=b"), of(AssertionRefused::Type));
        let body = format!("client_assertion_type={}&client_assertion=b", client_assertion::TYPE);
        assert_eq!(refused(&body), of(AssertionRefused::NotAJwt));
    }

    #[test]
    fn each_of_two_secrets_is_good() {
        let both =
            json!([{"secretRef": {"name": "ehr", "key": "basic"}}, {"secretRef": {"name": "app", "key": "secret"}}]);
        let snapshot = World::before("http://127.0.0.1:9").set("App", "schedule-sync", "clientSecrets", both).compile();
        for (secret, good) in [(SECRET, true), ("ehr-user:ehr-password-0123456789", true), ("", false)] {
            let app = by_secret(&snapshot, &[(CLIENT_ID.into(), secret.into())]);
            assert_eq!(app.is_ok(), good, "{secret}");
        }
    }
}
