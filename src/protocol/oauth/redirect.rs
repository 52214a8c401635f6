//! URLs that a browser is sent to: what is there stays as it was written, parameters are appended.

use url::form_urlencoded;

/// The URL with these parameters in its query. It has no fragment: neither registrations nor endpoints do.
pub fn with_parameters<'value>(
    url: &str,
    parameters: impl IntoIterator<Item = (&'value str, Option<&'value str>)>,
) -> String {
    let separator = match url.split_once('?') {
        None => "?",
        Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    let mut whole = format!("{url}{separator}");
    let start = whole.len();
    let mut query = form_urlencoded::Serializer::for_suffix(&mut whole, start);
    for (name, value) in parameters {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    whole
}

/// An answer to an authorization request (RFC 6749 §4.1.2), with `iss` (RFC 9207) always.
pub fn answer<'value>(
    redirect_uri: &str,
    issuer: &'value str,
    state: Option<&'value str>,
    parameters: impl IntoIterator<Item = (&'value str, Option<&'value str>)>,
) -> String {
    let parameters = parameters.into_iter().chain([("state", state), ("iss", Some(issuer))]);
    with_parameters(redirect_uri, parameters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("https://a.example/cb", "https://a.example/cb?code=x%26y&state=+")]
    #[case("https://a.example/cb?", "https://a.example/cb?code=x%26y&state=+")]
    #[case("https://a.example/cb?a=b", "https://a.example/cb?a=b&code=x%26y&state=+")]
    #[case("com.example.app:/cb", "com.example.app:/cb?code=x%26y&state=+")]
    fn parameters_are_appended(#[case] url: &str, #[case] expected: &str) {
        let parameters = [("code", Some("x&y")), ("left_out", None), ("state", Some(" "))];
        assert_eq!(with_parameters(url, parameters), expected);
    }
}
